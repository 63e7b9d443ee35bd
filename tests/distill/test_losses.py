"""The pure losses: against numbers derived elsewhere, identities, limits, and what happens at huge logits."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from autostudent.distill import losses
from autostudent.distill.methods.ca_mkd import min_norm_weights

GOLDEN = Path(__file__).parent.parent / "golden"
DOUBLE = torch.float64


def derivation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("derive_losses", GOLDEN / "derive_losses.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAMPLES = derivation()
S = torch.tensor([[float(x) for x in row] for row in SAMPLES.STUDENT], dtype=DOUBLE)
TS = torch.tensor([[[float(x) for x in row] for row in table] for table in SAMPLES.TEACHERS], dtype=DOUBLE)
T = TS[0]
Y = torch.nn.functional.one_hot(torch.tensor(SAMPLES.LABELS), 4).to(DOUBLE)


def shares(like: Tensor) -> Tensor:
    return torch.tensor([0.5, 0.3, 0.2], dtype=losses.widened(like).dtype)[:, None].expand(3, len(like))


CALLS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "kd": lambda s, t, y: losses.kd(s, t[0], 4.0),
    "forward_kl": lambda s, t, y: losses.forward_kl(s, t[0], 4.0),
    "reverse_kl": lambda s, t, y: losses.reverse_kl(s, t[0], 4.0),
    "balanced_divergence": lambda s, t, y: losses.balanced_divergence(s, t[0], 4.0, 2.5),
    "nkd": lambda s, t, y: losses.nkd(s, t[0], y, 3.0, 1.5),
    "tf_nkd": lambda s, t, y: losses.tf_nkd(s, y),
    "dkd": lambda s, t, y: losses.dkd(s, t[0], y, 0.75, 8.0, 4.0),
    "dist": lambda s, t, y: losses.dist(s, t[0], 4.0, 0.5, 2.0),
    "continuation_mean": lambda s, t, y: losses.continuation(s, t[0], 0.75, 0.4),
    "continuation_sum": lambda s, t, y: losses.continuation(s, t[0], 0.75, 0.4, "sum"),
    "dgkd": lambda s, t, y: losses.dgkd(s, t, 4.0),
    "ta_ensemble": lambda s, t, y: losses.kd(s, losses.ensemble_logits(t, shares(s), 4.0), 4.0),
    "ca_mkd_weights": lambda s, t, y: losses.ca_mkd_weights(t, y).T.flatten(),
    "ebkd_weights": lambda s, t, y: losses.ebkd_weights(t).T.flatten(),
}
DETACHED = ("nkd", "tf_nkd", "balanced_divergence")  # their weights are constants: closed forms are tested instead
TRAINED = [name for name in CALLS if not name.endswith("weights")]


def draw(scale: float, batch: int = 16, classes: int = 10, teachers: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    student = (torch.randn(batch, classes, generator=rng) * scale).requires_grad_()
    target = torch.nn.functional.one_hot(torch.arange(batch) % classes, classes).float()
    return student, torch.randn(teachers, batch, classes, generator=rng) * scale, target


@pytest.mark.parametrize("name", CALLS)
def test_golden_numbers(name: str) -> None:
    golden = json.loads((GOLDEN / "losses.json").read_text())

    assert CALLS[name](S, TS, Y).tolist() == pytest.approx(golden[name], rel=1e-7)


def test_golden_file_is_what_its_derivation_gives() -> None:
    assert SAMPLES.derive() == json.loads((GOLDEN / "losses.json").read_text())


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("scale", [1.0, 300.0, 1e4])
def test_values_and_gradients_are_finite_at_huge_logits(name: str, scale: float) -> None:
    student, teachers, target = draw(scale)
    value = CALLS[name](student, teachers, target)
    value.sum().backward()

    assert value.shape == (16,)
    assert value.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", TRAINED)
def test_opposed_one_hot_logits_stay_finite(name: str) -> None:
    student = torch.full((4, 5), -1e4).scatter(1, torch.arange(4)[:, None], 1e4).requires_grad_()
    teachers = student.detach().roll(1, 1).expand(3, 4, 5)
    target = torch.eye(5)[:4].roll(2, 1)
    value = CALLS[name](student, teachers, target)
    value.sum().backward()

    assert value.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", TRAINED)
def test_half_precision_logits_are_widened(name: str) -> None:
    student, teachers, target = draw(3.0)
    half = CALLS[name](student.bfloat16(), teachers.bfloat16(), target)
    full = CALLS[name](student.bfloat16().float(), teachers.bfloat16().float(), target)

    assert half.dtype == torch.float32
    assert torch.allclose(half, full, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in DETACHED])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    student = S.clone().requires_grad_()

    assert torch.autograd.gradcheck(lambda s: CALLS[name](s, TS, Y), (student,))


def test_gradient_of_kd_is_the_closed_form() -> None:
    student = S.clone().requires_grad_()
    losses.kd(student, T, 4.0).sum().backward()
    expected = 4 * (torch.softmax(S / 4, 1) - torch.softmax(T / 4, 1))

    assert torch.allclose(student.grad, expected)  # type: ignore[arg-type]


def test_gradient_of_nkd_is_the_closed_form() -> None:
    student = S.clone().requires_grad_()
    losses.nkd(student, T, Y, 3.0, 1.5).sum().backward()
    weight = (torch.softmax(T, 1) * Y).sum(1, keepdim=True)
    expected = weight * (torch.softmax(S, 1) - Y)
    for i, label in enumerate(SAMPLES.LABELS):
        rest = [c for c in range(4) if c != label]
        expected[i, rest] += 1.5 * 3 * (torch.softmax(S[i, rest] / 3, 0) - torch.softmax(T[i, rest] / 3, 0))

    assert torch.allclose(student.grad, expected)  # type: ignore[arg-type]


def test_gradient_of_tf_nkd_treats_the_weight_as_a_constant() -> None:
    student = S.clone().requires_grad_()
    losses.tf_nkd(student, Y).sum().backward()
    q = (torch.softmax(S, 1) * Y).sum(1, keepdim=True)

    assert torch.allclose(student.grad, (q + 1 - q.mean()) * (torch.softmax(S, 1) - Y))  # type: ignore[arg-type]


def test_gradient_of_balanced_divergence_treats_the_weights_as_constants() -> None:
    student = S.clone().requires_grad_()
    losses.balanced_divergence(student, T, 2.0, 3.0).sum().backward()
    twin = S.clone().requires_grad_()
    entropies = [-(p * p.log()).sum(1) for p in (torch.softmax(S / 2, 1), torch.softmax(T / 2, 1))]
    sure = entropies[0] < entropies[1]
    ahead, behind = torch.where(sure, 3.0, 1.0), torch.where(sure, 1.0, 3.0)
    (ahead * losses.forward_kl(twin, T, 2.0) + behind * losses.reverse_kl(twin, T, 2.0)).sum().backward()

    assert torch.allclose(student.grad, twin.grad)  # type: ignore[arg-type]


def test_dkd_with_its_weights_tied_is_kd() -> None:
    for i in range(3):
        own = torch.softmax(T[i] / 4, 0)[SAMPLES.LABELS[i]]
        tied = losses.dkd(S[i : i + 1], T[i : i + 1], Y[i : i + 1], 1.0, float(1 - own), 4.0)

        assert torch.allclose(tied, losses.kd(S[i : i + 1], T[i : i + 1], 4.0))


def test_kd_tends_to_squared_centred_logits_when_temperature_grows() -> None:
    centred = (T - T.mean(1, keepdim=True)) - (S - S.mean(1, keepdim=True))

    assert torch.allclose(losses.kd(S, T, 1e4), centred.square().mean(1) / 2, rtol=1e-3)


@pytest.mark.parametrize("name", ["kd", "forward_kl", "reverse_kl", "balanced_divergence", "dkd", "dist"])
def test_nothing_is_lost_on_an_equal_teacher(name: str) -> None:
    tolerance = 1e-4 if name == "dist" else 1e-9  # its denominators have 1e-8 added

    assert CALLS[name](S, S.expand(3, 3, 4), Y).abs().max() < tolerance


def test_balanced_divergence_without_emphasis_is_symmetric() -> None:
    both = losses.forward_kl(S, T, 2.0) + losses.reverse_kl(S, T, 2.0)

    assert torch.allclose(losses.balanced_divergence(S, T, 2.0, 1.0), both)
    assert torch.allclose(losses.balanced_divergence(S, T, 2.0, 1.0, sharpness=3.0), both)


def test_smooth_balance_tends_to_the_switch_and_opposite_swaps_it() -> None:
    hard = losses.balanced_divergence(S, T, 2.0, 3.0)
    opposite = losses.balanced_divergence(S, T, 2.0, 3.0, opposite=True)
    both = losses.forward_kl(S, T, 2.0) + losses.reverse_kl(S, T, 2.0)

    assert torch.allclose(losses.balanced_divergence(S, T, 2.0, 3.0, sharpness=1e6), hard)
    assert torch.allclose(hard + opposite, 4 * both)


def test_dgkd_is_the_sum_of_its_sources() -> None:
    assert torch.allclose(losses.dgkd(S, TS, 4.0), sum(losses.kd(S, t, 4.0) for t in TS))
    assert torch.allclose(losses.dgkd(S, TS[:1], 4.0), losses.kd(S, T, 4.0))


def test_confidence_weights_sum_to_one_and_follow_the_labels() -> None:
    weights = losses.ca_mkd_weights(TS, Y)
    wrong = losses.cross_entropy(TS, Y)

    assert torch.allclose(weights.sum(0), torch.ones(3, dtype=DOUBLE))
    assert weights.max() <= 0.5
    assert torch.equal(weights.argsort(0), wrong.argsort(0, descending=True))
    assert torch.allclose(losses.ca_mkd_weights(T.expand(4, 3, 4), Y), torch.full((4, 3), 0.25, dtype=DOUBLE))
    assert torch.equal(losses.ca_mkd_weights(TS[:1], Y), torch.ones(1, 3))


def test_entropy_weights_survive_teachers_without_entropy() -> None:
    sure = torch.eye(4).expand(2, 4, 4) * 1e4

    assert torch.equal(losses.ebkd_weights(sure), torch.full((2, 4), 0.5))
    assert torch.allclose(losses.ebkd_weights(TS).sum(0), torch.full((3,), 2.0, dtype=DOUBLE))


def test_dist_ignores_the_scale_of_probabilities_and_needs_a_batch_for_its_second_term() -> None:
    alone = losses.dist(S[:1], T[:1], 1.0, 0.0, 1.0)
    inter = losses.dist(S, T, 1.0, 1.0, 0.0)

    assert alone.tolist() == [1.0]
    assert ((inter >= 0) & (inter <= 2)).all()


def test_dist_averages_to_the_batch_formula() -> None:
    p, q = torch.softmax(S / 4, 1), torch.softmax(T / 4, 1)
    inter = 1 - torch.stack([torch.corrcoef(torch.stack((p[i], q[i])))[0, 1] for i in range(3)]).mean()
    intra = 1 - torch.stack([torch.corrcoef(torch.stack((p[:, c], q[:, c])))[0, 1] for c in range(4)]).mean()

    assert float(losses.dist(S, T, 4.0, 0.5, 2.0).mean()) == pytest.approx(
        float(16 * (inter / 2 + 2 * intra)), rel=1e-4
    )


def test_tf_nkd_gives_both_labels_of_a_mixed_sample_a_term() -> None:
    mixed = torch.tensor([[0.7, 0.0, 0.3, 0.0], [0.0, 1.0, 0.0, 0.0]], dtype=DOUBLE)
    q = torch.softmax(S[:2], 1)
    first = q[[0, 1], [0, 1]]
    second = q[0, 2]
    idle = q[1, mixed[1].topk(2).indices[1]]
    expected = -(first + torch.tensor([0.7, 1.0], dtype=DOUBLE) - first.mean()) * first.log()
    expected[0] -= (second + 0.3 - (second + idle) / 2) * second.log()

    assert torch.allclose(losses.tf_nkd(S[:2], mixed), expected)


def test_a_hinge_within_the_margin_has_no_gradient() -> None:
    student = (T * 0.5).clone().requires_grad_()
    value = losses.continuation(student, T, 0.5, 0.1)
    value.sum().backward()

    assert value.tolist() == [0.0, 0.0, 0.0]
    assert student.grad is not None
    assert student.grad.abs().max() == 0


def test_two_classes_leave_nothing_beside_the_label() -> None:
    two, other = S[:, :2], T[:, :2]
    target = torch.tensor([[1.0, 0.0]] * 3, dtype=DOUBLE)
    own = losses.dkd(two, other, target, 1.0, 8.0, 4.0)

    assert torch.allclose(own, losses.kd(two, other, 4.0))


def test_calibration_error_against_a_loop_over_bins() -> None:
    probabilities = torch.softmax(torch.randn(500, 7, generator=torch.Generator().manual_seed(1), dtype=DOUBLE) * 2, 1)
    labels = torch.randint(0, 7, (500,), generator=torch.Generator().manual_seed(2))
    confidence, guess = probabilities.max(1)
    total = 0.0
    for b in range(15):
        inside = [i for i in range(500) if b / 15 < confidence[i] <= (b + 1) / 15]
        if inside:
            right = sum(int(guess[i] == labels[i]) for i in inside) / len(inside)
            sure = sum(float(confidence[i]) for i in inside) / len(inside)
            total += len(inside) / 500 * abs(right - sure)
    target = torch.nn.functional.one_hot(labels, 7)

    assert float(losses.expected_calibration_error(probabilities, target, 15)) == pytest.approx(total, rel=1e-9)


def test_calibration_error_of_the_perfect_and_the_sure_but_wrong() -> None:
    right = torch.eye(3)

    assert float(losses.expected_calibration_error(right, right, 15)) == 0
    assert float(losses.expected_calibration_error(right, right.roll(1, 0), 15)) == 1


def test_temperature_may_carry_gradient_and_its_square_is_part_of_it() -> None:
    heat = torch.tensor(3.0, dtype=DOUBLE, requires_grad=True)

    assert torch.autograd.gradcheck(lambda h: losses.kd(S, T, h).sum(), (heat,))
    assert torch.autograd.gradcheck(lambda h: losses.dkd(S, T, Y, 1.0, 8.0, h).sum(), (heat,))


@pytest.mark.parametrize(
    ("gram", "cap", "expected"),
    [
        ([[1.0, 0.0], [0.0, 3.0]], 1.0, [0.75, 0.25]),  # w proportional to 1 / norm²
        ([[1.0, 0.0], [0.0, 9.0]], 0.6, [0.6, 0.4]),  # the cap binds
        ([[1.0, 2.0], [2.0, 9.0]], 1.0, [1.0, 0.0]),  # the other is longer in the same direction
        ([[4.0]], 0.6, [1.0]),
        ([[0.0, 0.0], [0.0, 0.0]], 0.6, [0.5, 0.5]),
    ],
)
def test_min_norm_weights_of_known_cases(gram: list[list[float]], cap: float, expected: list[float]) -> None:
    assert min_norm_weights(gram, cap) == pytest.approx(expected, abs=1e-9)


def test_min_norm_weights_beat_a_fine_grid() -> None:
    pulls = torch.randn(3, 6, generator=torch.Generator().manual_seed(3), dtype=DOUBLE)
    gram = pulls @ pulls.T
    best = torch.tensor(min_norm_weights(gram.tolist(), 0.6), dtype=DOUBLE)
    steps = [i / 50 for i in range(31)]
    grid = [(a, b, 1 - a - b) for a in steps for b in steps if 0 <= 1 - a - b <= 0.6]
    values = [float(w @ gram @ w) for w in torch.tensor(grid, dtype=DOUBLE)]

    assert math.isclose(float(best.sum()), 1.0)
    assert float(best @ gram @ best) <= min(values) + 1e-12
