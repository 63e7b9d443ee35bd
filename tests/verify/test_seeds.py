"""Every training of a proof has a seed of its own, which a student and its controls share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from autostudent.distill.methods.none import NoTeacher
from autostudent.testing.toys import toy_job
from autostudent.verify.contenders import Contender, controls
from autostudent.verify.tasks import Bench
from tests.report.synthetic import small_graph


def test_replicates_differ_and_are_shared_with_controls() -> None:
    setup = SimpleNamespace(training=SimpleNamespace(compile=False, views=1), epochs=6, seed=0)
    dataset = SimpleNamespace(mean=(0.0,), std=(1.0,))
    job = toy_job(NoTeacher(), teachers=0, epochs=6)
    worker: Any = SimpleNamespace(setup=setup, dataset=dataset, device="cpu", job=lambda *_: job)
    student = Contender("student 1", "student", "kd", (small_graph(0).to_json(),), {"kd.loss": "kd"}, ("a",), 6)
    seeds = [[Bench(worker).job(task).seed for task in each.tasks(3, None)] for each in (student, controls(student)[0])]
    assert len({*seeds[0]}) == 3
    assert seeds[0] == seeds[1]
    assert [task.replicate for task in student.tasks(3, None)] == [1, 2, 3]  # the search had 0
