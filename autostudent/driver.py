"""Ask, run, tell: hands segments to a runner and commits what comes back, one call at a time, from one thread."""

from __future__ import annotations

import json
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from autostudent.assets import Assets
from autostudent.errors import AssetError, AutostudentError, StoreError
from autostudent.problem import Catalogue
from autostudent.propose.base import Proposer
from autostudent.records import Candidate, Cause, Failure, Problem, Proposal, Result, Segment, Trial, TrialState
from autostudent.store.store import Store

LOSSES = 3  # a segment whose worker was lost is given out again, at most twice
EQUAL_BUGS = 3  # that many equal bugs in a row stop the study


class StudyStopped(AutostudentError):
    """The study was stopped: trials fail in the same way (``traceback`` is the last one), or its surroundings do."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback


@dataclass(frozen=True)
class Event:
    """Something to show a person: ``kind`` is prepare, resume, proposed, segment, failed, requeued or done."""

    kind: str
    text: str
    trial: Trial | None = None
    done: int = 0
    total: int = 0
    seconds: float = 0.0


BY_SETTING = {
    Cause.TIMEOUT: "run.timeout",
    Cause.OUT_OF_MEMORY: "run.gpus_per_trial, training.batch_size and the sizes of the space",
    Cause.WORKER_LOST: "what ends processes on that machine",
}
"""What to look at where nobody came through."""


def silent(event: Event) -> None:
    """Shows nothing."""


Describe = Callable[[Candidate], dict[str, object]]


@dataclass
class StudyDriver:
    """The study's side of a `autostudent.run.base.Runner`.

    ``label`` gives what the store should show of a candidate's recipe (method, teachers). ``workers``: how many
    segments run at a time.
    """

    problem: Problem
    proposer: Proposer
    store: Store
    assets: Assets
    catalogue: Catalogue
    label: Describe
    retention: str = "front"
    progress: Callable[[Event], None] = silent
    workers: int = 1
    asked: float = 0.0
    _waiting: deque[Trial] = field(default_factory=deque)
    _out: dict[int, Segment] = field(default_factory=dict)
    _exhausted: bool = False
    _bugs: list[Failure] = field(default_factory=list)
    _spent: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()
        trials = self.store.trials()
        self.catalogue.recall(trials)
        # In the order in which they went out, then those that never did: as if nothing had happened.
        self._waiting += sorted((t for t in trials if t.state is TrialState.TRAINING), key=lambda trial: trial.turn)
        self._waiting += [trial for trial in trials if trial.state is TrialState.NEW]
        for trial in trials:
            # A kill between a commit and the clearing after it leaves checkpoints that nobody will read again.
            for result in trial.results if trial.state.finished else trial.results[:-1]:
                self._drop(result.assets.get("checkpoint"))

    @property
    def finished(self) -> bool:
        """Nothing is out and nothing is to come."""
        return self._exhausted and not self._out and not self._waiting

    def fill(self, room: int) -> list[Segment]:
        """Up to ``room`` segments to train now; trials that a crash left behind come first."""
        segments: list[Segment] = []
        while len(segments) < room:
            segment = self._requeued() if self._waiting else self._proposed()
            if segment is None:
                break
            segments.append(segment)
            self._out[segment.trial] = segment
        return segments

    def _requeued(self) -> Segment | None:
        trial = self._waiting.popleft()
        until = trial.until_epoch if trial.state is TrialState.TRAINING else self.problem.rungs[0]
        return self._segment(self.store.start(trial.number, until))

    def _proposed(self) -> Segment | None:
        started = time.perf_counter()
        proposals = self.proposer.ask(self.problem, self.store.trials(), 1)
        self.asked += time.perf_counter() - started
        if not proposals:
            self._exhausted = not self._out
            return None
        proposal = proposals[0]
        number = self._create(proposal) if proposal.trial is None else proposal.trial
        return self._segment(self.store.start(number, proposal.until_epoch))

    def _create(self, proposal: Proposal) -> int:
        """Remembers a new student, its graph first: a trial never points to a graph that is not there."""
        candidate = proposal.candidate
        architecture = self.catalogue.architecture(candidate)
        described = self.catalogue.describe(candidate)
        graph = self.assets.put(json.dumps(architecture.to_json()).encode(), ".json")
        about = {**self.label(candidate), "graph": graph}
        known = described.fingerprint, described.costs
        trial = self.store.create(candidate, *known, about, features=described.features)
        self.progress(self._event("proposed", f"student {trial.number}: {about['method']}", trial))
        return trial.number

    def _segment(self, trial: Trial) -> Segment:
        checkpoint = trial.results[-1].assets.get("checkpoint") if trial.results else None
        return Segment(
            trial=trial.number,
            candidate=trial.candidate,
            from_epoch=trial.epoch,
            until_epoch=trial.until_epoch,
            attempt=trial.attempt,
            replicate=trial.replicate,
            checkpoint=checkpoint,
            graph=self._graph(trial),
        )

    def _graph(self, trial: Trial) -> str | None:
        """The address of the student's stored graph; one that was lost is drawn again, if it is still the same."""
        graph: str | None = self.store.about(trial.number).get("graph")
        try:
            if graph is not None:
                self.assets.get(graph)
        except AssetError:
            drawn = self.catalogue.architecture(trial.candidate)
            if drawn.fingerprint != trial.fingerprint:
                raise
            graph = self.assets.put(json.dumps(drawn.to_json()).encode(), ".json")
        return graph

    def commit(self, segment: Segment, result: Result) -> None:
        """Remembers how a segment ended and applies the policy of its failure."""
        self._out.pop(segment.trial, None)
        self._spent.update(result.seconds)
        if result.failure is None:
            trial = self.store.commit(segment.trial, result)
            if trial.failure is not None:  # values that cannot be ranked
                for address in result.assets.values():
                    self._drop(address)
                self._failed(segment, trial, trial.failure)
                return
            self._bugs.clear()
            self._clean(segment, trial)
            self.progress(self._event("segment", self._line(trial), trial))
            return
        failure = result.failure
        if failure.cause is Cause.WORKER_LOST and (trial := self.store.lose(segment.trial)).lost < LOSSES:
            self._waiting.append(trial)
            self.progress(self._event("requeued", f"student {segment.trial}: {failure.message}; trying again"))
            return
        if failure.cause is Cause.SURROUNDINGS:
            told = f"student {segment.trial} cannot be trained: {failure.message}; mend that, and run the same command"
            raise StudyStopped(f"{told} (nothing is lost)")
        self._failed(segment, self.store.fail(segment.trial, failure, result), failure)

    def _failed(self, segment: Segment, trial: Trial, failure: Failure) -> None:
        self._drop(segment.checkpoint)
        self.progress(self._event("failed", f"student {trial.number}: {failure.cause}: {failure.message}", trial))
        self._count_bug(failure)

    def _count_bug(self, failure: Failure) -> None:
        """Stops a study in which the same goes wrong again and again: a bug, or whatever let nobody come through."""
        hopeless = failure.cause in BY_SETTING and not any(trial.results for trial in self.store.trials())
        if failure.cause is not Cause.BUG and not hopeless:
            return
        if self._bugs and wording(self._bugs[-1]) != wording(failure):
            self._bugs.clear()
        self._bugs.append(failure)
        if len(self._bugs) == EQUAL_BUGS:
            hint = f"; see {BY_SETTING[failure.cause]}" if hopeless else ""
            raise StudyStopped(f"{EQUAL_BUGS} trials in a row failed with: {failure.message}{hint}", failure.traceback)

    def _clean(self, segment: Segment, trial: Trial) -> None:
        """Removes what nobody will read again: the checkpoint before, and weights that left the front."""
        if segment.checkpoint != trial.results[-1].assets.get("checkpoint"):
            self._drop(segment.checkpoint)
        if trial.state is TrialState.COMPLETE:
            self._release_weights()

    def _release_weights(self) -> None:
        if self.retention == "front":
            for address in self.store.unreferenced_weights():
                self._drop(address)

    def _drop(self, address: str | None) -> None:
        if address:
            self.assets.remove(address)

    def end(self) -> None:
        """Closes a study whose budget is spent: paused trials become final, their checkpoints go."""
        paused = [trial for trial in self.store.trials() if trial.state is TrialState.PAUSED]
        self.store.finish()
        for trial in paused:
            self._drop(trial.results[-1].assets.get("checkpoint"))
        self._release_weights()  # a kill after the last commit left them
        if self._spent:
            self.store.describe({"effort": self.effort()})
        self.progress(self._event("done", "the budget is spent"))

    def effort(self) -> dict[str, float]:
        """Where the search's time went, in seconds; runs of the same study that came to their end are added up.

        "wall": from the driver's start; "workers": that time for all of them; "segments": of those, in segments;
        "training": of those, in steps, annealing of rungs included; "driver": of the processor, for this process.
        """
        spent, wall = self._spent, time.perf_counter() - self._began[0]
        now = {
            "wall": wall,
            "workers": wall * self.workers,
            "segments": spent["segment"] + spent["lost"],
            "training": spent["student"] + spent["private"] + spent["rung"],
            "driver": time.process_time() - self._began[1],
        }
        before = self.store.described().get("effort", {})
        return {name: seconds + before.get(name, 0.0) for name, seconds in now.items()}

    def _line(self, trial: Trial) -> str:
        quality = self.problem.measured.name
        return (
            f"student {trial.number}: {self.store.about(trial.number)['method']}, epoch {trial.epoch}, "
            f"{quality} {trial.values[quality]:.4f}, {trial.costs['params']:,.0f} parameters"
        )

    def _event(self, kind: str, text: str, trial: Trial | None = None) -> Event:
        done = sum(t.state.finished for t in self.store.trials())
        return Event(kind, text, trial, done, self.problem.trials)


def wording(failure: Failure) -> str:
    """A failure's message without its numbers and addresses, so that the same bug in another trial reads the same."""
    return re.sub(r"[0-9a-f]{8,}|\d+", "#", failure.message)


def timed_elsewhere(store: Store, device: str) -> list[str]:
    """Remembers what latencies are measured on; a line where students of the study were measured on something else."""
    before = store.described().get("timed_on", device)
    store.describe({"timed_on": device})
    if before == device or not store.trials():
        return []
    return [f"latency: students so far were measured on {before}, from now on it is {device}: do not compare the two"]


def require_same_teachers(store: Store, keys: Mapping[str, str]) -> None:
    """Raises `StoreError` when a study that has students would go on with other teachers than those of these keys."""
    before = store.described().get("teachers", {})
    for name, key in keys.items():
        if store.trials() and before.get(name, key) != key:
            raise StoreError(
                f"study {store.study!r} in {store.url} was begun with another teacher {name!r} "
                "(other weights, data or training); bring that one back, or choose another study name"
            )
