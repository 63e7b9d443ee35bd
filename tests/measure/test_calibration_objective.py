"""Calibration error and log-loss as objectives of a search."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from autostudent.problem import with_references
from autostudent.records import Objective, TrialState
from autostudent.report.files import write_report
from autostudent.settings import BudgetSettings
from autostudent.store.store import Store
from autostudent.testing.studies import OBJECTIVES, InlineStudy, small_settings

ECE, NLL = Objective("ece", "minimize", "fraction", limit=0.5), Objective("nll", "minimize", "nats")


@pytest.mark.slow
def test_a_search_ranks_and_limits_by_calibration(tmp_path: Path) -> None:
    wanted = (*OBJECTIVES[:2], ECE, NLL)
    study = InlineStudy(small_settings(tmp_path, trials=4, objectives=wanted, budget=BudgetSettings(4, 2, (1, 2))))
    study.run()

    with Store.read(study.settings.store, "small") as store:
        trials, described = store.trials(), store.described()
        write_report(store, tmp_path / "report.md")
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert complete
    for trial in complete:
        last = trial.results[-1]
        assert (last.values["ece"], last.values["nll"]) == (last.metrics["ece"], last.metrics["nll"])
    for row in study.rows():
        assert row["ece"] <= 0.5
    references = {o["name"]: o["reference"] for o in described["objectives"]}
    assert references["ece"] == 0.5
    assert 0 < references["nll"] <= 0.9 * math.log(10)
    assert "| Calibration error | Log-loss |" in (tmp_path / "report.md").read_text()


def test_log_loss_counts_as_far_as_the_teacher_or_guessing_says() -> None:
    accuracy = Objective("accuracy", "maximize")
    good, bad = {"accuracy": 0.9, "nll": 0.1}, {"accuracy": 0.2, "nll": 5.0}
    assert with_references((accuracy, NLL), [], good, 10)[1].reference == pytest.approx(0.35)
    assert with_references((accuracy, NLL), [], bad, 10)[1].reference == pytest.approx(0.9 * math.log(10))
