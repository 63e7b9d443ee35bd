"""The study file: what is accepted, and in which words everything else is refused."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest

import autostudent
from autostudent.config import build, load_settings, locate
from autostudent.config.single import read_course, read_student
from autostudent.errors import ConfigError, StoreError
from autostudent.settings import default_artifacts
from autostudent.space.architecture import InputShape
from autostudent.space.resnet import resnet

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "studies/digits.yaml"


def refused(*assignments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(DIGITS, assignments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_demo_study() -> None:
    settings = load_settings(DIGITS)
    assert settings.study == "digits"
    assert settings.teacher == "main"
    assert [o.name for o in settings.objectives] == ["accuracy", "params", "memory_bytes"]
    assert [o.exact for o in settings.objectives] == [False, True, True]
    assert settings.objectives[1].limit == 100_000
    assert settings.objectives[2].limit == 384 * 1024
    assert settings.budget.rungs == (3, 9, 27)
    assert settings.store == f"sqlite:///{Path.cwd()}/runs/digits/study.db"
    assert settings.artifacts == f"{Path.cwd()}/runs/assets"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("budget.trails=3", "did you mean 'trials'?"),
        ("sudy=x", "did you mean 'study'?"),
        ("teachers.main.resnet.depht=3", "teachers.main.resnet: got 'depht'"),
        ("teachers.main.resnet.width=wide", "teachers.main.resnet.width: got 'wide'"),
        ("teachers.main=5", "teachers.main: got 5"),
        ("teachers.main={}", "one of plugin, checkpoint, torchvision, resnet"),
        ("teachers={}", "teachers"),
        ("budget.trials=many", "budget.trials: got 'many'"),
        ("budget.trials=0", "greater than or equal to 1"),
        ("budget.trials=true", "budget.trials: got True"),
        ("budget=3", "a mapping with the keys trials, epochs, rungs"),
        ("budget.rungs=[9, 3, 27]", "rungs that rise and end at budget.epochs (27)"),
        ("budget.epochs=null", "budget.epochs"),
        ("objectives.accuracy=minimize", "objectives.accuracy: got 'minimize'; expected maximize"),
        ("objectives.accuracy={maximize: true, limit: 97}", "a fraction from 0 to 1"),
        ("objectives.accuracy={maximize: true, reference: 97}", "accuracy.reference: got 97; expected a fraction"),
        ("objectives.params.limit=-1", "objectives.params.limit"),
        ("objectives.speed=minimize", "one of: accuracy, ece, latency, macs, memory, nll, params"),
        ("objectives={accuracy: maximize, accurcy: maximize}", "did you mean 'accuracy'?"),
        ("objectives={params: minimize, macs: minimize}", "accuracy and at least one of"),
        ("data={name: digits, npz: x.npz}", "exactly one source"),
        ("search.warm_start={study: a}", "search.warm_start.store: got None"),
        ("search.warm_start={store: 'sqlite:///x.db', stduy: a}", "did you mean 'study'"),
        ("search.warm_start=3", "search.warm_start: got 3; expected a mapping with the keys store, study, artifacts"),
        ("data={}", "exactly one source"),
        ("data.validation=1.0", "data.validation: got 1.0; expected a share below 1, or a count"),
        ("data.meta=1.5", "data.meta: got 1.5; expected a share below 1"),
        ("data=digits", "a mapping with the keys name, npz"),
        ("ladder.of=other", "ladder.of: got 'other'"),
        ("ladder.spacing=cubic", "expected geometric or linear"),
        ("study=a/b", "a name without slashes"),
        ("store=runs/study.db", "a storage URL"),
        ("store=postgresql://host/db", "artifacts: got None"),
        ("retention=best", "front or all"),
        ("search.seed=-1", "search.seed"),
        ("search.proposer=baies", "search.proposer: got 'baies'; expected one of: bayes,"),
        ("search={proposer: tpe, options: {foo: 1}}", "got an unexpected keyword argument 'foo'"),
        ("search={proposer: tpe, options: {seed: 1}}", "multiple values for keyword argument 'seed'"),
        ("search.options.name=1", "search.options.name: got 1"),
        ("search.options.foo=1", "search.options.foo: got 1; expected an option of 'bayes': fresh, "),
        ("search.options.fresh=many", "search.options.fresh: got 'many'; expected a whole number from 1"),
        ("search.options.fresh=0", "search.options.fresh: got 0; expected a whole number from 1"),
        ("search.options.rounds=1.5", "search.options.rounds: got 1.5; expected a whole number from 0"),
        ("search.options.worthwhile=-1", "search.options.worthwhile: got -1; expected a number from 0"),
        ("search.options.source=x", "search.options.source: got 'x'; expected no entry; search.warm_start"),
        (
            "search={proposer: evolution, options: {tournament: 0}}",
            "search.options.tournament: got 0",
        ),
        ("teachers={main: {like: main}}", "teachers.main.like: got 'main'; expected a teacher with resnet"),
        ("run.workers=0", "run.workers"),
        ("run.gpus_per_trial=2", "auto, or a number from 0 to 1: a training takes one GPU"),
        ("training.decay=1.5", "less than or equal to 1"),
        ("data.augment.mixup=101", "data.augment.mixup: got 101; expected a number less than or equal to 100"),
        ("data.augment.mixup=true", "data.augment.mixup: got True; expected a number"),
        ("data.augment.mixpu=1", "did you mean 'mixup'"),
        ("no-equals", "key=value"),
        ("budget.trials.x=3", "a key below a mapping"),
    ],
)
def test_what_is_refused_and_how(assignment: str, words: str) -> None:
    assert words in refused(assignment)


def test_a_single_training_takes_a_gpu_where_the_study_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (False, True):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        assert read_course(DIGITS, [], [], None)[0].device == "cpu"
        course, recipe = read_course(DIGITS, ["run.gpus_per_trial=auto", "kd.weight=0.5"], [], None)
        assert (course.device, recipe) == ("cuda" if there else "cpu", {"kd.weight": 0.5})


def test_another_source_takes_the_place_of_the_files(tmp_path: Path) -> None:
    assert load_settings(DIGITS, ["data.npz=/x.npz", "data.limit=100"]).data == {"npz": "/x.npz", "limit": 100}
    study = tmp_path / "study.yaml"
    study.write_text(DIGITS.read_text().replace("{name: digits}", "{torchvision: CIFAR10, root: /r, size: 8}"))
    assert load_settings(study, ["data.name=digits", "data.limit=9"]).data == {"name": "digits", "limit": 9}
    assert load_settings(study, ["data.torchvision=SVHN"]).data == {"torchvision": "SVHN", "root": "/r", "size": 8}
    assert load_settings(study, ["data.root=/s", "data.images=/i", "data.root=null"]).data == {"images": "/i"}
    study.write_text(DIGITS.read_text().replace("{name: digits}", "{root: /r, size: 8}"))
    assert load_settings(study, ["data.torchvision=SVHN"]).data == {"torchvision": "SVHN", "root": "/r", "size": 8}
    study.write_text(DIGITS.read_text().replace("{name: digits}", "{torchvision: CIFAR10, root: /r, size: 8}"))
    assert load_settings(study, ["data.npz=null"]).data["torchvision"] == "CIFAR10"


def test_an_earlier_study_is_a_store_or_one_of_its_studies() -> None:
    told = {"store": "sqlite:////x.db", "study": "a", "artifacts": "/b"}
    assert load_settings(DIGITS, ["search.warm_start=sqlite:////x.db"]).search.warm_start == "sqlite:////x.db"
    assert (
        load_settings(DIGITS, ["search.warm_start={store: 'sqlite:////x.db'}"]).search.warm_start == "sqlite:////x.db"
    )
    settings = load_settings(DIGITS, [f"search.warm_start={told}"])
    assert settings.search.warm_start == told
    assert settings.resolved()["search"]["warm_start"] == {"store": "x.db", "study": "a", "artifacts": "b"}


def test_options_of_the_proposer_are_known() -> None:
    assert load_settings(DIGITS, ["search.options={fresh: 64, rounds: 1}"]).search.options == {"fresh": 64, "rounds": 1}
    assert load_settings(DIGITS, ["search={proposer: evolution, options: {population: 9}}"]).search.seed == 0


@pytest.mark.parametrize(
    "entry",
    ["store=sqlite:///x.db", "run.workers=3", "search.seed=3", "objectives.params.limit=3", "budget.trials=9",
     "budget.rungs=[1]", "budget={epochs: 2, rungs: [1, 2]}"],
)  # fmt: skip
def test_what_a_single_training_does_not_use_is_said(entry: str) -> None:
    key = "budget.rungs" if "rungs" in entry else entry.partition("=")[0]
    told = re.escape(f"{key}: got ") + ".* expected no entry: a single training does not use it"
    for study in (None, DIGITS):
        with pytest.raises(ConfigError, match=told):
            read_course(study, ["data.name=digits", entry], [], None)


def test_a_single_training_takes_the_epochs_of_a_study_and_no_more_of_its_budget() -> None:
    assert read_course(DIGITS, [], [], None)[0].epochs == 27
    assert read_course(DIGITS, ["budget.epochs=4"], [], None)[0].epochs == 4
    with pytest.raises(ConfigError, match=r"budget: got 3; expected a mapping with the keys"):
        read_course(DIGITS, ["budget=3"], [], None)


def test_pictures_may_be_higher_than_wide() -> None:
    for given, size in (("[12, 16]", [12, 16]), ("24", 24)):
        assert load_settings(DIGITS, [f"data={{images: folder, size: {given}}}"]).data["size"] == size
    for given in ("[2, 16]", "[16]", "2"):
        with pytest.raises(ConfigError, match=r"data.size: got .* expected pixels from 4 to 1024"):
            load_settings(DIGITS, [f"data={{images: folder, size: {given}}}"])


@pytest.mark.parametrize("url", ["nosuch://host/db", "sqlite://", "sqlite:///"])
def test_a_store_that_nothing_can_open_is_called_so(url: str) -> None:
    for load in (load_settings, locate):
        with pytest.raises(StoreError, match=f"store {re.escape(url)} cannot be opened: "):
            load(DIGITS, [], store=url)


def test_file_stores_are_made_absolute() -> None:
    for scheme in ("sqlite", "sqlite+pysqlite", "journal"):
        settings = load_settings(DIGITS, [], store=f"{scheme}:///runs/x/study.db?timeout=3")
        assert settings.store == f"{scheme}:///{Path.cwd()}/runs/x/study.db?timeout=3"
        assert settings.artifacts == str(Path.cwd() / "runs/x/assets")


def test_a_plug_in_s_options_are_its_own() -> None:
    settings = load_settings(DIGITS, ["teachers.main={plugin: mine, weights: imagenet}"])
    assert settings.teachers["main"] == {"plugin": "mine", "weights": "imagenet"}


def test_a_misspelling_is_said_before_what_is_missing_because_of_it() -> None:
    with pytest.raises(ConfigError, match="did you mean 'budget'"):
        build({"study": "x", "bugdet": {}, "data": {"name": "digits"}})


def test_accuracy_is_the_measured_objective_wherever_latency_stands() -> None:
    wanted = "objectives={latency: {minimize: true, limit: 2}, params: minimize, accuracy: maximize}"
    settings = load_settings(DIGITS, [wanted])
    assert [(o.name, o.exact, o.limit) for o in settings.objectives] == [
        ("accuracy", False, None),
        ("latency_ms", False, 2),
        ("params", True, None),
    ]
    assert settings.timed
    assert not load_settings(DIGITS).timed
    assert "this machine's" in refused(wanted, "run.address=auto")


def test_units() -> None:
    settings = load_settings(DIGITS, ["objectives.memory.limit=2 MiB", "objectives.params.limit=1e5", "data.limit=1k"])
    assert settings.objectives[2].limit == 2 * 1024**2
    assert settings.objectives[1].limit == 100_000
    assert settings.data["limit"] == 1000


def test_no_mixing_is_the_study_that_it_was() -> None:
    assert load_settings(DIGITS, ["data.augment.mixup=0"]) == load_settings(DIGITS)
    padded = load_settings(DIGITS, ["data.augment.crop_pad=2"])
    assert load_settings(DIGITS, ["data.augment={crop_pad: 2, mixup: 0.0}"]) == padded
    assert load_settings(DIGITS, ["data.augment.mixup=0.2"]).data["augment"] == {"mixup": 0.2}


def test_rungs_have_a_default() -> None:
    assert load_settings(DIGITS, ["budget.rungs=null", "budget.epochs=90"]).budget.rungs == (10, 30, 90)
    assert load_settings(DIGITS, ["budget.rungs=null", "budget.epochs=1"]).budget.rungs == (1,)


def test_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    fashion = ROOT / "studies/fashion_mnist.yaml"
    monkeypatch.delenv("FASHION_MNIST_NPZ", raising=False)
    with pytest.raises(ConfigError, match=r"data\.npz.*FASHION_MNIST_NPZ.*--set data\.npz=VALUE"):
        load_settings(fashion)
    monkeypatch.setenv("FASHION_MNIST_NPZ", "/somewhere/f.npz")
    assert load_settings(fashion).data["npz"] == "/somewhere/f.npz"
    assert load_settings(fashion, ["data.npz=here.npz"]).data["npz"] == f"{Path.cwd()}/here.npz"


def test_only_plain_names_are_substituted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "x")
    assert load_settings(DIGITS, ["study='a $NAME ${NAME} $(NAME)'"]).study == "a $NAME x $(NAME)"


def test_a_query_needs_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASHION_MNIST_NPZ", raising=False)
    url, study, artifacts = locate(ROOT / "studies/fashion_mnist.yaml")
    assert study == "fashion_mnist"
    assert url == f"sqlite:///{Path.cwd()}/runs/fashion_mnist/study.db"
    assert artifacts == f"{Path.cwd()}/runs/assets"


def test_the_resolved_study_does_not_hold_places() -> None:
    settings = load_settings(DIGITS, ["data={npz: /a/b/c.npz}", "artifacts=/d/e"])
    text = str(settings.resolved())
    assert "c.npz" in text
    assert "/a/b" not in text
    assert "/d/e" not in text
    assert "sqlite" not in text
    moved = load_settings(DIGITS, ["data={npz: /other/c.npz}"])
    assert moved.resolved() == settings.resolved()


def test_studies_begun_before_chains_could_be_chosen_go_on() -> None:
    ladders = [load_settings(DIGITS, [f"ladder.chain={chain}"]).resolved()["ladder"] for chain in ("full", "dp")]
    assert "chain" not in ladders[0]
    assert ladders[1] == {**ladders[0], "chain": "dp"}


@pytest.mark.parametrize(
    ("store", "folder"),
    [
        ("sqlite:////r/digits/study.db", "/r/assets"),
        ("sqlite:////r/other/study.db", "/r/other/assets"),
        ("journal:////r/digits/log", "/r/assets"),
    ],
)
def test_neighbouring_studies_share_their_assets(store: str, folder: str) -> None:
    assert default_artifacts(store, "digits") == folder


def test_teachers_of_every_kind() -> None:
    settings = load_settings(
        DIGITS,
        [
            "teachers={a: {torchvision: resnet18, weights: w.pt}, c: {plugin: mine, level: 3}}",
            "teachers.b={checkpoint: c.safetensors, resnet: {depth: 20, width: 8}}",
            "ladder=null",
        ],
    )
    assert settings.teachers["a"]["weights"] == f"{Path.cwd()}/w.pt"
    assert settings.teachers["b"]["resnet"]["depth"] == 20
    assert settings.teachers["c"] == {"plugin": "mine", "level": 3}
    assert settings.teacher == "a"


def test_a_teacher_entry_holds_what_was_written_and_nothing_more() -> None:
    teachers = "teachers={a: {torchvision: resnet18, weights: w.pt, taps: {stage1: layer1}}}"
    settings = load_settings(DIGITS, [teachers, "ladder=null"])
    assert settings.teachers["a"].keys() == {"torchvision", "weights", "taps"}
    assert load_settings(DIGITS).teachers["main"] == {"resnet": {"depth": 20, "width": 32}, "epochs": 30}


def test_a_teacher_like_another_is_that_one_but_for_what_it_says() -> None:
    teachers = "teachers={a: {resnet: {depth: 8, width: 4}, epochs: 7}, b: {like: a, epochs: 9}}"
    assert load_settings(DIGITS, [teachers, "ladder=null"]).teachers["b"] == {
        "resnet": {"depth": 8, "width": 4},
        "epochs": 9,
    }


def test_the_package_shows_its_public_names_alone() -> None:
    assert dir(autostudent) == sorted([*autostudent.__all__, "__version__"])
    assert autostudent.__version__ == version("autostudent")


def test_queries_check_the_names_of_entries_too(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    for text, message in (
        ("study: a\nstroe: sqlite:///x.db\n", r"study file: got 'stroe'; .*did you mean 'store'"),
        ("study: ''\n", r"study: got ''; expected the study's name"),
        ("study: a\nstudy: b\n", r"study.yaml, line 2: .*every key once"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            locate(file)


@pytest.mark.parametrize("name", ["what? a", ".", ".."])
def test_names_that_no_folder_can_have_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="study"):
        load_settings(ROOT / "studies/digits.yaml", [f"study='{name}'"])


def test_a_folder_with_the_sign_of_a_trial_is_a_folder(tmp_path: Path) -> None:
    graph = tmp_path / "C#" / "g.json"
    graph.parent.mkdir()
    graph.write_text(json.dumps(resnet(8, 4, InputShape(1, 8, 8, 10)).to_json()))
    assert read_student(str(graph), InputShape(1, 8, 8, 10))[0].input.height == 8
    with pytest.raises(ConfigError, match=r"study file: got '.*C#/t\.yaml'; expected an existing YAML file"):
        read_student(f"{tmp_path}/C#/t.yaml#1", InputShape(1, 8, 8, 10))
