"""The runner on a real Ray: warm workers, typed losses, order, and stopping in every way. One Ray for the module."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autostudent.errors import AutostudentError, ConfigError
from autostudent.records import Candidate, Cause, Result, Segment
from autostudent.run.base import Worker
from autostudent.run.inline import InlineRunner

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ray_tune = pytest.importorskip("autostudent.run.ray_tune")
RayRunner = ray_tune.RayRunner


@pytest.fixture(scope="module", autouse=True)
def _one_ray() -> Iterator[None]:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test module
    with RayRunner(2):
        yield


class Script:
    """A driver that gives ``total`` segments; what a worker does in one is the candidate's ``do``."""

    def __init__(self, total: int, do: dict[int, str] | None = None, think: float = 0.0) -> None:
        self.total = total
        self.do = do or {}
        self.think = think
        self.given = 0
        self.log: list[tuple[object, ...]] = []
        self.results: dict[int, Result] = {}

    @property
    def finished(self) -> bool:
        return self.given == self.total

    def fill(self, room: int) -> list[Segment]:
        time.sleep(self.think)
        self.log.append(("fill", room))
        first, self.given = self.given, min(self.total, self.given + room)
        return [self.segment(number) for number in range(first, self.given)]

    def segment(self, number: int) -> Segment:
        return Segment(number, Candidate({"do": self.do.get(number, "work")}, number), 0, 3)

    def commit(self, segment: Segment, result: Result) -> None:
        self.log.append(("commit", segment.trial))
        self.results[segment.trial] = result


class Laborer:
    """Sleeps for a training, misbehaves on request, and leaves a file per process."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.seconds = seconds
        (folder / str(os.getpid())).touch()

    def run(self, segment: Segment) -> Result:
        started = time.time()
        match segment.candidate.config["do"]:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(60)
            case "raise":
                raise KeyError("weights")
            case "swell":
                raise MemoryError("too large")
            case "confuse":
                return Result(epoch=3, values={"accuracy": 1j})  # type: ignore[dict-item]
        time.sleep(self.seconds * (1 + 0.1 * (segment.trial % 4)))
        return Result(
            epoch=segment.until_epoch,
            values={"accuracy": segment.trial / 100},
            seconds={"start": started, "end": time.time(), "pid": float(os.getpid())},
        )


def labor(folder: Path, seconds: float) -> Callable[[], Worker]:
    return lambda: Laborer(folder, seconds)


def test_sixty_short_segments_keep_two_workers_warm_and_busy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver = Script(60)
    RayRunner(2).run(driver, labor(tmp_path, 0.3))
    assert sorted(driver.results) == list(range(60))
    assert not any(result.failure for result in driver.results.values())

    spans = [(r.seconds["pid"], r.seconds["start"], r.seconds["end"]) for r in driver.results.values()]
    pids = {pid for pid, _, _ in spans}
    begin = max(min(start for pid, start, _ in spans if pid == one) for one in pids)  # both are up
    finish = min(max(end for pid, _, end in spans if pid == one) for one in pids)  # the first is out of work
    inside = [(start, end) for _, start, end in spans if start >= begin and end <= finish]
    busy = sum(min(end, finish) - max(start, begin) for _, start, end in spans if end > begin and start < finish)
    utilization = busy / (len(pids) * (finish - begin))
    overhead = (len(pids) * (finish - begin) - busy) / len(inside)
    starts = len(list(tmp_path.iterdir()))
    with capsys.disabled():
        print(f"\n{starts} actor starts, {utilization:.1%} busy, {overhead:.3f} s overhead a segment")  # noqa: T201
    assert len(pids) == 2
    assert starts <= 3
    assert overhead <= 0.1  # the share of busy time follows from it and from how short the segments are


def test_every_loss_has_its_cause_and_the_rest_goes_on(tmp_path: Path) -> None:
    driver = Script(10, do={1: "die", 3: "raise", 4: "hang", 6: "swell", 7: "confuse"})
    RayRunner(2, timeout_s=2.0).run(driver, labor(tmp_path, 0.1))
    failures = {number: result.failure for number, result in driver.results.items() if result.failure}
    assert {number: failure.cause for number, failure in failures.items()} == {
        1: Cause.WORKER_LOST,
        3: Cause.BUG,
        4: Cause.TIMEOUT,
        6: Cause.OUT_OF_MEMORY,
        7: Cause.BUG,
    }
    assert sorted(driver.results) == list(range(10))
    assert failures[3].message == "KeyError: 'weights'"
    assert 'raise KeyError("weights")' in failures[3].traceback
    assert failures[4].message == "took longer than 2 s"
    assert "in run" in failures[4].traceback  # where it hung
    assert "complex is not JSON serializable" in failures[7].message
    assert "OOM" not in failures[1].message


def test_one_worker_asks_and_answers_as_inline_does(tmp_path: Path) -> None:
    class Learning(Script):
        """What comes next depends on what came back, and thinking takes its time now and then."""

        def segment(self, number: int) -> Segment:
            time.sleep(0.3 if number == 5 else 0.0)
            seen = sum(int(100 * result.values["accuracy"]) for result in self.results.values())
            return Segment(number, Candidate({"do": "work"}, seen), 0, 3)

        def commit(self, segment: Segment, result: Result) -> None:
            super().commit(segment, result)
            self.log.append((segment, result.values))

    logs = []
    for runner in (RayRunner(1, segments_per_fit=6), InlineRunner()):  # so in two runs of Tune
        driver = Learning(10)
        runner.run(driver, labor(tmp_path, 0.02))
        logs.append(driver.log)
    assert logs[0] == logs[1]
    assert len(logs[0]) == 29


def test_a_thinking_or_waiting_driver_costs_no_worker(tmp_path: Path) -> None:
    class Generations(Script):
        """Thinks for longer than a segment takes, and gives four only when the last four are back."""

        def fill(self, room: int) -> list[Segment]:
            return super().fill(room) if self.given == len(self.results) else []

    driver = Generations(16, think=0.4)
    RayRunner(2).run(driver, labor(tmp_path, 0.1))
    assert sorted(driver.results) == list(range(16))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_worker_that_dies_idle_costs_no_segment(tmp_path: Path) -> None:
    class Killing(Script):
        """Ends the two workers once they have nothing to do, and then gives the rest."""

        def fill(self, room: int) -> list[Segment]:
            if self.given == 2:
                if len(self.results) < 2:
                    return []
                for pid in {int(result.seconds["pid"]) for result in self.results.values()}:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(1)
            return super().fill(min(room, 2))

    driver = Killing(4)
    RayRunner(2).run(driver, labor(tmp_path, 0.1))
    assert sorted(driver.results) == [0, 1, 2, 3]
    assert not any(result.failure for result in driver.results.values())


def test_what_the_driver_raises_ends_the_run_at_once(tmp_path: Path) -> None:
    class Full(Script):
        def commit(self, segment: Segment, result: Result) -> None:
            raise ConfigError("store", "sqlite:///x", "room on the disk")

    started = time.monotonic()
    with pytest.raises(ConfigError, match="room on the disk") as caught:
        RayRunner(2).run(Full(9, do={1: "hang"}), labor(tmp_path, 0.1))
    assert caught.value.key == "store"
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_signals_stop_it_with_every_result_committed(tmp_path: Path, number: int, raised: type) -> None:
    class Impatient(Script):
        """Sends this process a signal soon after the second result, while the third segment hangs."""

        def commit(self, segment: Segment, result: Result) -> None:
            super().commit(segment, result)
            if len(self.results) == 2:
                threading.Timer(0.4, os.kill, (os.getpid(), number)).start()

    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    driver = Impatient(9, do={2: "hang"})
    started = time.monotonic()
    with pytest.raises(raised) as caught:
        RayRunner(1).run(driver, labor(tmp_path, 0.1))
    assert time.monotonic() - started < 30
    assert sorted(driver.results) == [0, 1]
    if number == signal.SIGTERM:
        assert caught.value.code == 143
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert "study" not in [thread.name for thread in threading.enumerate()]


def refuse(value: int) -> int:
    if value == 3:
        raise ConfigError("data.npz", value, "a file")
    if value == 5:
        raise OSError(threading.Lock())  # which cannot be pickled
    return value * value


def test_map_is_in_order_and_raises_what_was_raised() -> None:
    runner = RayRunner(2)
    assert runner.map(refuse, [4, 1, 2]) == [16, 1, 4]
    with pytest.raises(ConfigError, match=r"data.npz: got 3; expected a file") as caught:
        runner.map(refuse, [1, 3])
    assert caught.value.key == "data.npz"
    assert "in refuse" in caught.value.__notes__[0]
    with pytest.raises(AutostudentError, match=r"OSError: <unlocked _thread.lock") as told:
        runner.map(refuse, [5])
    assert "in refuse" in told.value.__notes__[0]


def test_a_share_that_no_machine_has_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"run.cpus_per_trial: got 64; expected at most 2"):
        RayRunner(1, cpus_per_trial=64).run(Script(1), labor(Path(), 0.1))
    with pytest.raises(ConfigError, match=r"run.gpus_per_trial: got 0.5; expected at most 0"):
        RayRunner(1, gpus_per_trial=0.5).map(refuse, [1])
    with pytest.raises(ConfigError, match=r"run.cpus_per_trial: got 64"), RayRunner(1, cpus_per_trial=64):
        pass  # before anything else is prepared
    with pytest.raises(ConfigError, match=r"run.workers: got 0; expected at least 1"):
        RayRunner(0)


TERMINATED = """
import sys, time
from pathlib import Path
import autostudent.run.ray_tune as tune

def wait_long(path):
    Path(path).touch()
    time.sleep(300)

with tune.RayRunner(1) as runner:
    runner.map(wait_long, [sys.argv[1]])
"""


def test_sigterm_outside_of_a_search_closes_what_is_open(tmp_path: Path) -> None:
    """Where teachers are trained, or students proved: Ray's own handler would abort the process."""
    begun = tmp_path / "begun"
    process = subprocess.Popen([sys.executable, "-c", TERMINATED, str(begun)], stderr=subprocess.PIPE, text=True)
    try:
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.terminate()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143
    assert "SIGTERM received" not in said
