"""Candidates as rows of numbers for the model.

A row is ``[drawing | recipe | features | costs | belief | rung, family, trial]``. The variables that draw the graph and
those of the recipe are two blocks of the same form, ``[ones | numbers]``:

* ones: one column for each value of each categorical variable (text and booleans), one of them for "inactive";
* numbers: ordered variables in [0, 1]. One that can be inactive is bent onto an arc, (sin, cos) of a quarter turn, with
  (0, 0) for inactive: two inactive values are equal, an inactive one is equally far from all active ones, and nothing
  is imputed (Swersky et al. 2014, "Raiders of the lost architecture", arXiv 1409.4011).

Features are the description's, costs the logarithms of its exact costs, both standardised over fresh draws. Belief
is the prediction of an earlier study's model, where there is one (see `autostudent.propose.source`). The last three are
the rung's index, the family's code, and a number that all rungs of one trial share and no two trials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autostudent.propose.catalogue import Catalogue, Option
from autostudent.records import Problem, Value

Config = Mapping[str, Value]
Believe = Callable[[Sequence[Option]], np.ndarray]

SAMPLE = 192  # fresh draws that fix the scales
CACHED = 50_000  # rows kept, about half a kilobyte each


@dataclass(frozen=True)
class Block:
    """Columns of some variables of a configuration.

    ``groups`` gives the variable of each ones column, ``alphabets`` a number for the choices of each variable:
    variables with the same choices have the same number. ``numbers`` gives the columns of each ordered variable: one,
    or two for a point on an arc.
    """

    groups: tuple[int, ...]
    alphabets: tuple[int, ...]
    numbers: tuple[int, ...]

    @property
    def width(self) -> int:
        return len(self.groups) + sum(self.numbers)

    def choices(self, alphabet: int) -> int:
        """Columns of one variable with these choices."""
        return self.groups.count(self.alphabets.index(alphabet))

    def shared_alphabets(self) -> tuple[int, ...]:
        """Those of at least two variables."""
        return tuple(sorted({alphabet for alphabet in self.alphabets if self.alphabets.count(alphabet) > 1}))


@dataclass(frozen=True)
class Layout:
    """Widths of the parts of a row, and the number of rungs."""

    drawing: Block
    recipe: Block
    features: int
    costs: int
    beliefs: int
    rungs: int

    @property
    def body(self) -> int:
        """Columns before rung, family and trial."""
        return self.drawing.width + self.recipe.width + self.features + self.costs + self.beliefs


class BlockCoder:
    """Maps some columns of encoded configurations to a block's columns."""

    def __init__(
        self, columns: Sequence[int], names: Sequence[str], configs: Sequence[Config], coded: np.ndarray
    ) -> None:
        self._codes: list[tuple[int, np.ndarray]] = []  # categorical: column, known codes
        self._numbers: list[tuple[int, float, bool]] = []  # ordered: column, scale, conditional
        alphabets: list[tuple[tuple[float, Value], ...]] = []
        for column in columns:
            values = [config[names[column]] for config in configs if names[column] in config]
            codes = coded[~np.isnan(coded[:, column]), column]
            known = np.unique(codes)
            if any(isinstance(value, str | bool) for value in values):
                self._codes.append((column, known))
                alphabets.append(tuple(sorted(dict(zip(codes, values, strict=True)).items())))
            elif len(known) > 1:
                self._numbers.append((column, max(1.0, float(known.max())), len(values) < len(configs)))
        groups = tuple(group for group, (_, known) in enumerate(self._codes) for _ in range(len(known) + 1))
        numbers = {alphabet: i for i, alphabet in enumerate(dict.fromkeys(alphabets))}
        widths = tuple(2 if conditional else 1 for *_, conditional in self._numbers)
        self.block = Block(groups, tuple(numbers[alphabet] for alphabet in alphabets), widths)

    def columns(self, coded: np.ndarray) -> list[np.ndarray]:
        """The block's columns of encoded configurations (n, d), in pieces (n, k)."""
        ones = [_one_hot(coded[:, [column]], known) for column, known in self._codes]
        return ones + [_bend(coded[:, [column]] / scale, conditional) for column, scale, conditional in self._numbers]


class Scaler:
    """Standardises columns that vary over a sample and drops the others."""

    def __init__(self, sample: np.ndarray) -> None:
        centre, spread = sample.mean(axis=0), sample.std(axis=0)
        self._varying = np.flatnonzero(spread > 1e-9 * (1 + np.abs(centre)))
        self._centre, self._spread = centre[self._varying], spread[self._varying]
        self.width = len(self._varying)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray((rows[:, self._varying] - self._centre) / self._spread)


class Encoder:
    """Maps candidates of one problem to rows; scales come from its first fresh draws, never from results.

    ``believe`` maps n options to (n, 1) predictions of an earlier study's model.
    """

    def __init__(self, problem: Problem, catalogue: Catalogue, believe: Believe | None = None) -> None:
        self.problem = problem
        self._believe = believe
        sample = catalogue.fresh(0, SAMPLE)
        configs = [option.candidate.config for option in sample]
        coded = self._coded(sample)
        names, recipe = problem.space.names, set(problem.space.recipe)
        drawing = [column for column, name in enumerate(names) if name not in recipe]
        teaching = [column for column, name in enumerate(names) if name in recipe]
        self._drawing = BlockCoder(drawing, names, configs, coded)
        self._recipe = BlockCoder(teaching, names, configs, coded)
        self._features, self._costs = Scaler(_features(sample)), Scaler(self._log_costs(sample))
        blocks = self._drawing.block, self._recipe.block
        self.layout = Layout(
            *blocks, self._features.width, self._costs.width, int(believe is not None), len(problem.rungs)
        )
        self._families: dict[tuple[Value | None, ...], int] = {}
        for config in configs:
            self._families.setdefault(self._family(config), len(self._families))
        self._cache: dict[str, np.ndarray] = {}

    def rows(self, options: Sequence[Option], level: int, trials: Sequence[int]) -> np.ndarray:
        """(n, d) rows at one rung index; ``trials`` are the rows' trial numbers, new students have negative ones.

        Every candidate needs a number of its own wherever covariances are asked for: rows of one number are taken for
        one student's.
        """
        rows = np.empty((len(options), self.layout.body + 3))
        known = self._known_of(options)
        rows[:, :-3], rows[:, -2] = known[:, :-1], known[:, -1]
        rows[:, -3], rows[:, -1] = level, trials
        return rows

    def _family(self, config: Config) -> tuple[Value | None, ...]:
        return tuple(config.get(name) for name in self.problem.cover)

    def _known_of(self, options: Sequence[Option]) -> np.ndarray:
        """(n, d - 2) rows without rung and trial, the family last; cached by candidate."""
        keys = [option.candidate.key for option in options]
        new = {key: option for key, option in zip(keys, options, strict=True) if key not in self._cache}
        if len(self._cache) + len(new) > CACHED:
            self._cache.clear()
            new = dict(zip(keys, options, strict=True))
        if new:
            self._cache.update(zip(new, self._known_columns(list(new.values())), strict=True))
        return np.stack([self._cache[key] for key in keys]) if keys else np.zeros((0, self.layout.body + 1))

    def _known_columns(self, options: Sequence[Option]) -> np.ndarray:
        coded = self._coded(options)
        parts = self._drawing.columns(coded) + self._recipe.columns(coded)
        parts += [self._features(_features(options)), self._costs(self._log_costs(options))]
        if self._believe:
            parts.append(self._believe(options))
        families = [self._families.get(self._family(option.candidate.config), -1) for option in options]
        return np.column_stack([*parts, families])

    def _coded(self, options: Sequence[Option]) -> np.ndarray:
        """Encoded configurations (n, d)."""
        space = self.problem.space
        coded = np.array([space.encode(option.candidate.config) for option in options], dtype=float)
        return coded.reshape(len(options), len(space.names))

    def _log_costs(self, options: Sequence[Option]) -> np.ndarray:
        """Logarithms (n, c) of the costs that are objectives and known before training."""
        exact = [objective.name for objective in self.problem.objectives if objective.exact]
        known = np.array([[option.description.costs[name] for name in exact] for option in options], dtype=float)
        return np.log(np.maximum(known.reshape(len(options), len(exact)), 1e-12))


def _features(options: Sequence[Option]) -> np.ndarray:
    """The descriptions' features (n, f)."""
    return np.array([option.description.features for option in options], dtype=float).reshape(len(options), -1)


def _one_hot(codes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """One column for each known code, the last for inactive; a code (n, 1) never drawn has none and equals nothing."""
    return np.column_stack([codes == known, np.isnan(codes)]).astype(float)


def _bend(values: np.ndarray, conditional: bool) -> np.ndarray:
    """Numbers (n, 1), or points (n, 2) on the arc where they may be inactive."""
    if not conditional:
        return values
    arc = np.column_stack([np.sin(np.pi / 2 * values), np.cos(np.pi / 2 * values)])
    return np.nan_to_num(arc, nan=0.0)
