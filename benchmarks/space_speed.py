"""How many candidates a second one core draws, solves, costs and fingerprints, in every student space.

    python benchmarks/space_speed.py [--count N] [--json FILE]

Acceptance: at least 100 a second in hnag_cnn and 1,000 a second in hnag_tiny, in seconds of processor time.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from machine import facts

from autostudent.errors import InvalidDraw
from autostudent.records import Candidate
from autostudent.space.architecture import InputShape, features, freeze
from autostudent.space.cost import costs
from autostudent.space.space import load_space

WANTED = {"hnag_tiny": 1000, "hnag_cnn": 100, "resnet_family": 1000}
SHAPES = {"hnag_tiny": InputShape(1, 8, 8, 10), "hnag_cnn": InputShape(3, 32, 32, 10)}


def measure(name: str, count: int) -> dict[str, float | str]:
    """Rates per second of processor time over ``count`` random candidates of one space."""
    space, shape = load_space(name), SHAPES.get(name, InputShape(3, 32, 32, 10))
    rng = np.random.default_rng(0)
    candidates = [Candidate(space.sample(rng), seed) for seed in range(count)]
    frozen, reached = [], []
    wall, start = time.perf_counter(), time.process_time()
    for candidate in candidates:
        try:
            architecture = freeze(candidate, space, shape)
        except InvalidDraw:
            continue
        exact = costs(architecture)
        assert architecture.fingerprint
        frozen.append((architecture, candidate))
        reached.append(exact.params / float(candidate.config["params.target"]))
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    start = time.process_time()
    for architecture, candidate in frozen:
        features(architecture, candidate, space)
    extra = time.process_time() - start
    return {
        "space": name,
        "candidates": count,
        "valid": len(frozen) / count,
        "per_second": count / seconds,
        "per_wall_second": count / wall,
        "wanted": WANTED[name],
        "features_per_second": len(frozen) / extra,
        "nodes_median": float(np.median([len(architecture.nodes) for architecture, _ in frozen])),
        "nodes_max": max(len(architecture.nodes) for architecture, _ in frozen),
        "target_reached_median": float(np.median(reached)),
        "distinct": len({architecture.fingerprint for architecture, _ in frozen}) / len(frozen),
    }


def main() -> None:
    """Prints one line a space; with ``--json`` also writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for name in WANTED:
        row = measure(name, given.count if name != "hnag_cnn" else max(50, given.count // 5))
        rows.append(row)
        print(
            f"{name:14} {row['per_second']:7,.0f}/s (wanted {row['wanted']:,}), valid {row['valid']:.1%}, "
            f"distinct {row['distinct']:.1%}, nodes {row['nodes_median']:.0f} (at most {row['nodes_max']}), "
            f"reaches {row['target_reached_median']:.1%} of the target, features {row['features_per_second']:,.0f}/s"
        )
    if given.json:
        given.json.write_text(json.dumps({**facts(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
