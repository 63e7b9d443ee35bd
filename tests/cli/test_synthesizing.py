"""``synthesize``: a study for a teacher that only answers, from few pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from autostudent.config import load_study
from autostudent.measure.predict import predict
from autostudent.testing.studies import InlineStudy

Run = Callable[..., tuple[int, str, str]]
STUDY = """
study: small
data: {name: digits, limit: 300}
teachers: {main: {resnet: {depth: 8, width: 8}, epochs: 8}, other: {resnet: {depth: 8, width: 4}, epochs: 1}}
ladder: {of: main, assistants: 2}
space: {students: hnag_tiny, recipe: kd_basic}
objectives: {accuracy: maximize, params: {minimize: true, limit: 9k}}
budget: {trials: 2, epochs: 2, rungs: [2]}
training: {batch_size: 32}
search: {warm_start: sqlite:///earlier.db, seed: 3}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "small.yaml"
    file.write_text(STUDY)
    return file


@pytest.mark.slow
def test_the_study_that_is_made_searches_as_it_stands(run: Run, study: Path) -> None:
    code, out, err = run("synthesize", study, "--out", "few", "--pictures", 60, "--epochs", 5, "--json")
    assert code == 0, err
    made = json.loads(out)
    counts = made["pictures"]
    assert made["study"] == str(Path("few/study.yaml").absolute())
    assert counts["real"] == 60
    assert counts["blended"] + counts["drawn"] == 20 * 60
    assert made["asked"] == 21 * 60
    assert 0.5 < made["agrees"] <= 1

    before, after = load_study(study), load_study("few/study.yaml")
    old, new = before.dataset, after.dataset
    pool = np.load("few/pictures.npz")
    labels = {picture.tobytes(): int(y) for picture, y in zip(old.train.x.numpy(), old.train.y, strict=True)}
    counted = np.bincount([labels[picture.tobytes()] for picture in pool["x_train"][:60]])
    assert counted.tolist() == [6] * 10
    assert len(new.train) == 21 * 60
    assert torch.equal(new.validation.x, old.validation.x)
    assert torch.equal(new.test.y, old.test.y)
    assert after.settings.search.seed == 3
    assert after.settings.search.warm_start is None
    assert after.settings.ladder is None

    inline = InlineStudy(after.settings)
    inline.run()
    assert [row["state"] for row in inline.rows()] == ["complete", "complete"]
    first, second = before.teachers()["main"], after.teachers()["main"]
    assert torch.equal(predict(first.module, old.validation.x), predict(second.module, old.validation.x))
    assert torch.equal(predict(second.module, new.train.x).argmax(1), new.train.y)

    code, _, err = run("synthesize", study, "--out", "few", "--pictures", 60)
    assert code == 2
    assert err == "autostudent: --out: got 'few'; expected a folder without pictures.npz of before\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--pictures", 999), "--pictures: got '999'; expected a number from 1 to 240"),
        (
            ("--pictures", 50, "--teacher", "mian"),
            "--teacher: got 'mian'; expected a teacher of the study: main, other",
        ),
        (("--pictures", 50, "--alpha", 0), "--alpha: got '0.0'; expected a number above 0"),
        (("--pictures", 50, "--discard", 0.5), "--discard: got '0.5'; expected a number from 0, less than a half"),
    ],
)
def test_what_cannot_be_made_is_said_before_a_teacher_is_trained(
    run: Run, study: Path, options: tuple[object, ...], message: str
) -> None:
    code, out, err = run("synthesize", study, "--out", "few", *options)
    assert code == 2
    assert message in err
    assert out == ""
    assert not Path("few").exists()
