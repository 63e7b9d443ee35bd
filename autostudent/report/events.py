"""A study where training runs are looked at: TensorBoard, MLflow, Weights & Biases. A student is a run, with its curve.

Runs are told by the student's number and key alone, so that they stay the same when a study goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autostudent.errors import ExtraMissing
from autostudent.records import Value, digest
from autostudent.report.words import taught_by
from autostudent.store.store import Store

MARK = "events.out.tfevents."  # how the names of event files begin
TAG, SEEN = "autostudent.run", "autostudent.epoch"  # of an MLflow run: whose it is, and until where it has been written


@dataclass(frozen=True)
class Run:
    """One student: hyperparameters, figures by epoch, exact costs. ``key`` tells it from every student of any study."""

    name: str
    key: str
    config: Mapping[str, Value]
    curve: tuple[tuple[int, Mapping[str, float]], ...]
    costs: Mapping[str, float]

    @property
    def epoch(self) -> int:
        """Until where it was trained."""
        return self.curve[-1][0] if self.curve else 0


def runs_of(store: Store) -> list[Run]:
    """The store's students as runs; hyperparameters are those of recipe and generator."""
    rows = {row["trial"]: row for row in store.rows()}
    found = []
    for trial in store.trials():
        row = rows[trial.number]
        labels = {"method": str(row.get("method", "")), "teachers": taught_by(row), "state": str(trial.state)}
        found.append(
            Run(
                name=f"student-{trial.number:05}",
                key=digest([store.study, trial.number, trial.candidate.key]),
                config={**trial.candidate.config, **labels},
                curve=tuple((result.epoch, {**result.metrics, **result.values}) for result in trial.results),
                costs=trial.costs,
            )
        )
    return found


def write_events(store: Store, target: str) -> int:
    """TensorBoard event files, a folder of ``target/STUDY`` for each run, in place of earlier ones; the number of runs.

    Raises:
        ExtraMissing: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams
    except ImportError:
        raise ExtraMissing("event files need tensorboardX: pip install 'autostudent[tensorboard]'") from None
    runs = runs_of(store)
    for run in runs:
        folder = Path(target) / store.study / run.name
        for old in folder.glob(f"{MARK}*"):
            old.unlink()
        last = {name for _, figures in run.curve for name in figures} | set(run.costs)
        with SummaryWriter(logdir=str(folder)) as writer:
            for part in hparams(dict(run.config), dict.fromkeys(sorted(last), None)):
                writer.file_writer.add_summary(part)
            for epoch, figures in run.curve:
                for name, value in figures.items():
                    writer.add_scalar(name, value, epoch)
            for name, value in run.costs.items():
                writer.add_scalar(name, value, run.epoch)
    return len(runs)


def write_mlflow(store: Store, target: str) -> int:
    """Runs of an MLflow experiment named like the study; epochs that a run has are not written again.

    ``target`` is a tracking URI: ``sqlite:///FILE``, or that of a server.

    Raises:
        ExtraMissing: mlflow is not installed.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
    except ImportError:
        raise ExtraMissing("MLflow runs need mlflow: pip install 'autostudent[mlflow]'") from None
    client = MlflowClient(tracking_uri=target)
    experiment = client.get_experiment_by_name(store.study)
    number = experiment.experiment_id if experiment else client.create_experiment(store.study)
    runs = runs_of(store)
    for run in runs:
        known = client.search_runs([number], f"tags.`{TAG}` = '{run.key}'", max_results=1)
        there = known[0] if known else client.create_run(number, tags={TAG: run.key}, run_name=run.name)
        of, seen = there.info.run_id, int(there.data.tags.get(SEEN, -1))
        fresh = [(epoch, figures) for epoch, figures in run.curve if epoch > seen]
        metrics = [Metric(name, value, 0, epoch) for epoch, figures in fresh for name, value in figures.items()]
        fixed = {name: value for name, value in {**run.config, **run.costs}.items() if name != "state"}
        client.log_batch(of, metrics=metrics, params=[Param(name, str(value)) for name, value in fixed.items()])
        client.set_tag(of, SEEN, str(run.epoch))
        client.set_tag(of, "state", str(run.config["state"]))
        client.set_terminated(of, "FAILED" if run.config["state"] == "fail" else "FINISHED")
    return len(runs)


def write_wandb(store: Store, target: str) -> int:
    """Offline runs of Weights & Biases below ``target``, in place of earlier ones; ``wandb sync`` sends them.

    Raises:
        ExtraMissing: wandb is not installed.
    """
    try:
        import wandb
    except ImportError:
        raise ExtraMissing("W&B runs need wandb: pip install 'autostudent[wandb]'") from None
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True)
    runs = runs_of(store)
    for run in runs:
        for old in folder.glob(f"wandb/offline-run-*-{run.key}"):
            shutil.rmtree(old)
        config = {**run.config, **run.costs}
        with wandb.init(
            project=store.study, id=run.key, name=run.name, config=config, dir=folder, mode="offline", settings=quiet
        ) as there:
            for epoch, figures in run.curve:
                there.log(dict(figures), step=epoch)
    return len(runs)


WRITERS: dict[str, Callable[[Store, str], int]] = {
    "tensorboard": write_events,
    "mlflow": write_mlflow,
    "wandb": write_wandb,
}
