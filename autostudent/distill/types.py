"""What methods and the training loop exchange: batches, outputs, views, plans, needs.

Letters: B batch, C classes, N samples, M teachers, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from autostudent.errors import unknown_name

Tree = Any  # a tensor (images), or a mapping of named tensors (tokens, mask; several modalities)


@dataclass(frozen=True)
class Batch:
    """One mini-batch. ``x``: images ``(B, channels, H, W)`` in [0, 1], or a mapping of tensors with B rows each.

    ``target``: label probabilities ``(B, C)``, before any label smoothing. ``index``: ``(B,)`` positions in the
    training set. ``view``: number of the augmented view in the bank; None when the batch is no longer a view of the
    bank (then nothing cached applies). Where the bank mixes pictures by pairs, ``target`` holds both labels and
    ``index`` is the picture with the larger share, so that the largest entry of ``target`` is its label.
    """

    x: Tree
    target: Tensor
    index: Tensor
    view: int | None = None

    def smoothed(self, share: float) -> Batch:
        """The same with label smoothing: an even distribution has this share of ``target``."""
        if not share:
            return self
        return replace(self, target=(1 - share) * self.target + share / self.target.shape[1])


@dataclass(frozen=True)
class Output:
    """What a network says of a batch: ``logits`` ``(B, C)``, ``taps`` by promised name ("stage1", …, "penultimate")."""

    logits: Tensor | None = None
    taps: Mapping[str, Tensor] = field(default_factory=dict)
    embedding: Tensor | None = None

    def detach(self) -> Output:
        """The same values without gradient."""
        cut = {name: tap.detach() for name, tap in self.taps.items()}
        logits = None if self.logits is None else self.logits.detach()
        return Output(logits, cut, None if self.embedding is None else self.embedding.detach())


Head = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class View:
    """What a role sees of one step: its own output and those of the networks it learns from, all of the same batch.

    ``sources`` are in the order of the role's ``learns_from``, already detached. ``heads``: for each source its head
    (tap "penultimate" to logits) or None where the source is cached or a black box. ``temperature`` is set by wrappers
    that change it, else None: losses then use their own. ``facts``: derived facts about the training samples, one row a
    sample, already gathered for this batch. ``progress`` in [0, 1] counts over the full training, or over the stage
    where that has a learning-rate schedule of its own (a generation is a training). ``lr`` is the current learning
    rate. ``seed`` is a fresh number in every step, for draws within a loss.
    """

    batch: Batch
    own: Output
    sources: tuple[Output, ...]
    progress: float
    lr: float = 0.0
    temperature: float | Tensor | None = None
    heads: tuple[Head | None, ...] = ()
    facts: Mapping[str, Tensor] = field(default_factory=dict)
    seed: int = 0

    @property
    def logits(self) -> Tensor:
        """The role's own logits ``(B, C)``."""
        assert self.own.logits is not None
        return self.own.logits

    @property
    def teacher_logits(self) -> tuple[Tensor, ...]:
        """Logits ``(B, C)`` of every source."""
        return tuple(source.logits for source in self.sources if source.logits is not None)

    def heat(self, own: float) -> float | Tensor:
        """The temperature in force: a wrapper's, else ``own``."""
        return own if self.temperature is None else self.temperature


ACCESS = ("none", "probabilities", "logits", "taps", "heads")


@dataclass(frozen=True)
class Needs:
    """What a method needs before it can start; `check` refuses what the study cannot give.

    ``teachers``: least and most number of frozen teachers (None: any). ``access``: the deepest look into a teacher
    that is needed (one of `ACCESS`). ``taps``: names needed of student and teachers; ``of_teachers``: of teachers,
    where these are looked at elsewhere. ``meta``: a held-out part of the training set. ``derived``: names of per-sample
    facts about the teachers. ``live``: cached outputs will not do. ``one_label``: every picture shows one class; a bank
    with MixUp will not do. ``epochs``: least length of a training.
    """

    teachers: tuple[int, int | None] = (0, 0)
    access: str = "none"
    taps: tuple[str, ...] = ()
    meta: bool = False
    derived: tuple[str, ...] = ()
    live: bool = False
    one_label: bool = False
    epochs: int = 1
    of_teachers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.access not in ACCESS:
            raise unknown_name("needs.access", self.access, ACCESS)

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """Names needed of frozen teachers."""
        return self.of_teachers or self.taps

    @property
    def meta_split(self) -> bool:
        """Whether the data must have a meta split: to learn from, or because a derived fact was chosen on it."""
        return self.meta or any(fact.startswith("ensemble_") for fact in self.derived)

    def __or__(self, other: Needs) -> Needs:
        """What both together need (a wrapper's own and its inner method's)."""
        mosts = (self.teachers[1], other.teachers[1])
        most = None if None in mosts else max(m for m in mosts if m is not None)
        return Needs(
            teachers=(max(self.teachers[0], other.teachers[0]), most),
            access=max(self.access, other.access, key=ACCESS.index),
            taps=tuple(dict.fromkeys((*self.taps, *other.taps))),
            of_teachers=tuple(dict.fromkeys((*self.of_teachers, *other.of_teachers))),
            meta=self.meta or other.meta,
            derived=tuple(dict.fromkeys((*self.derived, *other.derived))),
            live=self.live or other.live,
            one_label=self.one_label or other.one_label,
            epochs=max(self.epochs, other.epochs),
        )


@dataclass(frozen=True)
class NetworkInfo:
    """What methods may know of a network: ``taps`` maps each promised tap to its ``(channels, stride)``, ``width`` is D
    of the penultimate tap, ``params`` the number of parameters, ``depths`` the share of its blocks up to a tap, where
    that is known."""

    name: str
    classes: int
    params: int
    width: int
    taps: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    depths: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """What `Method.init` and `Method.plan` may know: the networks, the number of training samples N, and a seed."""

    student: NetworkInfo
    teachers: tuple[NetworkInfo, ...]
    classes: int
    samples: int
    seed: int


@dataclass(frozen=True)
class CopyOf:
    """A network of the same architecture as ``role``, freshly initialised from another seed."""

    role: str


@dataclass(frozen=True)
class TeacherCopy:
    """A trainable network of the architecture of teacher number ``teacher``, freshly initialised."""

    teacher: int = 0


@dataclass(frozen=True)
class TopOf:
    """The layers of teacher number ``teacher`` above tap ``tap``, freshly initialised and trainable."""

    teacher: int
    tap: str


@dataclass(frozen=True)
class Role:
    """One network that learns within a trial.

    ``model``: "student", or `CopyOf`, `TeacherCopy`, `TopOf`. ``learns_from``: names of roles, or "teachers" for all
    frozen teachers in order. ``method`` gives this role's loss; None means the plan's own method. ``input``: "batch" or
    "teacher:<number>.<tap>" for the frozen teacher's tap. ``start``: "scratch", or "role:<name>" to copy the weights
    which that role had at the end of the stage before (generations learn from "role:<name>" frozen: see `Stage`).
    """

    name: str
    model: object = "student"
    learns_from: tuple[str, ...] = ("teachers",)
    method: Any = None
    input: str = "batch"
    start: str = "scratch"
    lr_scale: float = 1.0
    weight_decay: float | None = None


@dataclass(frozen=True)
class Stage:
    """A part of the training. ``epochs``: share of the student's epochs, the shares of a plan sum to one.

    ``roles`` learn; roles of earlier stages stay available as frozen sources under their names. ``order``: "joint" (one
    backward pass on the sum) or "alternate" (each role in turn sees the others' updated outputs). ``schedule``:
    "run" (the learning-rate schedule spans the plan) or "stage" (it restarts in this stage). ``metric_valid``: False
    when the student is not yet trained for its task.
    """

    roles: tuple[Role, ...]
    epochs: float = 1.0
    order: str = "joint"
    schedule: str = "run"
    metric_valid: bool = True


@dataclass(frozen=True)
class Plan:
    """Stages in order. The student that counts is the role named "student" of the last stage."""

    stages: tuple[Stage, ...]

    def ends(self, epochs: int) -> tuple[int, ...]:
        """The epochs, of ``epochs`` in all, at which the stages end; every stage has at least one."""
        ends, share = [], 0.0
        for number, stage in enumerate(self.stages):
            share += stage.epochs
            left = len(self.stages) - number - 1
            ends.append(min(max(round(share * epochs), number + 1), epochs - left))
        return (*ends[:-1], epochs)


SINGLE = Plan((Stage((Role("student"),)),))


@dataclass(frozen=True)
class Cadence:
    """When `Method.adapt` is called: ``every`` as a fraction of the run (0: never), and at the very ``start``."""

    every: float = 0.0
    start: bool = False


@dataclass(frozen=True)
class Probe:
    """What `Method.adapt` may look at. The model is in eval mode without gradient while it is called.

    ``train(k)`` goes once through the training samples, k mini-batches at a time, as `View` (own output with the tap
    "penultimate", sources as in training); ``meta()`` gives the next batch of the meta split likewise, without sources.
    ``rng`` is seeded by (trial, step).
    """

    train: Callable[[int], Iterator[list[View]]]
    meta: Callable[[], View]
    progress: float
    lr: float
    rng: torch.Generator


class State(nn.Module):
    """Learned or evolving state of a method: parameters are optimised, buffers are saved with the segment.

    A wrapper's state holds the wrapped method's state as ``inner``.
    """
