"""``distill`` and ``methods``: one student with one recipe, and what the catalogue says of each method."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

import autostudent
from autostudent.build.network import build
from autostudent.config import load_study
from autostudent.config.single import read_course, read_method, read_student
from autostudent.distill.method import knobs
from autostudent.distill.methods import METHODS
from autostudent.errors import ConfigError
from autostudent.records import Candidate, Result
from autostudent.space.architecture import Architecture, InputShape
from autostudent.space.cost import costs

Run = Callable[..., tuple[int, str, str]]
DIGITS = InputShape(1, 8, 8, 10)
STUDY = """
study: small
data: {{name: digits, limit: 300}}
teachers: {{main: {{resnet: {{depth: 8, width: 8}}, epochs: 1}}}}
ladder: {{of: main, assistants: 2}}
space: {{students: hnag_tiny, recipe: kd_basic}}
objectives: {{accuracy: maximize, params: {{minimize: true, limit: 9k}}}}
budget: {{trials: 1, epochs: 2}}
training: {{batch_size: 32}}
store: sqlite:///{folder}/small/study.db
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Settings of trainings of a second; teachers are found again by later tests."""
    entries = ["data.name=digits", "data.limit=300", "training.batch_size=32"]
    return [*entries, f"artifacts={tmp_path_factory.mktemp('assets')}"]


def given(shared: list[str], *more: str) -> list[str]:
    return [part for entry in (*shared, *more) for part in ("--set", entry)]


def test_one_student_with_one_recipe_and_its_costs_in_three_columns(
    run: Run, shared: list[str], tmp_path: Path
) -> None:
    common = ("distill", "--student", "resnet:8x2", "--teacher", "resnet:8x4@2", "--epochs", 2, "--json")
    code, out, err = run(*common, "--method", "dkd", *given(shared, "dkd.beta=2", "alpha=0.5"), "--out", tmp_path)
    outcome = json.loads(out)

    assert code == 0, err
    assert (outcome["method"], outcome["teachers"], outcome["epochs"]) == ("dkd", ["main"], 2)
    assert outcome["recipe"] == {"kd.loss": "dkd", "dkd.beta": 2, "kd.alpha": 0.5}
    assert set(outcome["seconds"]) == {"student", "private", "shared"}
    assert outcome["seconds"]["private"] == 0 < outcome["seconds"]["student"]
    assert outcome["seconds"]["shared"] == pytest.approx(sum(outcome["shared"].values()))
    assert set(outcome["shared"]) == {"main"}
    assert outcome["test"] is None
    assert {"accuracy", "ece", "nll"} <= outcome["validation"].keys()
    graph = Architecture.from_json(json.loads((tmp_path / "architecture.json").read_text()))
    build(graph, 0, (0.0,), (1.0,)).load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert json.loads((tmp_path / "outcome.json").read_text())["recipe"] == outcome["recipe"]


@pytest.mark.parametrize("method", ["takd", "ta_ensemble(dkd)", "ctkd(ces_kd)", "dgkd", "bd_kd"])
def test_a_method_brings_the_ladder_that_it_asks_for(shared: list[str], method: str) -> None:
    outcome = autostudent.train_student(
        "resnet:8x2", method, "resnet:8x4@2", settings=shared, epochs=1, test=method == "dgkd"
    )

    assert outcome["method"] == method
    assert (outcome["test"] is not None) == (method == "dgkd")
    assert (outcome["seconds"]["private"] > 0) == (method == "bd_kd")
    assert "main" in outcome["shared"]  # it taught the assistants, where it is no teacher itself


@pytest.mark.parametrize(("student", "rung"), [("resnet:8x7", "ta1"), ("resnet:8x1", "ta2")])
def test_a_rule_chooses_the_rung_by_the_size_of_the_student(shared: list[str], student: str, rung: str) -> None:
    ladder = ["ladder.of=main", "ladder.assistants=2", "ladder.smallest=2000"]
    rule = [*ladder, "teach.rule=geometric_params"]
    outcome = autostudent.train_student(student, "takd", "resnet:8x8@1", settings=[*shared, *rule], epochs=1)

    assert outcome["teachers"] == [rung]
    assert rung in outcome["shared"]


def test_labels_alone_in_a_study_with_a_ladder_need_no_teacher(shared: list[str]) -> None:
    settings = [*shared, "ladder.of=main", "ladder.assistants=2"]
    outcome = autostudent.train_student("resnet:8x2", "none", "resnet:8x8@1", settings=settings, epochs=1)
    assert outcome["teachers"] == []


def test_the_same_training_gives_the_same_student(shared: list[str], run: Run) -> None:
    common = ("distill", "--student", "resnet:8x2", "--method", "none", "--epochs", 2, "--json", *given(shared))
    first, again, other = (json.loads(run(*common, "--seed", seed)[1])["validation"] for seed in (3, 3, 4))

    assert first == again
    assert first["nll"] != other["nll"]


@pytest.mark.slow
def test_a_compiled_training_gives_the_same_student_but_for_rounding(shared: list[str], tmp_path: Path) -> None:
    given = {"student": "resnet:8x2", "method": "kd", "teacher": "resnet:8x4@2", "epochs": 2, "seed": 3}
    plain = autostudent.train_student(**given, settings=shared)
    fast = autostudent.train_student(**given, settings=[*shared, "training.compile=true"], out=tmp_path)

    assert fast["validation"] == pytest.approx(plain["validation"], rel=0.05, abs=0.02)
    assert not any("_orig_mod" in name for name in load_file(tmp_path / "weights.safetensors"))


def test_without_a_compiler_nothing_is_compiled(shared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"training\.compile: got True.*no C\+\+ compiler"):
        autostudent.train_student("resnet:8x2", "none", settings=[*shared, "training.compile=true"], epochs=1)


def test_students_are_shapes_files_or_mappings(tmp_path: Path) -> None:
    graph, recipe = read_student("resnet:8x4/2", DIGITS)
    (tmp_path / "graph.json").write_text(json.dumps(graph.to_json()))

    assert recipe is None
    assert read_student(str(tmp_path / "graph.json"), DIGITS)[0].fingerprint == graph.fingerprint
    mapping = {"resnet": {"depth": 8, "width": 4, "stem_stride": 2}}
    assert read_student(mapping, DIGITS)[0].fingerprint == graph.fingerprint
    with pytest.raises(ConfigError, match=r"made for InputShape\(channels=1"):
        read_student(str(tmp_path / "graph.json"), InputShape(3, 8, 8, 10))


def test_a_trial_of_a_study_is_trained_again_with_its_own_recipe(run: Run, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(STUDY.format(folder=tmp_path))
    study = load_study(tmp_path / "small.yaml")
    recipe = {"kd.loss": "kd", "teach.scheme": "ladder", "teach.rung": 2, "kd.temperature": 3.0, "kd.weight": 0.5}
    recipe |= {"optim.lr": 0.05, "optim.weight_decay": 1e-4}
    drawn, _ = study.drawn[0]
    students = {name: value for name, value in drawn.config.items() if name not in study.space.recipe}
    candidate = Candidate({**students, **recipe}, drawn.seed)
    graph = study.catalogue.architecture(candidate)
    with study.open_store() as store:
        kept = {"graph": study.assets.put(json.dumps(graph.to_json()).encode(), ".json")}
        price = {name: float(value) for name, value in costs(graph).as_dict().items()}
        number = store.create(
            candidate, graph.fingerprint, price, {"method": "takd", "teachers": ["ta2"], **kept}
        ).number
    text = STUDY.format(folder=tmp_path).replace("name: digits", 'name: "${NOT_SET_HERE}"')
    (tmp_path / "small.yaml").write_text(text)  # as a study whose data only the command names
    student = ("--student", f"{tmp_path}/small.yaml#{number}", "--set", "data.name=digits")
    code, out, err = run("distill", *student, "--epochs", 1, "--json")
    outcome = json.loads(out)

    assert code == 0, err
    assert (outcome["method"], outcome["teachers"]) == ("takd", ["ta2"])
    assert outcome["recipe"] == recipe
    assert outcome["costs"] == price


def test_teachers_of_one_shape_differ_in_their_seed() -> None:
    settings = ["data.name=digits"]
    course, _ = read_course(None, settings, ["resnet:8x4@3"] * 3, None)
    other, config = read_method(course, "ca_mkd", {}, ())

    assert [spec.get("seed", 0) for spec in course.teachers.values()] == [0, 1, 2]
    assert list(course.teachers) == ["main", "t2", "t3"]
    assert (other.ladder, config) == (None, {"kd.loss": "ca_mkd"})
    assert other.roster.ladder == ("main", "t2", "t3")


def test_data_teachers_and_sources_come_from_a_study() -> None:
    study = Path(__file__).parents[2] / "studies/digits_all_methods.yaml"
    course, recipe = read_course(study, ["data.limit=500", "kd.temperature=2"], ["checkpoint"], 5)
    _, config = read_method(course, "kd", recipe, ["checkpoint"])

    assert course.epochs == 5
    assert course.data == {"name": "digits", "limit": 500}
    assert course.teachers["checkpoint"]["resnet"] == course.teachers["main"]["resnet"]
    assert course.roster.sources["sweet2"] == "teacher_sweet_spot"
    assert config == {"kd.loss": "kd", "kd.temperature": 2, "teach.source": "checkpoint"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "dkdd"], "did you mean 'dkd'"),
        (["--method", "dkd", "--set", "dkd.bta=2"], "did you mean 'dkd.beta'"),
        (["--method", "dkd", "--set", "dkd.beta=200"], "0.5 to 12.0"),
        (["--method", "dkd", "--set", "dkdd.beta=2"], "did you mean 'dkd'"),
        (["--method", "self_kd", "--set", "generations=1.5"], "a whole number from 1 to 5"),
        (["--method", "kd", "--set", "optim.lr=fast"], "optim.lr: got 'fast'"),
        (["--method", "dkd", "--set", "beta"], "name=value"),
        (["--method", "ca_mkd", "--set", "ladder.of=main", "--set", "ladder.assistants=0"], "at least 2 teachers"),
        (["--method", "amal", "--set", "data.meta=0"], "amal needs a meta split"),
        (["--method", "ta_ensemble", "--set", "data.meta=0"], "ta_ensemble needs a meta split"),
        (["--method", "ca_mkd", "--set", "feature=50", "--set", "ca_mkd.tap=stage9"], "ca_mkd.tap"),
        (["--method", "teacher_sweet_spot"], "a teacher that has sweet_spot"),
        (["--method", "takd(ctkd(kd))"], "the order"),
        (["--method", "ctkd(ces_kd"], "method: got 'ctkd(ces_kd'; expected a closing bracket"),
        (["--method", ""], "method: got ''; expected one of"),
        (["--out", __file__], "out: got "),  # before anything is trained
        (["--teacher", "resnet50"], "resnet:DEPTHxWIDTH"),
        (["--student", "graph.json"], "an architecture's JSON file"),
        (["--student", "resnet:9x4"], "6n + 2"),
        (["--set", "training.batch_size=0"], "training.batch_size"),
        (["--set", "teachers=5"], "teachers: got 5; expected a mapping"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_line(
    arguments: list[str], message: str, shared: list[str], run: Run
) -> None:
    code, out, err = run("distill", "--student", "resnet:8x2", "--teacher", "resnet:8x4@2", *given(shared), *arguments)

    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_without_data_or_student_nothing_begins(run: Run) -> None:
    assert "data.name=digits" in run("distill", "--student", "resnet:8x2")[2]
    assert "--student" in run("distill", "--method", "kd")[2]


def test_methods_list_paper_needs_and_knobs_of_all(run: Run) -> None:
    rows = json.loads(run("methods", "--json")[1])

    assert [row["id"] for row in rows] == list(METHODS)
    assert all(row["needs"] for row in rows)
    assert all("arXiv" in row["paper"] for row in rows if row["id"] != "none")
    for row in rows:
        for knob in row["hyperparameters"]:
            assert "choices" in knob or {"low", "high"} <= knob.keys(), (row["id"], knob["name"])


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("kd", "1 teacher"),
        ("amal", "a meta split"),
        ("ta_ensemble", "2 or more: flat assistants"),
        ("ta_ensemble", "a meta split"),
        ("ces_kd", "derived: difficulty"),
        ("ca_mkd", "the teacher's heads (where feature is not 0.0)"),
        ("ca_mkd", "2 or more: teachers"),
        ("sokd", "the teacher's taps"),
    ],
)
def test_one_method_in_detail(run: Run, name: str, needs: str) -> None:
    code, out, _ = run("methods", name)

    assert code == 0
    assert needs in out
    assert all(f"  {knob} = {default}" in out for knob, default, _ in knobs(METHODS[name]))


def test_costs_of_a_study_in_three_columns(run: Run, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(STUDY.format(folder=tmp_path))
    study = load_study(tmp_path / "small.yaml")
    with study.open_store() as store:
        store.describe({"shared": {"main": {"seconds": 60.0, "taught_by": []}}})
        for number, teachers in enumerate((["main"], ["main"], [])):
            price = {"params": 1000.0, "macs": 1.0, "memory_bytes": 1.0}
            about = {"method": "kd" if teachers else "dml", "teachers": teachers}
            trial = store.create(Candidate({"kd.loss": "kd"}, number), f"f{number}", price, about)
            store.start(trial.number, 2)
            store.commit(trial.number, Result(2, {"accuracy": 0.5}, seconds={"student": 4.0, "private": 3.0 * number}))
    found = json.loads(run("costs", tmp_path / "small.yaml", "--json")[1])
    code, text, _ = run("costs", tmp_path / "small.yaml")

    assert code == 0
    assert [row["share"] for row in found["students"]] == [30.0, 30.0, 0.0]
    assert [row["private"] for row in found["students"]] == [0.0, 3.0, 6.0]
    assert found["teachers"] == [{"name": "main", "seconds": 60.0, "users": 2}]
    assert "used by 2" in text
