"""What a study is made of, as plain frozen records: the seam between the study file and `autostudent.study`.

`autostudent.config` fills these from YAML after it has checked every entry; Python users may build them directly.
`StudySettings.resolved` is what the store keeps and compares when a study is resumed.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from autostudent.errors import ConfigError
from autostudent.records import LATENCY, Objective

PLACES = ("npz", "images", "root", "weights", "checkpoint", "architecture")
"""Entries of data and teachers that hold a file or folder. What a plug-in's options mean is for the plug-in alone."""

LOCATIONS = (*PLACES, "students", "recipe", "space", "warm_start", "store", "artifacts")
"""Entries of which `StudySettings.resolved` keeps the last component only, where it is a path."""

FILE_STORE = re.compile(r"((?:sqlite(?:\+\w+)?|journal):///)(?!:memory:)([^?]+)(\?.*)?")


@dataclass(frozen=True)
class LadderSettings:
    """The study's teacher assistants: ``assistants`` networks between the teacher ``of`` and the ``smallest`` size.

    ``spacing`` is that of their parameter counts, "geometric" or "linear". ``smallest`` is a parameter count; None
    means the smallest student that the space and the limits allow. ``chain`` says who teaches an assistant of the
    chain: "full", the next larger one; "dp", whichever larger one makes it best on the meta split.
    """

    of: str
    assistants: int = 2
    spacing: str = "geometric"
    smallest: int | None = None
    chain: str = "full"


@dataclass(frozen=True)
class Roster:
    """The names of a study's frozen teachers, by what a recipe may ask for, before any of them is made.

    ``ladder``: the main teacher and the assistants below it, each taught by the next larger one, by falling capacity;
    without a ladder the whole catalogue. ``flat``: assistants of the same sizes that the main teacher itself taught,
    and that never saw the meta split. ``dense``: assistants each taught by all larger ones, after the main teacher.
    ``sources``: other teachers that may stand in for the main one, with the id of the method that made them so
    ("eskd", "teacher_sweet_spot"), or "". ``figures``: parameters and validation accuracy of the main teacher and the
    assistants below it, once they are made; rules that go by them wait for it.
    """

    ladder: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()
    dense: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def family(self, name: str) -> tuple[str, ...]:
        """The teachers of "chain", "flat" or "dense"."""
        return {"chain": self.ladder, "flat": self.flat, "dense": self.dense}[name]


@dataclass(frozen=True)
class SpaceSettings:
    """Where students and recipes are searched: names in ``search_spaces/`` or paths of YAML files."""

    students: str
    recipe: str = "kd_basic"


@dataclass(frozen=True)
class BudgetSettings:
    """``trials`` counts students, ``epochs`` is a student's full training; it may pause at each of ``rungs``."""

    trials: int
    epochs: int
    rungs: tuple[int, ...]


def epochs_of(rungs: tuple[int, ...], trials: int) -> float:
    """Epochs that a study trains in all: every student to the first rung, a third to the last, evenly fewer between."""
    shares = [1.0, *(3.0 ** (-level / (len(rungs) - 1)) for level in range(1, len(rungs)))]
    return trials * sum(share * (end - start) for share, start, end in zip(shares, (0, *rungs), rungs, strict=False))


@dataclass(frozen=True)
class SearchSettings:
    """Which proposer, its seed, and its own options.

    The seed decides which students and recipes are proposed, and through them how each is initialised and trained.
    Splits, teachers and views follow from ``data.seed``, so that searches of other seeds share them. ``warm_start`` is
    the store of an earlier study of the same space, from which ``bayes`` starts; or ``{store, study, artifacts}``,
    where the store holds several studies, or the study kept its artifacts elsewhere than is usual.
    """

    proposer: str = "bayes"
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    warm_start: str | Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.warm_start is not None and self.proposer != "bayes":
            raise ConfigError("search.warm_start", self.warm_start, f"nothing with search.proposer {self.proposer!r}")


@dataclass(frozen=True)
class TrainingSettings:
    """How every student trains, whatever its recipe.

    ``warmup`` and ``decay`` are shares of the run. ``views`` is how many augmented copies of the training set the view
    bank holds; None means one for each epoch, so that the bank is on-line augmentation made once. ``top_k``: how many
    of a teacher's logits are stored for a picture, with what the others weigh together (for temperatures near 1); None
    means all. ``compile``: whether torch compiles the trainings of ``verify`` and ``distill``; those of a search never
    are. On a GPU that is slower than the replay of `RunSettings.cuda_graphs`.
    """

    batch_size: int = 128
    momentum: float = 0.9
    warmup: float = 0.05
    decay: float = 0.35
    views: int | None = None
    top_k: int | None = None
    compile: bool = False


@dataclass(frozen=True)
class RunSettings:
    """Where work runs: resources of one segment, its time limit in seconds, and a Ray cluster to join.

    ``cuda_graphs``: on a GPU, students' passes are recorded once and replayed.
    ``gpus_per_trial``: GPUs or a fraction of one; "auto" for as many segments to a GPU of this machine as fit.
    """

    workers: int = 2
    cpus_per_trial: float = 1.0
    gpus_per_trial: float | str = 0.0
    timeout_s: float | None = None
    address: str | None = None
    cuda_graphs: bool = True


@dataclass(frozen=True)
class RivalSettings:
    """Hand-designed students, shown on the page but outside budget and front: ``trials`` shapes of ``space``, and
    torchvision models by name as far as they respect the limits (None: a few small ones)."""

    space: str = "resnet_family"
    trials: int = 4
    torchvision: tuple[str, ...] | None = None


@dataclass(frozen=True)
class StudySettings:
    """A whole study, checked and with every default filled in.

    ``data``: the source and its options as `autostudent.data.datasets.load` takes them. ``teachers``: specs by name as
    `autostudent.teach.teachers.resolve` takes them; the first is the teacher that reports compare with.
    ``objectives``: the measured quality first, then exact costs; names are those of `autostudent.records.Trial.values`
    (the file's ``memory`` is ``memory_bytes`` here). ``retention``: whose weights are kept, "front" or "all".
    ``store`` is an Optuna storage URL; ``artifacts`` a folder or file URL.
    """

    study: str
    data: Mapping[str, Any]
    teachers: Mapping[str, Mapping[str, Any]]
    space: SpaceSettings
    objectives: tuple[Objective, ...]
    budget: BudgetSettings
    store: str
    artifacts: str
    ladder: LadderSettings | None = None
    search: SearchSettings = field(default_factory=SearchSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    run: RunSettings = field(default_factory=RunSettings)
    rivals: RivalSettings | None = None
    retention: str = "front"

    @property
    def teacher(self) -> str:
        """Name of the teacher that reports compare with."""
        return next(iter(self.teachers))

    @property
    def timed(self) -> bool:
        """Whether latency is an objective."""
        return any(objective.name == LATENCY for objective in self.objectives)

    @property
    def roster(self) -> Roster:
        """The frozen teachers that recipes choose from."""
        return roster_of(self.teachers, self.ladder)

    def resolved(self) -> dict[str, Any]:
        """JSON mapping of everything that decides what the study finds, in the words of the study file.

        Where things lie is not part of it: ``store`` and ``artifacts`` are left out, and a path counts by its last
        component, so that a moved folder still resumes. What the files hold is for `autostudent.study` to add (data
        fingerprint, teacher keys, the space itself).
        """
        whole = {name: value for name, value in dataclasses.asdict(self).items() if name not in ("store", "artifacts")}
        whole["objectives"] = [objective.to_json() for objective in self.objectives]
        whole["teacher"] = self.teacher
        if self.ladder is not None and self.ladder.chain == "full":  # what studies did before it could be chosen
            del whole["ladder"]["chain"]
        placeless: dict[str, Any] = json.loads(json.dumps(without_places(whole)))
        return placeless


MADE_BY = {"early_stopped": "eskd", "sweet_spot": "teacher_sweet_spot"}
"""Entries of a teacher that make it another one than its plain training gives, and the method they belong to."""


def roster_of(teachers: Mapping[str, Mapping[str, Any]], ladder: LadderSettings | None) -> Roster:
    """The roster of a catalogue of teachers and a ladder."""
    made = {name: next((MADE_BY[key] for key in spec if key in MADE_BY), "") for name, spec in teachers.items()}
    if ladder is None:
        plain = tuple(name for name, by in made.items() if not by)
        return Roster(plain, (), plain, {name: by for name, by in made.items() if by})
    chain = tuple(f"ta{number}" for number in range(1, ladder.assistants + 1))
    flat = tuple(f"flat{number}" for number in range(1, ladder.assistants + 1))
    dense = (*chain[:1], *(f"dense{number}" for number in range(2, ladder.assistants + 1)))
    others = {name: by for name, by in made.items() if name != ladder.of}
    return Roster((ladder.of, *chain), flat, (ladder.of, *dense), others)


def rests_on(teachers: Iterable[str], shared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The teachers, those that taught them, and so on, each once; ``shared`` says of each whom it was ``taught_by``."""
    found: dict[str, None] = {}
    waiting = [name for name in teachers if name in shared]
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            waiting += [other for other in shared[name].get("taught_by", ()) if other in shared]
    return list(found)


def without_places(value: Any) -> Any:
    """``value`` with every entry of `LOCATIONS` cut to the last component of its path, or of its URL."""
    if isinstance(value, Mapping):
        return {
            str(key): last_part(entry) if key in LOCATIONS and isinstance(entry, str) else without_places(entry)
            for key, entry in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_places(entry) for entry in value]
    return value


def last_part(place: str) -> str:
    """The last component of a path; of a URL without its query, and nothing that may hold a password."""
    if "://" not in place:
        return PurePath(place).name
    name = PurePath(place.partition("?")[0]).name
    return "" if ":" in name or "@" in name else name


def store_file(url: str) -> Path | None:
    """The file behind an ``sqlite:///`` (with or without a ``+driver``) or ``journal:///`` URL, None for any other.

    The path is relative, or absolute after a fourth slash.
    """
    found = FILE_STORE.fullmatch(url)
    return Path(found[2]) if found else None


def placed_store(url: str) -> str:
    """The storage URL with an absolute file."""
    found = FILE_STORE.fullmatch(url)
    return f"{found[1]}{Path(found[2]).expanduser().absolute()}{found[3] or ''}" if found else url


def default_artifacts(store: str, study: str) -> str:
    """Where assets go when the study does not say.

    ``<folder>/<study>/study.db`` shares ``<folder>/assets`` with its neighbours, so that a later study finds the same
    teachers; any other file has ``assets`` beside it.

    Raises:
        ConfigError: for a store that is not a file.
    """
    file = store_file(store)
    if file is None:
        raise ConfigError("artifacts", None, "a folder or file:///… URL, because the store is not a local file")
    folder = file.parent.parent if file.parent.name == study else file.parent
    return str(folder / "assets")
