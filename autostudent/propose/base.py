"""What every proposer is: a pure function from the record of a study to what is to be tried next."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from autostudent.errors import ConfigError
from autostudent.propose.catalogue import Catalogue
from autostudent.records import Problem, Proposal, Trial, TrialState, canonical_json


def generator(seed: int, *labels: str | int) -> np.random.Generator:
    """A random generator that depends on nothing but its arguments."""
    text = canonical_json([seed, *labels]).encode()
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(text).digest()[:16], "big")))


def require_at_least(least: int, **options: int) -> None:
    """Raises `ConfigError` for an option of a proposer that is no whole number, or below ``least``."""
    for name, given in options.items():
        if isinstance(given, bool) or not isinstance(given, int) or given < least:
            raise ConfigError(f"search.options.{name}", given, f"a whole number from {least}")


class Proposer(ABC):
    """Chooses what to try next.

    The study calls `ask` whenever a worker has room, and after every resume. A proposer holds options and caches that
    change no answer: the same problem and trials give the same proposals, in this process or another.
    """

    def __init__(self) -> None:
        self._catalogue: Catalogue | None = None

    def ask(self, problem: Problem, trials: Sequence[Trial], n: int = 1) -> list[Proposal]:
        """Up to ``n`` proposals; equals ``n`` calls for one, with the earlier answers pending.

        Fewer than ``n`` (or none) with work in flight means: wait for a result. None without work in flight means: the
        study is done. Over-budget candidates and duplicates of any trial are never proposed.
        """
        known = list(trials)
        proposals: list[Proposal] = []
        while len(proposals) < n and (proposal := self.propose(problem, known)) is not None:
            proposals.append(proposal)
            known = self._with_pending(problem, known, proposal)
        return proposals

    @abstractmethod
    def propose(self, problem: Problem, trials: Sequence[Trial]) -> Proposal | None:
        """One proposal, or None: wait when work is in flight, else done. Called by `ask`, once a proposal."""

    def catalogue(self, problem: Problem) -> Catalogue:
        """The cache of draws and descriptions for this problem."""
        if self._catalogue is None or not self._catalogue.serves(problem):
            self._catalogue = Catalogue(problem, generator)
        return self._catalogue

    def _with_pending(self, problem: Problem, trials: list[Trial], proposal: Proposal) -> list[Trial]:
        """The record as it will look when the proposal is in flight."""
        if proposal.trial is not None:
            going = TrialState.TRAINING
            return [
                replace(trial, state=going, until_epoch=proposal.until_epoch)
                if trial.number == proposal.trial
                else trial
                for trial in trials
            ]
        described = self.catalogue(problem).describe(proposal.candidate)
        assert described is not None
        number = 1 + max((trial.number for trial in trials), default=-1)
        new = Trial(
            number,
            proposal.candidate,
            described.fingerprint,
            TrialState.NEW,
            costs=described.costs,
            until_epoch=proposal.until_epoch,
        )
        return [*trials, new]
