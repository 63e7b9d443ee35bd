"""`verify`: who is proved, the trainings, and what is kept of them in the store."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from autostudent.assets import checksum
from autostudent.errors import ConfigError
from autostudent.measure.quality import quality
from autostudent.run.base import Runner
from autostudent.store.attributes import plain
from autostudent.store.choose import shortlist
from autostudent.store.store import Store
from autostudent.teach.teacher import leave_gpu
from autostudent.trial import TrialSetup, answers, warm_up
from autostudent.verify.claims import Measured, claims_of
from autostudent.verify.contenders import Contender, controls, family_of, student_of
from autostudent.verify.rivals import Say, Train, rival_of, torchvision_models, torchvision_rivals
from autostudent.verify.speed import latencies, too_slow
from autostudent.verify.tasks import VerifyTask, bank_seed, run_task

if TYPE_CHECKING:
    from autostudent.store.store import Store
    from autostudent.study import Preparation, Study

SHORTLIST = 3  # students of one study that may ever be measured on the test split
PIXELS = 5 * 10**7  # numbers in the training pictures of logistic regression, 4 bytes each
VERIFIED = "verified"  # name under which the store keeps their numbers


@dataclass(frozen=True)
class Proof:
    """What `verify` found: ``rows`` of the table, and the ``claims``, differences with their intervals."""

    rows: list[dict[str, Any]]
    claims: list[dict[str, Any]]


@dataclass(frozen=True)
class Request:
    """What is asked of `verify`, as its arguments have it."""

    trials: tuple[int, ...] | None
    shortlist: int
    seeds: int
    compare: bool
    family: int


def verify(
    study: Study,
    trials: Sequence[int] | None = None,
    seeds: int = 3,
    say: Say = lambda text: None,
    compare: bool = True,
    *,
    shortlist: int = 1,
    family: int = 0,
) -> Proof:
    """Re-trains a shortlist with fresh seeds and measures it, its controls and its rivals on the test split.

    Finished trials are not written to. Rows and claims are kept beside the front, those of earlier calls too.

    Args:
        trials: front members; by default ``shortlist`` many are chosen (`autostudent.store.choose.shortlist`).
        seeds: trainings of each contender.
        say: told what is being done.
        compare: also train controls and a rival for each student; without them no gain can be claimed.
        shortlist: how many students are chosen where ``trials`` are not named: 1 to `SHORTLIST`.
        family: also train so many fresh graphs from each student's generator, once each.

    Raises:
        ConfigError: for numbers that cannot be, trials that are not on the front, or when more than `SHORTLIST`
            students of the study would have been measured on the test split, in this call and all before it.
    """
    if not 1 <= shortlist <= SHORTLIST:
        raise ConfigError("shortlist", shortlist, f"1 to {SHORTLIST} students")
    if family < 0 or family == 1:
        raise ConfigError("family", family, "0, or at least 2 fresh graphs: one has no spread")
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise ConfigError("seeds", seeds, "a whole number from 1")
    if trials is not None and len(trials) == 0:
        raise ConfigError("trials", list(trials), "numbers of trials, or None for a choice by this program")
    request = Request(None if trials is None else tuple(trials), shortlist, seeds, compare, family)
    with Store.read(study.settings.store, study.settings.study) as reader:  # nothing is made where there is nothing
        trained_for = int(reader.resolved()["budget"]["trials"])
    if trained_for > study.settings.budget.trials:  # the search had --trials, which a proof has no use for
        budget = dataclasses.replace(study.settings.budget, trials=trained_for)
        study = type(study)(dataclasses.replace(study.settings, budget=budget))
    _ = (
        study.dataset.test
    )  # a file of it that is torn is found before any training, and before a student counts as read
    with study.open_store() as store:
        chosen = choose(store, request)
        with study.runner() as runner:
            load = partial(warm_up, dict(study.settings.data))
            runner.warm(load)  # without warm workers each training on a GPU would have a process of its own to start
            prepared = study.prepare(runner, lambda event: say(event.text))
            setup = dataclasses.replace(prepared.setup, seed=bank_seed(study.shared_seed))
            study.prepare_knowledge(prepared.teachers, setup.seed, runner, lambda event: say(event.text))
            leave_gpu(prepared.teachers.values())
            runner.warm(load)
            train = partial(trained, runner, setup, say)
            field = contenders(study, chosen, request, train, say)
            store.describe({VERIFIED: sorted({*already(store), *chosen})})  # before anything reads the test split
            measured = tested(study, field, seeds, train, say)
        proof = evaluated(study, prepared, measured, say)
        keep(store, proof)
    return proof


def choose(store: Store, request: Request) -> dict[int, dict[str, Any]]:
    """Front rows of the students to prove, by number. Raises `ConfigError`, see `verify`."""
    rows = {row["trial"]: row for row in store.front()}
    if request.trials is None:
        images = store.described().get("validation_images")
        found = [{**row, "why": why} for row, why in shortlist(list(rows.values()), request.shortlist, images=images)]
    else:
        for number in request.trials:
            if number not in rows:
                raise ConfigError("trials", number, f"students of the front: {', '.join(map(str, sorted(rows)))}")
        found = [rows[number] for number in dict.fromkeys(request.trials)]
    chosen = {row["trial"]: row for row in found}
    require_few(list(chosen), already(store))
    return chosen


def already(store: Store) -> list[int]:
    """Numbers of the students that were measured on the test split before."""
    return list(store.described().get(VERIFIED, []))


def require_few(trials: Sequence[int], before: Sequence[int]) -> None:
    """Raises `ConfigError` when the test split would be read for more than `SHORTLIST` students in all."""
    if len({*trials, *before}) <= SHORTLIST:
        return
    names = ", ".join(map(str, before))
    past = f"; verified before: {names}" if before else ""
    raise ConfigError(
        "trials",
        list(trials),
        f"at most {SHORTLIST} students of a study in all: the test split is not for choosing{past}",
    )


def contenders(
    study: Study,
    chosen: Mapping[int, Mapping[str, Any]],
    request: Request,
    train: Train,
    say: Say,
) -> list[Contender]:
    """Each student, followed by what it is compared with."""
    models = torchvision_models(study, say) if request.compare else {}
    field: list[Contender] = []
    for row in chosen.values():
        student = student_of(study, row)
        if "why" in row:
            say(f"{student.name}: {row['why']}")
        field.append(student)
        if request.compare:
            field += [*controls(student), rival_of(study, student, train, say)]
            field += torchvision_rivals(models, student)
        if request.family:
            field.append(family_of(study, row, student, request.family))
    return field


def trained(runner: Runner, setup: TrialSetup, say: Say, tasks: Sequence[VerifyTask]) -> list[dict[str, Any]]:
    """The outcome of each task, and a line about each as it comes: validation alone, the test split is for the end."""
    done = itertools.count(1)

    def told(place: int, outcome: dict[str, Any]) -> None:
        task = tasks[place]
        found = outcome.get("failed") or f"accuracy {outcome['validation']['accuracy']:.4f} on validation"
        say(f"[{next(done)}/{len(tasks)}] {task.name}, seed {task.replicate}: {found}")

    return runner.map(partial(run_task, setup), tasks, told)


def tested(study: Study, field: Sequence[Contender], seeds: int, train: Train, say: Say) -> list[Measured]:
    """All trainings of all contenders in one go."""
    test = study.dataset.test
    split = checksum(test.x.numpy().tobytes() + test.y.numpy().tobytes())
    tasks = [entry.tasks(seeds, split) for entry in field]
    whole = [task for mine in tasks for task in mine]
    say(f"{len(whole)} trainings: {len(field)} networks from {seeds} seeds each")
    outcomes = iter(train(whole))
    return [Measured(entry, tuple(next(outcomes) for _ in mine)) for entry, mine in zip(field, tasks, strict=True)]


def evaluated(study: Study, prepared: Preparation, measured: Sequence[Measured], say: Say) -> Proof:
    """Rows with teacher and baseline around them, and what may be claimed; ``say`` hears who is slower than allowed."""
    teacher, right = teacher_row(study, prepared)
    times = latencies(study, prepared, measured)
    for line in too_slow(times, study.settings.objectives, study.settings.teacher):
        say(line)
    rows = [teacher, *(entry.row() for entry in measured), logistic_row(study)]
    rows = [{**row, **times.get(row["name"], {})} for row in rows]
    return Proof(plain(rows), plain(claims_of(measured, teacher, right)))


def keep(store: Store, proof: Proof) -> None:
    """Writes a proof beside the front; claims of earlier proofs that it does not make anew stay."""
    for row in proof.rows:
        store.set_reference(f"{VERIFIED}: {row['name']}", row)
    claims = {claim["difference"]: claim for claim in [*store.described().get("claims", []), *proof.claims]}
    store.describe({"claims": list(claims.values())})


def teacher_row(study: Study, prepared: Preparation) -> tuple[dict[str, Any], Tensor]:
    """The main teacher on the test split, and which of its pictures it classified correctly, boolean ``(n,)``."""
    teacher = prepared.teachers[study.settings.teacher]
    test = study.dataset.test
    device = torch.device(study.device)
    logits = answers(teacher.module.to(device), test.x, device)
    measured = quality(logits, test.y)
    row = {"name": study.settings.teacher, "kind": "teacher", "seeds": 1, **teacher.costs, **measured}
    return row, logits.argmax(1) == test.y


def pixels(x: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Stored pictures ``(n, C, H, W)`` uint8 as rows in [0, 1], averaged to (height, width) where that is smaller."""
    if size == x.shape[2:]:
        return x.flatten(1).numpy() / np.float32(255)
    parts = [F.adaptive_avg_pool2d(some.float(), size).flatten(1) for some in x.split(1024)]
    return torch.cat(parts).numpy() / np.float32(255)


def logistic_row(study: Study) -> dict[str, Any]:
    """Logistic regression on raw pixels, the floor that any network should clear.

    Pictures are averaged to a size at which those of the training split have `PIXELS` numbers in all.
    """
    from sklearn.linear_model import LogisticRegression

    train, test = study.dataset.train, study.dataset.test
    height, width = train.x.shape[2:]
    share = min(1.0, (PIXELS / train.x.numel()) ** 0.5)
    size = (max(1, int(height * share)), max(1, int(width * share)))
    model = LogisticRegression(max_iter=300)
    model.fit(pixels(train.x, size), train.y.numpy())
    accuracy = float(model.score(pixels(test.x, size), test.y.numpy()))
    params = int(model.coef_.size + model.intercept_.size)
    return {"name": "logistic regression", "kind": "baseline", "params": params, "seeds": 1, "accuracy": accuracy}
