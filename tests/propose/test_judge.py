"""What is believed of students that are still in flight."""

from __future__ import annotations

from autostudent.propose.base import generator
from autostudent.propose.catalogue import Catalogue
from autostudent.propose.encoding import Encoder
from autostudent.propose.history import History
from autostudent.propose.judge import FitCache, Judge
from autostudent.propose.random import Random
from autostudent.records import Proposal
from autostudent.testing.landscape import accept, landscape_problem
from autostudent.testing.proposers import play


def test_a_student_in_flight_is_on_the_front_where_it_is_believed_to_be() -> None:
    problem = landscape_problem(12)
    catalogue = Catalogue(problem, generator)
    record, _ = play(Random(), problem, segments=8)
    smallest = min(catalogue.fresh(0, 256), key=lambda option: option.description.costs["params"])
    size = smallest.description.costs["params"]
    assert size < min(trial.costs["params"] for trial in record)
    before, after = (
        Judge(History.of(problem, trials), catalogue, Encoder(problem, catalogue), FitCache())
        for trials in (record, accept(problem, record, Proposal(smallest.candidate, 9)))
    )
    assert size not in before.front[:, 1]
    assert size in after.front[:, 1]
