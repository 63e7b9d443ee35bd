"""The study's memory: an Optuna study that one driver writes and that anybody may read."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from autostudent.assets import Assets
from autostudent.errors import StoreError
from autostudent.records import Candidate, Failure, Objective, Result, Trial, TrialState
from autostudent.store import record
from autostudent.store.attributes import StudyAttributes, plain
from autostudent.store.backend import cannot_open, shown, writing
from autostudent.store.opening import Opened, open_to_drive, open_to_read
from autostudent.store.provenance import revision, versions
from autostudent.store.resume import require_same_study
from autostudent.store.rows import Front, Row, row_of
from autostudent.store.trials import Trials, excess

if TYPE_CHECKING:
    from autostudent.space.domains import Domain

RESOLVED, OBJECTIVES, LAST_EPOCH = "resolved", "objectives", "last_epoch"
REFERENCE, DESCRIBED, EVENT = "reference:", "described:", "event:"


class Store:
    """Trials, front, references and history of one study.

    `create_or_open` gives the one driver its store, `reopen` the same without the study file, `read` anybody a view.
    A driver keeps all trials in memory and writes through; what a method did is committed when it returns, in an order
    that lets the next opening finish it after a kill at any moment. Not for use from several threads.

    ``repaired`` says, one line each, what opening as the driver found and put right.
    """

    def __init__(self, url: str, study: str, opened: Opened, assets: Assets | None) -> None:
        self.url = shown(url)
        self.study = study
        self.repaired: list[str] = []
        self._opened = opened
        self._assets = assets
        self._trials = Trials(opened.storage, study, assets)
        self._attributes = StudyAttributes(opened.storage, self._trials.study_id)
        self._domains: Mapping[str, Domain] = {}
        self._order = 0
        self._turn = 0
        self._released: set[str] = set()

    # ---- opening ----------------------------------------------------------------------------------------------------

    @classmethod
    def create_or_open(
        cls,
        url: str,
        study: str,
        resolved: Mapping[str, Any],
        objectives: Sequence[Objective],
        assets: Assets,
        *,
        rungs: Sequence[int],
        domains: Mapping[str, Domain] | None = None,
    ) -> Store:
        """Opens the study as its driver, creating what is not there.

        Args:
            url: an Optuna storage URL, or ``journal:///path``.
            resolved: the whole study as JSON; it must agree with what is stored, as `resume` has it.
            objectives: in the order in which values are told to Optuna.
            assets: where tracebacks and oversized attributes go.
            rungs: the last one is the full training.
            domains: of the candidates' parameters, by name; those given appear as Optuna parameters.

        Raises:
            StoreError: the URL cannot be opened, another driver is at work, or the study was begun with other settings.
        """
        opened = open_to_drive(url, study, objectives)
        try:
            store = cls(url, study, opened, assets)
            store._domains = domains or {}
            store._adopt(resolved, objectives, rungs[-1])
            store._recover()
        except BaseException:
            opened.close()
            raise
        return store

    @classmethod
    def reopen(cls, url: str, study: str | None, assets: Assets) -> Store:
        """Opens an existing study as its driver, whatever its settings, to repair it. Raises `StoreError` as above."""
        with cls.read(url, study) as reader:
            name, resolved, objectives, last = reader.study, reader.resolved(), reader.objectives, reader._last_epoch
        return cls.create_or_open(url, name, resolved, objectives, assets, rungs=(last,))

    @classmethod
    def read(cls, url: str, study: str | None = None, assets: Assets | None = None) -> Store:
        """Opens a study to look at, while a driver works or not; without a name the only study that is there.

        Raises:
            StoreError: nothing is there, several studies are, or the one named is not.
        """
        opened, name = open_to_read(url, study)
        try:
            store = cls(url, name, opened, assets)
            if store._attributes.get(RESOLVED) is None:
                raise StoreError(f"study {name!r} in {store.url} was not made by autostudent")
        except StoreError:
            opened.close()
            raise
        except Exception as error:
            opened.close()
            raise cannot_open(url, error) from error
        return store

    def _adopt(self, resolved: Mapping[str, Any], objectives: Sequence[Objective], last_epoch: int) -> None:
        """Stores the settings of a new study, or compares them; ``resolved`` is written last: with it the study is.

        As long as there are no trials there is nothing to protect, and the settings given replace those stored.
        """
        attributes, given = self._attributes, plain(resolved)
        stored, begun = attributes.get(RESOLVED), self._trials.begun()
        if stored is not None and begun:
            require_same_study(stored, given, self.study, self.url)
        elif begun:
            raise StoreError(f"study {self.study!r} in {self.url} was not made by autostudent; use another name")
        attributes.set(OBJECTIVES, [objective.to_json() for objective in objectives])
        attributes.set(LAST_EPOCH, last_epoch)
        attributes.set(RESOLVED, given)

    def _recover(self) -> None:
        """Finishes what a killed driver had begun, and says what is left to do."""
        if self._opened.died:
            self.repaired.append(f"the driver before ({self._opened.died}) ended without closing the store")
        self._trials.load()
        self.repaired += self._trials.fail_strangers()
        for stored in self._trials:
            number, state = stored.trial.number, record.earned(stored, self._last_epoch)
            if state is not None:
                self._trials.tell(number, state, self.objectives)
                self.repaired.append(f"trial {number}: its result was stored but not counted; now {state}")
            elif line := record.left_to_do(stored.trial):
                self.repaired.append(line)
        self._order = 1 + max((result.order for stored in self._trials for result in stored.trial.results), default=-1)
        self._turn = 1 + max((stored.trial.turn for stored in self._trials), default=-1)
        if self._front().rebuild(self.rows()):
            self.repaired.append(f"the front was written anew: {len(self._front().members)} students")
        self._note("opened", self.repaired)

    def close(self) -> None:
        """Gives the lock and the connections back."""
        self._opened.close()
        self._opened.lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- reading ----------------------------------------------------------------------------------------------------

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """As they were given when the study was created."""
        return tuple(Objective.from_json(value) for value in self._attributes.get(OBJECTIVES))

    def resolved(self) -> dict[str, Any]:
        """The study's settings as stored."""
        settings: dict[str, Any] = self._attributes.get(RESOLVED)
        return settings

    def front(self) -> list[Row]:
        """The front's rows by number of trial (see `row_of`): COMPLETE, within every limit, not dominated."""
        self._refresh()
        return self._front().rows()

    def references(self) -> dict[str, Row]:
        """Rows to compare the front with, by name: teachers, rivals, controls."""
        return self._named(REFERENCE)

    def described(self) -> dict[str, Any]:
        """What `describe` stored."""
        return self._named(DESCRIBED)

    def events(self) -> list[dict[str, Any]]:
        """When the study was opened and finished, by which process, packages and source revision; oldest first."""
        return list(self._named(EVENT).values())

    def trials(self) -> list[Trial]:
        """All trials by number. A reader reads them anew, which takes some tenths of a second a thousand."""
        return [stored.trial for stored in self._all(fresh=True)]

    def trial(self, number: int) -> Trial:
        """One trial. Raises `StoreError` when there is none of that number."""
        return self._all()[number].trial

    def about(self, number: int) -> dict[str, Any]:
        """What was stored with a trial for people: method, teachers, graph."""
        return dict(self._all()[number].about)

    def rows(self, anew: bool = True) -> list[Row]:
        """A row for every trial, whatever its state; not ``anew``, a reader's are those of its last look."""
        return [row_of(stored.trial, stored.about) for stored in self._all(fresh=anew)]

    def traceback(self, number: int) -> str:
        """The traceback of a failed trial, empty when it has none."""
        address = self._trials.failure_address(number)
        return self._assets.get(address).decode() if self._assets and address else ""

    def summary(self) -> dict[str, Any]:
        """Counts by state and by cause of failure, size of the front, history."""
        trials = self.trials()
        failures = [trial.failure for trial in trials if trial.failure]
        return {
            "study": self.study,
            "store": self.url,
            "trials": {str(state): n for state, n in Counter(trial.state for trial in trials).items()},
            "failures": {str(cause): n for cause, n in Counter(failure.cause for failure in failures).items()},
            "front": len(self.front()),
            "revision": self._front().revision,
            "events": self.events(),
        }

    # ---- writing ----------------------------------------------------------------------------------------------------

    @writing
    def create(
        self,
        candidate: Candidate,
        fingerprint: str,
        costs: Mapping[str, float],
        about: Mapping[str, Any],
        replicate: int = 0,
        features: Sequence[float] = (),
    ) -> Trial:
        """Remembers a NEW student; the row and all that belongs to it appear in one transaction.

        Args:
            costs: exact costs, every exact objective among them.
            about: labels to show (method, teachers) and addresses (graph).
        """
        self._check()
        described = {"costs": plain(costs), "features": tuple(map(float, features))}
        trial = Trial(-1, candidate, fingerprint, TrialState.NEW, replicate=replicate, **described)
        limited = [objective for objective in self.objectives if objective.exact and objective.limit is not None]
        limits = {objective.name: excess(objective, costs[objective.name]) for objective in limited}
        return self._trials.create(trial, about, self._domains, limits)

    @writing
    def start(self, number: int, until_epoch: int) -> Trial:
        """A segment goes out; starting one that is out already counts as its next attempt and keeps its turn."""
        self._check()
        trial = self.trial(number)
        if trial.state.finished or until_epoch <= trial.epoch:
            raise StoreError(
                f"trial {number} is {trial.state} at epoch {trial.epoch}; it cannot train to {until_epoch}"
            )
        again = trial.state is TrialState.TRAINING and trial.until_epoch == until_epoch
        attempt, turn = (trial.attempt + 1, trial.turn) if again else (1, self._next_turn())
        begun = replace(trial, state=TrialState.TRAINING, until_epoch=until_epoch, attempt=attempt, turn=turn)
        return self._trials.start(begun)

    @writing
    def lose(self, number: int) -> Trial:
        """The worker of a segment died: the trial's losses are counted, and the segment takes a new turn."""
        self._check()
        trial = self.trial(number)
        if trial.state is not TrialState.TRAINING:
            raise StoreError(f"trial {number} is {trial.state}, no segment of it is out")
        return self._trials.start(replace(trial, lost=trial.lost + 1, turn=self._next_turn()))

    @writing
    def commit(self, number: int, result: Result) -> Trial:
        """A segment came back: PAUSED at its rung, COMPLETE at the last one.

        A result with a failure goes to `fail`; so does one whose measured objectives are missing or not finite.
        Metrics that are not finite are left out.
        """
        self._check()
        trial = self.trial(number)
        if trial.state is not TrialState.TRAINING:
            raise StoreError(f"trial {number} is {trial.state}, no segment of it is out; its result is not used")
        failure = result.failure or record.unusable(result, self.objectives)
        if failure is not None:
            return self.fail(number, failure, result)
        if result.epoch != trial.until_epoch:
            raise StoreError(f"trial {number}: a result of epoch {result.epoch}, epoch {trial.until_epoch} is awaited")
        trial = self._trials.add(trial, replace(record.finite(result), order=self._order))
        self._order += 1
        if result.epoch >= self._last_epoch:
            stored = self._trials.tell(number, TrialState.COMPLETE, self.objectives)
            self._front().offer(row_of(stored.trial, stored.about))
        return self.trial(number)

    @writing
    def fail(self, number: int, failure: Failure, result: Result | None = None) -> Trial:
        """The trial ends in FAIL with a typed failure; its traceback becomes an asset (see `traceback`)."""
        self._check()
        trial = self.trial(number)
        if trial.state.finished:
            raise StoreError(f"trial {number} is {trial.state} already")
        self._trials.blame(trial, failure, record.finite(result).seconds if result else {})
        return self._trials.tell(number, TrialState.FAIL, self.objectives).trial

    @writing
    def finish(self) -> None:
        """The study's budget is spent: PAUSED trials become PRUNED, for good.

        Raises:
            StoreError: a trial is NEW or TRAINING.
        """
        self._check()
        trials = self.trials()
        if busy := [trial.number for trial in trials if trial.state in (TrialState.NEW, TrialState.TRAINING)]:
            raise StoreError(f"the study cannot end: trials {busy} are not done")
        for trial in trials:
            if trial.state is TrialState.PAUSED:
                self._trials.tell(trial.number, TrialState.PRUNED, self.objectives)
        self._trials.load()  # another program may have added rows
        self._note("finished", self._trials.fail_strangers())

    @writing
    def set_reference(self, name: str, row: Mapping[str, Any]) -> None:
        """Keeps a row to compare the front with; an older one of that name is replaced."""
        self._check()
        self._attributes.set(REFERENCE + name, plain(row))

    @writing
    def describe(self, facts: Mapping[str, Any]) -> None:
        """Keeps facts about the study, each under its name, beside those that are there."""
        self._check()
        for name, value in facts.items():
            self._attributes.set(DESCRIBED + name, plain(value))

    def unreferenced_weights(self) -> list[str]:
        """Weights that may be deleted, each named once: those of finished trials that are not on the front.

        An address that a front member or an unfinished trial shares is not named.
        """
        kept = {address for row in self._front().rows() for address in row["assets"].values()}
        dropped: set[str] = set()
        for stored in self._all():
            found = {result.assets["weights"] for result in stored.trial.results if "weights" in result.assets}
            (dropped if stored.trial.state.finished else kept).update(found)
        fresh = dropped - kept - self._released
        self._released |= fresh
        return sorted(fresh)

    # ---- inside -----------------------------------------------------------------------------------------------------

    @property
    def _last_epoch(self) -> int:
        return int(self._attributes.get(LAST_EPOCH))

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn - 1

    def _all(self, fresh: bool = False) -> Trials:
        """The trials; for a reader as last read, or read anew."""
        if not self._trials.loaded or (fresh and self._opened.lock is None):
            self._trials.load()
        return self._trials

    def _front(self) -> Front:
        return Front(self._attributes, self.objectives)

    def _named(self, prefix: str) -> dict[str, Any]:
        self._refresh()
        return {name: self._attributes.get(prefix + name) for name in self._attributes.names(prefix)}

    def _refresh(self) -> None:
        if self._opened.lock is None:
            self._attributes.refresh()

    def _check(self) -> None:
        if self._opened.lock is None:
            raise StoreError(f"store {self.url} was opened to read, or is closed")
        self._opened.lock.check()

    def _note(self, what: str, repaired: Sequence[str]) -> None:
        """Adds to the study's history."""
        event = {
            "what": what,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "versions": versions(),
            "revision": revision(),
            "repaired": list(repaired),
        }
        self._attributes.set(f"{EVENT}{len(self._attributes.names(EVENT))}", event)
