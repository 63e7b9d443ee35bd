from __future__ import annotations

import math
from pathlib import Path

import pytest

from autostudent.errors import ConfigError
from autostudent.space.yaml_loader import load_yaml, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e5", 1e5),
        ("1.5e-3", 1.5e-3),
        (".5", 0.5),
        ("0x10", 16),
        ("0o17", 15),
        ("0123", 123),
        ("-7", -7),
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("yes", "yes"),
        ("null", None),
        ("~", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        (".inf", math.inf),
        ("'1'", "1"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = load_yaml(f"a: {text}")["a"]
    assert found == value
    assert type(found) is type(value)


def test_mappings_and_lists_nest() -> None:
    assert load_yaml("a: {b: [1, x], c: {d: 1e3}}") == {"a": {"b": [1, "x"], "c": {"d": 1000.0}}}


def test_numbers_may_be_keys() -> None:
    assert load_yaml("2: a") == {2: "a"}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: 1\na: 2", "every key once"),
        ("a: [1", "line"),
        ("- 1", "a mapping"),
        ("", "a mapping"),
        ("a: !!python/object:os.system x", "valid YAML"),
        ("? [1, 2]\n: x", "plain word"),
        ("a: 1\nb: !!int abc", "YAML text, line 2: got 'something unreadable as int'; expected valid YAML"),
        ("a: !!int [1]", "unreadable as int"),
        ("a: !!float {b: 1}", "unreadable as float"),
        ("a: !!map [1]", "unreadable as map"),
        ("a: !!timestamp foo", "unreadable as timestamp"),
        ("a: " + "9" * 5000, "unreadable as int"),
        ("a: " + "[" * 2000, "nested too deep"),
    ],
)
def test_bad_text_is_one_clear_line(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_yaml(text)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1")
    assert load_yaml(path) == {"a": 1}
    with pytest.raises(ConfigError, match=r"missing\.yaml"):
        load_yaml(tmp_path / "missing.yaml")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="readable"):
        load_yaml(path)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (3, 3),
        (2.5, 2.5),
        ("100k", 1e5),
        ("2 MiB", 2 * 2**20),
        ("384 KiB", 393216),
        ("1.5M", 1.5e6),
        ("1e3", 1e3),
        ("8 MB", 8e6),
    ],
)
def test_quantities(given: object, value: float) -> None:
    assert parse_quantity(given) == value


@pytest.mark.parametrize(
    "given", ["100 parsecs", "k", "", True, None, [1], "1 2", math.nan, math.inf, 10**400, "1e400k"]
)
def test_other_quantities_are_refused(given: object) -> None:
    with pytest.raises(ConfigError, match=r"budget\.x"):
        parse_quantity(given, "budget.x")
