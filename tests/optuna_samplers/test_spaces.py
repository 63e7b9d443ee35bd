"""What `ParetoSampler` makes of a study's parameters: branches, ranges, steps, versions."""

from __future__ import annotations

import json
from typing import Any

import optuna
import pytest

from autostudent import ParetoSampler
from tests.optuna_samplers.networks import SMALL, costs, define, define_plane, objective, study_of


def test_ranges_that_depend_on_other_parameters() -> None:
    def triangle(trial: Any) -> None:
        trial.suggest_int("y", 1, trial.suggest_int("x", 1, 20))

    sampler = ParetoSampler(define=triangle, seed=0, **SMALL)
    study = study_of(sampler, 1)

    def objective(trial: optuna.Trial) -> float:
        triangle(trial)
        return float(abs(trial.params["x"] - 13) + abs(trial.params["y"] - 7))

    study.optimize(objective, n_trials=25)
    assert study.best_value <= 1  # random search: 3.1 on average
    assert sampler._problem is not None
    assert sampler._space is not None
    assert all(sampler._known(sampler._problem, sampler._space, trial) for trial in study.trials)

    def steps(trial: Any) -> None:
        trial.suggest_int("y", trial.suggest_int("x", 1, 20), 41, step=3)

    with pytest.raises(ValueError, match=r"define suggests 'y' as .* and as .*only the range"):
        steps(study_of(ParetoSampler(define=steps, seed=0), 1).ask())


def test_define_has_to_make_all_suggest_calls() -> None:
    def forgetful(trial: optuna.Trial) -> float:
        define_plane(trial)
        return trial.suggest_float("z", 0.0, 1.0)

    with pytest.raises(ValueError, match="the objective suggests 'z'; define has to make all suggest calls"):
        study_of(ParetoSampler(define=define_plane, seed=0, **SMALL), 1).optimize(forgetful, n_trials=1)


def test_fine_steps_stay_on_their_grid() -> None:
    sampler = ParetoSampler(startup=4, seed=0, **SMALL)
    study = study_of(sampler, 1)
    study.optimize(lambda trial: float(trial.suggest_int("n", 0, 2**23, step=8)), n_trials=9)
    assert all(trial.params["n"] % 8 == 0 for trial in study.trials)


def test_the_end_of_a_stepped_range_is_in_it() -> None:
    """Three tenths are more than .3 where they are added up."""
    study = optuna.create_study(direction="maximize", sampler=ParetoSampler(startup=6, seed=0, **SMALL))
    study.optimize(lambda t: sum(t.suggest_float(name, 0, 0.3, step=0.1) for name in "abc"), n_trials=20)
    assert study.best_value == pytest.approx(0.9)
    assert max(max(trial.params.values()) for trial in study.trials) == 0.3


@pytest.mark.parametrize("deciding", ["one inside another", "two together"])
def test_branches_that_are_not_decided_by_one_choice_alone(deciding: str) -> None:
    asked: list[tuple[str, ...]] = []

    def nested(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("kind", ["mlp", "cnn"]) == "mlp":
            return float(trial.suggest_int("units", 8, 128))
        channels = float(trial.suggest_int("channels", 8, 64))
        pooled = trial.suggest_categorical("pool", ["none", "max"]) == "max"
        return channels * trial.suggest_int("size", 2, 4) if pooled else channels

    def joint(trial: optuna.Trial) -> float:
        both = trial.suggest_categorical("a", [True, False]), trial.suggest_categorical("b", [True, False])
        trial.suggest_categorical("c", ["x", "y", "z"])
        width = float(trial.suggest_int("width", 1, 100))
        return width * trial.suggest_int("more", 2, 4) if all(both) else width

    def nested_costs(p: dict[str, Any]) -> list[float | None]:
        asked.append(tuple(p))
        more = p["size"] if p.get("pool") == "max" else 1
        return [None, p["units"] if p["kind"] == "mlp" else p["channels"] * more]

    def joint_costs(p: dict[str, Any]) -> list[float | None]:
        asked.append(tuple(p))
        return [None, p["width"] * (p["more"] if p["a"] and p["b"] else 1)]

    space, known = (nested, nested_costs) if deciding == "one inside another" else (joint, joint_costs)
    study = study_of(ParetoSampler(costs=known, startup=16, seed=1, **SMALL))

    def both(trial: optuna.Trial) -> tuple[float, float]:
        size = space(trial)
        return 1 / size, size

    study.optimize(both, n_trials=28)
    assert set(map(frozenset, asked)) <= {frozenset(trial.params) for trial in study.trials}
    proposed = [trial for trial in study.trials if "autostudent:params" in trial.system_attrs]
    assert len(proposed) >= 8
    for trial in proposed:
        assert set(json.loads(trial.system_attrs["autostudent:params"])) == set(trial.params)


def test_what_costs_could_not_answer_is_said() -> None:
    """A real number decides here, which is not found out."""

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        x = trial.suggest_float("x", 0, 1)
        return x, trial.suggest_float("y", 0, 1) if x > 0.5 else 0.0

    study = study_of(ParetoSampler(costs=lambda p: [None, p["y"] if p["x"] > 0.5 else 0.0], seed=0, **SMALL))
    with pytest.raises(KeyError) as caught:
        study.optimize(objective, n_trials=20)
    assert "give it define" in caught.value.__notes__[0]


def test_trials_of_another_version_are_passed_over() -> None:
    study = study_of(ParetoSampler(costs=costs, define=define, seed=0, **SMALL))
    gone = optuna.distributions.CategoricalDistribution(["mlp", "cnn", "rnn"])
    text = optuna.distributions.CategoricalDistribution(["wide"])
    for params, distributions in (({"kind": "rnn"}, {"kind": gone}), ({"width": "wide"}, {"width": text})):
        study.add_trial(optuna.trial.create_trial(values=[1, 2], params=params, distributions=distributions))
    study.optimize(objective, n_trials=4)
    assert sum(len(trial.params) == 4 for trial in study.trials) == 4


def test_parameters_that_another_sampler_fixes() -> None:
    sampler = ParetoSampler(costs=costs, startup=4, seed=0, **SMALL)
    study = study_of(optuna.samplers.PartialFixedSampler({"kind": "cnn", "lr": 0.01}, sampler))
    study.optimize(objective, n_trials=10)
    assert all(trial.params["kind"] == "cnn" and trial.params["lr"] == 0.01 for trial in study.trials)

    def fixed(trial: Any) -> None:
        trial.suggest_float("x", 0.5, 0.5)
        trial.suggest_float("y", 0.0, 1.0)

    sampler = ParetoSampler(define=fixed, seed=0, **SMALL)
    plane = optuna.create_study(sampler=optuna.samplers.PartialFixedSampler({"x": 0.5}, sampler))
    plane.optimize(lambda trial: (define_plane(trial), trial.params["x"] + trial.params["y"])[1], n_trials=16)
    assert len({trial.params["y"] for trial in plane.trials}) == 16
    assert plane.best_value < 0.52


def test_a_finished_trial_without_all_parameters_is_passed_over() -> None:
    """An earlier version of the objective, say: costs are not asked about half a candidate."""
    for known in (None, define):
        study = study_of(ParetoSampler(costs=costs, define=known, startup=6, seed=0, **SMALL))
        study.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
        width = optuna.distributions.IntDistribution(8, 128, step=8)
        if known:
            study.add_trial(
                optuna.trial.create_trial(values=[1.0, 2.0], params={"width": 8}, distributions={"width": width})
            )
        study.optimize(objective, n_trials=9)
        assert sum(len(trial.params) == 4 for trial in study.trials) == 9


def test_the_newest_ranges_count() -> None:
    """A range that a user narrows after eight trials: costs are asked and students proposed within it only."""
    seen: list[int] = []

    def watch(params: dict[str, Any]) -> list[float | None]:
        seen.append(params["width"])
        return [None, params["width"]]

    def narrowing(trial: optuna.Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 8, 128 if trial.number < 8 else 40)
        return 1.0 / width, width

    study = study_of(ParetoSampler(costs=watch, seed=9, startup=6, **SMALL))
    study.optimize(narrowing, n_trials=9)
    seen.clear()
    study.optimize(narrowing, n_trials=5)
    assert seen
    assert max(seen) <= 40
