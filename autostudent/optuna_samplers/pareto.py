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
import operator
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
from autostudent.propose.catalogue import TRIES_PER_DRAW
from autostudent.propose.encoding import SAMPLE
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
PROBES = 32  # candidates whose costs say which objectives are exact


class ParetoSampler(BaseSampler):
    """Models what must be measured, takes what is known as known.

    Args:
        costs: ``costs(params)`` gives one entry an objective: the exact value, or None for what must be measured. It is
            called with complete active parameters only. None: everything is measured. A told value replaces it.
        features: ``features(params)`` gives numbers that the model may use besides the parameters, always as many.
        feasible: ``feasible(params)`` tells whether a candidate may be tried.
        define: a function of a trial that makes all suggest calls and nothing else. With it candidates are complete and
            feasible from the first trial on; without it the first ``startup`` trials are independent draws. Ranges of
            plain numbers may depend on other parameters.
        reference: the worst values that still count, one an objective; None: read from the record.
        startup: number of first trials that are drawn without a model where ``define`` is not given.
        seed: of all random draws.
        options: of `autostudent.propose.bayes.Bayes`.

    A trial that was pruned, that breaks a constraint (``Trial.set_constraint``), or was told an infinite value of what
    must be measured, counts as a failure of its candidate.

    Without ``define`` the parameters that decide which others exist are found out from finished trials: choices and
    small whole numbers, alone or two together. Where anything else decides, give ``define``: else ``costs`` may be
    asked about parameters that no trial has together.
    A sampler may be pickled if its functions may; what it found out before it finds out again.
    Where another sampler fixes a parameter (`PartialFixedSampler`), give a ``define`` that suggests the fixed value
    alone: else candidates are chosen with values of it that are not tried.

    Raises:
        ValueError: for a ``startup`` below 1 and a reference that is no number. From ``study.optimize`` or
            ``study.ask``, for costs that are not finite, not one an objective, or exact for some candidates only; for
            features that are now more and now fewer; for a reference of another length; where nothing feasible is
            drawn; and for an objective that suggests what ``define`` does not.
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
        self._startup = operator.index(startup)
        if self._startup < 1:
            raise ValueError(f"startup is {startup}; expected at least 1 trial to learn from")
        self._reference = None if reference is None else [None if r is None else float(r) for r in reference]
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else operator.index(seed)
        self._options = options
        self._begin()

    def _begin(self) -> None:
        """What is found out from studies, and is not pickled."""
        self._proposer = Bayes(**self._options)
        self._space: StudySpace | None = None
        self._problem: Problem | None = None
        self._proposals: dict[int, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        found = ("_proposer", "_space", "_problem", "_proposals", "_lock")
        return {name: value for name, value in self.__dict__.items() if name not in found}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

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
            proposed = self._proposals.pop(trial._trial_id, {})
        return {name: proposed[name] for name in search_space if name in proposed}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Called by Optuna for a parameter that was not decided on: drawn from seed, trial number and name."""
        with self._lock:
            if isinstance(self._space, DefinedSpace) and not self._space.knows(trial.params, param_name):
                raise ValueError(f"the objective suggests {param_name!r}; define has to make all suggest calls")
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
        wanted = ["maximize" if d is StudyDirection.MAXIMIZE else "minimize" for d in directions]
        before = self._problem
        if before is not None and before.space is space and [o.direction for o in before.objectives] == wanted:
            return before
        exact = [False] * len(wanted)
        if self._costs is not None:
            rng = generator(self._seed, "costs")
            probes = [self._costs_of(space.params(space.sample(rng)), len(wanted)) for _ in range(PROBES)]
            exact = [all(cost is not None for cost in column) for column in zip(*probes, strict=True)]
            if all(exact):  # something has to be worth measuring; the first is, with its cost as a feature
                exact[0] = False
        references = [None] * len(wanted) if self._reference is None else self._reference
        if len(references) != len(wanted):
            raise ValueError(f"reference has {len(references)} entries; the study has {len(wanted)} objectives")
        objectives = tuple(
            Objective(str(i), direction, reference=r, exact=e)
            for i, (direction, e, r) in enumerate(zip(wanted, exact, references, strict=True))
        )
        problem = Problem(space, objectives, (1,), ENDLESS, self._seed, self._describer(space, exact))
        if not self._proposer.catalogue(problem).fresh(0, SAMPLE):
            raise ValueError(f"feasible refused all of {SAMPLE * TRIES_PER_DRAW} candidates that were drawn")
        self._problem = problem
        return problem

    def _costs_of(self, params: Params, objectives: int) -> list[float | None]:
        """What ``costs`` says of a candidate, checked."""
        assert self._costs is not None
        told = [None if cost is None else float(cost) for cost in _asked(self._costs, "costs", params)]
        if len(told) != objectives:
            raise ValueError(f"costs gave {len(told)} entries; the study has {objectives} objectives")
        if any(cost is not None and not math.isfinite(cost) for cost in told):
            raise ValueError(f"costs gave {told} for {params}; an exact value is finite, feasible says what is refused")
        return told

    def _describer(self, space: StudySpace, exact: Sequence[bool]) -> Callable[[Candidate], Description]:
        counts: set[int] = set()

        def describe(candidate: Candidate) -> Description:
            params = space.params(candidate.config)
            known = self._costs_of(params, len(exact)) if self._costs else []
            if missing := [i for i, cost in enumerate(known) if cost is None and exact[i]]:
                raise ValueError(f"costs gave None as objective {missing[0]} for {params}, and a value for others")
            costs = {str(i): cost for i, cost in enumerate(known) if cost is not None}
            features = tuple(map(float, _asked(self._features, "features", params))) if self._features else ()
            counts.add(len(features))
            if len(counts) > 1:
                raise ValueError(f"features gave {len(features)} numbers for {params}, and another count for others")
            feasible = bool(_asked(self._feasible, "feasible", params)) if self._feasible else True
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
        broken = any(value > 0 for value in trial.constraints.values())
        if broken or any(objective.name not in told for objective in problem.objectives if not objective.exact):
            return replace(new, state=TrialState.FAIL)
        return replace(new, costs={**described.costs, **told}, results=(Result(1, told, order=trial.number),))


def _asked(function: Callable[[Params], Any], name: str, params: Params) -> Any:
    """What a user's function says; an exception of it is told what it was asked."""
    try:
        return function(params)
    except Exception as error:
        error.add_note(f"ParetoSampler: {name} was asked about {params}; are these not together, give it define")
        raise


def _config(space: StudySpace, trial: FrozenTrial) -> dict[str, Any] | None:
    """What a trial tries: the parameters it has, where these are not all yet with what was proposed for it.

    A trial that its user enqueued has other parameters than were proposed.
    """
    config = space.config(trial.params)
    if config is None or space.complete(config):
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
    OptunaState.PRUNED: TrialState.FAIL,  # ended by its objective, before it had values
}
