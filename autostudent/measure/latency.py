"""How long a network takes on this device, measured while nothing else of this program runs there.

Whoever trains on a device holds its lock shared; whoever measures holds it alone. So a measurement waits until the
trainings of this user on this machine, of any study, have reached the end of their segments (teachers and students
outside a search, the end of their epochs), and they wait for it.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from autostudent.assets import Assets
from autostudent.build.network import build
from autostudent.errors import AutostudentError, ConfigError
from autostudent.records import LATENCY, Objective, digest
from autostudent.space.graph import Architecture

CODE = 1  # raised when what is measured would change: it is part of the address of a stored latency
WARM_UP = 10  # forward passes before the clock starts
SECONDS = 2.0  # the longest that is measured, in blocks of passes whose median counts
STEADY = 0.1  # interquartile range over median at which the clock stops early, after a tenth of that time
UNSURE = 1.25  # how much faster than the fastest that was measured a student may be
TRIES = 3  # measurements of a network, of which the steadiest counts, until one is steady


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one forward pass: the median over blocks of passes and their interquartile range.

    ``load`` is the machine's one-minute load average when the clock stopped: well above ``threads``, somebody else was
    at work.
    """

    median_ms: float
    spread_ms: float
    passes: int
    threads: int
    load: float


def measure_latency(module: nn.Module, x: Tensor, threads: int = 1, seconds: float = SECONDS) -> Latency:
    """Times evaluation forward passes of ``module`` on ``x`` with `torch.utils.benchmark`; see `alone`.

    Args:
        module: any network; every part is left in the mode it was in.
        x: its input, on the module's device; ``(1, channels, H, W)`` is the latency of one picture.
        threads: of torch, fixed while the clock runs.
        seconds: how long to measure at most; on a calm machine a tenth of it is enough.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            from torch.utils.benchmark import Timer  # loads setuptools, half a second that most workers never need

            timer = Timer("module(x)", globals={"module": module, "x": x}, num_threads=threads)
            timer.timeit(WARM_UP)
            found = timer.adaptive_autorange(STEADY, min_run_time=seconds / 10, max_run_time=seconds)
    finally:
        for part, training in modes:
            part.training = training
    passes = found.number_per_run * len(found.raw_times)
    return Latency(1e3 * found.median, 1e3 * found.iqr, passes, threads, os.getloadavg()[0])


def latency_of(
    architecture: Architecture, assets: Assets, device: torch.device | str = "cpu", *, threads: int = 1
) -> Latency:
    """Latency of one picture through the network of a graph, measured alone, once for a graph and device.

    It does not depend on what the weights are, so that it is known before training; a student that pauses and goes on
    keeps its figure.
    """
    device = torch.device(device)
    about = [CODE, architecture.fingerprint, f"{platform.node()} {device_model(device)}", threads, torch.__version__]
    entry = assets.entry("latency", digest(about))
    if not entry.complete:
        shape = architecture.input
        channels = (0.5,) * shape.channels
        network = build(architecture, 0, channels, channels).to(device)
        x = torch.rand(1, shape.channels, shape.height, shape.width, generator=torch.Generator().manual_seed(0))
        with alone(device):
            if not entry.complete:  # nobody else did it meanwhile
                found = steadiest(lambda: measure_latency(network, x.to(device), threads))
                entry.commit({"latency.json": json.dumps(asdict(found)).encode()}, {"device": device_name(device)})
    return Latency(**json.loads(entry.read("latency.json")))


def steadiest(measure: Callable[[], Latency]) -> Latency:
    """The first steady measurement; after `TRIES` the one that varies least for its size."""
    found: list[Latency] = []
    while len(found) < TRIES:
        found.append(measure())
        if found[-1].spread_ms <= STEADY * found[-1].median_ms:
            return found[-1]
    return min(found, key=lambda one: one.spread_ms / one.median_ms)


def require_attainable(objectives: Sequence[Objective], fastest: float) -> None:
    """Raises `ConfigError` for a limit well below ``fastest``, milliseconds of the fastest of a few students."""
    for objective in objectives:
        if objective.name == LATENCY and objective.limit is not None and UNSURE * objective.limit < fastest:
            allowed = f"at least {fastest:,.3f} milliseconds, the fastest of a few students of all sizes"
            raise ConfigError(f"{objective.entry}.limit", objective.limit, allowed)


def device_name(device: torch.device) -> str:
    """What tells one device from another: machine and processor, and which GPU of it."""
    if device.type == "cuda":
        return f"{platform.node()} {torch.cuda.get_device_properties(device).uuid}"
    return f"{platform.node()} {processor()}"


def device_model(device: torch.device) -> str:
    """What is the same for devices of a kind, in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


@cache
def processor() -> str:
    """The model of this machine's processor, where Linux knows it, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


_shared: ContextVar[frozenset[str]] = ContextVar("devices whose lock is held shared here", default=frozenset())


@contextmanager
def sharing(device: torch.device | str) -> Iterator[None]:
    """Held while something trains on the device; waits while somebody measures there, or waits to."""
    name = digest(device_name(torch.device(device)))
    if name in _shared.get():  # who waits at the gate inside would wait for itself
        yield
        return
    with _held(f"{name}.gate", fcntl.LOCK_SH):
        entered = _held(f"{name}.device", fcntl.LOCK_SH)
        entered.__enter__()
    token = _shared.set(_shared.get() | {name})
    try:
        yield
    finally:
        _shared.reset(token)
        entered.__exit__(None, None, None)


@contextmanager
def by_turns(device: torch.device | str) -> Iterator[Callable[[], None]]:
    """`sharing`, for who trains long: each call of what it gives lets measurements that wait go first."""
    with ExitStack() as held:
        held.enter_context(sharing(device))

        def pause() -> None:
            held.close()
            held.enter_context(sharing(device))

        yield pause


@contextmanager
def alone(device: torch.device | str) -> Iterator[None]:
    """Held while the device is measured; waits until nothing trains there. Not to be entered inside `sharing`."""
    name = digest(device_name(torch.device(device)))
    assert name not in _shared.get(), "would wait for itself"
    with _held(f"{name}.gate", fcntl.LOCK_EX), _held(f"{name}.device", fcntl.LOCK_EX):
        yield


@contextmanager
def _held(name: str, kind: int) -> Iterator[None]:
    """A lock of the kernel on a file of this user on this machine; it dies with the process, however that ends."""
    handle = os.open(_folder() / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)


def _folder() -> Path:
    """Where the locks lie. Raises `AutostudentError` when another user has taken the name."""
    folder = Path(tempfile.gettempdir()) / f"autostudent-locks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise AutostudentError(f"{folder} belongs to somebody else; set TMPDIR to a folder of your own")
    return folder
