"""Candidates as rows of numbers for the model.

A row is ``[ones | numbers | features | rung, family, trial]``:

* ones: one column for each value of each categorical variable (text and booleans), one of them for "inactive";
* numbers: ordered variables in [0, 1]. One that can be inactive is bent onto an arc, (sin, cos) of a quarter turn, with
  (0, 0) for inactive: two inactive values are equal, an inactive one is equally far from all active ones, and nothing
  is imputed (Swersky et al. 2014, "Raiders of the lost architecture", arXiv 1409.4011);
* features: the description's features and the logarithms of the exact costs, standardised over fresh draws;
* rung index, family code, and a number that is the same for all rungs of one trial and for no two trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autostudent.propose.catalogue import Catalogue, Option
from autostudent.records import Candidate, Description, Problem, Value

SAMPLE = 192  # fresh draws that fix the scales


@dataclass(frozen=True)
class Layout:
    """Widths of the blocks of a row.

    ``groups`` gives the variable of each ones column, ``alphabets`` a number for the choices of each variable:
    variables with the same choices have the same number. ``rungs`` is the number of rungs.
    """

    groups: tuple[int, ...]
    alphabets: tuple[int, ...]
    numbers: int
    features: int
    rungs: int

    @property
    def width(self) -> int:
        return len(self.groups) + self.numbers + self.features + 3

    def choices(self, alphabet: int) -> int:
        """Columns of one variable with these choices."""
        return self.groups.count(self.alphabets.index(alphabet))

    def shared_alphabets(self) -> tuple[int, ...]:
        """Those of at least two variables."""
        return tuple(sorted({alphabet for alphabet in self.alphabets if self.alphabets.count(alphabet) > 1}))


class Encoder:
    """Maps candidates of one problem to rows; scales come from its first fresh draws, never from results."""

    def __init__(self, problem: Problem, catalogue: Catalogue) -> None:
        self.problem = problem
        sample = catalogue.fresh(0, SAMPLE)
        configs = [option.candidate.config for option in sample]
        coded = self._encode(configs)
        names = problem.space.names
        self._codes: list[tuple[int, np.ndarray]] = []  # categorical: column, known codes
        self._numbers: list[tuple[int, float, bool]] = []  # ordered: column, scale, conditional
        alphabets: list[tuple[tuple[float, Value], ...]] = []
        for column, name in enumerate(names):
            values = [config[name] for config in configs if name in config]
            known = np.unique(coded[~np.isnan(coded[:, column]), column])
            if any(isinstance(value, str | bool) for value in values):
                self._codes.append((column, known))
                codes = coded[~np.isnan(coded[:, column]), column]
                alphabets.append(tuple(sorted(dict(zip(codes, values, strict=True)).items())))
            elif len(known) > 1:
                scale = max(1.0, float(known.max()))
                self._numbers.append((column, scale, len(values) < len(sample)))
        raw = self._raw_features([option.description for option in sample])
        self._centre = raw.mean(axis=0) if len(raw) else np.zeros(raw.shape[1])
        spread = raw.std(axis=0) if len(raw) else np.zeros(raw.shape[1])
        self._varying = np.flatnonzero(spread > 1e-9 * (1 + np.abs(self._centre)))
        self._spread = spread[self._varying]
        groups = [group for group, (_, known) in enumerate(self._codes) for _ in range(len(known) + 1)]
        width = sum(2 if conditional else 1 for *_, conditional in self._numbers)
        numbers = {alphabet: i for i, alphabet in enumerate(dict.fromkeys(alphabets))}
        shared = tuple(numbers[alphabet] for alphabet in alphabets)
        self.layout = Layout(tuple(groups), shared, width, len(self._varying), len(problem.rungs))
        self._families: dict[tuple[Value | None, ...], int] = {}
        for config in configs:
            self._families.setdefault(self._family(config), len(self._families))
        self._cache: dict[str, np.ndarray] = {}

    def rows(self, options: Sequence[Option], level: int, trials: Sequence[int]) -> np.ndarray:
        """(n, d) rows at one rung index; ``trials`` are the rows' trial numbers, new students have negative ones."""
        bodies = [self._body(option.candidate, option.description) for option in options]
        body = np.stack(bodies) if bodies else np.zeros((0, self.layout.width - 3))
        families = [self._families.get(self._family(option.candidate.config), -1) for option in options]
        tail = np.column_stack([np.full(len(options), level), families, trials]) if len(options) else np.zeros((0, 3))
        return np.hstack([body, tail])

    def _family(self, config: Mapping[str, Value]) -> tuple[Value | None, ...]:
        return tuple(config.get(name) for name in self.problem.cover)

    def _body(self, candidate: Candidate, description: Description) -> np.ndarray:
        key = candidate.key
        if key not in self._cache:
            coded = self._encode([candidate.config])[0]
            parts = [self._one_hot(coded[column], known) for column, known in self._codes]
            parts += [_bend(coded[column] / scale, conditional) for column, scale, conditional in self._numbers]
            raw = self._raw_features([description])[0]
            parts.append((raw[self._varying] - self._centre[self._varying]) / self._spread)
            self._cache[key] = np.concatenate(parts)
        return self._cache[key]

    def _encode(self, configs: Sequence[Mapping[str, Value]]) -> np.ndarray:
        rows = [np.asarray(self.problem.space.encode(config), dtype=float) for config in configs]
        return np.stack(rows) if rows else np.zeros((0, len(self.problem.space.names)))

    def _raw_features(self, descriptions: Sequence[Description]) -> np.ndarray:
        exact = [objective.name for objective in self.problem.objectives if objective.exact]
        rows = [
            [*description.features, *(np.log(max(description.costs[name], 1e-12)) for name in exact)]
            for description in descriptions
        ]
        return np.array(rows, dtype=float).reshape(len(rows), -1) if rows else np.zeros((0, len(exact)))

    @staticmethod
    def _one_hot(code: float, known: np.ndarray) -> np.ndarray:
        """One place for each known code, the last for inactive; a code never drawn has no place and equals nothing."""
        place = np.append(known == code, np.isnan(code))
        return place.astype(float)


def _bend(value: float, conditional: bool) -> np.ndarray:
    if not conditional:
        return np.array([value])
    if np.isnan(value):
        return np.zeros(2)
    return np.array([np.sin(np.pi / 2 * value), np.cos(np.pi / 2 * value)])
