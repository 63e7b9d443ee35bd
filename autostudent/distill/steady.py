"""What of a step's view stays where it is, so that a loss which reads nothing else can be recorded and replayed.

Tensors of a view are copied to fixed places. Numbers that change from step to step (progress, learning rate, seed, the
number of the view) cannot be: in their place stands `Moving`, and a loss that reads one of them is `Unsteady`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from autostudent.distill.types import Batch, Output, State, View


class Unsteady(Exception):
    """A loss has read something that changes from step to step and is no tensor."""


class Moving:
    """Stands for what changes from step to step. Whatever is done with it raises `Unsteady`."""

    __hash__ = None  # type: ignore[assignment]

    def _read(self, *_: object) -> NoReturn:
        raise Unsteady

    __repr__ = __str__ = __format__ = _read  # seeds are made from texts too
    __bool__ = __float__ = __int__ = __index__ = __len__ = __iter__ = __getitem__ = __getattr__ = _read
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _read
    __neg__ = __abs__ = __round__ = _read
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __pow__ = __rpow__ = _read
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _read


MOVING: Any = Moving()


def is_fixed(state: State) -> bool:
    """Whether a method learns and remembers nothing, so that its loss depends on the view alone."""
    usual = vars(State()).keys()
    return not any(m._parameters or m._buffers or vars(m).keys() != usual for m in state.modules())


def tensors(view: View) -> list[Tensor]:
    """Every tensor of a view that its own role did not make, pictures excepted, in one order."""
    found = [view.batch.target, view.batch.index, *view.facts.values()]
    for source in view.sources:
        found += [x for x in (source.logits, *source.taps.values(), source.embedding) if x is not None]
    return found


def form(view: View) -> tuple[object, ...]:
    """What must be equal in two views for one to stand in the other's place: what there is, of which shape."""
    names = [(source.logits is None, tuple(source.taps), source.embedding is None) for source in view.sources]
    return (view.batch.view is None, tuple(view.facts), *names, *((x.shape, x.dtype) for x in tensors(view)))


def steadied(view: View) -> View:
    """The view with copies of its tensors and with nothing else that a step changes; its role's own output stays."""
    copies = iter([x.detach().clone() for x in tensors(view)])

    def following(x: Tensor | None) -> Tensor | None:
        return None if x is None else next(copies)

    batch = Batch(MOVING, next(copies), next(copies), None if view.batch.view is None else MOVING)
    facts = {name: next(copies) for name in view.facts}
    sources = tuple(
        Output(following(source.logits), {name: next(copies) for name in source.taps}, following(source.embedding))
        for source in view.sources
    )
    return replace(view, batch=batch, sources=sources, facts=facts, progress=MOVING, lr=MOVING, seed=MOVING)


def again(own: Output) -> Output:
    """The same values as leaves of their own."""
    leaves = own.detach()
    for leaf in _told(leaves):
        leaf.requires_grad_()
    return leaves


def fill(steady: View, view: View) -> None:
    """Copies what ``view`` holds to where the steadied one, of the same `form`, has it."""
    for place, now in zip(tensors(steady), tensors(view), strict=True):
        place.copy_(now)


def read_steadily(run: Callable[[View], Tensor], steady: View) -> Tensor | None:
    """The scalar objective of a steadied view; None where it reads something that moves.

    Others, handed a `Moving`, say so in errors of their own; an error of the loss itself comes again without it.
    """
    try:
        return run(steady)
    except Exception:
        return None


def slopes(objective: Tensor, own: Output) -> list[Tensor | None]:
    """Gradients of a scalar by a role's own logits and taps, None where it does not depend on one."""
    return list(torch.autograd.grad(objective, _told(own), allow_unused=True))


def _told(own: Output) -> list[Tensor]:
    """Logits and taps."""
    return [x for x in (own.logits, *own.taps.values()) if x is not None]
