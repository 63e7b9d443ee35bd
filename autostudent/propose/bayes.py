"""Bayesian optimisation with exact costs: only measured objectives are modelled, real candidates are scored.

Each proposal fits a Gaussian process to what was measured, draws a pool of describable candidates, drops what is over a
limit or was tried, and takes the largest expected hypervolume improvement per cost. Where trainings pause at rungs, a
free slot chooses between a new student and a paused one by the same measure, with a model-free rule as the floor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from autostudent.errors import ConfigError
from autostudent.front import nondominated
from autostudent.heap import uncollected
from autostudent.propose import rungs
from autostudent.propose.base import Proposer, require_at_least
from autostudent.propose.catalogue import Catalogue, Option
from autostudent.propose.design import design_size, next_of_design
from autostudent.propose.ehvi import Axis
from autostudent.propose.encoding import Encoder
from autostudent.propose.history import History
from autostudent.propose.judge import FitCache, Judge
from autostudent.propose.neglect import is_due, neglected
from autostudent.propose.random import unseen_draw
from autostudent.propose.source import Source
from autostudent.propose.worth import Step, reservation_rates
from autostudent.records import Problem, Proposal, Trial

PARENTS = 24  # front members whose relatives enter the pool
SHORTLIST = 48  # students, new or of one rung, whose rate is computed
LOCAL = 8  # best scored whose relatives are tried in a round of local search


class Bayes(Proposer):
    """GP on measured objectives, exact costs, closed-form EHVI over a pool of real candidates.

    Args:
        fresh: independent draws in the pool.
        renew: how many of these are replaced from one student to the next.
        relatives: changed copies of front members in the pool.
        rounds: rounds of local search around the best scored.
        worthwhile: after the last student, a paused one beyond the guaranteed share goes on while the hypervolume it
            is expected to add is at least this part of what was reached.
        source: trials of an earlier study of the same space to start from, see `autostudent.propose.source`.

    Raises:
        ConfigError: for a number that is none, or too small.
    """

    def __init__(
        self,
        fresh: int = 384,
        renew: int = 8,
        relatives: int = 192,
        rounds: int = 2,
        worthwhile: float = 0.01,
        source: Sequence[Trial] = (),
    ) -> None:
        super().__init__()
        require_at_least(1, fresh=fresh)
        require_at_least(0, renew=renew, relatives=relatives, rounds=rounds)
        if isinstance(worthwhile, bool) or not isinstance(worthwhile, int | float) or not worthwhile >= 0:
            raise ConfigError("search.options.worthwhile", worthwhile, "a number from 0")
        self._earlier = tuple(source)
        self._source: Source | None = None
        self.fresh, self.renew, self.relatives, self.rounds = fresh, renew, relatives, rounds
        self.worthwhile = worthwhile
        self._fits = FitCache()
        self._encoder: Encoder | None = None

    @uncollected()
    def propose(self, problem: Problem, trials: Sequence[Trial]) -> Proposal | None:
        history = History.of(problem, trials)
        catalogue = self.catalogue(problem)
        if (trial := rungs.unranked(history)) is not None:
            return rungs.going_on(history, trial)
        encoder = self._encoded(problem, catalogue)
        if history.students_left:
            first = self._source.first if self._source else []
            option = first[len(trials)] if len(trials) < len(first) else None
            size = design_size(problem, catalogue, given=len(first))
            option = option or next_of_design(history, catalogue, size)
            if option is None and not any(trial.results for trial in trials):
                option = unseen_draw(catalogue, history)
            if option is not None:
                return Proposal(option.candidate, problem.rungs[0])
        if not history.students_left and not history.paused:
            return None
        if history.students_left and (trial := rungs.due(history, rungs.SHARE / 2)) is not None:
            return rungs.going_on(history, trial)
        judge = Judge(history, catalogue, encoder, self._fits)
        return self._best(judge) if history.students_left else self._finish(judge)

    def _encoded(self, problem: Problem, catalogue: Catalogue) -> Encoder:
        if self._encoder is None or not catalogue.serves(self._encoder.problem):
            self._source = Source(problem, catalogue, self._earlier) if self._earlier else None
            believe = self._source.believed if self._source and self._source.useful else None
            self._encoder = Encoder(problem, catalogue, believe)
        return self._encoder

    def _best(self, judge: Judge) -> Proposal | None:
        """A new student or a paused one, whichever promises more per cost."""
        history = judge.history
        pool, value = self._pool(judge)
        first = history.problem.rungs[0]
        if not pool:
            return self._finish(judge)
        pace = judge.duration(pool)
        if is_due(len(history.trials)):
            wanted = neglected(history.trials, pool)
            return Proposal(pool[int(np.where(wanted, value / pace, -1.0).argmax())].candidate, first)
        if judge.last == 0:
            return Proposal(pool[int((value / pace).argmax())].candidate, first)
        top = np.argsort(-value / pace, kind="stable")[:SHORTLIST]
        rates = _new_rates(judge, [pool[i] for i in top])
        best_new = int(rates.argmax())
        if judge.paused:
            paused = _paused_rates(judge)
            if paused.max() >= rates[best_new]:
                return rungs.going_on(history, judge.paused[int(paused.argmax())])
        return Proposal(pool[top[best_new]].candidate, first)

    def _finish(self, judge: Judge) -> Proposal | None:
        """No new students: paused ones go on until enough are done and the rest has little chance."""
        history = judge.history
        if not judge.paused:  # those of a long record may all be forgotten
            trial = rungs.due(history)
            return None if trial is None else rungs.going_on(history, trial)
        if rungs.missing(history) <= 0:
            value = judge.value(judge.axes(judge.options(judge.paused), judge.paused))
            if value.max() < self.worthwhile * judge.reached:
                return None
        return rungs.going_on(history, judge.paused[int(_paused_rates(judge).argmax())])

    def _pool(self, judge: Judge) -> tuple[list[Option], np.ndarray]:
        """Untried options with their EHVI, after local search."""
        history, catalogue = judge.history, judge.catalogue
        taken = set(history.identities)
        start = self.renew * len(history.trials)
        pool = _new(catalogue.fresh(start, start + self.fresh), taken)
        parents = _parents(judge)
        each = -(-self.relatives // max(len(parents), 1))
        for parent in parents:
            age = len(history.trials) - parent.number
            near = (catalogue.relative(parent.candidate, age + i) for i in range(each))
            pool += _new(near, taken)
        if not pool and (option := unseen_draw(catalogue, history)) is not None:
            pool = [option]
        value = judge.value(judge.axes(pool))
        for _ in range(self.rounds):
            best = np.argsort(-value, kind="stable")[:LOCAL]
            near = (catalogue.relative(pool[b].candidate, i) for b in best for i in range(LOCAL))
            if more := _new(near, taken):
                pool += more
                value = np.concatenate([value, judge.value(judge.axes(more))])
        return pool, value


def _new(options: Iterable[Option | None], taken: set[tuple[Any, ...]]) -> list[Option]:
    """Those not taken yet, which they are from now on."""
    kept = []
    for option in options:
        if option is not None and option.identity not in taken:
            taken.add(option.identity)
            kept.append(option)
    return kept


def _parents(judge: Judge) -> list[Trial]:
    """The believed front among the trials with results, youngest first, at most `PARENTS`."""
    known = [trial for trial in judge.known if not judge.history.bad(trial)]
    if not known:
        return []
    points = judge.centres(judge.options(known), known)
    front = [trial for trial, best in zip(known, nondominated(points), strict=True) if best]
    return front[::-1][:PARENTS]


def _new_rates(judge: Judge, options: list[Option]) -> np.ndarray:
    """Rates (n,) of starting each option at the first rung."""
    return _rates(judge, options, (), -1)


def _paused_rates(judge: Judge) -> np.ndarray:
    """Rates (n,) of taking each paused trial to its next rung; -1 beyond the `SHORTLIST` most valuable of a rung."""
    history = judge.history
    rates = np.full(len(judge.paused), -1.0)
    levels = np.array([history.level(trial.epoch) for trial in judge.paused])
    for level in np.unique(levels):
        members = np.flatnonzero(levels == level)
        if len(members) > SHORTLIST:
            trials = [judge.paused[i] for i in members]
            value = judge.value(judge.axes(judge.options(trials), trials))
            members = members[np.argsort(-value, kind="stable")[:SHORTLIST]]
        trials = [judge.paused[i] for i in members]
        rates[members] = _rates(judge, judge.options(trials), trials, int(level))
    return rates


def _rates(judge: Judge, options: list[Option], trials: Sequence[Trial], level: int) -> np.ndarray:
    """Reservation rates of going from rung ``level`` (-1: not started) to the next, per expected training time."""
    pace = judge.duration(options)
    prices = judge.history.problem.rung_costs or _even_prices(judge.history.problem.rungs)
    now, rest = prices[level + 1], sum(prices[level + 2 :])
    if level + 1 == judge.last:
        return judge.value(judge.axes(options, trials)) / now / pace
    final, reached = judge.rows(options, judge.last, trials), judge.rows(options, level + 1, trials)

    looks = {name: aspect.look(final, reached) for name, aspect in judge.aspects.items()}

    def value(node: float) -> np.ndarray:
        axes: list[Axis] = []
        for objective in judge.objectives:
            if objective.name in looks:
                sharp, moves = looks[objective.name]
                axes.append(replace(sharp, mean=sharp.mean + node * moves))
            else:
                axes.append(judge.exact(objective, options))
        return judge.value(axes)

    return reservation_rates(value, Step(now, rest)) / pace


def _even_prices(rungs_: tuple[int, ...]) -> tuple[float, ...]:
    """Share of a full training between one rung and the next."""
    return tuple((b - a) / rungs_[-1] for a, b in zip((0, *rungs_), rungs_, strict=False))
