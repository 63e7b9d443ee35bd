"""Regularised evolution with a multi-objective tournament.

Real, Aggarwal, Huang, Le: "Regularized Evolution for Image Classifier Architecture Search", 2019, arXiv 1802.01548.

Note: the tournament's winner has the best non-dominated rank instead of the best accuracy, and an only child of a
winner that exists already is replaced by the winner's next relative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from autostudent.front import ranks
from autostudent.propose.base import Proposer, generator, require_at_least
from autostudent.propose.catalogue import Option
from autostudent.propose.history import History
from autostudent.propose.random import unseen_draw
from autostudent.propose.rungs import due, going_on, unranked
from autostudent.records import Problem, Proposal, Trial

TRIES = 50  # relatives of winners that are drawn before a fresh draw is taken instead


class Evolution(Proposer):
    """Mutates tournament winners among the youngest students.

    Args:
        population: how many of the youngest ranked students may be parents; so many first students are random.
        tournament: how many of these are drawn, of which the best becomes a parent.
    """

    def __init__(self, population: int = 20, tournament: int = 5) -> None:
        super().__init__()
        require_at_least(1, population=population, tournament=tournament)
        self.population = population
        self.tournament = tournament

    def propose(self, problem: Problem, trials: Sequence[Trial]) -> Proposal | None:
        history = History.of(problem, trials)
        if (trial := unranked(history) or due(history)) is not None:
            return going_on(history, trial)
        if not history.students_left:
            return None
        option = self._child(history) or unseen_draw(self.catalogue(problem), history)
        return Proposal(option.candidate, problem.rungs[0]) if option else None

    def _child(self, history: History) -> Option | None:
        # Students still in their first segment have no value, and what failed later is no example to follow.
        ranked = [t for t in history.trials if math.isfinite(history.loss(t)) and not history.bad(t)]
        if len(history.trials) < self.population or not ranked:
            return None
        ranked = ranked[-self.population :]
        rank = ranks(history.points(ranked))
        rng = generator(history.problem.seed, "evolution", len(history.trials))
        for _ in range(TRIES):
            drawn = rng.integers(len(ranked), size=self.tournament)
            parent = ranked[min(drawn, key=lambda i: (rank[i], i))]
            option = self.catalogue(history.problem).relative(parent.candidate, int(rng.integers(2**31)))
            if option is not None and option.identity not in history.identities:
                return option
        return None
