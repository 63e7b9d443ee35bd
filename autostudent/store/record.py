"""A trial as the attributes of an Optuna trial, and back.

Written once, in the transaction that creates the row: ``candidate``, ``key``, ``fingerprint``, ``replicate``, the exact
costs as ``cost:<name>``, the graph's features as ``features:<version>`` where they fit, and what the caller wants shown
(method, teachers, graph). Then ``started`` at each start and
each loss of a worker, ``segment:<epoch>:<attempt>`` at each commit, and ``failure``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autostudent.assets import Assets
from autostudent.records import FEATURES_VERSION, Candidate, Cause, Failure, Objective, Result, Trial, TrialState
from autostudent.store.attributes import fits, packed, plain, trimmed, unpacked
from autostudent.store.scan import ScannedTrial

COST = "cost:"
FEATURES = f"features:{FEATURES_VERSION}"
SEGMENT = "segment:"
STARTED = "started"
FAILURE = "failure"
OWN = ("candidate", "key", "fingerprint", "replicate", STARTED, FAILURE)

FINAL = {state.name: state for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)}
"""Our final states by Optuna's names of its own."""


@dataclass(frozen=True)
class Stored:
    """A trial with the labels that were stored with it, and whether Optuna counts it as finished."""

    trial: Trial
    about: Mapping[str, Any]
    told: bool


def first_attributes(trial: Trial, about: Mapping[str, Any], assets: Assets | None) -> dict[str, Any]:
    """The attributes of a NEW trial."""
    clash = [name for name in about if name in OWN or ":" in name]
    assert not clash, f"names of the store's own attributes: {clash}"
    return {
        "candidate": packed(trial.candidate.to_json(), assets),
        "key": trial.candidate.key,
        "fingerprint": trial.fingerprint,
        "replicate": trial.replicate,
        **{COST + name: value for name, value in trial.costs.items()},
        **({FEATURES: list(trial.features)} if trial.features and fits(trial.features) else {}),
        **{name: packed(plain(value), assets) for name, value in about.items()},
    }


def segment_attribute(trial: Trial, result: Result, assets: Assets | None) -> tuple[str, Any]:
    """Name and value of the attribute that commits a segment."""
    return f"{SEGMENT}{result.epoch}:{trial.attempt}", packed(result.to_json(), assets)


def failure_attribute(trial: Trial, failure: Failure, seconds: Mapping[str, float], assets: Assets | None) -> Any:
    """The failure's attribute; its traceback becomes an asset."""
    keep = assets is not None and failure.traceback
    return {
        "cause": str(failure.cause),
        "message": trimmed(failure.message),
        "traceback": assets.put(failure.traceback.encode(), ".txt") if assets and keep else "",
        "epoch": trial.until_epoch,
        "attempt": trial.attempt,
        "seconds": dict(seconds),
    }


def finite(result: Result) -> Result:
    """The result in plain floats, without metrics and ledger columns that are not finite: JSON has no word for them."""
    values = {name: float(value) for name, value in result.values.items()}
    metrics = {name: float(value) for name, value in result.metrics.items() if math.isfinite(value)}
    seconds = {name: float(value) for name, value in result.seconds.items() if math.isfinite(value)}
    return replace(result, values=values, metrics=metrics, seconds=seconds)


def unusable(result: Result, objectives: tuple[Objective, ...]) -> Failure | None:
    """Why the result of a segment cannot be committed: a measured objective is missing or not a finite number."""
    for objective in objectives:
        if objective.exact:
            continue
        value = result.values.get(objective.name)
        if value is None:
            return Failure(Cause.BUG, f"the segment until epoch {result.epoch} returned no {objective.name}")
        if not math.isfinite(value):
            return Failure(Cause.DIVERGED, f"{objective.name} is {value} at epoch {result.epoch}")
    return None


def read(row: ScannedTrial, assets: Assets | None) -> Stored | None:
    """The trial behind an Optuna row; None for a row that holds no student."""
    attributes = row.attributes
    if "candidate" not in attributes:
        return None
    results = [Result.from_json(unpacked(v, assets)) for k, v in attributes.items() if k.startswith(SEGMENT)]
    results.sort(key=lambda result: result.order)
    started = attributes.get(STARTED)
    failure = attributes.get(FAILURE)
    if failure is None and row.state == "FAIL":
        failure = {"cause": Cause.BUG, "message": "set to FAIL by another program"}
    trial = Trial(
        number=row.number,
        candidate=Candidate.from_json(unpacked(attributes["candidate"], assets)),
        fingerprint=attributes["fingerprint"],
        state=TrialState.NEW,
        costs={name.removeprefix(COST): value for name, value in attributes.items() if name.startswith(COST)},
        results=tuple(results),
        until_epoch=started["epoch"] if started else 0,
        attempt=started["attempt"] if started else 0,
        turn=started.get("turn", -1) if started else -1,
        lost=started.get("lost", 0) if started else 0,
        replicate=attributes["replicate"],
        failure=Failure(Cause(failure["cause"]), failure["message"]) if failure else None,
        features=tuple(attributes.get(FEATURES, ())),
    )
    trial = replace(trial, state=FINAL.get(row.state) or unfinished_state(trial))
    if trial.state is TrialState.PAUSED:  # losses are those of one segment
        trial = replace(trial, lost=0)
    about = {n: unpacked(v, assets) for n, v in attributes.items() if n not in OWN and ":" not in n}
    return Stored(trial, about, told=row.state in FINAL)


def unfinished_state(trial: Trial) -> TrialState:
    """Which of our states a row is in that Optuna calls RUNNING."""
    if not trial.until_epoch:
        return TrialState.NEW
    return TrialState.PAUSED if trial.epoch >= trial.until_epoch else TrialState.TRAINING


def earned(stored: Stored, last_epoch: int) -> TrialState | None:
    """The final state that a row has earned but was not told, because its driver was killed in between."""
    trial = stored.trial
    if stored.told:
        return None
    if trial.failure is not None:
        return TrialState.FAIL
    return TrialState.COMPLETE if trial.epoch >= last_epoch else None


def left_to_do(trial: Trial) -> str | None:
    """What will happen with a trial that was at work when its driver ended, in words."""
    if trial.state is TrialState.TRAINING:
        resumed = f", from its checkpoint at epoch {trial.epoch}" if trial.epoch else ""
        return f"trial {trial.number}: training until epoch {trial.until_epoch} was cut off; it is done again{resumed}"
    if trial.state is TrialState.NEW:
        return f"trial {trial.number}: proposed and not begun; it begins now"
    return None
