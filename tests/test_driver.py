"""The study's side of a run: what is asked, what is committed, and what a crash or a failure changes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from autostudent.assets import Assets
from autostudent.driver import Event, StudyDriver, StudyStopped
from autostudent.problem import Catalogue, make_problem, require_feasible, with_references
from autostudent.propose import make
from autostudent.records import Candidate, Cause, Failure, Objective, Result, Segment, TrialState
from autostudent.run.inline import InlineRunner
from autostudent.space.graph import InputShape
from autostudent.space.space import load_space
from autostudent.store.store import Store

SPACE = load_space("hnag_tiny", "kd_basic")
SHAPE = InputShape(1, 8, 8, 10)
OBJECTIVES = (
    Objective("accuracy", "maximize", reference=0.5),
    Objective("params", "minimize", limit=50_000, reference=50_000, exact=True),
)
RUNGS = (1, 3, 9)


class Bench:
    """A study whose trainings are a formula, in one folder."""

    def __init__(self, folder: Path, trials: int = 8) -> None:
        self.folder, self.trials = folder, trials
        self.assets = Assets(folder / "assets")
        self.catalogue = Catalogue(SPACE, SHAPE, OBJECTIVES)
        self.events: list[Event] = []

    def drive(self, worker: Callable[[Segment], Result], proposer: str = "random", **options: int) -> list[Any]:
        """Runs the study until it ends or the worker raises; returns its trials."""

        class Working:
            def run(self, segment: Segment) -> Result:
                return worker(segment)

        url = f"sqlite:///{self.folder / 'study.db'}"
        resolved = {"study": "bench", "budget": {"trials": self.trials}}
        with Store.create_or_open(url, "bench", resolved, OBJECTIVES, self.assets, rungs=RUNGS) as store:
            driver = StudyDriver(
                problem=make_problem(self.catalogue, OBJECTIVES, RUNGS, self.trials, 0, ()),
                proposer=make(proposer, **options),
                store=store,
                assets=self.assets,
                catalogue=self.catalogue,
                label=lambda candidate: {"method": str(candidate.config["kd.loss"]), "teachers": []},
                progress=self.events.append,
            )
            InlineRunner().run(driver, Working)
            driver.end()
            return store.trials()

    def stored(self) -> list[Any]:
        """The trials as they stand in the store."""
        with Store.read(f"sqlite:///{self.folder / 'study.db'}", "bench") as store:
            return store.trials()

    def train(self, segment: Segment) -> Result:
        """Accuracy grows with epochs and size; checkpoints and weights are real files."""
        size = self.catalogue.describe(segment.candidate).costs["params"]
        value = 0.5 + 0.4 * (1 - 1 / segment.until_epoch) * size / (size + 5_000)
        name = "weights" if segment.until_epoch == RUNGS[-1] else "checkpoint"
        if segment.from_epoch:
            assert segment.checkpoint is not None
            assert self.assets.get(segment.checkpoint)
        kept = self.assets.put(f"{segment.trial} {segment.until_epoch}".encode())
        return Result(segment.until_epoch, {"accuracy": value}, {}, {name: kept})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def counts(trials: list[Any]) -> dict[str, int]:
    states = [str(trial.state) for trial in trials]
    return {state: states.count(state) for state in set(states)}


def test_a_study_ends_with_every_student_settled(bench: Bench) -> None:
    trials = bench.drive(bench.train)

    assert len(trials) == 8
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    assert counts(trials)["complete"] >= 8 / 3
    assert bench.events[-1].kind == "done"


def test_progress_counts_students_that_are_settled(bench: Bench) -> None:
    bench.drive(bench.train)
    segments = [event for event in bench.events if event.kind == "segment"]
    settled = itertools.accumulate(event.trial is not None and event.trial.state.finished for event in segments)

    assert [event.done for event in segments] == list(settled)
    assert bench.events[-1].done == bench.events[-1].total == 8


def test_where_the_time_went_is_stored_and_added_up_over_runs(bench: Bench) -> None:
    def train(segment: Segment) -> Result:
        return replace(bench.train(segment), seconds={"student": 2.0, "rung": 0.5, "segment": 3.0})

    def stored() -> dict[str, float]:
        return Store.read(f"sqlite:///{bench.folder / 'study.db'}", "bench").described()["effort"]

    trials = bench.drive(train)
    first, segments = stored(), sum(len(trial.results) for trial in trials)
    assert first["segments"] == pytest.approx(3.0 * segments)
    assert first["training"] == pytest.approx(2.5 * segments)
    assert first["driver"] > 0
    assert first["workers"] == first["wall"] > 0

    bench.drive(train)  # nothing left to train
    assert stored() == first
    bench.trials = 10
    segments = sum(len(trial.results) for trial in bench.drive(train))
    assert stored()["segments"] == pytest.approx(3.0 * segments)
    assert stored()["wall"] > first["wall"]


def test_only_weights_of_the_front_and_graphs_stay(bench: Bench) -> None:
    trials = bench.drive(bench.train)
    store = Store.read(f"sqlite:///{bench.folder / 'study.db'}", "bench")
    front = {row["trial"] for row in store.front()}

    for trial in trials:
        for result in trial.results:
            for name, address in result.assets.items():
                assert bench.assets.has(address) == (name == "weights" and trial.number in front)
        assert bench.assets.has(store.about(trial.number)["graph"])


def test_a_study_killed_at_any_segment_proposes_what_it_would_have_proposed(tmp_path: Path) -> None:
    def keys(folder: Path, stops: tuple[int, ...]) -> list[tuple[str, str, int]]:
        folder.mkdir()
        bench, calls = Bench(folder), 0

        def train(segment: Segment) -> Result:
            nonlocal calls
            calls += 1
            if calls in stops:
                raise KeyboardInterrupt
            return bench.train(segment)

        for _ in stops:
            with pytest.raises(KeyboardInterrupt):
                bench.drive(train)
        return [(t.candidate.key, str(t.state), t.epoch) for t in bench.drive(train)]

    undisturbed = keys(tmp_path / "a", ())

    assert keys(tmp_path / "b", (1, 4, 9)) == undisturbed
    rows = optuna.load_study(study_name="bench", storage=f"sqlite:///{tmp_path / 'b' / 'study.db'}").get_trials()
    assert {row.state.name for row in rows} <= {"COMPLETE", "PRUNED"}


@pytest.mark.slow
def test_segments_that_were_out_go_out_again_in_their_order(tmp_path: Path) -> None:
    """A kill while a new student trains and the promotion of an older one waits behind it."""

    def keys(folder: Path, stop: int = 0) -> tuple[list[tuple[str, str, int]], list[int]]:
        bench, calls = Bench(folder, trials=11), []
        options = {"fresh": 32, "relatives": 8, "rounds": 0}

        def train(segment: Segment) -> Result:
            calls.append(segment.trial)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return bench.train(segment)

        if stop:
            with pytest.raises(KeyboardInterrupt):
                bench.drive(train, "bayes", **options)
        return [(t.candidate.key, str(t.state), t.epoch) for t in bench.drive(train, "bayes", **options)], calls

    undisturbed, order = keys(tmp_path / "a")
    stops = [n for n, (now, after) in enumerate(itertools.pairwise(order), 1) if now > after]
    assert stops

    again, retried = keys(tmp_path / "b", stops[0])
    assert retried == [*order[: stops[0]], *order[stops[0] - 1 :]]
    assert again == undisturbed


def test_a_trial_that_kills_its_workers_fails_across_resumes(bench: Bench) -> None:
    calls = 0

    def train(segment: Segment) -> Result:
        nonlocal calls
        calls += segment.trial == 1
        if segment.trial == 1 and calls == 3:
            raise KeyboardInterrupt
        lost = Failure(Cause.WORKER_LOST, "killed")
        return Result(segment.from_epoch, failure=lost) if segment.trial == 1 else bench.train(segment)

    with pytest.raises(KeyboardInterrupt):
        bench.drive(train)
    trials = bench.drive(train)

    assert calls == 4  # two losses, the driver's own end, the third loss
    assert trials[1].failure.cause is Cause.WORKER_LOST


def test_a_larger_budget_adds_students(bench: Bench) -> None:
    first = bench.drive(bench.train)
    bench.trials = 11
    second = bench.drive(bench.train)

    assert len(second) == 11
    assert [t.candidate.key for t in second[:8]] == [t.candidate.key for t in first]
    assert [t.state for t in second[:8]] == [t.state for t in first]


def test_lost_workers_are_given_two_more_attempts(bench: Bench) -> None:
    seen: list[tuple[int, int]] = []

    def train(segment: Segment) -> Result:
        seen.append((segment.trial, segment.attempt))
        if segment.trial == 1 or (segment.trial == 2 and segment.from_epoch == 0 and segment.attempt < 3):
            return Result(segment.from_epoch, failure=Failure(Cause.WORKER_LOST, "killed"))
        return bench.train(segment)

    trials = bench.drive(train)

    assert [attempt for number, attempt in seen if number == 1] == [1, 2, 3]
    assert trials[1].state is TrialState.FAIL
    assert trials[1].failure.cause is Cause.WORKER_LOST
    assert trials[2].state is not TrialState.FAIL


def test_losses_are_those_of_a_segment(bench: Bench) -> None:
    def train(segment: Segment) -> Result:
        if segment.attempt < 3:
            return Result(segment.from_epoch, failure=Failure(Cause.WORKER_LOST, "the machine was taken away"))
        return bench.train(segment)

    trials = bench.drive(train)

    assert max(len(trial.results) for trial in trials) == len(RUNGS)
    assert not any(trial.failure for trial in trials)


@pytest.mark.parametrize("cause", [Cause.OUT_OF_MEMORY, Cause.DIVERGED, Cause.TIMEOUT])
def test_failures_that_are_not_bugs_do_not_stop_a_study(bench: Bench, cause: Cause) -> None:
    def train(segment: Segment) -> Result:
        if segment.trial == 0:
            return bench.train(segment)
        return Result(segment.from_epoch, seconds={"lost": 2.5}, failure=Failure(cause, "it happened"))

    trials = bench.drive(train)

    assert counts(trials) == {"complete": 1, "fail": 7}
    trials = trials[1:]
    assert {trial.failure.message for trial in trials} == {"it happened"}
    study = optuna.load_study(study_name="bench", storage=f"sqlite:///{bench.folder / 'study.db'}")
    assert [trial.user_attrs["failure"]["seconds"] for trial in study.trials[1:]] == [{"lost": 2.5}] * len(trials)


@pytest.mark.parametrize(
    ("cause", "where"), [(Cause.TIMEOUT, "run.timeout"), (Cause.OUT_OF_MEMORY, "training.batch_size")]
)
def test_a_setting_that_lets_nobody_through_stops_a_study(bench: Bench, cause: Cause, where: str) -> None:
    with pytest.raises(StudyStopped, match=f"3 trials in a row failed with: 3 s; see .*{where}"):
        bench.drive(lambda segment: Result(0, failure=Failure(cause, "3 s")))
    assert counts(bench.drive(bench.train))["fail"] == 3  # and with a better one the same command goes on


def test_students_that_all_diverge_use_up_the_budget(bench: Bench) -> None:
    assert counts(bench.drive(lambda s: Result(0, failure=Failure(Cause.DIVERGED, "nan")))) == {"fail": 8}


def test_a_full_disk_fails_nobody(bench: Bench) -> None:
    """The study stops; with room again the same student goes on from its checkpoint, as if nothing had happened."""
    plain = Bench(bench.folder / "plain").drive
    full = [4]

    def train(segment: Segment) -> Result:
        full[0] -= 1
        if full[0] == 0:
            return Result(segment.from_epoch, failure=Failure(Cause.SURROUNDINGS, "No space left on device"))
        return bench.train(segment)

    with pytest.raises(StudyStopped, match=r"student \d cannot be trained: No space left on device; mend that"):
        bench.drive(train)
    assert TrialState.FAIL not in {trial.state for trial in bench.stored()}
    assert counts(bench.drive(bench.train)) == counts(plain(bench.train))


def test_addresses_do_not_tell_one_bug_from_another(bench: Bench) -> None:
    names = iter(("deadbeef01", "0badf00d22", "abcdef0123"))
    with pytest.raises(StudyStopped, match="3 trials in a row"):
        bench.drive(lambda s: Result(0, failure=Failure(Cause.BUG, f"asset {next(names)} is odd")))


def test_three_equal_bugs_in_a_row_stop_the_study_with_the_traceback(bench: Bench) -> None:
    def train(segment: Segment) -> Result:
        return Result(0, failure=Failure(Cause.BUG, f"trial {segment.trial} broke", "Traceback: here"))

    with pytest.raises(StudyStopped, match="3 trials in a row") as stopped:
        bench.drive(train)
    assert stopped.value.traceback == "Traceback: here"


def test_different_bugs_do_not_stop_a_study(bench: Bench) -> None:
    words = ("one", "two")

    def train(segment: Segment) -> Result:
        return Result(0, failure=Failure(Cause.BUG, words[segment.trial % 2]))

    assert counts(bench.drive(train)) == {"fail": 8}


def test_a_value_that_is_not_a_number_fails_its_trial_only(bench: Bench) -> None:
    def train(segment: Segment) -> Result:
        return Result(segment.until_epoch, {"accuracy": float("nan")}) if segment.trial == 3 else bench.train(segment)

    trials = bench.drive(train)

    assert trials[3].state is TrialState.FAIL
    assert counts(trials)["fail"] == 1


def test_what_an_unusable_result_or_a_kill_left_is_removed(bench: Bench) -> None:
    def train(segment: Segment) -> Result:
        result = bench.train(segment)
        return replace(result, values={"accuracy": float("nan")}) if segment.trial == 3 else result

    bench.drive(train)
    with Store.read(f"sqlite:///{bench.folder / 'study.db'}", "bench") as store:
        kept = {row["assets"]["weights"] for row in store.front()}
        kept |= {store.about(trial.number)["graph"] for trial in store.trials()}
        gone = next(address for row in store.rows() for address in row["assets"].values() if address not in kept)
    left = bench.assets.path(gone)
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"as if the driver was killed before it removed this")
    bench.drive(train)

    blobs = {path.name for path in (bench.folder / "assets" / "blobs").rglob("*") if path.is_file()}
    assert blobs == kept


def test_limits_are_never_broken_and_too_small_ones_are_refused() -> None:
    catalogue = Catalogue(SPACE, SHAPE, OBJECTIVES)
    probes = [description for _, description in catalogue.probe(0)]
    tight = (OBJECTIVES[0], Objective("params", "minimize", "parameters", limit=10, exact=True))

    require_feasible(OBJECTIVES, probes)
    assert all(p.feasible == (p.costs["params"] <= 50_000) for p in probes)
    with pytest.raises(Exception, match=r"objectives\.params\.limit: got 10; expected at least"):
        require_feasible(tight, [d for _, d in Catalogue(SPACE, SHAPE, tight).probe(0)])


def test_references_that_are_missing_follow_teacher_limit_and_space() -> None:
    open_ended = (
        Objective("accuracy", "maximize"),
        Objective("params", "minimize", limit=9_000, exact=True),
        Objective("memory_bytes", "minimize", exact=True),
    )
    probes = [description for _, description in Catalogue(SPACE, SHAPE, open_ended).probe(0)]

    accuracy, params, memory = with_references(open_ended, probes, teacher={"accuracy": 0.9}, classes=10)

    assert accuracy.reference == pytest.approx(0.65)
    assert params.reference == 9_000
    assert memory.reference == max(probe.costs["memory_bytes"] for probe in probes)


def test_recipes_of_one_graph_share_its_description() -> None:
    catalogue = Catalogue(SPACE, SHAPE, OBJECTIVES)
    candidate = Candidate(SPACE.sample(np.random.default_rng(0)), 5)
    other = Candidate({**candidate.config, "optim.lr": 0.05}, 5)

    assert catalogue.describe(candidate) is catalogue.describe(other)
