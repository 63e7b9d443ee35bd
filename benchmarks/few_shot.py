"""What students of a teacher that only answers gain from pictures that were made (`autostudent synthesize`).

    python benchmarks/few_shot.py studies/digits.yaml --pictures 100 [--synthetic 2000] [--seeds 5] \
        [--student resnet:8x8] [--epochs 20] [--folder runs/few_shot] [--json FILE]

Each seed takes other pictures. One network is trained on labels or probabilities of the teacher: for the pictures that
are there, seen so often that all arms see the same number; for blends beside them; for blends and drawn pictures.
The test split measures all of them; nothing is chosen by it. Differences are paired by seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import facts

from autostudent import synthesize, train_student
from autostudent.measure.intervals import interval, paired

METHODS = {"labels": ("none", ()), "probabilities": ("kd", ("kd.temperature=1", "kd.weight=1"))}
Arm = tuple[str, str, str]  # name, whose pictures, how it is taught
ARMS: tuple[Arm, ...] = (
    ("few, the teacher's labels", "few", "labels"),
    ("few, its probabilities", "few", "probabilities"),
    ("with blends", "blends", "probabilities"),
    ("with blends and drawn pictures", "drawn", "probabilities"),
)


def pools(options: argparse.Namespace, folder: Path, seed: int) -> dict[str, Path]:
    """The studies of one choice of pictures: with all that is made, with blends alone, and without either."""
    found = {}
    for name in ("drawn", "blends"):
        place = folder / f"{name}-{seed}"
        if not (place / "study.yaml").is_file():
            synthesize(
                options.study,
                place,
                pictures=options.pictures,
                synthetic=options.synthetic,
                settings=[f"artifacts={folder / 'assets'}"],
                seed=seed,
                drawn=name == "drawn",
            )
        found[name] = place
    few = folder / f"few-{seed}.npz"
    with np.load(found["drawn"] / "pictures.npz") as whole:
        arrays = {name: whole[name] for name in whole}
    for name in ("x_train", "y_train"):
        arrays[name] = arrays[name][: options.pictures]
    np.savez_compressed(few, **arrays)
    return {**found, "few": few}


def trained(options: argparse.Namespace, folder: Path, seed: int) -> Iterator[tuple[str, float, int]]:
    """(arm, accuracy on the test split, pictures it saw) of one seed."""
    places = pools(options, folder, seed)
    with np.load(places["drawn"] / "pictures.npz") as whole:
        steps = options.epochs * len(whole["y_train"])
    for name, pictures, taught in ARMS:
        place, (method, entries) = places[pictures], METHODS[taught]
        study = (places["drawn"] if pictures == "few" else place) / "study.yaml"
        source = place if pictures == "few" else place / "pictures.npz"
        with np.load(source) as arrays:
            count = len(arrays["y_train"])
        outcome = train_student(
            options.student,
            method,
            study=study,
            settings=[f"data.npz={source}", f"artifacts={folder / 'assets'}", *entries],
            epochs=max(1, round(steps / count)),
            seed=seed,
            test=True,
        )
        yield name, outcome["test"]["accuracy"], count


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each arm, with its difference to the first."""
    found: dict[str, list[float]] = {name: [] for name, _, _ in ARMS}
    counts: dict[str, list[int]] = {name: [] for name, _, _ in ARMS}
    for seed in range(options.seeds):
        for name, accuracy, count in trained(options, Path(options.folder), seed):
            found[name].append(100 * accuracy)
            counts[name].append(count)
            print(f"seed {seed}, {name}: {100 * accuracy:.2f} % ({count:,} pictures)", flush=True)
    return table(found, counts)


def table(found: dict[str, list[float]], counts: dict[str, list[int]]) -> list[dict[str, Any]]:
    """The rows, from percentages and numbers of pictures by arm, one a seed."""
    first, rows = found[ARMS[0][0]], []
    for name, values in found.items():
        own, apart = interval(values), paired(values, first)
        rows.append(
            {
                "name": name,
                "pictures": sum(counts[name]) / len(counts[name]),
                "accuracy": own.mean,
                "sd": own.sd,
                "difference": apart.mean,
                "half": (apart.high - apart.low) / 2,
                "values": values,
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--synthetic", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--student", default="resnet:8x8")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folder", default="runs/few_shot")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    rows = compare(options)
    print("| trained on | pictures | test accuracy | difference to the first, 95 % interval |\n|---|---|---|---|")
    for row in rows:
        apart = "–" if row is rows[0] else f"{row['difference']:+.2f} ± {row['half']:.2f}"
        print(f"| {row['name']} | {row['pictures']:,.0f} | {row['accuracy']:.2f} ± {row['sd']:.2f} | {apart} |")
    if options.json:
        document = {"options": {k: str(v) for k, v in vars(options).items()}, **facts(), "results": rows}
        options.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
