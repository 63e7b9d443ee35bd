from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostudent.errors import ConfigError
from autostudent.records import Candidate, Value
from autostudent.space.architecture import InputShape, feature_names, features, freeze
from autostudent.space.rules import Rule
from autostudent.space.space import Space, list_spaces, load_space
from tests.strategies import SEEDS, SPACES

STUDENTS = """
generator: hnag
ops: [conv3, sep3]
fixed: {merge: mean}
params:
  top.nodes: {int: [3, 5]}
  top.k: {choice: [2, 4]}
  cell.nodes: {int: [1, 3]}
  cell.graph: {choice: [er, ws], when: {cell.nodes: 3}}
  cell.p: {float: [0.2, 1.0], when: {cell.graph: er}}
  params.target: {float: [3k, 1e5], log: true}
forbid: [top.k >= top.nodes]
"""
RECIPE = """
params:
  kd.loss: {choice: [none, kd], weights: [1, 3], default: kd}
  kd.temperature: {float: [1, 16], log: true, default: 4, when: {kd.loss: kd}}
  optim.lr: {float: [0.01, 0.3], log: true, default: 0.1}
"""


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return written(tmp_path, STUDENTS, RECIPE)


def written(folder: Path, students: str, recipe: str | None = None) -> Space:
    (folder / "students.yaml").write_text(students)
    if recipe is None:
        return load_space(folder / "students.yaml")
    (folder / "recipe.yaml").write_text(recipe)
    return load_space(folder / "students.yaml", folder / "recipe.yaml")


def test_what_a_file_says(space: Space) -> None:
    assert space.students == ("top.nodes", "top.k", "cell.nodes", "cell.graph", "cell.p", "params.target")
    assert space.recipe == ("kd.loss", "kd.temperature", "optim.lr")
    assert space.names == space.students + space.recipe
    assert space.defaults == {"kd.loss": "kd", "kd.temperature": 4.0, "optim.lr": 0.1}
    assert space.fixed == {"merge": "mean"}
    assert space.merges == ("mean",)
    assert pickle.loads(pickle.dumps(space)).digest == space.digest


@pytest.mark.parametrize("name", SPACES)
@given(seed=SEEDS)
def test_shipped_spaces_draw_encode_and_mutate(name: str, seed: int) -> None:
    space, rng = SPACES[name], np.random.default_rng(seed)
    config = space.sample(rng)
    for _ in range(4):
        space.check(config)
        assert set(config) == set(space.active(config))
        u = space.encode(config)
        assert u.shape == (len(space.names),)
        assert [name for name, x in zip(space.names, u, strict=True) if not np.isnan(x)] == list(config)
        again = space.decode(u)
        assert again.keys() == config.keys()
        assert all(again[k] == config[k] or again[k] == pytest.approx(config[k]) for k in config)
        moved = space.mutate(config, rng, space.names)
        assert moved != config
        config = moved


def test_conditions_and_rules(space: Space) -> None:
    rng = np.random.default_rng(0)
    configs = [space.sample(rng) for _ in range(300)]
    assert all(config["top.k"] < config["top.nodes"] for config in configs)
    assert all(("cell.graph" in config) == (config["cell.nodes"] == 3) for config in configs)
    assert all(("cell.p" in config) == (config.get("cell.graph") == "er") for config in configs)
    assert np.mean([config["kd.loss"] == "kd" for config in configs]) == pytest.approx(0.75, abs=0.08)


def test_a_mutation_repairs_what_depends_on_it(space: Space) -> None:
    rng = np.random.default_rng(0)
    config = next(c for c in (space.sample(rng) for _ in range(99)) if c["kd.loss"] == "none")
    moved = space.mutate(config, rng, ["kd.loss"])
    assert moved["kd.loss"] == "kd"
    assert 1 <= moved["kd.temperature"] <= 16
    assert {k: v for k, v in moved.items() if not k.startswith("kd")} == {
        k: v for k, v in config.items() if not k.startswith("kd")
    }
    with pytest.raises(ConfigError, match="mutate"):
        space.mutate(config, rng, ["kd.temperature"])


GOOD = {"top.nodes": 4, "top.k": 2, "cell.nodes": 1, "params.target": 5e3, "kd.loss": "none", "optim.lr": 0.1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top.node": 3}, "did you mean 'top.nodes'"),
        ({"top.nodes": 9}, "a whole number from 3 to 5"),
        ({"top.nodes": 3.0}, "a whole number"),
        ({"kd.loss": "dkd"}, "one of: none, kd"),
        ({"kd.temperature": 3.0}, "applies only when kd.loss is kd"),
        ({"kd.loss": "kd"}, "kd.temperature: got None"),
        ({"top.k": 4}, "forbid: top.k >= top.nodes"),
        ({"optim.lr": float("nan")}, "a number from"),
    ],
)
def test_bad_configurations_are_refused(space: Space, change: dict[str, object], message: str) -> None:
    space.check(GOOD)
    with pytest.raises(ConfigError) as caught:
        space.check({**GOOD, **change})  # type: ignore[dict-item]
    assert message in str(caught.value)


def test_missing_numbers_decode_to_the_typical_value(space: Space) -> None:
    config = space.decode([np.nan] * len(space.names))
    space.check(config)
    assert config["kd.loss"] == "kd"
    assert config["kd.temperature"] == 4.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("generator: hnag", "generator: hnga", "did you mean 'hnag'"),
        ("generator: hnag", "generators: hnag", "did you mean 'generator'"),
        ("ops: [conv3, sep3]", "ops: [conv3, sep]", "did you mean"),
        ("ops: [conv3, sep3]", "ops: conv3", "a list of operations"),
        ("merge: mean", "merge: median", "one of: sum"),
        ("generator: hnag", "generator: [hnag]", "one of: hnag"),
        ("ops: [conv3, sep3]", "ops: [{conv3: 1}]", "one of: conv1"),
        ("merge: mean", "stage.count: three", "a whole number of at least 1"),
        ("merge: mean", "stage.count: 2.5", "a whole number of at least 1"),
        ("merge: mean", "width.multiple: 1.5", "a whole number of at least 1"),
        ("merge: mean", "top.k: .inf", "a whole number of at least 0"),
        ("merge: mean", "stem.stride: true", "one of: 1, 2, 4"),
        ("top.k: {choice: [2, 4]}", "stem.stride: {int: [1, 4]}", "stem.stride: got 3; expected one of: 1, 2, 4"),
        ("top.k: {choice: [2, 4]}", "stem.stride: {float: [1, 2]}", "float: got [1.0, 2.0]; expected int or choice"),
        ("top.nodes: {int: [3, 5]}", "top.nodes: {float: [3, 5.9]}", "a whole number of at least 1"),
        ("top.nodes: {int: [3, 5]}", "top.nodes: {float: [3, 5]}", "expected int or choice, for a whole number"),
        ("top.nodes: {int: [3, 5]}", "top.nodes: {choice: [3.5, 4]}", "a whole number of at least 1"),
        ("top.nodes: {int: [3, 5]}", "stage.count: {int: [2, 3]}", "under `fixed`"),
        ("merge: mean", "cell.k: -1", "a whole number of at least 0"),
        ("ops: [conv3, sep3]", "ops: [pool3]", "at least one convolution"),
        ("params.target: {float: [3k, 1e5], log: true}", "skip: {choice: [none]}", "no params.target"),
        ("{float: [0.2, 1.0]", "{float: [0.2, 2.0]", "from 0 to 1"),
        ("top.nodes: {int: [3, 5]}", "top.nodes: {int: [0, 5]}", "at least 1"),
        ("top.nodes: {int: [3, 5]}", "top.node: {int: [3, 5]}", "did you mean 'top.nodes'"),
        ("{int: [3, 5]}", "{int: [5, 3]}", "low <= high"),
        ("{int: [3, 5]}", "{int: [3, 4.5]}", "whole numbers"),
        ("{int: [3, 5]}", "{int: 3}", "[low, high]"),
        ("{int: [3, 5]}", "3", "a mapping such as"),
        ("{int: [3, 5]}", "{ints: [3, 5]}", "did you mean 'int'"),
        ("{int: [3, 5]}", "{log: true}", "exactly one of"),
        ("{choice: [2, 4]}", "{choice: []}", "a list of words or numbers"),
        ("{choice: [2, 4]}", "{choice: [2, 2]}", "every value once"),
        ("{choice: [2, 4]}", "{choice: [2, 4], weights: [1]}", "2 numbers"),
        ("{choice: [2, 4]}", f"{{choice: [2, 4], weights: [1, 1{'0' * 400}]}}", "2 numbers"),
        ("{choice: [2, 4]}", "{choice: [2, 4], log: true}", "no scale"),
        ("{choice: [2, 4]}", "{choice: [2, 4], default: 3}", "one of: 2, 4"),
        ("when: {cell.nodes: 3}", "when: {cell.nodes: 7}", "a whole number from 1 to 3"),
        ("when: {cell.nodes: 3}", "when: {cell.p: 0.5}", "declared before"),
        ("when: {cell.nodes: 3}", "when: {cell.nodes: []}", "at least one value"),
        ("[3k, 1e5]", "[0, 1e5]", "above zero"),
        ("[3k, 1e5]", "[3 bananas, 1e5]", "units"),
        ("[top.k >= top.nodes]", "[top.k >= top.nods]", "did you mean 'top.nodes'"),
        ("[top.k >= top.nodes]", "['top.k >= top.nodes or True']", "NAME OPERATOR"),
        ("[top.k >= top.nodes]", "[cell.graph > er]", "no order"),
        ("[top.k >= top.nodes]", "[top.nodes == 9]", "a value that top.nodes can take: a whole number from 3 to 5"),
        ("[top.k >= top.nodes]", "[top.k != 3]", "a value that top.k can take: one of: 2, 4"),
        ("[top.k >= top.nodes]", "[cell.graph == true]", "one of: cell.graph"),
        ("[top.k >= top.nodes]", "top.k", "a list of rules"),
    ],
)
def test_bad_files_name_the_entry(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in STUDENTS
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, STUDENTS.replace(old, new))
    assert message in str(caught.value)


def test_rules_may_name_choices(tmp_path: Path) -> None:
    space = written(
        tmp_path, STUDENTS.replace("[top.k >= top.nodes]", "[cell.graph == ws, top.nodes > 3.5, top.k > 3]")
    )
    rng = np.random.default_rng(0)
    assert all(c.get("cell.graph") != "ws" and c["top.nodes"] == 3 for c in (space.sample(rng) for _ in range(50)))


@pytest.mark.parametrize(
    ("choice", "rule", "left"),
    [
        ("['3', '5']", "skill == 3", {"5"}),
        ("['3', '5']", "skill != 3", {"3"}),
        ("[inf, nan, x]", "skill == inf", {"nan", "x"}),
        ("[true, false]", "skill == true", {False}),
        ("['true', x]", "skill == true", {"x"}),
        ("[2, 3.5]", "skill == 2.0", {3.5}),
        ("[kd.loss, x]", "skill == kd.loss", {"x"}),
        ("[true, x]", "skill == skill2", {True, "x"}),
        ("[1, 2, 3]", "skill < 2", {2, 3}),
        ("[1, 2, 3]", "skill <= 2", {3}),
        ("[1, 2, 3]", "skill > 2", {1, 2}),
        ("[1, 2, 3]", "skill >= 2", {1}),
    ],
)
def test_a_rule_means_the_choice_that_stands_there(tmp_path: Path, choice: str, rule: str, left: set[Value]) -> None:
    extra = f"  skill: {{choice: {choice}}}\n  skill2: {{choice: [1]}}\nforbid: [{rule}]\n"
    space = written(tmp_path, STUDENTS, RECIPE + extra)
    rng = np.random.default_rng(0)
    drawn = {space.sample(rng)["skill"] for _ in range(60)}
    assert {(type(value), value) for value in drawn} == {(type(value), value) for value in left}


def test_a_rule_between_parameters_forbids_nothing_where_one_is_inactive() -> None:
    rule = Rule("a >= b", "a", ">=", "b", named=True)
    assert [rule.breaks(config) for config in ({"a": 1}, {"b": 1}, {"a": 1, "b": 2})] == [False] * 3
    assert rule.breaks({"a": 2, "b": 2})


def test_true_is_not_one_in_a_rule(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a value that skill can take: one of: True, False"):
        written(tmp_path, STUDENTS, RECIPE + "  skill: {choice: [true, false]}\nforbid: [skill == 1]\n")


def test_a_fixed_target_may_carry_a_unit(tmp_path: Path) -> None:
    target = "params.target: {float: [3k, 1e5], log: true}"
    fixed = STUDENTS.replace(target, "").replace("merge: mean", "params.target: 10k")
    assert written(tmp_path, fixed).fixed == {"params.target": 10_000.0}
    with pytest.raises(ConfigError, match=r"students\.fixed\.params\.target: got 'ten'"):
        written(tmp_path, fixed.replace("10k", "ten"))


@pytest.mark.parametrize(("stages", "of_cells"), [(1, [0]), (2, [0, 0, 1]), (3, [0, 1, 2]), (4, [0, 1, 2, 3])])
def test_without_a_number_of_cells_every_stage_has_one(tmp_path: Path, stages: int, of_cells: list[int]) -> None:
    head = f"generator: hnag\nops: [conv3]\nfixed: {{stage.count: {stages}}}\n"
    space = written(tmp_path, head + "params: {params.target: {float: [3k, 30k]}}")
    candidate = Candidate(space.sample(np.random.default_rng(0)), 0)
    architecture = freeze(candidate, space, InputShape(1, 16, 16, 10))
    assert [architecture.nodes[block].stage for block in architecture.blocks] == of_cells
    assert len(features(architecture, candidate, space)) == len(feature_names(space))


def test_rules_that_leave_nothing(tmp_path: Path) -> None:
    space = written(tmp_path, STUDENTS.replace("[top.k >= top.nodes]", "[top.k > 0]"))
    with pytest.raises(ConfigError, match="leave something"):
        space.sample(np.random.default_rng(0))


def test_names_of_spaces() -> None:
    rows = {row["name"]: row for row in list_spaces()}
    assert rows["hnag_tiny"]["kind"] == "students"
    assert rows["kd_basic"]["kind"] == "recipe"
    assert all(row["about"] for row in rows.values())
    with pytest.raises(ConfigError, match="did you mean 'hnag_tiny'"):
        load_space("hnag_tini")
    with pytest.raises(ConfigError, match="describes recipe"):
        load_space("kd_basic")
    with pytest.raises(ConfigError, match="describes students"):
        load_space("hnag_tiny", "hnag_cnn")
    with pytest.raises(ConfigError, match="exists"):
        load_space("nowhere.yaml")


@given(st.integers(0, 50))
def test_active_needs_only_the_parents(seed: int) -> None:
    space = SPACES["hnag_tiny"]
    config = space.sample(np.random.default_rng(seed))
    for name, value in config.items():
        assert all(parent in config for parent in space.params[name].when), (name, value)
