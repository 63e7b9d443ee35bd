"""`ParetoSampler`: Bayesian optimisation with exact costs, for any Optuna study.

def costs(params):              # one entry an objective: the exact value, or None for what must be measured
    return [None, size_of(params)]

sampler = autostudent.ParetoSampler(costs=costs, seed=0)
study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
study.optimize(objective, n_trials=100)
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from autostudent.optuna_samplers.columns import Column
from autostudent.optuna_samplers.spaces import BranchSpace, DefinedSpace, StudySpace
from autostudent.propose.base import generator
from autostudent.propose.bayes import Bayes
from autostudent.records import (
    Candidate,
    Description,
    Objective,
    Problem,
    Result,
    Trial,
    TrialState,
    digest,
)

Params = Mapping[str, Any]
PROPOSED = "autostudent:params"  # system attribute with the codes of a running trial's parameters
EXPLORE = 16  # one in so many trials is drawn independently where branches exist, to find others
ENDLESS = 10**9  # students of a study that its user ends


class ParetoSampler(BaseSampler):
    """Models what must be measured, takes what is known as known.

    Args:
        costs: ``costs(params)`` gives one entry an objective: the exact value, or None for what must be measured. It is
            called with complete active parameters only. None: everything is measured. A told value replaces it.
        features: ``features(params)`` gives numbers that the model may use besides the parameters, always as many.
        feasible: ``feasible(params)`` tells whether a candidate may be tried.
        define: a function of a trial that makes all suggest calls and nothing else. With it candidates are complete and
            feasible from the first trial on; without it the first ``startup`` trials are independent draws.
        reference: the worst values that still count, one an objective; None: read from the record.
        startup: number of first trials that are drawn without a model where ``define`` is not given.
        seed: of all random draws.
        options: of `autostudent.propose.bayes.Bayes`.
    """

    def __init__(
        self,
        *,
        costs: Callable[[Params], Sequence[float | None]] | None = None,
        features: Callable[[Params], Sequence[float]] | None = None,
        feasible: Callable[[Params], bool] | None = None,
        define: Callable[[Any], object] | None = None,
        reference: Sequence[float | None] | None = None,
        startup: int = 8,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        self._costs, self._features, self._feasible, self._define = costs, features, feasible, define
        self._reference, self._startup = reference, startup
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._proposer = Bayes(**options)
        self._space: StudySpace | None = None
        self._problem: Problem | None = None
        self._proposals: dict[int, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Called by Optuna at the start of a trial: decides on the parameters, returns their distributions."""
        with self._lock:
            chosen = self._propose(study, trial)
            if chosen is None:
                return {}
            space, config = chosen
            study._storage.set_trial_system_attr(trial._trial_id, PROPOSED, json.dumps(config))
            self._proposals[trial._trial_id] = space.params(config)
            return {name: space.columns[name].distribution for name in config}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Called by Optuna right after: the parameters decided on."""
        with self._lock:
            return self._proposals.pop(trial._trial_id, {})

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Called by Optuna for a parameter that was not decided on: drawn from seed, trial number and name."""
        column = Column(param_distribution)
        return column.value(column.domain.sample(generator(self._seed, "independent", trial.number, param_name)))

    def _propose(self, study: Study, trial: FrozenTrial) -> tuple[StudySpace, dict[str, Any]] | None:
        others = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number]
        complete = [t for t in others if t.state is OptunaState.COMPLETE and t.params]
        if self._define is None and len(complete) < self._startup:
            return None
        space = self._current_space(complete)
        if isinstance(space, BranchSpace) and len(space.branches) > 1 and trial.number % EXPLORE == 0:
            return None
        problem = self._current_problem(study.directions, space, complete)
        record = [known for t in others if (known := self._known(problem, space, t)) is not None]
        answers = self._proposer.ask(problem, record, 1)
        return (space, dict(answers[0].candidate.config)) if answers else None

    def _current_space(self, complete: Sequence[FrozenTrial]) -> StudySpace:
        """The same object as long as nothing changed, so that the proposer's caches hold."""
        if self._define is not None:
            if self._space is None:
                self._space = DefinedSpace(self._define, self._seed)
            return self._space
        space = BranchSpace(complete)
        if not isinstance(self._space, BranchSpace) or not self._space.equals(space):
            self._space = space
        return self._space

    def _current_problem(
        self, directions: Sequence[StudyDirection], space: StudySpace, complete: Sequence[FrozenTrial]
    ) -> Problem:
        if self._problem is not None and self._problem.space is space:
            return self._problem
        exact = [False] * len(directions)
        if self._costs is not None:
            sample = space.sample(generator(self._seed, "costs"))
            exact = [cost is not None for cost in self._costs(space.params(sample))]
            if len(exact) != len(directions):
                raise ValueError(f"costs gave {len(exact)} entries; the study has {len(directions)} objectives")
            if all(exact):  # something has to be worth measuring; the first is, with its cost as a feature
                exact[0] = False
        references = self._reference or [None] * len(directions)
        objectives = tuple(
            Objective(str(i), "maximize" if d is StudyDirection.MAXIMIZE else "minimize", reference=r, exact=e)
            for i, (d, e, r) in enumerate(zip(directions, exact, references, strict=True))
        )
        self._problem = Problem(space, objectives, (1,), ENDLESS, self._seed, self._describer(space))
        return self._problem

    def _describer(self, space: StudySpace) -> Callable[[Candidate], Description]:
        def describe(candidate: Candidate) -> Description:
            params = space.params(candidate.config)
            known = self._costs(params) if self._costs else ()
            costs = {str(i): float(cost) for i, cost in enumerate(known) if cost is not None}
            features = tuple(map(float, self._features(params))) if self._features else ()
            feasible = bool(self._feasible(params)) if self._feasible else True
            return Description(digest(dict(candidate.config)), costs, features, feasible)

        return describe

    def _known(self, problem: Problem, space: StudySpace, trial: FrozenTrial) -> Trial | None:
        """An Optuna trial as a record; None when its parameters are not all known or out of the newest ranges."""
        state = trial.state
        if state is OptunaState.WAITING or (config := _config(space, trial)) is None:
            return None
        candidate = Candidate(config, 0)
        described = self._proposer.catalogue(problem).describe(candidate)
        assert described is not None
        new = Trial(trial.number, candidate, described.fingerprint, _STATES[state], described.costs, until_epoch=1)
        if state is not OptunaState.COMPLETE:
            return new
        told = {str(i): value for i, value in enumerate(trial.values) if math.isfinite(value)}
        return replace(new, costs={**described.costs, **told}, results=(Result(1, told, order=trial.number),))


def _config(space: StudySpace, trial: FrozenTrial) -> dict[str, Any] | None:
    """What a trial tries: the parameters it has, where these are not all yet with what was proposed for it.

    A trial that its user enqueued has other parameters than were proposed.
    """
    config = space.config(trial.params)
    if config is None or trial.state is OptunaState.COMPLETE or space.complete(config):
        return config
    proposed = json.loads(trial.system_attrs.get(PROPOSED, "{}"))
    if any(name not in space.columns for name in proposed):
        return None
    config = {**proposed, **config}
    return config if space.complete(config) else None


_STATES = {
    OptunaState.RUNNING: TrialState.TRAINING,
    OptunaState.COMPLETE: TrialState.COMPLETE,
    OptunaState.FAIL: TrialState.FAIL,
    OptunaState.PRUNED: TrialState.PRUNED,
}
