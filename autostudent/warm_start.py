"""An earlier study that a search starts from: its finished students, copied once so that the record never changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from autostudent.assets import Assets
from autostudent.errors import AssetError, ConfigError, StoreError
from autostudent.records import Candidate, Objective, Result, Trial, TrialState
from autostudent.settings import StudySettings, default_artifacts, store_file
from autostudent.store.store import Store

KEY = "search.warm_start"
COPIED = "warm_start"  # what the study remembers the copy by


def require_earlier(settings: StudySettings, spaces: Mapping[str, Any]) -> None:
    """Reads the earlier study, if there is one to begin with, before anything is made; a begun one has its copy.

    Raises:
        ConfigError, StoreError, AssetError: as `read_earlier`.
    """
    if settings.search.warm_start is None:
        return
    try:
        with Store.read(settings.store, settings.study) as store:
            begun = COPIED in store.described()
    except StoreError:  # not there yet
        begun = False
    if not begun:
        read_earlier(settings.search.warm_start, spaces, settings.objectives)


def read_earlier(
    told: str | Mapping[str, str], spaces: Mapping[str, Any], objectives: Sequence[Objective]
) -> list[Trial]:
    """The students that an earlier study trained to the end, in order.

    Args:
        told: its store, or that with its name and its artifacts (see `autostudent.settings.SearchSettings`).
        spaces: of the study that begins, as in `autostudent.study.Study.resolved`.
        objectives: of the study that begins.

    Raises:
        ConfigError: for a study of another space, or without finished students that have these objectives.
        StoreError: when there is no such store, or several studies in it and none named.
        AssetError: when a candidate is too long for the store and not among the artifacts.
    """
    named = {"store": told} if isinstance(told, str) else told
    url = named["store"]
    try:
        with Store.read(url, named.get("study")) as reader:
            study = reader.study
    except StoreError as error:
        raise StoreError(f"{KEY}: {error} ({KEY}: {{store: URL, study: NAME}} names one of several)") from None
    folder = named.get("artifacts") or (None if store_file(url) is None else default_artifacts(url, study))
    with Store.read(url, study, None if folder is None else Assets(folder)) as store:
        if store.resolved()["spaces"] != json.loads(json.dumps(spaces)):
            raise ConfigError(KEY, store.url, "a study of the same space.students and space.recipe")
        names = [objective.name for objective in objectives]
        try:
            complete = [trial for trial in store.trials() if trial.state is TrialState.COMPLETE]
        except (AssetError, StoreError) as error:  # long candidates lie beside the store
            raise AssetError(f"{KEY}: {error} ({KEY}.artifacts names the folder of that study)") from None
        found = [trial for trial in complete if all(name in trial.values for name in names)]
        if not found:
            raise ConfigError(KEY, store.url, f"a study with finished students that have {', '.join(names)}")
    return found


def options_of(settings: StudySettings, spaces: Mapping[str, Any], store: Store, assets: Assets) -> dict[str, Any]:
    """The options of a study's proposer, with the earlier study that it starts from.

    That is what `read_earlier` found when the first student was about to be tried, as if trained for as long as
    students here; the same after every resume.

    Raises:
        ConfigError, StoreError: as `read_earlier`, when the study begins.
        AssetError: when the copy is gone.
    """
    options, told, epochs = dict(settings.search.options), settings.search.warm_start, settings.budget.epochs
    if told is None:
        return options
    address = store.described().get(COPIED) if store.trials() else None  # until then the settings may change
    if address is None:
        found = read_earlier(told, spaces, settings.objectives)
        rows = [[t.candidate.to_json(), dict(t.costs), dict(t.results[-1].values)] for t in found]
        address = assets.put(json.dumps(rows).encode(), ".json")
        store.describe({COPIED: address})
    options["source"] = [
        Trial(
            number,
            Candidate.from_json(candidate),
            "",
            TrialState.COMPLETE,
            costs,
            (Result(epochs, values, order=number),),
            epochs,
        )
        for number, (candidate, costs, values) in enumerate(json.loads(assets.get(address)))
    ]
    return options
