"""Any of Optuna's samplers as a proposer: the record is played into a study in memory, which is asked once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from autostudent.errors import ConfigError
from autostudent.propose.base import Proposer, generator
from autostudent.propose.catalogue import Option
from autostudent.propose.history import IN_FLIGHT, History
from autostudent.propose.random import unseen_draw
from autostudent.propose.rungs import due, going_on, unranked
from autostudent.records import Candidate, Problem, Proposal, Trial, Value
from autostudent.space.domains import Choice, Domain, Float, Int
from autostudent.space.space import Space

TRIES = 30  # suggestions that are invalid, over a limit or known before a fresh draw is taken instead
POPULATION = 20  # of NSGA-II: its own default of 50 would leave small studies random


class OptunaProposer(Proposer):
    """Wraps a sampler; at rungs the best by non-dominated sorting go on.

    The sampler sees the parameters one by one, as conditions allow, and the values of the last rung that each student
    reached; those that say nothing (`Result.valid`), and students that failed later, are left out. The graph's seed is
    drawn at random.

    Args:
        sampler: makes a sampler from a seed.

    Raises:
        ConfigError: when no sampler can be made.
    """

    def __init__(self, sampler: Callable[[int], BaseSampler]) -> None:
        super().__init__()
        self._sampler = sampler
        try:
            sampler(0)
        except (TypeError, ValueError) as error:
            raise ConfigError("search.options", str(error), "options of this sampler, see Optuna's manual") from None

    def propose(self, problem: Problem, trials: Sequence[Trial]) -> Proposal | None:
        history = History.of(problem, trials)
        if (trial := unranked(history) or due(history)) is not None:
            return going_on(history, trial)
        if not history.students_left:
            return None
        option = self._suggest(history) or unseen_draw(self.catalogue(problem), history)
        return Proposal(option.candidate, problem.rungs[0]) if option else None

    def _suggest(self, history: History) -> Option | None:
        """The first suggestion that is valid, within the limits and new."""
        space = history.problem.space
        assert isinstance(space, Space), "Optuna's samplers need a space with named domains"
        rng = generator(history.problem.seed, "optuna", len(history.trials))
        study = self._study(history, space, int(rng.integers(2**31)))
        catalogue = self.catalogue(history.problem)
        for _ in range(TRIES):
            trial = study.ask()
            config = suggest(trial, space)
            seed = int(rng.integers(2**31))
            if not any(rule.breaks(config) for rule in space.rules):
                option = catalogue.option(Candidate(config, seed))
                if option is not None and option.identity not in history.identities:
                    return option
            study.tell(trial, state=OptunaState.FAIL)
        return None

    def _study(self, history: History, space: Space, seed: int) -> optuna.Study:
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            directions = [StudyDirection[objective.direction.upper()] for objective in history.problem.objectives]
            study = optuna.create_study(directions=directions, sampler=self._sampler(seed))
        finally:
            optuna.logging.set_verbosity(level)
        finished = 0
        for trial in history.trials:
            results = [result.values for result in trial.results if result.valid]
            told = {**trial.costs, **results[-1]} if results else {}
            values = [told.get(objective.name, math.nan) for objective in history.problem.objectives]
            known = all(map(math.isfinite, values)) and not history.bad(trial)
            if not known and trial.state not in IN_FLIGHT:
                continue
            config = trial.candidate.config
            study.add_trial(
                create_trial(
                    state=OptunaState.COMPLETE if known else OptunaState.RUNNING,
                    values=values if known else None,
                    params=dict(config),
                    distributions={name: distribution(space.params[name].domain) for name in config},
                    # NSGA-II reads generations from its own attributes; without them it stays random for ever.
                    system_attrs={"NSGAIISampler:generation": finished // POPULATION},
                )
            )
            finished += known
        return study


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Value]:
    """The parameters of a space, each asked for where it applies."""
    config: dict[str, Value] = {}
    for name, param in space.params.items():
        if param.applies(config):
            config[name] = _suggest_one(trial, name, param.domain)
    return config


def _suggest_one(trial: optuna.Trial, name: str, domain: Domain) -> Value:
    if isinstance(domain, Float):
        return trial.suggest_float(name, domain.low, domain.high, log=domain.log)
    if isinstance(domain, Int):
        return trial.suggest_int(name, domain.low, domain.high, log=domain.log)
    assert isinstance(domain, Choice)
    return trial.suggest_categorical(name, domain.values)  # type: ignore[return-value]


def distribution(domain: Domain) -> BaseDistribution:
    """Optuna's distribution for a domain; weights of choices have none."""
    if isinstance(domain, Float):
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log)
    assert isinstance(domain, Choice)
    return CategoricalDistribution(domain.values)


def tpe(**options: Any) -> OptunaProposer:
    """Tree-structured Parzen estimator, multi-objective; options of `optuna.samplers.TPESampler`."""
    return OptunaProposer(lambda seed: TPESampler(seed=seed, **options))


def nsga2(**options: Any) -> OptunaProposer:
    """NSGA-II; options of `optuna.samplers.NSGAIISampler`, but for the population."""
    return OptunaProposer(lambda seed: NSGAIISampler(seed=seed, population_size=POPULATION, **options))


def gp(**options: Any) -> OptunaProposer:
    """Optuna's Gaussian process; options of `optuna.samplers.GPSampler`."""
    return OptunaProposer(lambda seed: GPSampler(seed=seed, **options))
