"""Graphs and weights of the front where optuna-dashboard shows files: artifacts of the Optuna study."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact

from autostudent.assets import Assets
from autostudent.store.backend import open_storage
from autostudent.store.store import Store


def publish(store: Store, url: str, assets: Assets, folder: str | Path) -> int:
    """Copies the front's files into ``folder`` and names them in the study at ``url``; returns their number.

    The folder is what ``optuna-dashboard --artifact-dir`` wants. A file that was published before keeps its id, so that
    it may be called again while the study goes on; those of students that left the front stay.

    Raises:
        AssetError: a file of the front is missing or was altered.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    storage = open_storage(url, driver=False)  # the study may have its driver beside us
    study = optuna.load_study(study_name=store.study, storage=storage)
    kept = FileSystemArtifactStore(base_path=str(folder))
    there = {meta.filename: meta.artifact_id for meta in get_all_artifact_meta(study, storage=storage)}
    count = 0
    for name, address in files_of(store):
        data = assets.get(address)
        if name in there:
            kept.write(there[name], BytesIO(data))
        else:
            with TemporaryDirectory() as place:
                (Path(place) / name).write_bytes(data)
                upload_artifact(artifact_store=kept, file_path=str(Path(place) / name), study_or_trial=study)
        count += 1
    return count


def files_of(store: Store) -> Iterator[tuple[str, str]]:
    """(file name, address of the asset) of every graph and weight of the front."""
    for row in store.front():
        stem = f"student-{row['trial']:05}"
        if "graph" in row:
            yield f"{stem}-graph.json", row["graph"]
        if "weights" in row.get("assets", {}):
            yield f"{stem}-weights.safetensors", row["assets"]["weights"]
