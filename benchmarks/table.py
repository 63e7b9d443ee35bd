"""A table of trained networks as a problem to search, and what a search of it found."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from cells import Cell

from autostudent.front import hypervolume, nondominated
from autostudent.records import Candidate, Description, Objective, Problem, Value


class TableSpace:
    """Categorical variables, every one always active."""

    recipe: tuple[str, ...] = ()

    def __init__(self, choices: Mapping[str, Sequence[str]]) -> None:
        self.choices = {name: tuple(values) for name, values in choices.items()}
        self.names = tuple(self.choices)

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        return {name: values[int(rng.integers(len(values)))] for name, values in self.choices.items()}

    def check(self, config: Mapping[str, Value]) -> None:
        assert set(config) == set(self.names)

    def encode(self, config: Mapping[str, Value]) -> np.ndarray:
        return np.array([float(values.index(str(config[name]))) for name, values in self.choices.items()])

    def mutate(self, config: Mapping[str, Value], rng: np.random.Generator, names: Sequence[str]) -> dict[str, Value]:
        name = names[int(rng.integers(len(names)))]
        others = [value for value in self.choices[name] if value != config[name]]
        return {**config, name: others[int(rng.integers(len(others)))]}


@dataclass(frozen=True)
class Table:
    """The table as a problem: ``rows`` maps a tuple of choices to (error, costs..., low-fidelity error)."""

    space: TableSpace
    rows: Mapping[tuple[str, ...], tuple[float, ...]]
    names: tuple[str, ...]
    reference: np.ndarray
    ideal: np.ndarray
    best: float
    low_cost: float
    cell: Cell | None

    def values(self, config: Mapping[str, Value]) -> tuple[float, ...]:
        return self.rows[tuple(str(config[name]) for name in self.space.names)]

    def score(self, points: np.ndarray) -> float:
        """Normalised hypervolume of (n, m) points."""
        scaled = (points - self.ideal) / (self.reference - self.ideal)
        return hypervolume(scaled, np.ones(len(self.ideal))) / self.best

    def problem(
        self, seed: int, trials: int, known_costs: bool = True, low: bool = False, graph: bool = False
    ) -> Problem:
        """``low``: short trainings first; ``graph``: the model is told features of the cell's graph."""
        objectives = tuple(
            Objective(name, "minimize", reference=float(self.reference[i]), exact=known_costs and i > 0)
            for i, name in enumerate(self.names)
        )
        rungs, prices = ((1, 2), (self.low_cost, 1.0)) if low else ((1,), (1.0,))
        describe = partial(self.describe, known_costs=known_costs, graph=graph)
        return Problem(self.space, objectives, rungs, trials, seed, describe, rung_costs=prices)

    def describe(self, candidate: Candidate, known_costs: bool = True, graph: bool = False) -> Description:
        costs = dict(zip(self.names[1:], self.values(candidate.config)[1:], strict=False)) if known_costs else {}
        features = self.cell.features(candidate.config) if graph and self.cell else ()
        return Description("|".join(str(candidate.config[name]) for name in self.space.names), costs, features)


def read_table(options: argparse.Namespace) -> Table:
    """Reads parquet or csv. Raises SystemExit in one line for unknown columns."""
    frame = pd.read_parquet(options.table) if options.table.endswith("parquet") else pd.read_csv(options.table)
    variables, costs = options.variables.split(","), options.costs.split(",")
    wanted = [*variables, options.error, *costs, *([options.low_fidelity] if options.low_fidelity else [])]
    if unknown := [name for name in wanted if name not in frame.columns]:
        raise SystemExit(f"no column {unknown} in {options.table}; it has {', '.join(frame.columns)}")
    first = frame[costs[0]]
    measured = [_as_error(frame[options.error], first)]
    low = [_as_error(frame[options.low_fidelity], first)] if options.low_fidelity else []
    values = np.column_stack([*measured, *(frame[name] for name in costs), *low]).astype(float)
    keys = [tuple(map(str, row)) for row in frame[variables].itertuples(index=False)]
    points = values[:, : 1 + len(costs)]
    reference = np.array([np.percentile(points[:, 0], 95), *points[:, 1:].max(axis=0)])
    ideal = points.min(axis=0)
    scaled = (points - ideal) / (reference - ideal)
    best = hypervolume(scaled[nondominated(scaled)], np.ones(points.shape[1]))
    choices = {name: sorted({str(v) for v in frame[name]}) for name in variables}
    rows = dict(zip(keys, map(tuple, values.tolist()), strict=True))
    cell = _cell(choices, options.cell.split(",")) if options.cell else None
    return Table(TableSpace(choices), rows, ("error", *costs), reference, ideal, best, options.low_cost, cell)


def _cell(choices: Mapping[str, Sequence[str]], operations: Sequence[str]) -> Cell:
    """Raises SystemExit unless there is an operation for each choice."""
    known = sorted({choice for values in choices.values() for choice in values})
    if len(known) != len(operations):
        raise SystemExit(f"--cell {','.join(operations)}: one operation for each of the choices {', '.join(known)}")
    return Cell(list(choices), dict(zip(known, operations, strict=True)))


def _as_error(column: pd.Series, cost: pd.Series) -> np.ndarray:
    """A rate in [0, 1] that is minimised, from percent or a rate, from an error or an accuracy."""
    values = column.to_numpy(dtype=float) / (100.0 if column.max() > 1 else 1.0)
    return 1.0 - values if column.corr(cost, method="spearman") > 0 else values


@dataclass
class Run:
    """What one optimiser did with one seed: which points it had when (in full trainings), and its seconds an answer."""

    spent: list[float]
    points: list[tuple[float, ...] | None]
    seconds: list[float]

    def curve(self, table: Table, budgets: Sequence[int]) -> list[float]:
        out = []
        for budget in budgets:
            rows = [p for s, p in zip(self.spent, self.points, strict=True) if p and s <= budget + 1e-9]
            out.append(table.score(np.array(rows)) if rows else 0.0)
        return out
