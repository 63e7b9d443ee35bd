"""What is asked, tried and remembered: frozen records with a JSON round trip, free of torch and of every vendor.

A `Candidate` is what the optimizer proposes; a `Trial` is what the store remembers of it; a `Result` is what one
segment of its training returned; a `Problem` is all that a proposer may know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

Value = str | int | float | bool
LATENCY = "latency_ms"  # the objective that is measured, but not by training


def canonical_json(value: object) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces, NaN refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: object) -> str:
    """The first 32 hexadecimal digits of the SHA-256 of `canonical_json`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Edit:
    """One change applied to a drawn architecture: ``kind`` names it, ``data`` holds its arguments."""

    kind: str
    data: Mapping[str, Value]

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "data": dict(self.data)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Edit:
        return cls(value["kind"], dict(value["data"]))


@dataclass(frozen=True)
class Candidate:
    """One student and its recipe.

    ``config`` holds flat dotted names of active parameters only; ``seed`` draws the graph and nothing else; ``edits``
    are applied in order after the draw.
    """

    config: Mapping[str, Value]
    seed: int
    edits: tuple[Edit, ...] = ()

    @cached_property
    def key(self) -> str:
        """The same key means the same experiment."""
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {"config": dict(self.config), "seed": self.seed, "edits": [edit.to_json() for edit in self.edits]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Candidate:
        return cls(dict(value["config"]), int(value["seed"]), tuple(Edit.from_json(e) for e in value["edits"]))


@dataclass(frozen=True)
class Objective:
    """One axis of the front.

    ``direction`` is "maximize" or "minimize". ``reference`` is the worst value that still counts in the hypervolume.
    ``limit`` is a hard constraint in the units of the objective: a ceiling when minimized, a floor when maximized.
    ``exact`` says that the value follows from the graph (parameters, MACs, memory) and is known before training.
    """

    name: str
    direction: str
    unit: str = ""
    reference: float | None = None
    limit: float | None = None
    exact: bool = False

    @property
    def entry(self) -> str:
        """The key of a study file: ``memory`` there is ``memory_bytes`` here."""
        return f"objectives.{self.name.partition('_')[0]}"

    def admits(self, value: float) -> bool:
        """Whether ``value`` respects the limit."""
        if self.limit is None:
            return True
        return value <= self.limit if self.direction == "minimize" else value >= self.limit

    def counts(self, value: float) -> bool:
        """Whether ``value`` is no worse than the reference: what is worse is of no use to anybody."""
        if self.reference is None:
            return True
        return value <= self.reference if self.direction == "minimize" else value >= self.reference

    def to_json(self) -> dict[str, Any]:
        return dict(self.__dict__)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Objective:
        return cls(**value)


class TrialState(StrEnum):
    """NEW: proposed, not begun. TRAINING: a segment is out. PAUSED: at a rung. The other three are final."""

    NEW = "new"
    TRAINING = "training"
    PAUSED = "paused"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAIL = "fail"

    @property
    def finished(self) -> bool:
        return self in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Cause(StrEnum):
    """Why a segment failed; each cause has its own policy in `autostudent.driver`.

    SURROUNDINGS: a full disk, a file of the study that is gone: no fault of the student, which is never failed for it.
    """

    OVER_BUDGET = "over_budget"
    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    TIMEOUT = "timeout"
    WORKER_LOST = "worker_lost"
    BUG = "bug"
    SURROUNDINGS = "surroundings"


@dataclass(frozen=True)
class Failure:
    """A typed failure; ``traceback`` is the text of the traceback, where there is one."""

    cause: Cause
    message: str
    traceback: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"cause": str(self.cause), "message": self.message, "traceback": self.traceback}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Failure:
        return cls(Cause(value["cause"]), value["message"], value.get("traceback", ""))


@dataclass(frozen=True)
class Result:
    """What one segment of a training returned.

    ``epoch`` is where the segment ended. ``values`` are measured objectives by name (never exact costs); ``metrics``
    everything else that was measured (nll, ece, agreement, ...). ``valid`` is False before the plan's first stage that
    trains the student for its task: such values must not be ranked. ``assets`` maps names ("checkpoint", "weights",
    "graph") to content addresses. ``seconds`` maps ledger columns ("student", "private") to seconds. ``failure`` is set
    when the segment did not end well. ``order`` is the position in the store's commit order, given by the store.
    """

    epoch: int
    values: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    assets: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    valid: bool = True
    failure: Failure | None = None
    order: int = -1

    def to_json(self) -> dict[str, Any]:
        out = {name: dict(v) if isinstance(v, Mapping) else v for name, v in self.__dict__.items()}
        out["failure"] = self.failure.to_json() if self.failure else None
        return out

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Result:
        failure = Failure.from_json(value["failure"]) if value.get("failure") else None
        return cls(**{**value, "failure": failure})


@dataclass(frozen=True)
class Trial:
    """What the store remembers of a candidate: one student, trained in segments.

    ``costs`` are exact and known from the start (name to value). ``results`` are the committed segments in order of
    epochs. ``until_epoch`` is the end of the segment that is out (or was last committed); ``attempt`` counts how often
    that segment was started, ``turn`` is its place in the order in which the study's segments went out, and ``lost``
    counts the workers that died in this trial. ``features`` are those of its `Description`, empty where they were not
    stored. ``values`` are those of the last committed segment, with the costs.
    """

    number: int
    candidate: Candidate
    fingerprint: str
    state: TrialState
    costs: Mapping[str, float] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    until_epoch: int = 0
    attempt: int = 0
    turn: int = -1
    lost: int = 0
    replicate: int = 0
    failure: Failure | None = None
    features: tuple[float, ...] = ()

    def curve(self, objective: str) -> tuple[tuple[int, float], ...]:
        """(epoch, value) of every committed segment whose value may be ranked."""
        return tuple((r.epoch, r.values[objective]) for r in self.results if r.valid and objective in r.values)

    @property
    def epoch(self) -> int:
        """Epochs trained and committed."""
        return self.results[-1].epoch if self.results else 0

    @property
    def values(self) -> dict[str, float]:
        """Measured values of the last committed segment, with the exact costs."""
        return {**self.costs, **(self.results[-1].values if self.results else {})}


@dataclass(frozen=True)
class Segment:
    """One piece of work for a worker: train ``trial`` from ``from_epoch`` (its checkpoint) to ``until_epoch``.

    ``graph`` is the address of the stored architecture, which is the truth; ``checkpoint`` that of the segment before.
    """

    trial: int
    candidate: Candidate
    from_epoch: int
    until_epoch: int
    attempt: int = 1
    replicate: int = 0
    checkpoint: str | None = None
    graph: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "candidate": self.candidate.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Segment:
        return cls(**{**value, "candidate": Candidate.from_json(value["candidate"])})


@dataclass(frozen=True)
class Proposal:
    """A new student (``trial`` is None) or a paused trial that goes on, in both cases until ``until_epoch``."""

    candidate: Candidate
    until_epoch: int
    trial: int | None = None


FEATURES_VERSION = 1  # raised when a feature changes its meaning: features that are stored are then computed anew


@dataclass(frozen=True)
class Description:
    """What is known of a candidate without training: identity, exact costs, model features, feasibility.

    ``features`` have the same length and meaning for every candidate of a problem. ``feasible`` is False when a hard
    limit is broken or a rule of the space forbids the candidate.
    """

    fingerprint: str
    costs: Mapping[str, float]
    features: tuple[float, ...] = ()
    feasible: bool = True


class SpaceLike(Protocol):
    """What a proposer needs of a search space (see `autostudent.space.space.Space`)."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def recipe(self) -> tuple[str, ...]: ...

    def sample(self, rng: np.random.Generator) -> dict[str, Value]: ...

    def check(self, config: Mapping[str, Value]) -> None: ...

    def encode(self, config: Mapping[str, Value]) -> np.ndarray: ...

    def mutate(
        self, config: Mapping[str, Value], rng: np.random.Generator, names: Sequence[str]
    ) -> dict[str, Value]: ...


@dataclass(frozen=True)
class Problem:
    """All that a proposer may know.

    ``describe`` raises `InvalidDraw` for a candidate whose graph cannot be drawn. ``edit`` gives a neighbour of a
    candidate by one local change of its graph (None where the space has no graphs). ``rungs`` are the epochs at which a
    training may pause, the last is the full training; ``rung_costs`` the price of going from the rung before to each
    rung, in full trainings. ``trials`` counts students. ``cover`` names choice parameters whose every choice must be
    tried in the first design.
    """

    space: SpaceLike
    objectives: tuple[Objective, ...]
    rungs: tuple[int, ...]
    trials: int
    seed: int
    describe: Callable[[Candidate], Description]
    edit: Callable[[Candidate, np.random.Generator], Candidate] | None = None
    rung_costs: tuple[float, ...] = ()
    cover: tuple[str, ...] = ()

    @cached_property
    def measured(self) -> Objective:
        """The one objective that must be measured by training (the first that is not exact)."""
        return next(objective for objective in self.objectives if not objective.exact)
