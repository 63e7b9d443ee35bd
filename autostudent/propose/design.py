"""The first students: spaced by cost, every covered choice tried at least once."""

from __future__ import annotations

from collections import Counter

import numpy as np

from autostudent.propose.catalogue import Catalogue, Option
from autostudent.propose.history import History
from autostudent.records import Problem

DRAWS = 192  # fresh draws from which the first design is chosen
NEAR = 24  # draws around the wanted cost among which coverage and distance decide


def design_size(problem: Problem, catalogue: Catalogue, given: int = 0) -> int:
    """Number of first students: enough to cover the choices, at most 10 otherwise and a third of the budget.

    ``given`` students come from elsewhere. They count, but leave room for as many as the choices need.
    """
    pool = catalogue.fresh(0, DRAWS)
    most_choices = max(
        (len({option.candidate.config.get(name) for option in pool}) for name in problem.cover), default=1
    )
    return max(min(10, problem.trials // 3), min(given + most_choices, problem.trials), 2)


def first_design(problem: Problem, catalogue: Catalogue, size: int) -> list[Option]:
    """``size`` distinct draws, spread evenly over the logarithm of the first exact cost; a function of the problem."""
    pool = catalogue.fresh(0, DRAWS)
    if not pool:
        return []
    order = np.argsort(_sizes(problem, pool), kind="stable")
    coded = np.nan_to_num(np.stack([problem.space.encode(option.candidate.config) for option in pool]), nan=-1.0)
    coded /= np.maximum(np.abs(coded).max(axis=0), 1.0)
    covered: Counter[tuple[str, object]] = Counter()
    wanted = {(name, option.candidate.config.get(name)) for option in pool for name in problem.cover}
    chosen: list[int] = []
    taken = set()
    for quantile in _spread(size):
        centre = round(quantile * (len(pool) - 1))
        near = sorted(range(len(pool)), key=lambda place: (abs(place - centre), place))
        free = [order[place] for place in near if pool[order[place]].identity not in taken]
        if len(wanted - set(covered)) < size - len(chosen):  # else coverage comes before cost
            free = free[:NEAR]
        if not free:
            break
        best = max(free, key=lambda row: (_rarity(problem, pool[row], covered), _distance(coded, row, chosen)))
        chosen.append(int(best))
        taken.add(pool[best].identity)
        covered.update((name, pool[best].candidate.config.get(name)) for name in problem.cover)
    return [pool[row] for row in chosen]


def next_of_design(history: History, catalogue: Catalogue, size: int) -> Option | None:
    """The next student of the first design that was not tried, while fewer than ``size`` students were."""
    if len(history.trials) >= size:
        return None
    taken = history.identities
    return next((o for o in first_design(history.problem, catalogue, size) if o.identity not in taken), None)


def _sizes(problem: Problem, pool: list[Option]) -> np.ndarray:
    """(n,) first exact cost of each draw, zero where none is known."""
    exact = next((objective.name for objective in problem.objectives if objective.exact), None)
    return np.array([option.description.costs[exact] if exact else 0.0 for option in pool])


def _spread(size: int) -> list[float]:
    """The mid-points of ``size`` equal slices of [0, 1], in an order whose beginnings are spread too (bit reversal)."""
    bits = max(size - 1, 1).bit_length()
    order = [int(f"{i:0{bits}b}"[::-1], 2) for i in range(2**bits)]
    return [(i + 0.5) / size for i in order if i < size]


def _rarity(problem: Problem, option: Option, covered: Counter[tuple[str, object]]) -> float:
    """How much the option's covered choices were neglected so far; untried ones count most."""
    counts = [covered[name, option.candidate.config.get(name)] for name in problem.cover]
    return sum(1.0 if count == 0 else 0.1 / count for count in counts)


def _distance(coded: np.ndarray, row: int, chosen: list[int]) -> float:
    """Smallest distance to the chosen rows."""
    if not chosen:
        return 0.0
    return float(np.abs(coded[chosen] - coded[row]).mean(axis=1).min())
