"""Every command that the README shows is one that exists, with options that exist; every file it names is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from autostudent.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [text for language, text in re.findall(r"^```(\w*)\n(.*?)^```", README, re.S | re.M) if not language]
LINES = [part.strip() for block in BLOCKS for line in block.splitlines() for part in line.split("#")[0].split(";")]
COMMANDS = sorted({line for line in LINES if line.startswith("autostudent ")})


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_parses(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]
    context = command.make_context(name, list(arguments))
    assert context.command is command


def test_files_named_in_the_readme_exist() -> None:
    for name in re.findall(r"(?:studies|docs|benchmarks/results)/\w+\.\w+|\w+\.md", README):
        assert (ROOT / name).is_file(), name


def test_make_targets_named_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)$", README, re.M):
        assert f"\n{target}:" in makefile
