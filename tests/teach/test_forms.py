import numpy as np
import pytest
import torch

from autostudent.assets import Assets
from autostudent.data.views import Augment, ViewBank
from autostudent.teach.forms import Form
from autostudent.teach.knowledge import Knowledge, key_of


def read(form, logits, index=None):
    index = torch.arange(len(logits)) if index is None else index
    return form.reader(form.pack(logits), logits.shape[1], "cpu")(index)


def logits_of(count, classes, seed=0):
    return 5 * torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


def test_all_logits_come_back():
    logits = logits_of(7, 5)
    assert torch.equal(read(Form("float32"), logits), logits)
    assert torch.allclose(read(Form(), logits), logits, rtol=1e-3)
    assert torch.equal(read(Form("float32", 5), logits), logits)
    assert torch.equal(read(Form("float32"), logits, torch.tensor([4, 1, 4])), logits[[4, 1, 4]])


@pytest.mark.parametrize("form", [Form(), Form(top=2)])
def test_logits_beyond_half_precision_stay_finite(form):
    found = read(form, torch.tensor([[7e4, -9e9, 1.0]]))
    assert found.isfinite().all()
    assert found[0, 0] == 65504


@pytest.mark.parametrize("top", [1, 3, 99])
def test_the_largest_keep_their_probabilities_and_the_rest_share_theirs(top):
    logits = logits_of(50, 100)
    index = torch.tensor([3, 49, 0, 3])
    found, wanted = read(Form("float32", top), logits, index).softmax(1), logits[index].softmax(1)
    for row, own in zip(found, wanted, strict=True):
        best = own.topk(top).indices
        assert torch.allclose(row[best], own[best], rtol=1e-5)
        others = torch.ones(100, dtype=torch.bool)
        others[best] = False
        assert torch.allclose(row[others], own[others].mean(), rtol=1e-4)


def test_few_of_many_take_little_room():
    logits = logits_of(20, 1000)
    assert Form(top=10).pack(logits).nbytes == 20 * (10 * (2 + 4) + 4)
    assert Form().pack(logits).nbytes == 20 * 2000


def test_knowledge_of_the_largest_is_checked_against_the_teacher_and_kept_apart(digits, teacher, tmp_path):
    bank, form, assets = ViewBank(digits.train.x, 2, 0, Augment(1, True)), Form(top=2), Assets(tmp_path)
    few = Knowledge.ensure(assets, teacher, bank, form=form)
    whole = Knowledge.ensure(assets, teacher, bank)
    assert key_of(teacher.key, bank, form) != key_of(teacher.key, bank, Form())
    assert few.rows(1).dtype.names == ("value", "place", "rest")
    index = torch.arange(40)
    near = form.reader(few.rows(1), 10, "cpu")(index).softmax(1)
    exact = torch.from_numpy(np.array(whole.rows(1)[:40])).float().softmax(1)
    assert torch.allclose(near.topk(2).values, exact.topk(2).values, atol=2e-3)
    assert (near - exact).abs().max() > 1e-3  # the others' shares are levelled
