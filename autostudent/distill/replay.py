"""A network's training passes on a GPU, recorded once and replayed (CUDA graphs).

A small student is hundreds of kernels of a few microseconds; to start them one by one from Python takes several times
as long as to run them. Recorded are the forward pass, and the backward pass with the optimiser's step. Losses stand
between the two. One that reads tensors alone is recorded too, with its gradients; others run as they are: they may
depend on the step as they like.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from autostudent.distill.optim import SGD
from autostudent.distill.steady import again, fill, form, is_fixed, read_steadily, slopes, steadied
from autostudent.distill.types import Output, State, View
from autostudent.errors import first_line

WARM = 3  # steps of each batch size that run as they are: kernels are chosen and loaded in them

log = logging.getLogger(__name__)

Forward = Callable[[Tensor], Output]
Objective = Callable[[View], Tensor]


@dataclass(frozen=True)
class Loss:
    """The recording of an objective and its gradients by the outputs; ``view`` is where it reads."""

    view: View
    value: Tensor
    graph: torch.cuda.CUDAGraph


@dataclass
class Passes:
    """The recording for one batch size. ``slopes``: the losses' gradients by ``outputs``."""

    x: Tensor
    outputs: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]
    forward: torch.cuda.CUDAGraph
    backward: torch.cuda.CUDAGraph
    loss: Loss | None = None


class Replay:
    """The recordings of one role.

    Args:
        network: on a CUDA device, in training mode; its tensors stay where they are for as long as this is used.
        optimizer: of the network, and perhaps of what a method learns, which it then steps itself.
        taps: names of the outputs beside the logits.
        state: of the role's method. Losses are recorded where it is empty, see `autostudent.distill.steady`.
    """

    def __init__(self, network: nn.Module, optimizer: SGD, taps: Sequence[str], state: State) -> None:
        self.network, self.optimizer, self.taps, self.state = network, optimizer, tuple(taps), state
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._rate = torch.zeros((), device=self.parameters[0].device)
        self._pool = torch.cuda.graph_pool_handle()
        self._seen: Counter[torch.Size] = Counter()
        self._known: dict[torch.Size, Passes] = {}
        self._refused = False
        self._now: tuple[Passes, tuple[Tensor, ...]] | None = None
        self._steady = True  # as far as is known
        self._sloped = False  # whether the slopes are there already

    def forward(self, x: Tensor, run: Forward) -> Output | None:
        """The outputs for ``x``, from which losses may start a backward pass; None: run it as it is this time.

        ``run`` is the forward pass as it is.
        """
        self._now, self._sloped = None, False
        passes = self._known.get(x.shape)
        if passes is None:
            self._seen[x.shape] += 1
            if self._refused or self._seen[x.shape] <= WARM:
                return None
            passes = self._record(x, run)
            if passes is None:
                return None
        passes.x.copy_(x)
        passes.forward.replay()
        leaves = tuple(output.detach().requires_grad_() for output in passes.outputs)
        self._now = passes, leaves
        return Output(leaves[0], dict(zip(self.taps, leaves[1:], strict=True)))

    def objective(self, view: View, run: Objective) -> Tensor:
        """The scalar objective of the latest outputs. Without gradient where it is recorded: then its backward pass is
        done. ``run`` is the objective as it is."""
        if self._now is None or not self._steady:
            return run(view)
        passes, _ = self._now
        if passes.loss is None:
            passes.loss = self._record_loss(passes, view, run)
        if passes.loss is None or form(passes.loss.view) != form(view):
            return run(view)
        fill(passes.loss.view, view)
        passes.loss.graph.replay()
        self._sloped = True
        return passes.loss.value.clone()

    def update(self, lr: float) -> None:
        """After the losses' backward pass: the network's own, and its optimiser's step. Nothing if it ran as it is."""
        if self._now is None:
            return
        (passes, leaves), self._now = self._now, None
        if not self._sloped:
            for slope, leaf in zip(passes.slopes, leaves, strict=True):
                slope.zero_() if leaf.grad is None else slope.copy_(leaf.grad)
        self._rate.fill_(lr)
        passes.backward.replay()

    def _record(self, x: Tensor, run: Forward) -> Passes | None:
        """Both passes for the shape of ``x``; None, for good, where something in them cannot be recorded."""
        given = x.detach().clone()
        forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(forward, pool=self._pool, capture_error_mode="thread_local"):
                output = run(given)
                assert output.logits is not None
                outputs = (output.logits, *(output.taps[tap] for tap in self.taps))
            slopes = tuple(torch.zeros_like(output) for output in outputs)
            with torch.cuda.graph(backward, pool=self._pool, capture_error_mode="thread_local"):
                self._step(outputs, slopes)
        except RuntimeError as error:
            log.warning("%s is not recorded: %s", type(self.network).__name__, first_line(error))
            self._refused = True
            self.optimizer.zero_grad()  # what was to be recorded never ran: these would be no gradients
            return None
        passes = Passes(given, tuple(output.detach() for output in outputs), slopes, forward, backward)
        self._known[x.shape] = passes
        return passes

    def _record_loss(self, passes: Passes, view: View, run: Objective) -> Loss | None:
        """The objective of this view's form; None, for good, where it is not steady or cannot be recorded."""
        steady, graph = steadied(view), torch.cuda.CUDAGraph()
        # First as it is: kernels are chosen and loaded. On other leaves: autograd remembers the stream of a leaf.
        tried = replace(steady, own=again(view.own))
        with _never_waiting():
            told = read_steadily(run, tried) if is_fixed(self.state) else None
        if told is None:
            self._steady = False
            return None
        try:
            slopes(told, tried.own)
            # In memory of its own: it was recorded after the passes between which it runs, and would write over theirs.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                value = run(steady)
                for slope, gradient in zip(passes.slopes, slopes(value, steady.own), strict=True):
                    slope.zero_() if gradient is None else slope.copy_(gradient)
        except RuntimeError as error:
            log.warning("the loss of %s is not recorded: %s", type(self.network).__name__, first_line(error))
            self._steady = False
            return None
        return Loss(steady, value.detach(), graph)

    def _step(self, outputs: tuple[Tensor, ...], slopes: tuple[Tensor, ...]) -> None:
        gradients = torch.autograd.grad(outputs, self.parameters, slopes, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = aligned(gradient, parameter)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate
        self.optimizer.step()
        self.optimizer.zero_grad()


@contextmanager
def _never_waiting() -> Iterator[None]:
    """Waiting for the device is an error: it would break a recording, and with it the process's later ones."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it does not notice all of it
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)


def can_replay(network: nn.Module, device: torch.device) -> bool:
    """Whether a network's passes may be recorded: on a GPU, unless torch compiled it (and records it itself)."""
    return device.type == "cuda" and getattr(network, "_compiled_call_impl", None) is None


def aligned(gradient: Tensor | None, parameter: Tensor) -> Tensor | None:
    """The gradient in its parameter's memory layout: the fused optimiser walks through both in the order of memory."""
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
