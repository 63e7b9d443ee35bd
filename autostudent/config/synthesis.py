"""A study of students whose teacher only answers, made from another study: `autostudent synthesize`."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from autostudent.assets import write_atomic
from autostudent.config import absolute, filled, load_study
from autostudent.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from autostudent.study import Study
    from autostudent.teach.few_shot import Pool, Synthesis
    from autostudent.teach.teacher import Teacher

PICTURES, WEIGHTS, GRAPH, STUDY = "pictures.npz", "teacher.safetensors", "teacher.json", "study.yaml"
RECIPE = "kd_black_box"
SHARE = 20  # pictures made for each that is there, by default: 2,000 are 40,000 in the paper


def synthesize(
    study: str | Path,
    out: str | Path,
    *,
    pictures: int,
    synthetic: int | None = None,
    teacher: str | None = None,
    settings: Sequence[str] = (),
    seed: int = 0,
    say: Any = lambda text: None,
    **options: Any,
) -> dict[str, Any]:
    """Makes the pictures and the study of black-box few-shot distillation (Nguyen et al. 2022, arXiv 2207.12106).

    Args:
        study: a study file; its teacher is made or found as a search would.
        out: a folder for the pictures, a study file to search with, and the weights of a teacher trained here.
        pictures: how many training pictures are taken, stratified; their labels are not looked at otherwise.
        synthetic: how many are made beside them, by default 20 times as many.
        teacher: its name in the study, by default the first.
        settings: ``key=value`` overrides of the study file.
        seed: of the choice, the blends and the VAE.
        say: told what is being done.
        options: ``alpha``, ``discard``, ``drawn``, ``latent``, ``epochs`` of `autostudent.teach.few_shot.Synthesis`.

    Returns:
        {"study": the file, "pictures": {"real", "blended", "drawn"}, "asked": pictures the teacher was asked about,
        "agrees": share of the real ones that it labels as the data does}.

    Raises:
        ConfigError: for anything that is unknown, missing, or out of range, and a folder with pictures of before.
    """
    from autostudent.measure.predict import predict
    from autostudent.teach.few_shot import Synthesis, few, synthesised
    from autostudent.teach.teachers import resolve
    from autostudent.trial import one_thread

    count = SHARE * pictures if synthetic is None else synthetic
    how = Synthesis(count, **options)
    folder, source = Path(out).absolute(), load_study(study, settings)
    if (folder / PICTURES).exists():
        raise ConfigError("out", str(out), f"a folder without {PICTURES} of before")
    name = named(source, teacher)
    available = len(source.dataset.train)
    if not 1 <= pictures <= available:
        raise ConfigError("pictures", pictures, f"a number from 1 to {available:,}, the training pictures there are")
    folder.mkdir(parents=True, exist_ok=True)
    with one_thread():
        spec = source.settings.teachers[name]
        known = resolve(name, spec, source.dataset, source.assets, source.device, source.shared_seed, say)
        chosen = few(source.dataset.train, pictures, seed)

        def ask(x: Tensor) -> Tensor:
            return predict(known.module, x, known.device).softmax(1)

        pool = synthesised(chosen.x, ask, how, seed, source.device, say)
    if (absent := pool.absent) is not None:
        named_class = source.dataset.classes[absent]
        raise ConfigError("pictures", pictures, f"more: the teacher finds no {named_class!r} among them")
    write(folder, source, name, known, pool, filled(study, settings), how)
    real, blended, drawn = pool.counts
    return {
        "study": str(folder / STUDY),
        "pictures": {"real": real, "blended": blended, "drawn": drawn},
        "asked": len(pool.x),
        "agrees": float((pool.labels[:real] == chosen.y).double().mean()),
    }


def named(study: Study, teacher: str | None) -> str:
    """The name of a teacher of the study's catalogue."""
    catalogue = study.settings.teachers
    name = next(iter(catalogue)) if teacher is None else teacher
    if name not in catalogue:
        raise ConfigError("teacher", teacher, f"a teacher of the study: {', '.join(catalogue)}")
    return name


def write(
    folder: Path,
    source: Study,
    name: str,
    teacher: Teacher,
    pool: Pool,
    raw: Mapping[str, Any],
    how: Synthesis,
) -> None:
    """The teacher's weights, the study file, and the pictures with the first study's validation and test splits."""
    import numpy as np

    dataset = source.dataset
    parts = {"validation": dataset.validation, "test": dataset.test}
    arrays = {"x_train": last(pool.x), "y_train": pool.labels.numpy(), "class_names": np.array(dataset.classes)}
    for split, part in parts.items():
        arrays |= {f"x_{split}": last(part.x), f"y_{split}": part.y.numpy()}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    real, blended, drawn = pool.counts
    about = f"""\
# Students of {name}, which only answers (Nguyen et al. 2022, arXiv 2207.12106), on {real:,} pictures,
# {blended:,} blends and {drawn:,} drawn by a conditional VAE, all labelled by it (alpha {how.alpha:g}, discard
# {how.discard:g}).
# A search asks it about every view of them: with training.views 1 that is once for each picture.
"""
    entries = study_of(raw, folder, source, name, teacher)
    (folder / STUDY).write_text(about + yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=120))
    write_atomic(folder / PICTURES, packed.getvalue())  # the last: what a killed run left is made again


def study_of(raw: Mapping[str, Any], folder: Path, source: Study, name: str, teacher: Teacher) -> dict[str, Any]:
    """The entries of the new study: the old one's, with these pictures and this teacher alone."""
    dataset, own = source.dataset, f"{source.settings.study}-few-shot"
    search = {key: value for key, value in (raw.get("search") or {}).items() if key != "warm_start"}
    changed = {
        "study": own,
        "data": {"npz": str(folder / PICTURES), "seed": source.shared_seed, "augment": dataset.augment.about},
        "teachers": {name: entry_of(folder, source.settings.teachers[name], teacher)},
        "space": {**raw["space"], "recipe": RECIPE},
        "search": search,
        "store": f"sqlite:///{folder / 'study.db'}",
        "artifacts": str(folder / "assets"),
    }
    kept = {key: value for key, value in raw.items() if key not in ("ladder", *changed)}
    return {**changed, **kept}


def entry_of(folder: Path, spec: Mapping[str, Any], teacher: Teacher) -> dict[str, Any]:
    """What a study says of the teacher; the weights of one that was trained here are written into the folder."""
    from autostudent.teach.weights import pack_state

    origin = teacher.about["origin"]
    if origin["kind"] != "network":
        return dict(absolute(spec))
    (folder / WEIGHTS).write_bytes(pack_state(teacher.module))
    (folder / GRAPH).write_text(json.dumps(origin["architecture"]))
    how = {"mean": list(origin["mean"]), "std": list(origin["std"])}
    return {"checkpoint": str(folder / WEIGHTS), "architecture": str(folder / GRAPH), "normalize": how}


def last(x: Tensor) -> Any:
    """Pictures ``(n, C, H, W)`` as npz files have them: ``(n, H, W)`` or ``(n, H, W, C)``."""
    pixels = x.permute(0, 2, 3, 1).numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
