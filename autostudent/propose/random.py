"""Independent draws from the space, the baseline that everything has to beat."""

from __future__ import annotations

from collections.abc import Sequence

from autostudent.propose.base import Proposer
from autostudent.propose.catalogue import Catalogue, Option
from autostudent.propose.history import History
from autostudent.propose.rungs import due, going_on, unranked
from autostudent.records import Problem, Proposal, Trial

PATIENCE = 2_000  # draws beyond the number of trials before a space counts as exhausted


def unseen_draw(catalogue: Catalogue, history: History) -> Option | None:
    """The first draw of the problem's stream that was not tried; None when the space seems exhausted."""
    taken = history.identities
    for place in range(len(history.trials) + PATIENCE):
        for option in catalogue.fresh(place, place + 1):
            if option.identity not in taken:
                return option
    return None


class Random(Proposer):
    """Fresh draws; at rungs the best by non-dominated sorting go on."""

    def propose(self, problem: Problem, trials: Sequence[Trial]) -> Proposal | None:
        history = History.of(problem, trials)
        if (trial := unranked(history) or due(history)) is not None:
            return going_on(history, trial)
        if not history.students_left:
            return None
        option = unseen_draw(self.catalogue(problem), history)
        return Proposal(option.candidate, problem.rungs[0]) if option else None
