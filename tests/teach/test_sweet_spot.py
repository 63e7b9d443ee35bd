"""Teachers chosen by their responses, and teachers that stopped early."""

import pytest
import torch

from autostudent.errors import ConfigError
from autostudent.teach import training
from autostudent.teach.sweet_spot import Response, ranked, response, shortlist
from autostudent.teach.teachers import resolve

SMALL = {"resnet": {"depth": 8, "width": 4}, "epochs": 4}


def test_golden_response_by_hand():
    """Four samples, two of class 0 and one each of 1 and 2, at T = 1."""
    p = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.25, 0.5, 0.25], [0.1, 0.2, 0.7]])
    found = response(p.log(), torch.tensor([0, 0, 1, 2]), temperature=1.0)
    # entropies of (.75, .25), (.25, .75), (.5, .5), (1/3, 2/3) in units of log 2
    spread = (2 * 0.8112781 + 1.0 + 0.9182958) / 4

    assert found.accuracy == 0.75
    assert found.sureness == pytest.approx(0.6)
    assert found.spread == pytest.approx(spread, abs=1e-6)
    assert found.similarity == 0.0  # one half has nothing of classes 1 and 2: two numbers cannot be correlated


def test_structure_counts_and_softness_alone_does_not():
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    kin = torch.tensor([[6.0, 4, 0, 0], [4, 6, 0, 0], [0, 0, 6, 4], [0, 0, 4, 6]])
    structured = kin[labels] + 0.5 * torch.randn(400, 4, generator=draw)
    uniform = 1.0 * torch.nn.functional.one_hot(labels, 4) + 0.5 * torch.randn(400, 4, generator=draw)
    sharp = 60.0 * torch.nn.functional.one_hot(labels, 4) + 0.5 * torch.randn(400, 4, generator=draw)

    assert response(structured, labels).similarity > 0.4
    assert response(structured, labels).similarity > 2 * abs(response(uniform, labels).similarity)
    assert abs(response(sharp, labels).similarity) < 0.01


def test_ranks_are_fronts_of_accuracy_and_similarity():
    made = [Response(a, 0, 0, q) for a, q in ((0.9, 0.1), (0.8, 0.3), (0.7, 0.2), (0.95, 0.05), (0.6, 0.1))]

    assert ranked(made) == [1, 0, 3, 2, 4]
    assert ranked([]) == []


def test_the_short_list_spans_the_front():
    made = [Response(a, 0, 0, q) for a, q in ((0.9, 0.1), (0.8, 0.3), (0.7, 0.2), (0.95, 0.05), (0.6, 0.4), (0.5, 0.5))]

    assert shortlist(made) == [5, 1, 3]  # front by accuracy: 5, 4, 1, 0, 3
    assert shortlist(made[:2]) == [1, 0]
    assert shortlist(made[:1]) == [0]
    assert shortlist([]) == []


def test_a_grid_is_trained_once_a_batch_size_and_ranked(digits, shared):
    said = []
    grid = {"batch_sizes": [64, 128], "epochs": [1, 3]}
    spec = {**SMALL, "sweet_spot": grid}
    best = resolve("sweet1", spec, digits, shared, say=said.append)
    second = resolve("sweet2", {**SMALL, "sweet_spot": {**grid, "rank": 2}}, digits, shared, say=said.append)
    last = resolve("sweet9", {**SMALL, "sweet_spot": {**grid, "rank": 9}}, digits, shared, say=said.append)

    assert len([line for line in said if line.startswith("training sweet1")]) == 2
    assert not any(line.startswith(("training sweet2", "training sweet9")) for line in said)
    assert (best.name, second.name) == ("sweet1", "sweet2")
    assert len({best.key, second.key, last.key}) == 3
    assert best.seconds == second.seconds > 0  # of the whole grid
    assert best.about["optim"]["epochs"] == 3


def test_the_first_teaches_a_small_student_best(digits, shared):
    grid = {"batch_sizes": [16, 128], "epochs": [1, 3, 6]}
    teachers = [
        resolve(f"s{rank}", {**SMALL, "epochs": 6, "sweet_spot": {**grid, "rank": rank}}, digits, shared)
        for rank in range(1, 7)
    ]
    taught = [teacher.about["response"].get("taught") for teacher in teachers]
    tried = [score for score in taught if score is not None]

    assert 2 <= len(tried) <= 3
    assert taught == [*sorted(tried, reverse=True), *[None] * (6 - len(tried))]
    assert len({teacher.key for teacher in teachers}) == 6


def test_compressed_teachers_are_short_trainings_and_checkpoints_parts_of_long_ones(digits, shared):
    full = resolve("main", SMALL, digits, shared)
    short = resolve("short", {**SMALL, "early_stopped": {"share": 0.5}}, digits, shared)
    cut = resolve("cut", {**SMALL, "early_stopped": {"share": 0.5, "schedule": "checkpoint"}}, digits, shared)

    assert short.key == resolve("other", {**SMALL, "epochs": 2}, digits, shared).key
    assert cut.about["optim"]["epochs"] == 4
    weights = [teacher.module.state_dict() for teacher in (full, short, cut)]
    first = next(name for name, tensor in weights[0].items() if tensor.ndim == 4 and name not in ("mean", "std"))
    assert not torch.equal(weights[1][first], weights[2][first])
    assert not torch.equal(weights[0][first], weights[2][first])


def test_a_stop_before_what_a_killed_training_kept(digits, shared, monkeypatch):
    """The grid gains an epoch after a kill: what was kept is past it, so the training begins anew."""
    monkeypatch.setattr(training, "KEPT_EVERY_S", 0.0)

    def spec(epochs):
        return {**SMALL, "batch_size": 96, "sweet_spot": {"batch_sizes": [96], "epochs": epochs}}

    def kill(said):
        if said.startswith("epoch 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resolve("late", spec([4]), digits, shared, say=kill)
    said = []
    resolve("late", spec([1, 4]), digits, shared, say=said.append)
    assert [line for line in said if line.endswith("of 4")] == [f"epoch {k} of 4" for k in (1, 2, 3, 4)]
    with pytest.raises(KeyboardInterrupt):
        resolve("later", spec([5]), digits, shared, say=kill)
    said.clear()
    resolve("later", spec([4, 5]), digits, shared, say=said.append)
    assert [line for line in said if line.endswith("of 5")] == ["epoch 4 of 5", "epoch 5 of 5"]


def test_seeds_of_teachers_add_to_that_of_the_study(digits, shared):
    assert resolve("a", {**SMALL, "seed": 1}, digits, shared).key == resolve("b", SMALL, digits, shared, seed=1).key
    assert resolve("a", {**SMALL, "seed": 1}, digits, shared).key != resolve("b", SMALL, digits, shared).key


def test_unknown_entries_are_refused(digits, shared):
    with pytest.raises(ConfigError, match="did you mean 'sweet_spot'"):
        resolve("a", {**SMALL, "sweet_spott": {}}, digits, shared)
