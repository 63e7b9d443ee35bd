"""The study's ladder of teacher assistants: sizes on a fixed grid, made once.

Three families of the same sizes: in the chain each is taught by the next larger one (Mirzadeh et al. 2020, arXiv
1902.03393), in the dense family by all larger ones (Son et al. 2021, arXiv 2009.08825), in the flat one by the main
teacher (Ganta et al. 2022, arXiv 2206.12005), without the meta split, on which an ensemble of them is weighted. A
student's recipe chooses family and rungs; it never trains one. Sizes do not depend on any student, so the ladder is
shared by all trials and, through its keys, by all studies that ask for the same one.
"""

from __future__ import annotations

from dataclasses import replace

from autostudent.assets import Assets
from autostudent.data.datasets import Dataset
from autostudent.distill.method import Method
from autostudent.distill.methods import METHODS
from autostudent.distill.optim import Optim
from autostudent.errors import ConfigError
from autostudent.measure.predict import predict
from autostudent.measure.quality import quality
from autostudent.space.architecture import Architecture
from autostudent.space.cost import costs
from autostudent.space.resnet import resnet
from autostudent.teach.making import DEFAULTS, trained
from autostudent.teach.teacher import Teacher
from autostudent.teach.training import Say, silent

TEMPERATURE, WEIGHT = 4.0, 0.9  # of the assistants' own recipe, fixed for every study
DEPTHS = (20, 14, 8)  # the deepest that keeps NARROWEST channels is taken
NARROWEST = 8
WIDEST = 512


def ladder(
    top: Teacher,
    assistants: int,
    smallest: int,
    dataset: Dataset,
    assets: Assets,
    *,
    family: str = "chain",
    spacing: str = "geometric",
    chain: str = "full",
    last: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    say: Say = silent,
) -> dict[str, Teacher]:
    """Makes or finds the assistants below ``top``, by falling size under the names "ta1", "ta2", …

    Those of the family "flat" are "flat1", …, of "dense" "ta1" (which the chain has too), "dense2", …

    Args:
        top: the teacher that the first assistant learns from.
        assistants: how many.
        smallest: parameters of the smallest student, to which the sizes lead without reaching it.
        dataset: what they learn and are measured on.
        assets: where they are kept.
        family: "chain", "flat" or "dense".
        spacing: of their sizes, "geometric" or "linear".
        chain: "full", or "dp": in the family "chain" every assistant is trained under each larger one, and the best on
            the meta split, which no assistant then learns from, stays (the paper's dynamic program: the best way to a
            size does not depend on what follows). It rests on all larger ones, and on the time of all its ways.
        last: how many of the assistants to make, from the largest on; None for all.
        device: where they are trained and will run.
        seed: of their training.
        say: told what is being done.

    Raises:
        ConfigError: when there is no room for them between teacher and smallest student.
    """
    made: dict[str, Teacher] = {}
    optim = Optim(**top.about.get("optim", DEFAULTS))
    stem_stride = stride_like(top, min(dataset.shape[1:]))
    largest = top.costs["params"]
    for number, target in enumerate(sizes(int(largest), smallest, assistants, spacing)[:last], 1):
        architecture = assistant(target, dataset, stem_stride)
        if costs(architecture).params >= largest:
            raise ConfigError(
                "ladder.assistants", assistants, f"fewer steps from {top.name}'s {top.costs['params']:,.0f} parameters"
            )
        above = (top, *made.values())
        choosing = family == "chain" and chain == "dp" and len(above) > 1
        parents = {"chain": above[-1:], "flat": above[:1], "dense": above}[family]
        name = f"{'ta' if family == 'chain' or (family == 'dense' and number == 1) else family}{number}"
        found = [
            trained(
                name,
                architecture,
                dataset,
                assets,
                optim,
                method=recipe(len(taught_by)),
                parents=taught_by,
                device=device,
                seed=seed,
                say=say,
                held_out=family == "flat" or chain == "dp",
            )
            for taught_by in ([(parent,) for parent in above] if choosing else [parents])
        ]
        made[name] = chosen(found, above, dataset, say) if choosing else found[0]
        largest = made[name].costs["params"]
    return made


def chosen(ways: list[Teacher], above: tuple[Teacher, ...], dataset: Dataset, say: Say) -> Teacher:
    """The best on the meta split of assistants that each learned from one of ``above``, at the cost of all."""
    best = max(ways, key=lambda teacher: held_out(teacher, dataset))
    say(f"{best.name} learned best from {above[ways.index(best)].name}")
    rests_on = [teacher.key for teacher in above]
    return replace(best, seconds=sum(way.seconds for way in ways), about={**best.about, "rests_on": rests_on})


def held_out(teacher: Teacher, dataset: Dataset) -> tuple[float, float]:
    """How good a network is on the meta split: its accuracy, then its negative log-loss."""
    found = quality(predict(teacher.module, dataset.held_out.x, teacher.device), dataset.held_out.y)
    return found["accuracy"], -found["nll"]


def recipe(parents: int = 1) -> Method:
    """How an assistant learns from the networks above it."""
    return METHODS["kd" if parents == 1 else "dgkd"](temperature=TEMPERATURE, weight=WEIGHT)  # type: ignore[call-arg]


def stride_like(top: Teacher, side: int) -> int:
    """The stem stride, 1 or 2: that of the teacher's first stage, so that no assistant costs more than it."""
    stride = min(2, max(1, top.info.taps.get("stage1", (0, 1))[1]))
    return stride if side >= 4 * stride else 1


def sizes(largest: int, smallest: int, assistants: int, spacing: str = "geometric") -> list[int]:
    """Parameter counts in equal steps strictly between the two, "geometric" (of their logarithm) or "linear".

    Raises `ConfigError` when they leave no room.
    """
    if not 0 < smallest < largest:
        raise ConfigError("ladder.smallest", smallest, f"a parameter count below the teacher's {largest:,}")
    steps = assistants + 1
    if spacing == "linear":
        return [round(largest + (smallest - largest) * i / steps) for i in range(1, steps)]
    return [round(largest ** (1 - i / steps) * smallest ** (i / steps)) for i in range(1, steps)]


def assistant(target: int, dataset: Dataset, stem_stride: int) -> Architecture:
    """The plain ResNet nearest to ``target`` parameters: the deepest that is not too narrow."""
    for depth in DEPTHS:
        found = nearest(target, depth, dataset, stem_stride)
        if found.nodes[1].width >= NARROWEST or depth == DEPTHS[-1]:
            break
    return found


def nearest(target: int, depth: int, dataset: Dataset, stem_stride: int) -> Architecture:
    """The ResNet of this depth whose parameters are nearest to ``target``."""
    low, high = 1, WIDEST
    while high - low > 1:
        middle = (low + high) // 2
        if costs(resnet(depth, middle, dataset.input, stem_stride=stem_stride)).params <= target:
            low = middle
        else:
            high = middle
    pair = [resnet(depth, width, dataset.input, stem_stride=stem_stride) for width in (low, high)]
    return min(pair, key=lambda graph: abs(costs(graph).params - target))
