"""Optimisers of other projects on a table: ten first trials (NSGA-II: a population of twenty), and else their defaults.

SMAC's forest is fitted before every answer, not every eighth. BoTorch is told the reference, as ours is; the others do
not ask for one. Optuna and BoTorch come with the project. SMAC does not: ``pip install smac`` (2.4.1 was used).
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from table import Run, Table

FIRST = 10  # trials before a model is asked


def run_peer(table: Table, name: str, seed: int, trials: int) -> Run:
    """One of `PEERS`."""
    ask, tell = PEERS[name](table, seed, trials)
    run = Run([], [], [])
    for step in range(trials):
        start = time.perf_counter()
        config = ask()
        run.seconds.append(time.perf_counter() - start)
        values = table.values(config)[: len(table.names)]
        tell(values)
        run.spent.append(step + 1.0)
        run.points.append(values)
    return run


def missing(names: Sequence[str]) -> list[str]:
    """Packages that these peers need and this environment lacks."""
    return ["smac"] if "smac:parego" in names and importlib.util.find_spec("smac") is None else []


Ask = Callable[[], Mapping[str, str]]
Tell = Callable[[Sequence[float]], None]


def optuna_sampler(sampler: str, table: Table, seed: int) -> tuple[Ask, Tell]:
    """One of Optuna's samplers."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed, population_size=20),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed),
    }
    study = optuna.create_study(directions=["minimize"] * len(table.names), sampler=samplers[sampler]())
    asked: list[optuna.Trial] = []

    def ask() -> Mapping[str, str]:
        asked.append(study.ask())
        return {name: asked[-1].suggest_categorical(name, choices) for name, choices in table.space.choices.items()}

    def tell(values: Sequence[float]) -> None:
        study.tell(asked[-1], list(values))

    return ask, tell


def smac_parego(table: Table, seed: int, trials: int) -> tuple[Ask, Tell]:
    """SMAC's random forest with ParEGO, fitted anew before every answer."""
    from ConfigSpace import ConfigurationSpace
    from smac import HyperparameterOptimizationFacade as Facade
    from smac import Scenario
    from smac.multi_objective.parego import ParEGO
    from smac.runhistory.dataclasses import TrialInfo, TrialValue

    space = ConfigurationSpace({name: list(choices) for name, choices in table.space.choices.items()}, seed=seed)
    with tempfile.TemporaryDirectory() as folder:  # what it writes at its start; nothing is saved later
        scenario = Scenario(
            space,
            objectives=list(table.names),
            deterministic=True,
            n_trials=trials,
            seed=seed,
            output_directory=folder,
        )
        facade = Facade(
            scenario,
            lambda config, seed=0: None,
            initial_design=Facade.get_initial_design(scenario, n_configs=FIRST, max_ratio=1.0),
            config_selector=Facade.get_config_selector(scenario, retrain_after=1),
            multi_objective_algorithm=ParEGO(scenario),
            logging_level=logging.ERROR,
            overwrite=True,
        )
    asked: list[TrialInfo] = []

    def ask() -> Mapping[str, str]:
        asked.append(facade.ask())
        return dict(asked[-1].config)

    def tell(values: Sequence[float]) -> None:
        facade.tell(asked[-1], TrialValue(cost=list(values)), save=False)

    return ask, tell


def botorch_qlognehvi(table: Table, seed: int, trials: int) -> tuple[Ask, Tell]:
    """BoTorch's qLogNEHVI: a mixed GP for each objective, local search over the choices. It is told the reference."""
    import torch
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.exceptions import InputDataWarning
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import MixedSingleTaskGP, ModelListGP
    from botorch.optim.optimize import optimize_acqf_discrete_local_search
    from botorch.sampling import SobolQMCNormalSampler
    from gpytorch.mlls import SumMarginalLogLikelihood
    from gpytorch.utils.warnings import NumericalWarning

    rng = np.random.default_rng(seed)
    names = table.space.names
    choices = [torch.arange(len(table.space.choices[name]), dtype=torch.float64) for name in names]
    places: list[list[float]] = []
    seen: list[Sequence[float]] = []

    def ask() -> Mapping[str, str]:
        if len(seen) < FIRST:
            places.append([float(rng.integers(len(values))) for values in choices])
        else:
            places.append(_best())
        return {name: table.space.choices[name][int(place)] for name, place in zip(names, places[-1], strict=True)}

    def tell(values: Sequence[float]) -> None:
        seen.append(values)

    def _best() -> list[float]:
        torch.manual_seed(seed * 1000 + len(seen))
        x = torch.tensor(places, dtype=torch.float64)
        y = -torch.tensor(np.array(seen), dtype=torch.float64)
        centre, spread = y.mean(dim=0), y.std(dim=0).clamp_min(1e-12)
        scaled = (y - centre) / spread
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", (InputDataWarning, NumericalWarning))
            columns = list(range(len(names)))
            model = ModelListGP(*(MixedSingleTaskGP(x, scaled[:, [i]], columns) for i in range(scaled.shape[1])))
            fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
            value = qLogNoisyExpectedHypervolumeImprovement(
                model,
                ((-torch.from_numpy(table.reference) - centre) / spread).tolist(),
                x,
                sampler=SobolQMCNormalSampler(torch.Size([128]), seed=len(seen)),
                prune_baseline=True,
            )
            found, _ = optimize_acqf_discrete_local_search(
                value, choices, q=1, raw_samples=min(4096, len(table.rows)), X_avoid=x
            )
        return [float(place) for place in found[0]]

    return ask, tell


PEERS: dict[str, Callable[[Table, int, int], tuple[Ask, Tell]]] = {
    "optuna:tpe": lambda table, seed, trials: optuna_sampler("tpe", table, seed),
    "optuna:nsga2": lambda table, seed, trials: optuna_sampler("nsga2", table, seed),
    "optuna:gp": lambda table, seed, trials: optuna_sampler("gp", table, seed),
    "optuna:random": lambda table, seed, trials: optuna_sampler("random", table, seed),
    "smac:parego": smac_parego,
    "botorch:qlognehvi": botorch_qlognehvi,
}
