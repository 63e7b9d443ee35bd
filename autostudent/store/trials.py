"""All trials of a study in memory, written through to Optuna."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autostudent.assets import Assets
from autostudent.errors import StoreError
from autostudent.heap import uncollected
from autostudent.records import Failure, Objective, Result, Trial, TrialState
from autostudent.store import record
from autostudent.store.attributes import plain
from autostudent.store.record import Stored
from autostudent.store.scan import any_trial, scan, study_ids, trial_attribute, writable

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from autostudent.space.domains import Domain
    from autostudent.store.scan import Readable

SHOWN = "constraints"
"""System attribute where optuna-dashboard (0.21) looks for constraint values; it knows the list of Optuna 4 alone."""


class Trials:
    """The trials of one study: each write goes to Optuna first, then to memory. Who only reads imports no Optuna."""

    def __init__(self, storage: Readable, study: str, assets: Assets | None) -> None:
        self._readable = storage
        self._study = study
        self.study_id = study_ids(storage)[study]
        self._assets = assets
        self._stored: dict[int, Stored] = {}
        self._strangers: list[int] = []
        self._rows: dict[int, int] = {}
        self.loaded = False

    @uncollected()
    def load(self) -> None:
        """Reads every trial in one query."""
        self._stored, self._strangers = {}, []
        for row in scan(self._readable, self.study_id):
            stored = record.read(row, self._assets)
            if stored is not None:
                self._stored[row.number] = stored
            elif row.state not in record.FINAL:
                self._strangers.append(row.number)
        self.loaded = True

    def begun(self) -> bool:
        """Whether Optuna holds any row, ours or not."""
        return any_trial(self._storage, self.study_id)

    def __iter__(self) -> Iterator[Stored]:
        return iter(list(self._stored.values()))

    def __getitem__(self, number: int) -> Stored:
        """Raises `StoreError` when there is no trial of that number."""
        stored = self._stored.get(number)
        if stored is None:
            raise StoreError(f"study {self._study!r} has no trial {number}")
        return stored

    def failure_address(self, number: int) -> str:
        """The address of a failed trial's traceback, empty when it has none."""
        failure = trial_attribute(self._readable, self.study_id, number, record.FAILURE)
        return failure["traceback"] if failure else ""

    def create(
        self, trial: Trial, about: Mapping[str, Any], domains: Mapping[str, Domain], limits: Mapping[str, float]
    ) -> Trial:
        """Adds a NEW trial, its number given by Optuna; the row and all that belongs to it appear in one transaction.

        ``limits`` are Optuna's constraint values, known before training.
        """
        from optuna.trial import TrialState as OptunaState
        from optuna.trial import create_trial

        from autostudent.store.insert import add_row
        from autostudent.store.params import distributions

        config = trial.candidate.config
        known = distributions(config, domains)
        template = create_trial(
            state=OptunaState.RUNNING,
            params={name: config[name] for name in known},
            distributions=known,
            user_attrs=record.first_attributes(trial, about, self._assets),
            constraints=dict(limits),
            system_attrs={SHOWN: list(limits.values())} if limits else None,
        )
        row, number = add_row(self._storage, self.study_id, template)
        self._rows[number] = row
        self._stored[number] = Stored(replace(trial, number=number), plain(about), told=False)
        return self[number].trial

    def start(self, trial: Trial) -> Trial:
        """Remembers the segment that the TRAINING ``trial`` names: its end, attempt, turn, and workers lost."""
        begun = {"epoch": trial.until_epoch, "attempt": trial.attempt, "turn": trial.turn, "lost": trial.lost}
        return self._set(trial, record.STARTED, begun)

    def add(self, trial: Trial, result: Result) -> Trial:
        """Commits a segment; the trial is PAUSED until it is told otherwise."""
        name, value = record.segment_attribute(trial, result, self._assets)
        return self._set(replace(trial, state=TrialState.PAUSED, lost=0, results=(*trial.results, result)), name, value)

    def blame(self, trial: Trial, failure: Failure, seconds: Mapping[str, float]) -> Trial:
        """Remembers why the trial failed."""
        kept = record.failure_attribute(trial, failure, seconds, self._assets)
        return self._set(replace(trial, failure=Failure(failure.cause, kept["message"])), record.FAILURE, kept)

    def tell(self, number: int, state: TrialState, objectives: tuple[Objective, ...]) -> Stored:
        """Makes the trial COMPLETE with the value of every objective, or PRUNED or FAIL without."""
        from optuna.trial import TrialState as OptunaState

        stored = self[number]
        values = None
        if state is TrialState.COMPLETE:
            known = stored.trial.values
            values = [float(known[objective.name]) for objective in objectives]
            measured = [objective for objective in objectives if objective.limit is not None and not objective.exact]
            self._constrain(number, {o.name: excess(o, known[o.name]) for o in measured})
        self._storage.set_trial_state_values(self._row(number), OptunaState[state.name], values)
        self._stored[number] = Stored(replace(stored.trial, state=state), stored.about, told=True)
        return self._stored[number]

    def fail_strangers(self) -> list[str]:
        """Sets to FAIL every unfinished row that held no student when last read (`load`); says what was done.

        `create` adds a row with all its attributes in one transaction, so such rows come from other programs only.
        """
        from optuna.trial import TrialState as OptunaState

        lines = []
        for number in self._strangers:
            self._storage.set_trial_state_values(self._row(number), OptunaState.FAIL)
            lines.append(f"trial {number}: a row without a student, made by another program; set to FAIL")
        self._strangers = []
        return lines

    @property
    def _storage(self) -> BaseStorage:
        return writable(self._readable)

    def _row(self, number: int) -> int:
        """Optuna's id of a trial, which only writers need."""
        if number not in self._rows:
            self._rows[number] = self._storage.get_trial_id_from_study_id_trial_number(self.study_id, number)
        return self._rows[number]

    def _set(self, trial: Trial, name: str, value: Any) -> Trial:
        self._storage.set_trial_user_attr(self._row(trial.number), name, value)
        self._stored[trial.number] = Stored(trial, self[trial.number].about, told=False)
        return trial

    def _constrain(self, number: int, values: Mapping[str, float]) -> None:
        """Sets constraint values that became known by measuring; one that a killed driver has set already is kept."""
        if not values:
            return
        import optuna

        study = optuna.load_study(study_name=self._study, storage=self._storage)
        trial = optuna.trial.Trial(study, self._row(number))
        known = {name: value for name, value in trial.constraints.items() if not name.isdecimal()}
        fresh = {name: value for name, value in values.items() if name not in known}
        for name, value in fresh.items():
            trial.set_constraint(name, value)
        self._storage.set_trial_system_attr(self._row(number), SHOWN, [*known.values(), *fresh.values()])


def excess(objective: Objective, value: float) -> float:
    """By how much the value breaks the objective's limit, zero or less when it does not: Optuna's constraint value."""
    assert objective.limit is not None
    return float(value - objective.limit if objective.direction == "minimize" else objective.limit - value)
