"""One student with one recipe in the words of a study file: what ``autostudent distill`` and `train_student` take."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autostudent.config import absolute, filled, load_file, locate, override, place, substitute
from autostudent.config.checking import like, parse, teacher
from autostudent.config.entries import BudgetEntry, DataEntry, LadderEntry, RunEntry, StudyEntry, TrainingEntry
from autostudent.errors import ConfigError
from autostudent.records import Value
from autostudent.settings import LadderSettings, TrainingSettings, default_artifacts
from autostudent.space.yaml_loader import load_yaml

if TYPE_CHECKING:
    from autostudent.single import Course
    from autostudent.space.architecture import Architecture, InputShape

ROOMS = ("data", "teachers", "ladder", "training", "artifacts", "budget")  # entries of a study; others are the recipe's
GPUS = "run.gpus_per_trial"  # of a study: whether this training may take a GPU too
UNUSED = ("trials", "rungs")  # entries of the budget that do not count for a single training
RESNET = re.compile(r"resnet:(\d+)x(\d+)(?:/(\d+))?(?:@(\d+))?")
TRIAL = re.compile(r"(.*)#([^/]*)")  # of a study file; a folder's name may hold the sign too
SHAPES = "resnet:DEPTHxWIDTH (resnet:8x4, resnet:8x4/2 with a stem stride of 2)"
STUDENTS = f"{SHAPES}, an architecture's JSON file, or STUDY.yaml#TRIAL"
ASSISTANTS = 2  # of the ladder that a method asks for where the study has none


def train_student(
    student: str | Mapping[str, Any],
    method: str | None = None,
    teacher: str | Sequence[str] = (),
    *,
    study: str | Path | None = None,
    settings: Sequence[str] = (),
    epochs: int | None = None,
    seed: int = 0,
    test: bool = False,
    out: str | Path | None = None,
    say: Any = lambda text: None,
) -> dict[str, Any]:
    """Trains one student with one recipe, without a search.

    Args:
        student: ``resnet:DEPTHxWIDTH``, an architecture's JSON file, ``STUDY.yaml#7`` for the graph of trial 7, or
            ``{"resnet": {"depth": 8, "width": 4}}``.
        method: an id (see ``autostudent methods``), or a composition such as ``ctkd(ces_kd(dkd))``; by default "kd", or
            the recipe of the trial that ``student`` names.
        teacher: names of the study's catalogue, or ``resnet:20x16@30`` (trained for 30 epochs); the first is the main.
        study: a study file from which data, teachers, ladder, training and epochs are taken.
        settings: ``key=value`` as for ``--set``: entries of a study (``data.name=digits``), else of the recipe
            (``dkd.beta=4``, ``optim.lr=0.05``; a name without a dot is the method's own).
        epochs: of the student, instead of the study's ``budget.epochs``.
        seed: of the training.
        test: also measure on the test split, which is not for choosing.
        out: a folder for weights, architecture and outcome.
        say: told what is being done.

    Returns:
        The outcome of `autostudent.single.train`, with ``seconds["shared"]`` and ``shared``, seconds by teacher.

    Raises:
        ConfigError: for anything that is unknown, missing, out of range, or does not go together.
    """
    from autostudent.distill.recipe import read_recipe, require_entries
    from autostudent.single import train
    from autostudent.space.cost import costs
    from autostudent.trial import TrialWorker, one_thread, weights_of

    teachers = [teacher] if isinstance(teacher, str) else [*teacher]
    if study is None and isinstance(student, str) and (named := TRIAL.fullmatch(student)):
        study = named[1]
    course, changes = read_course(study, settings, teachers, epochs)
    require_entries(changes)
    graph, own = read_student(student, course.dataset.input, [given for given in settings if belongs(given)])
    if method is None and own is not None:
        config = {**own, **changes}
    else:
        course, config = read_method(course, "kd" if method is None else method, changes, teachers)
    course = with_smallest(course, graph, study, settings)
    folder = None if out is None else Path(out)
    if folder is not None:
        try:  # before anything is trained
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError("out", str(out), f"a folder, there or to be made ({error.strerror})") from None
    with one_thread():
        room = course.prepare([config], graph, say)
        say(f"training the student for {course.epochs} epochs")
        worker = TrialWorker(room.setup)
        network, outcome = train(worker, graph, config, seed, test=test)
    outcome["shared"] = room.shared(read_recipe(config, room.setup.roster, costs(graph).params))
    outcome["seconds"]["shared"] = sum(outcome["shared"].values())
    if folder is not None:
        (folder / "weights.safetensors").write_bytes(weights_of(network, room.setup.owner))
        (folder / "architecture.json").write_text(json.dumps(graph.to_json()))
        (folder / "outcome.json").write_text(json.dumps(outcome, indent=1))
    return outcome


def read_course(
    study: str | Path | None, settings: Sequence[str], teachers: Sequence[str], epochs: int | None
) -> tuple[Course, dict[str, Value]]:
    """(the course, entries of the recipe) of a study file, ``--set`` and ``--teacher``. Raises `ConfigError`."""
    from autostudent.single import Course, device_here

    own = [given for given in settings if belongs(given)]
    require_used(settings)
    recipe = dict(assignment(given) for given in settings if given not in own)
    raw = filled(study, own) if study is not None else substitute(override({}, own))
    gpus = parse(RunEntry, raw.get("run") or {}, "run").gpus_per_trial
    named = raw.get("teachers") or {}
    if not isinstance(named, Mapping):
        raise ConfigError("teachers", named, "a mapping from names to teachers")
    catalogue = with_teachers(named, teachers)
    if "data" not in raw:
        raise ConfigError("data", None, "a study file, or --set data.name=digits, --set data.npz=FILE, …")
    ladder = parse(LadderEntry, raw["ladder"], "ladder") if raw.get("ladder") else None
    if study is not None:
        artifacts = raw.get("artifacts") or locate(study, own)[2]
    else:
        artifacts = raw.get("artifacts") or default_artifacts("sqlite:///runs/single/study.db", "single")
    return Course(
        data=absolute(parse(DataEntry, raw["data"], "data").model_dump(exclude_none=True)),
        teachers={name: absolute(teacher(name, like(name, spec, catalogue))) for name, spec in catalogue.items()},
        epochs=read_epochs(raw.get("budget") or {}, epochs),
        artifacts=place(str(artifacts)),
        ladder=LadderSettings(**ladder.model_dump()) if ladder else None,
        training=TrainingSettings(
            **parse(TrainingEntry, raw.get("training") or {}, "training").model_dump(exclude_none=True)
        ),
        device=device_here(gpus != 0),
    ), recipe


def belongs(given: str) -> bool:
    """Whether a ``--set`` is of a study's entry, and not of the recipe."""
    key = given.partition("=")[0]
    return key == GPUS or key.split(".")[0] in ROOMS


def require_used(settings: Sequence[str]) -> None:
    """Raises `ConfigError` for a ``--set`` of what belongs to a study, but not to a single training."""
    for given in settings:
        key, _, value = given.partition("=")
        room = key.split(".")[0]
        budget = override({}, [given])["budget"] if room == "budget" else None
        unused = [f"budget.{name}" for name in UNUSED if isinstance(budget, Mapping) and name in budget]
        if unused or (room in StudyEntry.model_fields and room not in ROOMS and key != GPUS):
            raise ConfigError(unused[0] if unused else key, value, "no entry: a single training does not use it")


def read_epochs(budget: object, epochs: int | None) -> int:
    """The student's ``epochs``, by default those of the study's budget, whose other entries do not count."""
    if isinstance(budget, Mapping):
        own = {key: value for key, value in budget.items() if key not in UNUSED}
        budget = {"epochs": 30, **own, "trials": 1, **({} if epochs is None else {"epochs": epochs})}
    return parse(BudgetEntry, budget, "budget").epochs


def assignment(text: str) -> tuple[str, Value]:
    """One ``name=value`` of the recipe; a name without a dot is shared by the recipe's methods."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError("--set", text, "name=value, for example dkd.beta=4, optim.lr=0.05 or data.name=digits")
    read = load_yaml(f"value: {value}")["value"]
    if not isinstance(read, str | int | float | bool):
        raise ConfigError(f"--set {name}", read, "a word or a number")
    return (name if "." in name else f"kd.{name}"), read


def with_teachers(catalogue: Mapping[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """The catalogue with those of ``given`` that are networks: "main" first where there was none, else "t2", …"""
    made = dict(catalogue)
    for number, text in enumerate(given):
        shape = RESNET.fullmatch(text)
        if shape is None:
            if text not in catalogue:
                known = ", ".join(catalogue) or "none"
                raise ConfigError("--teacher", text, f"a teacher of the study ({known}) or {SHAPES}, @EPOCHS")
            continue
        name = "main" if "main" not in made else f"t{len(made) + 1}"
        spec = {"resnet": resnet_entry(shape), **({"epochs": int(shape[4])} if shape[4] else {})}
        same = sum(other == text for other in given[:number])
        made[name] = {**spec, "seed": same} if same else spec
    return made


def resnet_entry(shape: re.Match[str]) -> dict[str, int]:
    """``{depth, width, stem_stride}`` of ``resnet:8x4/2``."""
    return {"depth": int(shape[1]), "width": int(shape[2]), **({"stem_stride": int(shape[3])} if shape[3] else {})}


def read_student(
    student: str | Mapping[str, Any], shape: InputShape, settings: Sequence[str] = ()
) -> tuple[Architecture, dict[str, Value] | None]:
    """(the graph that ``student`` names, made for pictures of ``shape``; the recipe, where it is a trial's).

    ``settings``: overrides of the study file that ``student`` names.

    Raises:
        ConfigError: for a student that is none, or is made for other pictures.
    """
    from autostudent.space.architecture import Architecture
    from autostudent.space.resnet import resnet

    if isinstance(student, Mapping):
        if set(student) != {"resnet"} or not isinstance(student["resnet"], Mapping):
            raise ConfigError("student", dict(student), "{resnet: {depth: 8, width: 4}}")
        entry: Mapping[str, Any] = student["resnet"]
    else:
        found = RESNET.fullmatch(student)
        if found is None or found[4]:
            stored, recipe = stored_student(student, settings)
            graph = Architecture.from_json(stored)
            if graph.input != shape:
                raise ConfigError("student", student, f"a graph for {shape}; this one is made for {graph.input}")
            return graph, recipe
        entry = resnet_entry(found)
    try:
        return resnet(entry["depth"], entry["width"], shape, stem_stride=entry.get("stem_stride", 1)), None
    except KeyError as missing:
        raise ConfigError("student.resnet", dict(entry), f"a mapping with {missing}") from None


def stored_student(student: str, settings: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Value] | None]:
    """(the JSON of an architecture file, None), or (the graph of a study's trial, its recipe) for ``STUDY.yaml#7``."""
    from autostudent.assets import Assets
    from autostudent.config import load_study
    from autostudent.store.store import Store

    named = TRIAL.fullmatch(student)
    file, number = (named[1], named[2]) if named else (student, "")
    if named:
        load_file(file)
        url, name, artifacts = locate(file, settings)
        assets = Assets(artifacts)
        with Store.read(url, name, assets) as store:
            trials = {str(row["trial"]): row for row in store.rows() if row.get("graph")}
        if number not in trials:
            raise ConfigError("student", student, f"a trial of the study: {', '.join(trials) or 'it has none'}")
        row, searched = trials[number], set(load_study(file, settings).space.recipe)
        recipe = {name: value for name, value in row["candidate"]["config"].items() if name in searched}
        return json.loads(assets.get(str(row["graph"]))), recipe
    if not Path(file).is_file():
        raise ConfigError("student", student, STUDENTS)
    try:
        return json.loads(Path(file).read_text()), None
    except ValueError:
        raise ConfigError("student", student, STUDENTS) from None


def read_method(
    course: Course, method: str, changes: Mapping[str, Value], teachers: Sequence[str]
) -> tuple[Course, dict[str, Value]]:
    """(the course with a ladder if the method asks for one, the recipe's whole configuration). Raises `ConfigError`."""
    from autostudent.distill.recipe import recipe_config

    ids = re.findall(r"[\w.-]+", method)
    several = len([name for name in course.teachers if not course.roster.sources.get(name)]) > 1
    families = {"takd", "ces_kd", "ta_ensemble"} | (set() if several else {"dgkd", "ca_mkd"})
    if course.ladder is None and course.teachers and families & set(ids):
        course = dataclasses.replace(course, ladder=LadderSettings(next(iter(course.teachers)), ASSISTANTS))
    config = {**recipe_config(method, course.roster), **changes}
    if teachers and teachers[0] in course.roster.sources and "teach.source" not in changes:
        config["teach.source"] = teachers[0]
    return course, config


def with_smallest(course: Course, graph: Architecture, study: str | Path | None, settings: Sequence[str]) -> Course:
    """The course with the size to which its ladder leads: that of the study's own ladder, else the student's."""
    from autostudent.config import load_study
    from autostudent.space.cost import costs

    if course.ladder is None or course.ladder.smallest is not None or study is None:
        return dataclasses.replace(course, smallest=costs(graph).params)
    own = [given for given in settings if belongs(given)]
    return dataclasses.replace(course, smallest=load_study(study, own).smallest)
