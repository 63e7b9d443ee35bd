"""Commands against a real store, through the entry point that users call."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autostudent.assets import Assets
from autostudent.cli import main
from autostudent.config import load_settings
from autostudent.records import Candidate, Cause, Failure, Result
from autostudent.report.cite import papers
from autostudent.store.store import Store

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study file and the store of a finished search of five students."""
    place = tmp_path_factory.mktemp("study")
    text = (ROOT / "studies/digits.yaml").read_text()
    text = text.replace("sqlite:///runs/", f"sqlite:///{place}/runs/")
    (place / "digits.yaml").write_text(text)
    settings = load_settings(place / "digits.yaml")
    assets = Assets(settings.artifacts)
    resolved = {**settings.resolved(), "spaces": {"params": {}}}
    with Store.create_or_open(
        settings.store, settings.study, resolved, settings.objectives, assets, rungs=(3, 9, 27)
    ) as store:
        teacher = {"kind": "teacher", "accuracy": 0.99, "params": 1_000_000, "macs": 10**8, "memory_bytes": 4_000_000}
        store.set_reference("main", teacher)
        store.describe({"validation_images": 360, "papers": papers(["kd", "takd", "ces_kd"])})
        made = [("kd", 0.97, 50_000), ("takd", 0.98, 80_000), ("none", 0.90, 5_000), ("ces_kd", 0.95, 60_000)]
        for number, (method, accuracy, params) in enumerate(made):
            costs = {"params": params, "macs": params * 100, "memory_bytes": params * 4}
            candidate = Candidate({"kd.loss": method, "top.p": 0.25}, number)
            trial = store.create(candidate, f"f{number}", costs, {"method": method, "teachers": ["main"]})
            for epoch in (3, 9, 27):
                store.start(trial.number, epoch)
                value = accuracy - (27 - epoch) / 100
                store.commit(trial.number, Result(epoch, {"accuracy": value}, seconds={"student": 1.0}))
        costs = {"params": 9_000, "macs": 900_000, "memory_bytes": 9_000}
        trial = store.create(Candidate({"kd.loss": "kd"}, 9), "f9", costs, {"method": "kd", "teachers": ["main"]})
        store.start(trial.number, 3)
        store.fail(trial.number, Failure(Cause.DIVERGED, "loss is <nan>", "Traceback (most recent call last)"))
        store.finish()
    return place


def test_pareto_as_json(folder: Path, run: Run) -> None:
    code, out, _ = run("pareto", folder / "digits.yaml", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["trial"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert {"trial", "accuracy", "params", "macs", "memory_bytes", "method", "teachers"} <= row.keys()


def test_pareto_for_people_shows_the_teacher(folder: Path, run: Run) -> None:
    _, out, _ = run("pareto", folder / "digits.yaml")
    assert "Pareto front of digits" in out
    assert "teacher" in out
    assert "98.0 %" in out
    line = next(line for line in out.splitlines() if line.startswith("1 "))
    assert "80.0 k" in line
    assert " 12×" in line or " 13×" in line


def test_pareto_from_the_store_alone(folder: Path, run: Run) -> None:
    code, out, _ = run("pareto", "--store", f"sqlite:///{folder}/runs/digits/study.db", "--json")
    assert code == 0
    assert len(json.loads(out)) == 3


@pytest.mark.parametrize(
    ("options", "trial"),
    [
        ([], 1),
        (["--max-params", "60k"], 0),
        (["--max-memory", "30KiB"], 2),
        (["--max-macs", "5M"], 0),
        (["--within", "1.5"], 0),
        (["--min-accuracy", "96", "--max-params", "60k"], 0),
        (["--rule", "knee"], 0),
        (["--rule", "smallest"], 1),
    ],
)
def test_best(folder: Path, run: Run, options: list[str], trial: int) -> None:
    code, out, _ = run("best", folder / "digits.yaml", *options, "--json")
    assert code == 0
    row = json.loads(out)
    assert row["trial"] == trial
    assert row["reason"]


def test_best_that_cannot_be_names_the_nearest(folder: Path, run: Run) -> None:
    code, _, err = run("best", folder / "digits.yaml", "--max-params", "100")
    assert code == 2
    assert err.startswith("autostudent: --max-params: got '100'; expected limits that a student")
    assert "student 2" in err
    assert len(err.strip().splitlines()) == 1
    _, _, err = run("best", folder / "digits.yaml", "--max-params", "1k", "--min-accuracy", "99")
    assert "--max-params and --min-accuracy: got '1k and 99.0'" in err


def test_report(folder: Path, run: Run, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    code, out, _ = run("report", folder / "digits.yaml", "--out", target)
    page = target.read_text()
    assert code == 0
    assert "page.html" in out
    assert "keeps" in page or "comes within" in page
    assert "loss is &lt;nan&gt;" in page
    assert "Hinton" in page


def test_the_page_repeats_the_options_that_name_its_study(folder: Path, run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    code, _, err = run("report", folder / "digits.yaml", "--set", "budget.trials=30", "--out", page)
    assert code == 0, err
    assert f"autostudent verify {folder}/digits.yaml --set budget.trials=30" in page.read_text()


def test_the_page_names_the_study_that_was_asked_for(folder: Path, run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    file = folder / "other.yaml"
    file.write_text((folder / "digits.yaml").read_text().replace("study: digits", "study: other"))
    code, _, err = run("report", file, "--study", "digits", "--out", page)
    assert code == 0, err
    (store,) = folder.rglob("study.db")
    again = f"autostudent search {file} --set 'study=\"digits\"' --store sqlite:///{store}"
    assert again in page.read_text()


def test_report_lies_beside_the_store(folder: Path, run: Run) -> None:
    run("report", folder / "digits.yaml")
    assert (folder / "runs/digits/report.html").is_file()


def test_pages_of_two_studies_in_one_store_are_two_files(folder: Path, run: Run, tmp_path: Path) -> None:
    store = tmp_path / "study.db"
    shutil.copy(folder / "runs/digits/study.db", store)
    with sqlite3.connect(store) as there:
        there.execute("INSERT INTO studies (study_name) VALUES ('other')")
    code, _, err = run("report", "--store", f"sqlite:///{store}", "--study", "digits")
    assert code == 0, err
    assert [file.name for file in tmp_path.glob("*.html")] == ["report-digits.html"]


def test_report_as_markdown_and_as_a_table_of_all_students(folder: Path, run: Run, tmp_path: Path) -> None:
    run("report", folder / "digits.yaml", "--out", tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("# digits: students found by autostudent")
    assert "| 1 | 98.0 % | 80.0 k |" in text
    run("report", folder / "digits.yaml", "--out", tmp_path / "all.csv")
    lines = (tmp_path / "all.csv").read_text().splitlines()
    assert len(lines) == 1 + 5
    assert lines[0].startswith("trial,accuracy,params")


def scalars(folder: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """What event files hold, by run and tag; a record is length, checksum, data, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for file in folder.glob("*/*/events.out.tfevents.*"):
        data, tags = file.read_bytes(), found.setdefault(file.parent.name, {})
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    tags.setdefault(value.tag, []).append((event.step, round(value.simple_value, 4)))
            data = data[16 + length :]
    return found


def test_events_hold_every_curve_once_however_often_they_are_written(folder: Path, run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        code, out, _ = run("events", folder / "digits.yaml", "--to", tmp_path)
        assert code == 0
        assert "Wrote 5 runs" in out
    runs = scalars(tmp_path)
    assert sorted(runs) == [f"student-{number:05}" for number in range(5)]
    assert runs["student-00001"]["accuracy"] == [(3, 0.74), (9, 0.8), (27, 0.98)]
    assert runs["student-00001"]["params"] == [(27, 80_000.0)]
    assert "accuracy" not in runs["student-00004"]


def test_mlflow_runs_keep_their_ids_and_are_not_written_twice(folder: Path, run: Run, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri, seen = f"sqlite:///{tmp_path}/mlflow.db", []
    for _ in range(2):
        code, out, _ = run("events", folder / "digits.yaml", "--format", "mlflow", "--to", uri)
        assert code == 0
        assert "Wrote 5 runs" in out
        client = mlflow.MlflowClient(tracking_uri=uri)
        runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
        seen.append({entry.info.run_name: entry.info.run_id for entry in runs})
    assert seen[0] == seen[1]
    assert sorted(seen[0]) == [f"student-{number:05}" for number in range(5)]
    one = client.get_run(seen[0]["student-00001"])
    curve = client.get_metric_history(one.info.run_id, "accuracy")
    assert [(point.step, round(point.value, 4)) for point in curve] == [(3, 0.74), (9, 0.8), (27, 0.98)]
    assert one.data.params["params"] == "80000"
    assert client.get_run(seen[0]["student-00004"]).info.status == "FAILED"


def wandb_records(file: Path) -> Iterator[bytes]:
    """Records of a .wandb file: a LevelDB log after a header of 7 bytes, chunks of (checksum, length, kind, data)."""
    data, place, block, record = file.read_bytes(), 7, 32_768, b""
    while place + 7 <= len(data):
        if block - place % block < 7:  # a chunk's header never crosses a block
            place += block - place % block
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_offline_runs_of_wandb_keep_their_ids(folder: Path, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    names = []
    for _ in range(2):
        code, out, _ = run("events", folder / "digits.yaml", "--format", "wandb", "--to", tmp_path)
        assert code == 0
        assert "Wrote 5 runs" in out
        names.append(sorted(file.name for file in tmp_path.glob("wandb/offline-run-*/run-*.wandb")))
    assert names[0] == names[1]
    assert len(names[0]) == 5
    found = {}
    for file in tmp_path.glob("wandb/offline-run-*/run-*.wandb"):
        title, steps = "", {}
        for record in map(Record.FromString, wandb_records(file)):
            title = record.run.display_name or title
            items = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            if "accuracy" in items:
                steps[record.history.step.num] = round(float(items["accuracy"]), 4)
        found[title] = steps
    assert found["student-00001"] == {3: 0.74, 9: 0.8, 27: 0.98}


def test_doctor(folder: Path, run: Run) -> None:
    code, out, _ = run("doctor", folder / "digits.yaml", "--json")
    summary = json.loads(out)
    assert code == 0
    assert summary["trials"] == {"complete": 4, "fail": 1}
    assert summary["failures"] == {"diverged": 1}
    assert summary["repaired"] == []
    _, out, _ = run("doctor", folder / "digits.yaml")
    assert "nothing to repair" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pareto"], "a study file, or --store URL"),
        (["pareto", "no.yaml"], "an existing YAML file"),
        (["pareto", "--store", "sqlite:////nowhere/at/all.db"], "nothing is stored there"),
        (["pareto", "--store", "nonsense"], "nonsense"),
        (
            ["pareto", "--store", "sqlite:///a.db", "--set", "seed=1"],
            "--set: got 'seed=1'; expected a study file",
        ),
        (["pareto", "STUDY", "--study", "other"], "holds no study 'other'. There: digits"),
        (["best", "STUDY", "--max-latency", "nan"], "--max-latency: got nan; expected milliseconds above 0"),
        (["verify", "STUDY", "--trials", ","], "--trials: got ','; expected numbers of trials"),
        (["check", "STUDY", "--set", "teachers={'t#1': {}}"], "a name without '#'"),
        (["check", "STUDY", "--set", "teachers={student 3: {}}"], "not that of a student"),
        (["best", "STUDY", "--max-params", "few"], "--max-params: got 'few'"),
        (["best", "STUDY", "--rule", "luck"], "--rule: got 'luck'; expected one of: accuracy, knee, smallest"),
        (["best", "STUDY", "--within", "-1"], "--within"),
        (["best", "STUDY", "--within", "1", "--rule", "knee"], "no --rule beside it"),
        (["best", "STUDY", "--min-accuracy", "200"], "--min-accuracy"),
        (["best", "STUDY", "--min-accuracy", "0.97"], "--min-accuracy: got 0.97; expected a percentage: 97 for 97 %"),
        (["best", "STUDY", "--min-accuracy", "99.5"], "the nearest is student 1 with accuracy 0.9800"),
        (
            ["events", "STUDY", "--format", "csv"],
            "--format: got 'csv'; expected one of: tensorboard, mlflow, wandb, optuna",
        ),
        (["report", "STUDY", "--out", "page.pdf"], "a file that ends in .html, .md, .csv"),
        (["report", "STUDY", "--out", f"{__file__}/page.html"], "test_queries.py: File exists"),
        (["verify", "STUDY", "--trials", "3,x"], "--trials: got 'x'; expected numbers of trials"),
        (["verify", "STUDY", "--trials", "3", "--shortlist", "3"], "--shortlist: got 3; expected no --trials beside"),
        (["verify", "STUDY", "--shortlist", "9"], "--shortlist: got 9; expected 1 to 3"),
        (["check", "STUDY", "--set", "budget.trails=3"], "did you mean 'trials'?"),
        (["search", "STUDY", "--trials", "0"], "budget.trials"),
        (["methods", "kdd"], "did you mean 'kd'?"),
        (["spaces", "hnag_tin"], "did you mean 'hnag_tiny'?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder: Path, run: Run, arguments: list[str], words: str) -> None:
    code, out, err = run(*[folder / "digits.yaml" if part == "STUDY" else part for part in arguments])
    assert code == 2
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(("ended", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_an_interrupted_command_says_how_to_go_on(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, ended: BaseException, code: int
) -> None:
    def cut(*arguments: object) -> None:
        raise ended

    monkeypatch.setattr("autostudent.cli.queries.open_store", cut)
    found, _, err = run("pareto", folder / "digits.yaml")
    assert found == code
    assert err == "autostudent: interrupted; the same command goes on where it was\n"


def test_a_damaged_store_is_said_in_one_line(folder: Path, run: Run, tmp_path: Path) -> None:
    (whole,) = folder.rglob("study.db")
    damaged = tmp_path / "study.db"
    pages = bytearray(whole.read_bytes())
    pages[4096:] = b"\xff" * (len(pages) - 4096)  # the first page says what tables there are
    damaged.write_bytes(pages)
    for command in ("doctor", "costs", "report", "pareto"):
        code, _, err = run(command, "--store", f"sqlite:///{damaged}")
        assert code
        assert "database disk image is malformed" in err
        assert len(err.strip().splitlines()) == 1


def test_verifying_a_store_that_is_not_there_makes_none(folder: Path, run: Run, tmp_path: Path) -> None:
    code, _, err = run("verify", folder / "digits.yaml", "--store", f"sqlite:///{tmp_path}/typo.db")
    assert code == 2
    assert "nothing is stored there yet" in err
    assert not list(tmp_path.iterdir())


def test_a_terminal_without_a_sign_shows_the_rest() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "autostudent", "methods"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "ca_mkd" in done.stdout


def test_debug_shows_the_traceback(run: Run, folder: Path) -> None:
    from autostudent.errors import ConfigError

    with pytest.raises(ConfigError):
        main(["pareto", "--debug", "no.yaml"])


@pytest.mark.parametrize(
    "command", [["pareto", "STUDY", "--json"], ["best", "STUDY", "--json"], ["report", "STUDY", "--out", "PAGE"]]
)
def test_a_question_loads_nothing_heavy(folder: Path, command: list[str]) -> None:
    names = {"STUDY": str(folder / "digits.yaml"), "PAGE": str(folder / "light.html")}
    code = (
        "import sys; from autostudent.cli import main\n"
        f"try: main({[names.get(word, word) for word in command]})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'ray', 'botorch', 'pandas', 'sklearn', 'scipy.stats', 'optuna'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_module_runs_where_no_script_is_installed() -> None:
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-m", "autostudent", "--help"], capture_output=True, text=True, check=True, env=environment
    )
    for command in ("check", "search", "pareto", "best", "report", "methods", "spaces", "doctor", "submit", "stop"):
        assert command in done.stdout


def test_catalogues(run: Run) -> None:
    _, out, _ = run("methods", "--json")
    listed = {row["id"]: row for row in json.loads(out)}
    assert {"none", "kd", "takd", "ces_kd"} <= listed.keys()
    assert "1503.02531" in listed["kd"]["paper"]
    _, out, _ = run("spaces", "hnag_tiny", "--json")
    assert "top.p" in [param["name"] for param in json.loads(out)["params"]]
    _, out, _ = run("spaces")
    assert "kd_basic" in out
