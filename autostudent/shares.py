"""Which share of a GPU one training gets: from what the largest student can need, one share for a whole study.

Of float32 numbers, 4 bytes each, a worker holds on its device at most

* for each network that a recipe trains: six times its parameters (weights, gradient and momentum, and the same of the
  copy that a rung scores), and for a batch every number that a forward pass makes, kept for the backward pass, with the
  gradients of as many as live at once; where passes are recorded, `RECORDED` times that and `POOLS` bytes: recordings
  keep what they made, of the network and of its copy, beside a pass as it is, in memory of their own (on an H100, in
  mixed precision, 1.1 times where it is hundreds of megabytes, 240 MB at most where it is less);
* or, where that is more, what lives at once when pictures are looked at (`measure.predict.at_once` says how many),
  by the student or the largest teacher; with recordings, which stay, the student's comes on top; a teacher that is
  looked into does so beside the student's batch;
* the parameters of all teachers, what they say of one view, and their stored maps of it that recipes ask for;
* the pictures as bytes, four times (plain, a view and the next one, and what a view is cut from), and those that are
  looked at together as numbers.

`SAFETY` times that allows for students larger than all that were drawn, for buffers, fragments and the workspaces of
cuDNN; mixed precision needs less. `CONTEXT` is what a process takes before it has allocated anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from autostudent.build.network import build
from autostudent.data.datasets import Dataset
from autostudent.distill.job import network_info
from autostudent.distill.recipe import Recipe
from autostudent.distill.types import CopyOf, Spec
from autostudent.errors import ConfigError
from autostudent.measure.predict import BATCH, at_once, seen
from autostudent.settings import RunSettings
from autostudent.space.cost import FLOAT_BYTES, costs
from autostudent.space.graph import Architecture
from autostudent.space.schedule import made, peak
from autostudent.teach.maps import LIMIT
from autostudent.teach.teacher import Teacher

SAFETY = 1.5
RECORDED = 2
POOLS = 256 * 2**20  # bytes
CONTEXT = 768 * 2**20  # bytes
GRANULARITY = 10_000  # Ray counts GPUs in ten-thousandths
KEY = "run.gpus_per_trial"


@dataclass(frozen=True)
class Share:
    """The share of a GPU that a segment gets, and where it comes from.

    ``need`` are the bytes that a training is expected to take at most, ``device`` those of the smallest GPU; both None
    where the study gives the share itself. ``together`` trainings share a GPU.
    """

    gpus: float
    together: int
    need: int | None = None
    device: int | None = None


def student_bytes(graph: Architecture, batch: int, networks: int = 1, recorded: bool = False) -> int:
    """What training students of this graph takes on a device, ``networks`` of them in one recipe.

    ``recorded``: whether passes are recorded and replayed.
    """
    fixed = 6 * costs(graph).params * networks
    look = at_once(graph.input.height, graph.input.width) * peak(graph)
    step = batch * (made(graph) + peak(graph)) * networks
    if recorded:
        return FLOAT_BYTES * (fixed + RECORDED * step + look) + POOLS
    return FLOAT_BYTES * (fixed + max(step, look))


def needed(
    graphs: Sequence[Architecture],
    batch: int,
    recipes: Iterable[Recipe],
    teachers: Sequence[Teacher],
    data: Dataset,
    views: int,
    recorded: bool = False,
) -> int:
    """Bytes of a GPU that a training takes at most, the process itself included; see the module.

    Raises:
        ConfigError: for recipes of which this is not known.
    """
    recipes = list(recipes)
    networks = trained_together(recipes, teachers, build(graphs[0], 0), data)
    students = max(student_bytes(graph, batch, networks, recorded) for graph in graphs)
    weights = [FLOAT_BYTES * int(teacher.costs["params"]) for teacher in teachers]
    live = any(recipe.method.needs.live or recipe.method.needs.taps for recipe in recipes)
    looks = [
        (int(teacher.costs["memory_bytes"]) - w, at_once(*seen(teacher.module, *data.shape[1:])))
        for teacher, w in zip(teachers, weights, strict=True)
    ]
    looking = max(one * together for one, together in looks)
    if live:  # a batch goes through a teacher while that of the student is held
        students += max(one * max(batch, min(BATCH, together)) for one, together in looks)
    count, pixels = len(data.train.y), math.prod(data.shape)
    said = FLOAT_BYTES * count * len(data.classes) * len(teachers)
    maps = map_bytes(recipes, teachers, data, views)
    pictures = 4 * count * pixels + FLOAT_BYTES * at_once(*data.shape[1:]) * pixels
    return math.ceil(SAFETY * (max(students, looking) + sum(weights) + said + maps + pictures)) + CONTEXT


def map_bytes(recipes: Sequence[Recipe], teachers: Sequence[Teacher], data: Dataset, views: int) -> int:
    """What the stored taps of one view take, of all teachers and recipes; larger ones are asked for, not stored.

    Hint points are not known yet: each counts as the largest map.
    """
    total = 0
    for teacher in teachers:
        own = [recipe.method.needs for recipe in recipes if teacher.name in recipe.teachers]
        wanted = {tap for needs in own if needs.taps for tap in needs.teacher_taps}
        numbers = {
            name: channels * (math.prod(-(-side // stride) for side in data.shape[1:]) if stride else 1)
            for name, (channels, stride) in teacher.info.taps.items()
        }
        sizes = [2 * len(data.train.y) * numbers.get(tap, max(numbers.values(), default=0)) for tap in wanted]
        total += sum(size for size in sizes if size * views <= LIMIT)
    return total


def share_of(need: int, devices: Sequence[int], workers: int) -> Share:
    """As many trainings to a GPU as fit, but no more than there are workers for each.

    Args:
        need: bytes of one training.
        devices: bytes of each GPU; the smallest counts.

    Raises:
        ConfigError: when not even one training is sure to fit.
    """
    device = min(devices)
    together = min(device // need, -(-workers // len(devices)))
    if together < 1:
        raise ConfigError(
            KEY,
            "auto",
            f"a number: the largest student may need {need / 2**30:.1f} GiB of a GPU of {device / 2**30:.1f} GiB; "
            "lower limits or training.batch_size, or 1 to try",
        )
    return Share(math.floor(GRANULARITY / together) / GRANULARITY, together, need, device)


def trained_together(
    recipes: Iterable[Recipe], teachers: Sequence[Teacher], student: torch.nn.Module, data: Dataset
) -> int:
    """The most networks of a student's size that a recipe holds.

    Raises:
        ConfigError: for a recipe that trains a teacher, or parts of one: what that takes is not known beforehand.
    """
    most = 1
    for recipe in recipes:
        own = tuple(teacher.info for teacher in teachers if teacher.name in recipe.teachers)
        classes = len(data.classes)
        spec = Spec(network_info("student", student, classes), own, classes, len(data.train.y), 0)
        roles = [role for stage in recipe.method.plan(spec).stages for role in stage.roles]
        if any(not (role.model == "student" or isinstance(role.model, CopyOf)) for role in roles):
            raise ConfigError(
                KEY, "auto", f"a number: {recipe.name} trains a copy of a teacher, which is not estimated"
            )
        most = max(most, len({role.name for role in roles}))
    return most


def require_gpus(run: RunSettings) -> None:
    """Raises `ConfigError` when the study asks for GPUs that this machine, where its workers will be, has not."""
    asked, there = run.gpus_per_trial, len(gpus())
    if run.address is None and (there == 0 if isinstance(asked, str) else asked > there) and asked != 0:
        found = f"{there} GPUs" if there else "no GPU that torch can use"
        raise ConfigError(KEY, asked, f"0 to train on CPUs: this machine has {found}")


def gpus() -> list[int]:
    """Bytes of each GPU of this machine that torch can use."""
    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_properties(number).total_memory for number in range(torch.cuda.device_count())]


def given(gpus: float) -> Share:
    """The share that a study asks for."""
    return Share(gpus, math.floor(1 / gpus + 1e-9) if 0 < gpus < 1 else 1)
