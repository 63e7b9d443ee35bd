import math

import pytest
import torch

from autostudent.measure.predict import at_once, predict, seen
from autostudent.measure.quality import accuracy, agreement, ece, nll, quality


def from_probabilities(rows):
    return torch.tensor(rows, dtype=torch.float64).log()


def test_golden_figures_by_hand():
    logits = from_probabilities([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8]])
    labels = torch.tensor([0, 1, 1, 0])
    assert accuracy(logits, labels) == 0.5
    assert nll(logits, labels) == pytest.approx(-(math.log(0.9) + math.log(0.4) + math.log(0.7) + math.log(0.2)) / 4)
    # bins of 15: .9 in (13/15, 14/15], .6 in (8/15, 9/15], .7 in (10/15, 11/15], .8 in (11/15, 12/15]: one each
    assert ece(logits, labels) == pytest.approx((0.1 + 0.6 + 0.3 + 0.8) / 4)


def test_a_bin_holds_its_upper_edge():
    # 0.5 is the upper edge of bin 1 of 2: with a sample at .45 it cancels there
    two = from_probabilities([[0.5, 0.25, 0.25], [0.45, 0.3, 0.25], [0.9, 0.05, 0.05]])
    labels = torch.tensor([0, 1, 0])
    assert ece(two, labels, bins=2) == pytest.approx((abs((1 - 0.5) + (0 - 0.45)) + 0.1) / 3)


def test_certain_predictions_count_in_the_last_bin():
    logits = torch.tensor([[1e4, -1e4], [1e4, -1e4]])
    assert ece(logits, torch.tensor([0, 1])) == pytest.approx(0.5)
    assert math.isfinite(nll(logits, torch.tensor([0, 1])))


def test_agreement_and_names():
    logits, teacher = torch.eye(4), torch.eye(4)[[0, 1, 3, 2]]
    assert agreement(logits, teacher) == 0.5
    figures = quality(logits, torch.arange(4), teacher)
    assert set(figures) == {"accuracy", "nll", "ece", "confidence", "agreement"}
    assert figures["accuracy"] == 1.0


def test_predict_does_not_depend_on_the_batch_and_keeps_the_mode():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    x = torch.randint(0, 256, (10, 1, 2, 2), dtype=torch.uint8)
    whole = predict(module, x)
    assert whole.shape == (10, 3)
    torch.testing.assert_close(predict(module, x, batch_size=3), whole)
    assert module.training
    assert not whole.requires_grad


def test_predict_leaves_a_frozen_part_frozen():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)).train()
    module[2].eval()
    predict(module, torch.zeros(2, 1, 2, 2, dtype=torch.uint8))
    assert [part.training for part in module.modules()] == [True, True, True, False]


def test_large_pictures_are_looked_at_fewer_at_once():
    assert at_once(8, 8) == at_once(32, 32) == 2000
    assert at_once(64, 64) == 500
    assert at_once(224, 224) == 40
    assert at_once(4096, 4096) == 1
    resizing = torch.nn.Identity()
    resizing.resize = 224
    assert seen(resizing, 32, 300) == (224, 300)
    assert seen(torch.nn.Identity(), 32, 30) == (32, 30)
