"""`ParetoSampler` on Optuna studies of every shape."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from autostudent import ParetoSampler
from tests.optuna_samplers.networks import SMALL, costs, define, define_plane, loss, objective, size, study_of, volume


def test_beats_random_on_a_conditional_space() -> None:
    """Of 30 random searches the mean is .866 ± .011, of 6 of ours .876 ± .006: a mean of four is told apart."""
    ours, random = [], []
    for seed in range(4):
        study = study_of(ParetoSampler(costs=costs, define=define, seed=seed, **SMALL))
        study.optimize(objective, n_trials=22)
        ours.append(volume(study))
    for seed in range(20):
        study = optuna.create_study(directions=["minimize"] * 2, sampler=optuna.samplers.RandomSampler(seed=seed))
        study.optimize(objective, n_trials=22)
        random.append(volume(study))
    assert np.mean(ours) > np.mean(random) + 0.003


def test_costs_see_complete_parameters_of_one_branch_only() -> None:
    seen: list[set[str]] = []

    def watch(params: dict[str, Any]) -> list[float | None]:
        seen.append(set(params))
        return costs(params)

    study = study_of(ParetoSampler(costs=watch, seed=1, startup=6, **SMALL))
    study.optimize(objective, n_trials=14)
    assert seen
    branches = [{"kind", "width", "dropout", "lr"}, {"kind", "width", "kernel", "lr"}]
    assert all(names in branches for names in seen)
    for trial in study.trials:
        assert set(trial.params) in branches


def test_with_define_every_trial_is_feasible_and_new() -> None:
    sampler = ParetoSampler(
        costs=costs,
        define=define,
        feasible=lambda p: p["width"] <= 64,
        features=lambda p: [p["width"]],
        seed=2,
        **SMALL,
    )
    study = study_of(sampler)
    study.optimize(objective, n_trials=14)
    assert all(trial.params["width"] <= 64 for trial in study.trials)
    assert len({tuple(sorted(map(str, trial.params.items()))) for trial in study.trials}) == 14


@pytest.mark.parametrize("objectives", [1, 3, 4])
def test_any_number_of_objectives_measured_or_known(objectives: int) -> None:
    def values(params: dict[str, Any]) -> list[float]:
        return [loss(params), size(params), params["lr"], float(params["width"])][:objectives]

    def several(trial: optuna.Trial) -> Sequence[float]:
        define(trial)
        return values(trial.params)

    for known in (None, lambda params: [None, *values(params)[1:]]):
        study = study_of(ParetoSampler(costs=known, seed=3, startup=5, **SMALL), objectives)
        study.optimize(several, n_trials=9)
        assert len(study.trials) == 9


def test_running_and_failed_trials_are_respected() -> None:
    study = study_of(ParetoSampler(costs=costs, define=define, seed=4, **SMALL))
    seen = set()
    for step in range(14):
        trial = study.ask()
        define(trial)
        key = tuple(sorted(map(str, trial.params.items())))
        assert key not in seen
        seen.add(key)
        if step % 3 == 0:
            study.tell(trial, [loss(trial.params), size(trial.params)])
        elif step % 3 == 1:
            study.tell(trial, state=TrialState.FAIL)
    assert sum(trial.state is TrialState.RUNNING for trial in study.trials) == 4


def test_what_was_drawn_or_enqueued_and_did_not_finish_is_not_tried_again() -> None:
    """Nine combinations in all: four are told, three fail or run without ever having been proposed, two are left."""

    def suggest(trial: optuna.Trial) -> tuple[str, str]:
        return trial.suggest_categorical("a", ["x", "y", "z"]), trial.suggest_categorical("b", ["x", "y", "z"])

    study = study_of(ParetoSampler(costs=lambda p: [None, ord(p["a"])], seed=0, startup=4, **SMALL))
    queue = [(a, b) for a in "xyz" for b in "xyz"]
    for number, (a, b) in enumerate(queue[:7]):
        study.enqueue_trial({"a": a, "b": b})
        trial = study.ask()
        assert suggest(trial) == (a, b)
        if number < 4:
            study.tell(trial, [number, ord(a)])
        elif number < 6:
            study.tell(trial, state=TrialState.FAIL)
    assert {suggest(study.ask()), suggest(study.ask())} == {("z", "y"), ("z", "z")}


@pytest.mark.parametrize("given", ["infinite", "pruned"])
@pytest.mark.parametrize("known", [define_plane, None])
def test_a_region_without_values_is_left(given: str, known: Any) -> None:
    """Three fifths of the plane are useless; independent draws, and a sampler that learns nothing, go on there."""

    def objective(trial: optuna.Trial) -> float:
        define_plane(trial)
        x, y = trial.params["x"], trial.params["y"]
        if x >= 0.6:
            return float(x + (y - 0.5) ** 2)
        if given == "pruned":
            raise optuna.TrialPruned
        return math.inf

    useless = 0
    for seed in range(2):
        study = study_of(ParetoSampler(define=known, startup=6, seed=seed, **SMALL), 1)
        study.optimize(objective, n_trials=26)
        useless += sum(trial.params["x"] < 0.6 for trial in study.trials[-10:])
    assert useless <= 10  # of 20


def test_students_that_break_a_constraint_are_no_example() -> None:
    def objective(trial: optuna.Trial) -> float:
        define_plane(trial)
        trial.set_constraint("x", 0.6 - trial.params["x"])
        return float(trial.params["x"] + (trial.params["y"] - 0.5) ** 2)

    study = study_of(ParetoSampler(define=define_plane, seed=0, **SMALL), 1)
    study.optimize(objective, n_trials=26)
    assert sum(trial.params["x"] < 0.6 for trial in study.trials[-10:]) <= 5


def test_seeds_are_whole_numbers_of_any_kind() -> None:
    study = study_of(ParetoSampler(define=define, seed=np.arange(3)[1], **SMALL))
    define(study.ask())
    with pytest.raises(TypeError):
        ParetoSampler(seed=1.5)  # type: ignore[arg-type]


def test_one_sampler_for_studies_of_two_directions() -> None:
    sampler = ParetoSampler(define=define_plane, seed=0, **SMALL)
    reached = []
    for direction in ("minimize", "maximize"):
        study = optuna.create_study(direction=direction, sampler=sampler)
        study.optimize(lambda trial: (define_plane(trial), trial.params["x"])[1], n_trials=16)
        reached.append(study.best_value)
    assert reached[0] < 0.05
    assert reached[1] > 0.95


def test_pickled_it_proposes_the_same() -> None:
    sampler = ParetoSampler(costs=costs, define=define, seed=3, **SMALL)
    study = study_of(sampler)
    study.optimize(objective, n_trials=6)
    copy = study_of(pickle.loads(pickle.dumps(sampler)))
    copy.add_trials(study.trials)
    mine, theirs = study.ask(), copy.ask()
    define(mine)
    define(theirs)
    assert mine.params == theirs.params


def test_a_told_value_replaces_the_cost() -> None:
    sampler = ParetoSampler(costs=costs, define=define, seed=8, **SMALL)
    study = study_of(sampler)
    study.optimize(lambda trial: (define(trial)["width"] / 128, 7.0), n_trials=5)
    assert sampler._problem is not None
    assert sampler._space is not None
    for trial in study.trials:
        known = sampler._known(sampler._problem, sampler._space, trial)
        assert known is not None
        assert (known.costs["1"], known.values["1"]) == (7.0, 7.0) != (size(trial.params), 7.0)


def test_same_record_same_next_trial() -> None:
    def next_of(study: optuna.Study) -> dict[str, Any]:
        trial = study.ask()
        define(trial)
        return trial.params

    study = study_of(ParetoSampler(costs=costs, seed=5, startup=4, **SMALL))
    study.optimize(objective, n_trials=8)
    copy = study_of(ParetoSampler(costs=costs, seed=5, startup=4, **SMALL))
    copy.add_trials(study.trials)
    assert next_of(study) == next_of(copy)


def test_maximised_objectives_and_everything_known() -> None:
    study = optuna.create_study(
        directions=["maximize", "minimize"],
        sampler=ParetoSampler(costs=lambda p: [-loss(p), size(p)], define=define, seed=6, **SMALL),
    )
    study.optimize(lambda trial: (-loss({**trial.params, **_defined(trial)}), size(trial.params)), n_trials=12)
    assert len(study.best_trials) >= 2


def _defined(trial: optuna.Trial) -> dict[str, Any]:
    define(trial)
    return dict(trial.params)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"costs": lambda p: [None]}, "costs gave 1 entries; the study has 2 objectives"),
        ({"costs": lambda p: [None, math.nan]}, r"costs gave \[None, nan\] for .*an exact value is finite"),
        ({"costs": lambda p: [None, size(p) if p["lr"] > 1.1e-4 else None]}, "costs gave None as objective 1 for"),
        ({"reference": [1.0]}, "reference has 1 entries; the study has 2 objectives"),
        ({"feasible": lambda p: False}, "feasible refused all of 3840 candidates"),
        (
            {"features": lambda p: [1.0] * (1 + ("kernel" in p))},
            "features gave . numbers for .* and another count for others",
        ),
    ],
)
def test_what_functions_of_the_user_get_wrong_is_said(options: dict[str, Any], said: str) -> None:
    study = study_of(ParetoSampler(define=define, seed=7, **options, **SMALL))
    with pytest.raises(ValueError, match=said):
        study.optimize(objective, n_trials=14)


@pytest.mark.parametrize(
    ("options", "said"), [({"startup": 0}, "startup is 0; expected at least 1"), ({"reference": ["a", 1]}, "'a'")]
)
def test_what_can_be_seen_to_be_wrong_is_said_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ParetoSampler(**options)
