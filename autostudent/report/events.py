"""A study as TensorBoard event files: one run for every student, with its curve, costs and hyperparameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autostudent.errors import ExtraMissing
from autostudent.records import Trial
from autostudent.report.words import taught_by
from autostudent.store.store import Store

MARK = "events.out.tfevents."  # how the names of event files begin


def write_events(store: Store, folder: str | Path) -> int:
    """Writes what the store holds now; returns the number of runs.

    A run is named by the student's number alone, so that it stays the same when a study goes on, and its event files
    are replaced. Scalars are written at their epochs; the hyperparameters are those of recipe and generator.

    Raises:
        ExtraMissing: tensorboardX is not installed.
    """
    rows = {row["trial"]: row for row in store.rows()}
    trials = store.trials()
    for trial in trials:
        row = rows[trial.number]
        labels = {"method": str(row.get("method", "")), "teachers": taught_by(row), "state": str(trial.state)}
        write_run(trial, labels, Path(folder) / f"student-{trial.number:05}")
    return len(trials)


def write_run(trial: Trial, labels: dict[str, Any], folder: Path) -> None:
    """One student's run, in place of an earlier one in the same folder."""
    try:
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams
    except ImportError:
        raise ExtraMissing("event files need tensorboardX: pip install 'autostudent[tensorboard]'") from None
    for old in folder.glob(f"{MARK}*"):
        old.unlink()
    last = {**trial.costs, **trial.values}
    with SummaryWriter(logdir=str(folder)) as writer:
        for part in hparams({**trial.candidate.config, **labels}, dict.fromkeys(last, None)):
            writer.file_writer.add_summary(part)
        for result in trial.results:
            figures = {**result.metrics, **result.values}
            for name, value in figures.items():
                writer.add_scalar(name, value, result.epoch)
        for name, value in trial.costs.items():
            writer.add_scalar(name, value, trial.epoch)
