"""The entries of a study file as pydantic models: types, bounds, defaults and the keys that exist."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from autostudent.errors import ConfigError
from autostudent.settings import BudgetSettings
from autostudent.space.yaml_loader import parse_quantity

SOURCES = ("name", "npz", "images", "torchvision")
SOURCE_OPTIONS = ("root", "download", "options", "size")  # that belong to one source or two


def not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


def quantity(value: object) -> object:
    """A count or a size: 24, 100k, 384 KiB."""
    try:
        number = parse_quantity(value)
    except ConfigError:
        raise ValueError("a number such as 24, 100k or 384 KiB") from None
    return int(number) if number.is_integer() else number


def cut(value: object) -> object:
    """A share below 1, or a count: 0.2, 500, 10k. 1.0 would be a single picture."""
    if isinstance(value, float) and value >= 1:
        raise ValueError("a share below 1, or a count such as 500 or 10k")
    return quantity(value)


def pixels(value: object) -> object:
    """The side of a square, or [height, width]: as `data.folders.given_size`, which would load torch here."""
    sides = [quantity(side) for side in value] if isinstance(value, list | tuple) else [quantity(value)] * 2
    if len(sides) != 2 or not all(isinstance(side, int) and 4 <= side <= 1024 for side in sides):
        raise ValueError("pixels from 4 to 1024, or [height, width]")
    return sides if isinstance(value, list | tuple) else sides[0]


Count = Annotated[int, BeforeValidator(quantity)]
Positive = Annotated[Count, Field(ge=1)]
Amount = Annotated[int | float, BeforeValidator(quantity), Field(gt=0)]
Cut = Annotated[int | float, BeforeValidator(cut), Field(gt=0)]
Share = Annotated[float, BeforeValidator(not_bool), Field(ge=0, le=1)]
Name = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f/\\?]*[^.\x00-\x1f/\\?][^\x00-\x1f/\\?]*$")
]


def teacher_name(name: str) -> str:
    """Of a teacher: not what the store, the tables and the proofs call others, or put between names."""
    if re.search(r"#|: | - |^logistic regression$|^student \d", name):
        raise ValueError("a name without '#', ': ' and ' - ', and not that of a student or of 'logistic regression'")
    return name


TeacherName = Annotated[Name, AfterValidator(teacher_name)]


class Entry(BaseModel):
    """A mapping of the study file; keys that it does not name are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class AugmentEntry(Entry):
    crop_pad: Annotated[int, BeforeValidator(not_bool), Field(ge=0, le=64)] | None = None
    flip: bool | None = None
    mixup: Annotated[float, BeforeValidator(not_bool), Field(ge=0, le=100)] | None = None

    @field_validator("mixup")
    @classmethod
    def some(cls, alpha: float | None) -> float | None:
        """No mixing is what a study without the entry has, and is the same study."""
        return alpha or None


class DataEntry(Entry):
    """One source; which options belong to it is for `autostudent.data.datasets.load`. Cuts are shares or counts."""

    name: str | None = None
    npz: str | None = None
    images: str | None = None
    torchvision: str | None = None
    root: str | None = None
    download: bool | None = None
    options: dict[str, Any] | None = None
    size: Annotated[int | list[int], BeforeValidator(pixels)] | None = None
    limit: Amount | None = None
    validation: Cut | None = None
    test: Cut | None = None
    meta: Annotated[int | float, BeforeValidator(cut), Field(ge=0)] | None = None
    augment: AugmentEntry | None = None
    seed: Annotated[int, BeforeValidator(not_bool), Field(ge=0)] | None = None

    @field_validator("augment")
    @classmethod
    def said(cls, augment: AugmentEntry | None) -> AugmentEntry | None:
        """An entry that says only that nothing is mixed says nothing."""
        return None if augment is not None and augment.model_fields_set == {"mixup"} and not augment.mixup else augment

    @model_validator(mode="after")
    def one_source(self) -> DataEntry:
        given = [source for source in SOURCES if getattr(self, source) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one source of {', '.join(SOURCES)} (given: {', '.join(given) or 'none'})")
        return self


class ResNetEntry(Entry):
    depth: Annotated[Count, Field(ge=8, le=200)]
    width: Annotated[Count, Field(ge=1, le=1024)]
    stem_stride: Annotated[int, Field(ge=1, le=4)] | None = None


class EarlyStoppedEntry(Entry):
    """A share of the full training: its schedule compressed, or a checkpoint in the middle of it."""

    share: Annotated[float, BeforeValidator(not_bool), Field(gt=0, lt=1)]
    schedule: Annotated[str, Field(pattern="^(compressed|checkpoint)$")] = "compressed"


class SweetSpotEntry(Entry):
    """The teacher of this rank among those of a grid, by the quality of their responses."""

    batch_sizes: list[Positive] = Field(min_length=1, max_length=8)
    epochs: list[Positive] = Field(min_length=1, max_length=8)
    rank: Annotated[Count, Field(ge=1, le=64)] = 1


class TrainedTeacher(Entry):
    """Trained by the program, once."""

    resnet: ResNetEntry
    epochs: Positive = 30
    lr: Annotated[float, BeforeValidator(not_bool), Field(gt=0)] | None = None
    weight_decay: Annotated[float, BeforeValidator(not_bool), Field(ge=0)] | None = None
    batch_size: Positive | None = None
    smoothing: Share | None = None
    seed: Annotated[int, BeforeValidator(not_bool), Field(ge=0)] | None = None
    early_stopped: EarlyStoppedEntry | None = None
    sweet_spot: SweetSpotEntry | None = None

    @model_validator(mode="after")
    def one_stop(self) -> TrainedTeacher:
        if self.early_stopped is not None and self.sweet_spot is not None:
            raise ValueError("either early_stopped or sweet_spot")
        return self


class TorchvisionTeacher(Entry):
    """A torchvision model with the user's weights."""

    torchvision: str
    weights: str
    normalize: str | dict[str, Any] | None = None
    resize: Annotated[Count, Field(ge=8, le=1024)] | None = None
    taps: dict[str, str] | None = None


class CheckpointTeacher(Entry):
    """A checkpoint of an architecture that autostudent knows."""

    checkpoint: str
    architecture: str | None = None
    resnet: ResNetEntry | None = None
    normalize: str | dict[str, Any] | None = None

    @model_validator(mode="after")
    def one_architecture(self) -> CheckpointTeacher:
        if (self.architecture is None) == (self.resnet is None):
            raise ValueError("either architecture (a JSON file) or resnet ({depth, width}) beside checkpoint")
        return self


class PluginTeacher(BaseModel):
    """An installed entry point of the group autostudent.teachers; its options are its own."""

    model_config = ConfigDict(extra="allow", frozen=True)
    plugin: str


class LadderEntry(Entry):
    of: str
    assistants: Annotated[Count, Field(ge=0, le=8)] = 2
    spacing: Annotated[str, Field(pattern="^(geometric|linear)$")] = "geometric"
    smallest: Positive | None = None
    chain: Annotated[str, Field(pattern="^(full|dp)$")] = "full"


class SpaceEntry(Entry):
    students: str
    recipe: str = "kd_basic"


class ObjectiveEntry(Entry):
    minimize: bool = False
    maximize: bool = False
    limit: Amount | None = None
    reference: Amount | None = None


class BudgetEntry(Entry):
    trials: Positive
    epochs: Positive
    rungs: tuple[Positive, ...] | None = None

    @field_validator("rungs")
    @classmethod
    def rising(cls, rungs: tuple[int, ...] | None, info: ValidationInfo) -> tuple[int, ...] | None:
        epochs = info.data.get("epochs")
        if rungs is not None and epochs is not None and (sorted(set(rungs)) != list(rungs) or rungs[-1:] != (epochs,)):
            raise ValueError(f"rungs that rise and end at budget.epochs ({epochs})")
        return rungs

    def settings(self) -> BudgetSettings:
        """Without rungs in the file, a training may pause after a ninth and a third of its epochs."""
        thirds = sorted({max(1, self.epochs // 9), max(1, self.epochs // 3), self.epochs})
        return BudgetSettings(self.trials, self.epochs, tuple(self.rungs or thirds))


def store_alone(value: object) -> object:
    """A text is the store."""
    return {"store": value} if isinstance(value, str) else value


class EarlierEntry(Entry):
    """An earlier study to start from; ``study`` where its store holds several."""

    store: str
    study: str | None = None
    artifacts: str | None = None


class SearchEntry(Entry):
    proposer: str = "bayes"
    seed: Annotated[int, BeforeValidator(not_bool), Field(ge=0)] = 0
    options: dict[str, Any] = {}
    warm_start: Annotated[EarlierEntry | None, BeforeValidator(store_alone)] = None


class TrainingEntry(Entry):
    batch_size: Positive = 128
    momentum: Annotated[float, BeforeValidator(not_bool), Field(ge=0, lt=1)] = 0.9
    warmup: Share = 0.05
    decay: Share = 0.35
    views: Annotated[Count, Field(ge=1, le=1024)] | None = None
    top_k: Positive | None = None
    compile: bool = False


class RunEntry(Entry):
    workers: Positive = 2
    cpus_per_trial: Annotated[float, BeforeValidator(not_bool), Field(gt=0)] = 1.0
    gpus_per_trial: float | str = 0.0
    timeout: Amount | None = None
    address: str | None = None
    cuda_graphs: bool = True

    @field_validator("gpus_per_trial", mode="before")
    @classmethod
    def whole_or_fraction(cls, gpus: object) -> object:
        if gpus == "auto":
            return gpus
        if isinstance(gpus, bool) or not isinstance(gpus, int | float) or not 0 <= gpus <= 1:
            raise ValueError("auto, or a number from 0 to 1: a training takes one GPU or a part of it")
        return float(gpus)


class RivalsEntry(Entry):
    space: str = "resnet_family"
    trials: Positive = 4
    torchvision: tuple[str, ...] | None = None


class StudyEntry(Entry):
    study: Name
    data: DataEntry
    teachers: dict[TeacherName, Any] = Field(min_length=1)
    ladder: LadderEntry | None = None
    space: SpaceEntry
    objectives: dict[str, Any] = Field(min_length=2)
    budget: BudgetEntry
    search: SearchEntry = SearchEntry()
    training: TrainingEntry = TrainingEntry()
    run: RunEntry = RunEntry()
    rivals: RivalsEntry | None = None
    retention: Annotated[str, Field(pattern="^(front|all)$")] = "front"
    store: str | None = None
    artifacts: str | None = None

    @field_validator("store")
    @classmethod
    def url(cls, value: str | None) -> str | None:
        if value is not None and ("://" not in value or value.endswith(":memory:")):
            raise ValueError("a storage URL such as sqlite:///runs/name/study.db or postgresql://…")
        return value
