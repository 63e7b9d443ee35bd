"""Workers that start while the study still prepares: they do other work before it comes, and are in nobody's way."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from autostudent.errors import ConfigError
from autostudent.records import Candidate, Result, Segment

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ray_tune = pytest.importorskip("autostudent.run.ray_tune")
RayRunner = ray_tune.RayRunner


@pytest.fixture(autouse=True)
def _by_value() -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test module


class Script:
    """A driver that gives ``total`` segments."""

    def __init__(self, total: int = 6) -> None:
        self.total = total
        self.given = 0
        self.asked_at = 0.0
        self.results: list[Result] = []

    @property
    def finished(self) -> bool:
        return self.given == self.total

    def fill(self, room: int) -> list[Segment]:
        self.asked_at = self.asked_at or time.time()
        first, self.given = self.given, min(self.total, self.given + room)
        return [Segment(number, Candidate({}, number), 0, 3) for number in range(first, self.given)]

    def commit(self, segment: Segment, result: Result) -> None:
        self.results.append(result)

    @property
    def pids(self) -> set[int]:
        assert not any(result.failure for result in self.results)
        assert len(self.results) == self.total
        return {int(result.metrics["pid"]) for result in self.results}


class Laborer:
    """Says in which process it works."""

    def run(self, segment: Segment) -> Result:
        time.sleep(0.3)
        return Result(segment.until_epoch, {"accuracy": 0.5}, {"pid": float(os.getpid())})


def noting(folder: Path, then: Callable[[], Any] = int) -> Callable[[], Any]:
    """A preparation that leaves the process's number in ``folder``."""

    def prepare(place: str) -> None:
        Path(place, str(os.getpid())).touch()
        then()

    return partial(prepare, str(folder))


def noted(folder: Path) -> set[int]:
    return {int(path.name) for path in folder.iterdir()}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_study_that_comes_late_finds_its_workers_ready_on_processes_that_ray_had_started(tmp_path: Path) -> None:
    driver = Script()
    with RayRunner(2) as runner:
        time.sleep(1)
        warmed_at = time.time()
        runner.warm(noting(tmp_path))
        runner.warm(noting(tmp_path))  # said again while they are there
        until(lambda: len(noted(tmp_path)) == 2)
        born = [psutil.Process(pid).create_time() for pid in noted(tmp_path)]
        assert driver.asked_at == 0.0
        runner.run(driver, Laborer)
    assert driver.pids == noted(tmp_path)
    assert max(born) < warmed_at


def test_what_goes_wrong_in_a_preparation_is_found_by_the_segments_alone(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ConfigError("data.npz", "x.npz", "a file")

    driver = Script()
    with RayRunner(2) as runner:
        runner.warm(noting(tmp_path, refuse))
        until(lambda: len(noted(tmp_path)) == 2)
        runner.run(driver, Laborer)
    assert driver.pids == noted(tmp_path)


@pytest.mark.parametrize("ending", ["dies", "hangs"])
def test_a_process_that_ends_in_its_preparation_is_replaced(tmp_path: Path, ending: str) -> None:
    driver = Script(3)
    with RayRunner(1, timeout_s=2.0) as runner:
        runner.warm(noting(tmp_path, partial(os._exit, 1) if ending == "dies" else partial(time.sleep, 60)))
        until(lambda: len(noted(tmp_path)) == 1)
        runner.run(driver, Laborer)
    assert len(driver.pids) == 1
    assert driver.pids != noted(tmp_path)


def whose(value: int) -> int:
    if value == 3:
        raise ConfigError("data.npz", value, "a file")
    time.sleep(0.5)
    return os.getpid()


def test_warm_workers_do_other_work_until_the_study_comes(tmp_path: Path) -> None:
    driver = Script()
    with RayRunner(2) as runner:
        runner.warm(noting(tmp_path))
        assert runner.map(abs, [-1, 2, -3]) == [1, 2, 3]
        until(lambda: len(noted(tmp_path)) == 2)
        with pytest.raises(ConfigError, match=r"data\.npz: got 3"):
            runner.map(whose, [1, 3])
        assert set(runner.map(whose, range(100, 104))) == noted(tmp_path)
        runner.run(driver, Laborer)
    assert driver.pids == noted(tmp_path)
    assert len(driver.pids) == 2


def test_work_on_warm_workers_ends_with_its_first_error(tmp_path: Path) -> None:
    (tmp_path / "noted").mkdir()
    with RayRunner(2) as runner:
        runner.warm(noting(tmp_path / "noted"))
        assert runner.map(whose, []) == []
        with pytest.raises(ConfigError, match=r"data\.npz: got 3"):
            runner.map(partial(counted, tmp_path / "begun"), [3, *range(100, 112)])
        assert len(noted(tmp_path / "begun")) < 6


def counted(folder: Path, value: int) -> int:
    folder.mkdir(exist_ok=True)
    (folder / str(value)).touch()
    return whose(value)


def once(flag: Path, value: int) -> int:
    """Ends its process the first time."""
    if not flag.exists():
        flag.write_text(str(os.getpid()))
        os._exit(1)
    return -value


def test_work_is_done_anew_where_a_warm_worker_is_lost_over_it(tmp_path: Path) -> None:
    driver = Script()
    (tmp_path / "noted").mkdir()
    with RayRunner(2) as runner:
        runner.warm(noting(tmp_path / "noted"))
        until(lambda: len(noted(tmp_path / "noted")) == 2)
        assert runner.map(partial(once, tmp_path / "flag"), [1, 2, 3]) == [-1, -2, -3]
        before = noted(tmp_path / "noted")
        assert int((tmp_path / "flag").read_text()) in before
        runner.warm(noting(tmp_path / "noted"))
        runner.run(driver, Laborer)
    assert driver.pids
    assert not driver.pids & before


def test_whoever_leaves_before_the_study_begins_waits_for_nobody(tmp_path: Path) -> None:
    started = time.monotonic()
    with RayRunner(2) as runner:
        runner.warm(noting(tmp_path, partial(time.sleep, 300)))
        until(lambda: len(noted(tmp_path)) > 0)
    assert time.monotonic() - started < 60
    assert "tune" not in [thread.name for thread in threading.enumerate()]
    assert "RAY_CHDIR_TO_TRIAL_DIR" not in os.environ
