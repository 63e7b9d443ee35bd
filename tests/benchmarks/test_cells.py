"""What the optimizer's benchmark tells the model of a cell's graph."""

from __future__ import annotations

import itertools
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from cells import Cell

NAMES = ["e0_1", "e0_2", "e1_2", "e0_3", "e1_3", "e2_3"]
OPERATIONS = {"0": "none", "1": "skip", "2": "avg_pool", "3": "conv_1x1", "4": "conv_3x3"}
CELL = Cell(NAMES, OPERATIONS)


def features(**edges: str) -> dict[str, float]:
    """By name, of a cell with these edges and no others."""
    code = {operation: choice for choice, operation in OPERATIONS.items()}
    values = CELL.features({name: code[edges.get(name, "none")] for name in NAMES})
    kinds = [f"{kind}.{what}" for kind in ("avg_pool", "conv_1x1", "conv_3x3") for what in ("most", "share")]
    names = ("ways", "edges", "mixing", "mixing.most", "mixing.mean", "residual", *kinds)
    return dict(zip(names, values, strict=True))


def test_a_chain_of_three() -> None:
    found = features(e0_1="conv_3x3", e1_2="avg_pool", e2_3="conv_1x1")
    assert found["ways"] == pytest.approx(math.log(2))
    assert found["edges"] == 3 / 6
    assert found["mixing"] == pytest.approx(math.log(3))
    assert found["mixing.most"] == found["mixing.mean"] == 2
    assert found["residual"] == 0
    assert [found[f"{kind}.most"] for kind in ("avg_pool", "conv_1x1", "conv_3x3")] == [1, 1, 1]
    assert found["avg_pool.share"] == pytest.approx(1 / 3)


def test_a_residual_connection() -> None:
    found = features(e0_1="conv_3x3", e1_3="conv_3x3", e0_3="skip")
    assert found["ways"] == pytest.approx(math.log(3))
    assert (found["mixing.most"], found["mixing.mean"], found["residual"]) == (2, 1, 1)
    assert (found["conv_3x3.most"], found["conv_3x3.share"]) == (2, 1)


def test_what_lies_on_no_way_to_the_output_does_not_count() -> None:
    chain = {"e0_1": "conv_1x1", "e1_3": "conv_1x1"}
    assert features(**chain, e0_2="conv_3x3") == features(**chain)
    assert features(**chain, e1_2="avg_pool", e0_2="conv_3x3") == features(**chain)
    assert features(e1_2="conv_3x3", e2_3="conv_3x3") == features()


def test_all_cells_have_finite_features_of_one_length() -> None:
    lengths = set()
    for choices in itertools.product("01234", repeat=6):
        found = CELL.features(dict(zip(NAMES, choices, strict=True)))
        assert all(math.isfinite(value) for value in found)
        lengths.add(len(found))
    assert lengths == {12}


def test_other_variables_are_refused() -> None:
    with pytest.raises(SystemExit, match=r"\['width'\] are no edges"):
        Cell(["e0_1", "width"], OPERATIONS)
    for backwards in ("e1_1", "e2_1"):
        with pytest.raises(SystemExit, match="lead backwards"):
            Cell(["e0_1", backwards], OPERATIONS)
