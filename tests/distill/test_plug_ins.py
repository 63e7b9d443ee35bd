"""Methods from outside: found by name, told apart by release, and refused in words where they cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from torch import Tensor

from autostudent.distill.fit import Fit
from autostudent.distill.method import Method
from autostudent.distill.methods import METHODS, find_method, method_id, version_of
from autostudent.distill.methods.kd import KD
from autostudent.distill.types import Needs, State, View
from autostudent.errors import ConfigError
from autostudent.testing.toys import toy_job
from autostudent.verify.tasks import VerifyTask


def plugged(monkeypatch: pytest.MonkeyPatch, **classes: object) -> list[SimpleNamespace]:
    """Installs entry points; what is raised by one that is an exception is raised when it is imported."""

    def point(name: str, found: object) -> SimpleNamespace:
        def load() -> object:
            if isinstance(found, Exception):
                raise found
            return found

        dist = SimpleNamespace(name="outside", version="1.0")
        return SimpleNamespace(name=name, value=f"outside:{name.title()}", load=load, dist=dist)

    points = [point(name, found) for name, found in classes.items()]
    monkeypatch.setattr("autostudent.distill.methods.entry_points", lambda group: points)
    return points


def test_a_sound_one_is_found_whatever_stands_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(KD):
        pass

    plugged(monkeypatch, broken=RuntimeError("no licence"), mine=Mine, kd=Mine)
    assert find_method("kd.loss", "mine") is Mine
    assert method_id(Mine()) == "mine"
    assert find_method("kd.loss", "kd") is KD  # a shipped id is not theirs
    assert method_id(KD()) == "kd"
    with pytest.raises(ConfigError, match=r"kd\.loss: got 'broken'; .*outside:Broken cannot: no licence"):
        find_method("kd.loss", "broken")
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        find_method("kd.loss", "minne")


def test_what_cannot_be_used_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    points = plugged(monkeypatch, lossless=Method, number=7, again=METHODS["dkd"], twice=KD)
    for name in ("lossless", "number"):
        with pytest.raises(ConfigError, match=f"a subclass of Method with a loss behind the entry point '{name}'"):
            find_method("kd.loss", name)
    with pytest.raises(ConfigError, match="a class of its own behind 'again'; this one is 'dkd'"):
        find_method("kd.loss", "again")
    points.append(SimpleNamespace(name="twice", value="other:Twice", load=lambda: KD, dist=None))
    with pytest.raises(ConfigError, match="one installed entry point of this name; there are other:Twice, outside:Tw"):
        find_method("kd.loss", "twice")


def test_another_release_is_proved_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    (point,) = plugged(monkeypatch, mine=KD)

    def key(loss: str) -> str:
        return VerifyTask("student 1", {}, {"kd.loss": loss}, "base", 1, 3).key

    before, shipped = key("mine"), key("kd")
    assert version_of("mine") == "outside:Mine outside 1.0"
    point.dist.version = "1.1"
    assert key("mine") != before
    assert (version_of("kd"), key("kd")) == ("", shipped)


@dataclass(frozen=True)
class Column(KD):
    def loss(self, view: View, state: State) -> Tensor:
        return super().loss(view, state)[:, None]


@dataclass(frozen=True)
class Scalar(KD):
    def loss(self, view: View, state: State) -> Tensor:
        return super().loss(view, state).mean()


@dataclass(frozen=True)
class Weigher(KD):
    def label_weight(self, view: View, state: State) -> Tensor:
        return view.logits.new_ones(len(view.logits), 1)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        (Column(), r"Column\.loss: got \(\d+, 1\)"),
        (Scalar(), r"Scalar\.loss: got \(\)"),
        (Weigher(), r"Weigher\.label_weight: got \(\d+, \d+\)"),
    ],
)
def test_a_loss_of_another_shape_is_refused(method: Method, given: str) -> None:
    with pytest.raises(ConfigError, match=f"{given}; expected one value a sample"):
        Fit(toy_job(method)).run(1)


def test_needs_that_nobody_meets_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs\.access: got 'everything'; expected one of"):
        Needs(access="everything")
