"""Files of the front as artifacts of the Optuna study."""

from __future__ import annotations

import optuna
from optuna.artifacts import get_all_artifact_meta

from autostudent.store.artifacts import publish


def test_files_of_the_front_are_published_once_and_read_back(toy, tmp_path):
    wanted = {"student-00000-graph.json": b"{}", "student-00000-weights.safetensors": b"weights"}
    graph, weights = (toy.assets.put(data, ".bin") for data in wanted.values())
    with toy.open() as store:
        prices = {"params": 100, "macs": 5000, "memory_bytes": 4096}
        store.create(toy.candidate(0), "f", prices, {"method": "kd", "teachers": ["main"], "graph": graph})
        store.start(0, 9)
        store.commit(0, toy.result(0, 9, assets={"weights": weights}))
        toy.create(store, 1)  # still training: on no front
    ids = []
    for _ in range(2):
        with toy.read() as reader:
            assert publish(reader, toy.url, toy.assets, tmp_path / "files") == 2
        study = optuna.load_study(study_name="toy", storage=toy.url)
        metas = get_all_artifact_meta(study, storage=study._storage)
        assert len(metas) == 2
        ids.append({meta.filename: meta.artifact_id for meta in metas})
    assert ids[0] == ids[1]
    assert {name: (tmp_path / "files" / number).read_bytes() for name, number in ids[0].items()} == wanted
