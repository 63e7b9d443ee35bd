"""A report as a file: its name decides what is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autostudent.assets import Assets, write_atomic
from autostudent.errors import ConfigError
from autostudent.report.gather import gather
from autostudent.store.store import Store

FORMATS = (".html", ".md", ".csv")


def write_report(
    store: Store,
    path: str | Path,
    *,
    study_file: str | None = None,
    given: Sequence[str] = (),
    assets: Assets | None = None,
) -> Path:
    """Writes what the store holds now and returns the file.

    Args:
        store: opened to read, while the study runs or after.
        path: ``.html``: one page that works without a network; ``.md``: the same as Markdown; ``.csv``: a line for
            every student.
        study_file, given, assets: as `autostudent.report.gather.gather` takes them.

    Raises:
        ConfigError: for another ending.
    """
    target = Path(path)
    if target.suffix.lower() not in FORMATS:
        raise ConfigError("--out", str(target), f"a file that ends in {', '.join(FORMATS)}")
    write_atomic(target, text(store, target.suffix.lower(), study_file, given, assets).encode())
    return target


def text(store: Store, suffix: str, study_file: str | None, given: Sequence[str], assets: Assets | None) -> str:
    """The file's text."""
    if suffix == ".csv":
        from autostudent.report.frames import front_frame

        return str(front_frame(store.rows()).to_csv())
    from autostudent.report import markdown, page

    contents = gather(store, study_file=study_file, given=given, assets=assets)
    return markdown.render(contents) if suffix == ".md" else page.render(contents)
