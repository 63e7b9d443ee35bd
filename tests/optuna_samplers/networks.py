"""A conditional Optuna problem: networks of two kinds, whose loss and size are formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler

from autostudent.front import hypervolume

optuna.logging.set_verbosity(optuna.logging.ERROR)
SMALL = {"fresh": 48, "relatives": 32, "rounds": 1}


def define(trial: Any) -> dict[str, Any]:
    """A network of one of two kinds; each kind has its own knob."""
    kind = trial.suggest_categorical("kind", ["mlp", "cnn"])
    width = trial.suggest_int("width", 8, 128, step=8)
    if kind == "mlp":
        trial.suggest_float("dropout", 0.0, 0.5)
    else:
        trial.suggest_categorical("kernel", [3, 5])
    trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    return {"width": width}


def define_plane(trial: Any) -> None:
    trial.suggest_float("x", 0.0, 1.0)
    trial.suggest_float("y", 0.0, 1.0)


def size(params: dict[str, Any]) -> float:
    return float(params["width"] ** 2 * (params["kernel"] if params["kind"] == "cnn" else 1))


def loss(params: dict[str, Any]) -> float:
    knob = abs(params["dropout"] - 0.2) if params["kind"] == "mlp" else 0.02 * (params["kernel"] == 3)
    return 0.05 + 3.0 / params["width"] + knob + 0.05 * abs(math.log10(params["lr"]) + 2)


def objective(trial: optuna.Trial) -> tuple[float, float]:
    define(trial)
    return loss(trial.params), size(trial.params)


def costs(params: dict[str, Any]) -> list[float | None]:
    return [None, size(params)]


def study_of(sampler: BaseSampler, objectives: int = 2) -> optuna.Study:
    return optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)


def volume(study: optuna.Study) -> float:
    return hypervolume(np.array([t.values for t in study.trials if t.values]) / [1.0, 60_000.0], np.ones(2))
