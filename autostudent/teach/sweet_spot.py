"""Teachers over a grid of batch sizes and epochs, judged by the quality of their responses.

Vats, Crandall 2021, arXiv 2112.10047 (reconstructed from the abstract): a teacher that is trained too long tells one
class from the others and nothing about what resembles what. Each batch size is one training; the grid's epochs are
networks as they stood in the middle of it. They never see the meta split, on which they are judged: a short list by
accuracy and responses, which ends with what a small student learns from each in a short training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autostudent.assets import Assets
from autostudent.data.datasets import Dataset
from autostudent.distill.optim import Optim
from autostudent.measure.predict import predict
from autostudent.space.architecture import Architecture
from autostudent.teach.ladder import nearest, recipe, stride_like
from autostudent.teach.making import trained, trained_until
from autostudent.teach.teacher import Teacher
from autostudent.teach.training import Say, silent

TEMPERATURE = 4.0  # at which responses are judged
SHORTLIST = 3  # teachers that are tried
DEPTH, SHARE = 8, 1 / 8  # of the student that tries them: its depth, and its parameters beside the teacher's
BRIEF = 1 / 3  # of the longest training: its epochs


@dataclass(frozen=True)
class Response:
    """What a teacher says of held-out pictures.

    ``accuracy``. ``sureness``: mean largest probability at the temperature. ``spread``: mean entropy of the classes
    beside the label over its largest possible value. ``similarity``: how stable the teacher's picture of which class
    resembles which is, times 1 - ``sureness``: softness without structure is worth nothing, nor structure that is
    too faint to be read.
    """

    accuracy: float
    sureness: float
    spread: float
    similarity: float


def response(logits: Tensor, labels: Tensor, temperature: float = TEMPERATURE) -> Response:
    """Judges logits ``(n, C)`` of held-out pictures with labels ``(n,)``.

    With S the matrix ``(C, C)`` of mean probabilities by label, similarity = ρ(S of one half, S of the other) (1 -
    sureness), ρ the correlation of the entries off the diagonal; halves alternate within each class.
    """
    right = float((logits.argmax(1) == labels).double().mean())
    p = (logits.double() / temperature).softmax(1)
    sure = float(p.amax(1).mean())
    classes = p.shape[1]
    rest = p.scatter(1, labels[:, None], 0.0)
    rest = rest / rest.sum(1, keepdim=True).clamp_min(1e-300)
    entropy = float(-(rest * rest.clamp_min(1e-300).log()).sum(1).mean())
    spread = entropy / float(torch.log(torch.tensor(float(max(classes - 1, 2)))))
    halves = [similar(p, labels, half) for half in (0, 1)]
    known = ~(halves[0].isnan() | halves[1].isnan())
    pair = torch.stack([half[known] for half in halves])
    agreement = float(torch.corrcoef(pair)[0, 1]) if pair.shape[1] > 2 else 0.0
    return Response(right, sure, spread, (agreement if agreement == agreement else 0.0) * (1 - sure))


def similar(p: Tensor, labels: Tensor, half: int) -> Tensor:
    """Mean probabilities by label of every second sample of each class, without the diagonal: ``(C (C - 1),)``.

    NaN where the half has no sample of the class.
    """
    classes = p.shape[1]
    rows = []
    for label in range(classes):
        of_class = p[labels == label][half::2]
        rows.append(of_class.mean(0) if len(of_class) else torch.full((classes,), torch.nan, dtype=p.dtype))
    return torch.stack(rows)[~torch.eye(classes, dtype=torch.bool)]


def ranked(responses: Sequence[Response]) -> list[int]:
    """Positions from best to worst: fronts of (accuracy, similarity) one after the other, the more similar first."""
    left, order = list(range(len(responses))), []
    while left:
        front = [i for i in left if not any(beats(responses[j], responses[i]) for j in left)]
        order += sorted(front, key=lambda i: (-responses[i].similarity, i))
        left = [i for i in left if i not in front]
    return order


def beats(a: Response, b: Response) -> bool:
    """Whether ``a`` is no worse than ``b`` in accuracy and similarity, and better in one."""
    pairs = ((a.accuracy, b.accuracy), (a.similarity, b.similarity))
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def shortlist(responses: Sequence[Response]) -> list[int]:
    """Positions of at most `SHORTLIST` of the best front: its ends and what lies between, by rising accuracy."""
    front = [i for i, own in enumerate(responses) if not any(beats(other, own) for other in responses)]
    front.sort(key=lambda i: (responses[i].accuracy, i))
    count = min(SHORTLIST, len(front))
    return [front[round(n * (len(front) - 1) / max(count - 1, 1))] for n in range(count)]


def sweet_spot(
    name: str,
    architecture: Architecture,
    dataset: Dataset,
    assets: Assets,
    optim: Optim,
    grid: Mapping[str, Any],
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    say: Say = silent,
) -> Teacher:
    """Makes or finds the grid's teachers and returns the one of the wanted rank.

    Args:
        name: what the chosen teacher is called.
        architecture: of every teacher of the grid.
        dataset: they learn on its train split without the meta split.
        assets: where they are kept.
        optim: the base training; its batch size and epochs are the grid's.
        grid: ``{batch_sizes: […], epochs: […], rank: 1}``; ranks beyond the grid mean its last.
        device: where they are trained.
        seed: of their training.
        say: told what is being done.

    Returns:
        The teacher; ``seconds`` are those of the whole grid and of the students that tried the short list.
    """
    made: list[Teacher] = []
    seconds = 0.0
    for size in grid["batch_sizes"]:
        base = dataclasses.replace(optim, batch_size=int(size), epochs=int(max(grid["epochs"])))
        names = {int(epoch): f"{name}: batch size {size}, {epoch} epochs" for epoch in sorted(grid["epochs"])}
        row = trained_until(
            names, architecture, dataset, assets, base, device=device, seed=seed, say=say, held_out=True
        )
        made += row.values()
        seconds += row[base.epochs].seconds
    held = dataset.held_out
    found = [response(predict(teacher.module, held.x, teacher.device), held.y) for teacher in made]
    brief = dataclasses.replace(optim, epochs=max(1, round(BRIEF * max(grid["epochs"]))))
    taught: dict[int, float] = {}
    for place in shortlist(found):
        tried = made[place]
        stride = stride_like(tried, min(dataset.shape[1:]))
        student = trained(
            f"a small student of {tried.name}",
            nearest(max(1, int(tried.costs["params"] * SHARE)), DEPTH, dataset, stride),
            dataset,
            assets,
            brief,
            method=recipe(),
            parents=(tried,),
            device=device,
            seed=seed,
            say=say,
            held_out=True,
        )
        right = predict(student.module, held.x, device).argmax(1) == held.y
        taught[place] = float(right.double().mean())
        seconds += student.seconds
    order = [*sorted(taught, key=lambda i: -taught[i]), *(i for i in ranked(found) if i not in taught)]
    place = order[min(int(grid["rank"]), len(made)) - 1]
    judged = {**dataclasses.asdict(found[place]), **({"taught": taught[place]} if place in taught else {})}
    about = {**made[place].about, "response": judged, "chosen": made[place].name}
    return dataclasses.replace(made[place], name=name, seconds=seconds, about=about)
