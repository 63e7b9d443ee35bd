"""The one protocol for every distillation method, and the wrapper that composes methods.

A method is a frozen dataclass of hyperparameters (`hp`) over a pure loss function of `autostudent.distill.losses`.
It owns no tensors: whatever is learned or evolves lives in the `State` that `init` returns.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from autostudent.distill.types import SINGLE, Batch, Cadence, Needs, Plan, Probe, Spec, State, View
from autostudent.errors import ConfigError


@dataclass(frozen=True)
class Paper:
    """Where a method comes from; ``note`` names our deviations, or says that it is reconstructed."""

    title: str
    authors: str
    year: int
    arxiv: str = ""
    venue: str = ""
    note: str = ""


def hp(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    log: bool = False,
    choices: Sequence[Any] = (),
    doc: str = "",
) -> Any:
    """A dataclass field that is a hyperparameter, with its range (``low``, ``high``, ``log``) or its ``choices``."""
    metadata = {"low": low, "high": high, "log": log, "choices": tuple(choices), "doc": doc}
    return dataclasses.field(default=default, metadata={"hp": metadata})


def knobs(method: type[Method]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(name, default, range) of every hyperparameter of a method class."""
    for f in dataclasses.fields(method):
        if "hp" in f.metadata:
            yield f.name, f.default, f.metadata["hp"]


@dataclass(frozen=True)
class Method(ABC):
    """How a student learns. `fit` calls `plan` and `init` once, then in each step `transform`, `loss`, `label_weight`.

    The objective of a role is ``mean_B(label_weight * cross_entropy + loss)``; everything that the method adds to the
    weighted labels is in `loss`, with its own factors. All verbs but `loss` have a default.
    """

    paper: ClassVar[Paper]
    scaled: ClassVar[bool] = False  # whether its own temperature still counts, as a factor, where another is in force
    wants: ClassVar[str] = ""  # what it asks of the study beside `needs`, in words
    family: ClassVar[str] = "chain"  # which assistants it learns from where it takes several: see `settings.Roster`

    def __post_init__(self) -> None:
        for name, default, allowed in knobs(type(self)):
            whole = isinstance(default, int) and not isinstance(default, bool)
            check_knob(f"{type(self).__name__}.{name}", getattr(self, name), allowed, whole)

    @property
    def needs(self) -> Needs:
        """What must be there before the work starts."""
        return Needs()

    @property
    def cadence(self) -> Cadence:
        """When `adapt` is called."""
        return Cadence()

    @abstractmethod
    def loss(self, view: View, state: State) -> Tensor:
        """How wrong the student is on each example, ``(B,)``, beside its labels.

        A function of the view and the state: one that reads tensors of the view alone runs once, on a GPU, and is then
        replayed (`autostudent.distill.steady`). Draws come from ``view.seed``.
        """

    def label_weight(self, view: View, state: State) -> Tensor | float:
        """How much labels count: ``(B,)`` or one number."""
        return 1.0

    def init(self, spec: Spec) -> State:
        """What must be learned or remembered besides the student."""
        return State()

    def plan(self, spec: Spec) -> Plan:
        """Who learns, from whom, from what start, in which order."""
        return SINGLE

    def transform(self, batch: Batch, rng: torch.Generator) -> Batch:
        """A change of the batch that depends on the student's progress; augmentation belongs to the view bank."""
        return batch

    def adapt(self, probe: Probe, state: State) -> None:  # noqa: B027 (an optional verb: doing nothing is its default)
        """Moves what is not moved by the gradient step, in place in ``state``."""


@dataclass(frozen=True)
class Wrapper(Method):
    """A method over another. Every verb hands the inner method its own state, ``state.inner``."""

    inner: Method = dataclasses.field(kw_only=True)

    def own_needs(self) -> Needs:
        """What the wrapper itself needs."""
        return Needs(teachers=(0, None))

    def own_state(self, spec: Spec) -> State:
        """What the wrapper itself learns or remembers."""
        return State()

    @property
    def needs(self) -> Needs:
        own, inner = self.own_needs(), self.inner.needs
        return dataclasses.replace(
            own | inner, teachers=inner.teachers if own.teachers == (0, None) else (own | inner).teachers
        )

    @property
    def cadence(self) -> Cadence:
        return self.inner.cadence

    def init(self, spec: Spec) -> State:
        state = self.own_state(spec)
        state.inner = self.inner.init(spec)
        return state

    def see(self, view: View, state: State) -> View:
        """What the inner method is shown instead of ``view``."""
        return view

    def loss(self, view: View, state: State) -> Tensor:
        return self.inner.loss(self.see(view, state), inner_state(state))

    def label_weight(self, view: View, state: State) -> Tensor | float:
        return self.inner.label_weight(self.see(view, state), inner_state(state))

    def plan(self, spec: Spec) -> Plan:
        return self.inner.plan(spec)

    def transform(self, batch: Batch, rng: torch.Generator) -> Batch:
        return self.inner.transform(batch, rng)

    def adapt(self, probe: Probe, state: State) -> None:
        def train(count: int) -> Iterator[list[View]]:
            return ([self.see(view, state) for view in views] for views in probe.train(count))

        self.inner.adapt(dataclasses.replace(probe, train=train), inner_state(state))


def objective(method: Method, view: View, state: State, labels: Tensor) -> Tensor:
    """What is minimised, ``(B,)``: label weight times the cross-entropy ``labels`` ``(B,)``, and the method's loss.

    Raises:
        ConfigError: the method gave something of another shape.
    """
    loss = method.loss(view, state)
    total = method.label_weight(view, state) * labels + loss
    for part, shape in (("loss", loss.shape), ("label_weight", total.shape)):
        if shape != labels.shape:
            allowed = f"one value a sample, {tuple(labels.shape)}"
            raise ConfigError(f"{type(method).__name__}.{part}", tuple(shape), allowed)
    return total


def require_one_teacher(wrapper: str, inner: Method) -> None:
    """Raises `ConfigError` unless ``inner`` learns from one frozen teacher's logits and nothing else of it."""
    needs = inner.needs
    if needs.teachers[0] > 1 or needs.teachers[1] == 0 or needs.access not in ("probabilities", "logits"):
        raise ConfigError(
            f"{wrapper} over", type(inner).__name__, "a loss that learns from the logits of one frozen teacher"
        )


def inner_state(state: State) -> State:
    """The wrapped method's state."""
    inner = state.inner
    assert isinstance(inner, State)
    return inner


def check_knob(key: str, value: object, allowed: Mapping[str, Any], whole: bool = False) -> None:
    """Raises `ConfigError` when a hyperparameter is outside its range, or not whole where it must be."""
    if allowed["choices"]:
        if value not in allowed["choices"]:
            raise ConfigError(key, value, f"one of {list(allowed['choices'])}")
        return
    low, high = allowed["low"], allowed["high"]
    if low is None and high is None:
        return
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
        raise ConfigError(key, value, f"a {'whole ' if whole else ''}number from {low} to {high}")
