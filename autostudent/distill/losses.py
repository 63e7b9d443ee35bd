"""The pure losses of all methods: tensors in, one number per sample out.

Letters: B batch, C classes, M teachers. ``student`` and ``teacher`` are logits ``(B, C)``, ``teachers`` ``(M, B, C)``,
``target`` label probabilities ``(B, C)``; ``temperature`` is a number, or a scalar tensor that may carry gradient.
Every function gives ``(B,)`` unless it says otherwise; reduction belongs to the training loop.

All are finite, with finite gradients, at logits of standard deviation 300 and beyond: they work on log-probabilities,
and take the target's column out instead of masking it with a large negative number. Half-precision logits are widened
to float32 first. Notation: p = softmax(logits / T), KL(a ‖ b) = Σ_c a_c (log a_c - log b_c), y the label's class.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Temperature = float | Tensor


def widened(x: Tensor) -> Tensor:
    """``x`` in float32 where it is narrower."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def log_probabilities(logits: Tensor, temperature: Temperature = 1.0) -> Tensor:
    """log softmax(logits / T) over the last dimension, at least in float32."""
    wide = widened(logits)
    if isinstance(temperature, Tensor) or temperature != 1.0:
        wide = wide / temperature
    return F.log_softmax(wide, dim=-1)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) over the last dimension, from log-probabilities of any equal leading shape."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)


def entropy(log_p: Tensor) -> Tensor:
    """H(p) = -Σ_c p_c log p_c over the last dimension, in nats."""
    return -(log_p.exp() * log_p).sum(-1)


def without_label(logits: Tensor, label: Tensor) -> Tensor:
    """Logits ``(B, C-1)`` of the classes that are not ``label`` ``(B,)``, in their order."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, columns + (columns >= label[:, None]))


def kd(student: Tensor, teacher: Tensor, temperature: Temperature) -> Tensor:
    """T² KL(p_t ‖ p_s) (Hinton, Vinyals, Dean 2015, arXiv 1503.02531). Gradient for s: T (p_s - p_t)."""
    log_s, log_t = log_probabilities(student, temperature), log_probabilities(teacher, temperature)
    return temperature**2 * divergence(log_t, log_s)


def forward_kl(student: Tensor, teacher: Tensor, temperature: Temperature) -> Tensor:
    """KL(p_t ‖ p_s), without T²: covers all that the teacher finds likely."""
    return divergence(log_probabilities(teacher, temperature), log_probabilities(student, temperature))


def reverse_kl(student: Tensor, teacher: Tensor, temperature: Temperature) -> Tensor:
    """KL(p_s ‖ p_t), without T²: avoids all that the teacher finds unlikely."""
    return divergence(log_probabilities(student, temperature), log_probabilities(teacher, temperature))


def balanced_divergence(
    student: Tensor,
    teacher: Tensor,
    temperature: Temperature,
    emphasis: float,
    *,
    opposite: bool = False,
    sharpness: float = 0.0,
) -> Tensor:
    """a KL(p_t ‖ p_s) + b KL(p_s ‖ p_t), without T² (Amara et al. 2022, arXiv 2212.12965; reconstructed).

    With Δ = H(p_s) - H(p_t), detached: a = ``emphasis``, b = 1 where Δ < 0 (the student is the more confident one),
    a = 1, b = ``emphasis`` elsewhere. ``opposite`` swaps the two. ``sharpness`` κ > 0 makes the switch smooth:
    a = 1 + (emphasis - 1) sigmoid(-κ Δ), b = 1 + (emphasis - 1) sigmoid(κ Δ).
    """
    log_s, log_t = log_probabilities(student, temperature), log_probabilities(teacher, temperature)
    with torch.no_grad():
        gap = entropy(log_s) - entropy(log_t)
        gap = -gap if opposite else gap
        flat = torch.sigmoid(sharpness * gap) if sharpness > 0 else (gap >= 0).to(gap.dtype)
        ahead, behind = 1 + (emphasis - 1) * (1 - flat), 1 + (emphasis - 1) * flat
    return ahead * divergence(log_t, log_s) + behind * divergence(log_s, log_t)


def nkd(student: Tensor, teacher: Tensor, target: Tensor, temperature: Temperature, gamma: float) -> Tensor:
    """-w log p_s(y) at T = 1, with w = p_t(y) detached, - γ T² Σ_{c≠y} p̂_t(c) log p̂_s(c), p̂ without the label's column.

    Yang et al. 2023 (arXiv 2303.13005). A cross-entropy: the teacher's entropy is left in. The labels' own
    cross-entropy is not part of it. y is the largest entry of ``target``. A temperature that is itself learned is only
    told of the divergence: the entropy grows with T², whatever the student does, and would drive it to its end.
    """
    label = target.argmax(1)
    weight = log_probabilities(teacher).gather(1, label[:, None]).squeeze(1).exp().detach()
    own = log_probabilities(student).gather(1, label[:, None]).squeeze(1)
    log_s = log_probabilities(without_label(student, label), temperature)
    log_t = log_probabilities(without_label(teacher, label), temperature)
    rest = -gamma * temperature**2 * (log_t.exp() * log_s).sum(1)
    if isinstance(temperature, Tensor) and temperature.requires_grad:
        level = gamma * temperature**2 * entropy(log_t)
        rest = rest - level + level.detach()
    return -weight * own + rest


def tf_nkd(student: Tensor, target: Tensor) -> Tensor:
    """-w log p_s(y), w = p_s(y) + 1 - mean over the batch of p_s(y), detached (Yang et al. 2022, arXiv 2208.10139).

    For soft labels the two largest entries v of ``target`` each give a term with w = p_s + v - mean p_s, zero where
    v is zero. The labels' own cross-entropy is not part of it.
    """
    value, label = target.topk(min(2, target.shape[1]), dim=1)
    log_q = log_probabilities(student).gather(1, label)
    q = log_q.detach().exp()
    weight = torch.where(value > 0, q + value - q.mean(0), torch.zeros_like(q))
    return -(weight * log_q).sum(1)


def dkd(
    student: Tensor, teacher: Tensor, target: Tensor, alpha: float, beta: float, temperature: Temperature
) -> Tensor:
    """T² (α KL(b_t ‖ b_s) + β KL(p̂_t ‖ p̂_s)) (Zhao et al. 2022, arXiv 2203.08679).

    b = (p(y), 1 - p(y)) is the binary view of label against the rest, p̂ the softmax without the label's column, all
    at T. With α = 1 and β = 1 - p_t(y) it is `kd`.
    """
    label = target.argmax(1)
    binary, rest = [], []
    for logits in (widened(student), widened(teacher)):
        others = without_label(logits, label) / temperature
        own = logits.gather(1, label[:, None]) / temperature
        binary.append(log_probabilities(torch.cat((own, others.logsumexp(1, keepdim=True)), 1)))
        rest.append(log_probabilities(others))
    return temperature**2 * (alpha * divergence(binary[1], binary[0]) + beta * divergence(rest[1], rest[0]))


def dist(student: Tensor, teacher: Tensor, temperature: Temperature, beta: float, gamma: float) -> Tensor:
    """T² (β (1 - ρ_i) + γ (1 - mean_c ρ_c)), ρ Pearson correlations of probabilities (Huang et al. 2022, 2205.10536).

    ρ_i correlates student and teacher over the classes of sample i, ρ_c over the batch for class c; the second term is
    relational, the same for every sample, and without gradient when B = 1. The paper's factor 2 is the method's.
    """
    p_s, p_t = log_probabilities(student, temperature).exp(), log_probabilities(teacher, temperature).exp()
    inter = 1 - correlation(p_s, p_t, 1)
    intra = 1 - correlation(p_s, p_t, 0).mean()
    return temperature**2 * (beta * inter + gamma * intra)


def correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Pearson correlation along ``dim``; the denominator has 1e-8 added, so constants correlate with nothing."""
    a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    return (a * b).sum(dim) / (a.norm(dim=dim) * b.norm(dim=dim) + 1e-8)


def continuation(
    student: Tensor, teacher: Tensor, phi: float | Tensor, margin: float, class_reduction: str = "mean"
) -> Tensor:
    """max(0, ‖s - φ t‖² - margin φ) (Jafari et al. 2022, arXiv 2212.05998).

    ``class_reduction``: ‖·‖² is the "mean" (default) or the "sum" over classes; ``margin`` is in those units.
    """
    squares = (widened(student) - phi * widened(teacher)).square()
    distance = squares.mean(1) if class_reduction == "mean" else squares.sum(1)
    return (distance - margin * phi).clamp_min(0)


def dgkd(student: Tensor, teachers: Tensor, temperature: Temperature) -> Tensor:
    """T² Σ_m KL(p_m ‖ p_s), the sum over sources, not their mean (Son et al. 2021, arXiv 2009.08825)."""
    log_s, log_t = log_probabilities(student, temperature), log_probabilities(teachers, temperature)
    return temperature**2 * divergence(log_t, log_s.expand_as(log_t)).sum(0)


def ensemble_logits(teachers: Tensor, weights: Tensor, temperature: Temperature) -> Tensor:
    """T log Σ_m w_m softmax(t_m / T), ``(B, C)``: logits whose softmax at T is the weighted mean of probabilities.

    ``weights`` ``(M, B)``, none negative, a sample's sum one (Ganta et al. 2022, arXiv 2206.12005; reconstructed).
    A softmax does not know how high its logits stand, a loss on the logits themselves does: they stand as high as the
    weighted mean of the voices, so that one voice alone is itself.
    """
    shares = weights[:, :, None].to(widened(teachers).dtype)
    voices = log_probabilities(teachers, temperature)
    height = (shares * (widened(teachers) - temperature * voices)).sum(0)
    return temperature * (voices + shares.clamp_min(1e-30).log()).logsumexp(0) + height


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """-Σ_c target_c log p(c) at T = 1; leading dimensions of ``logits`` beyond ``target``'s are kept."""
    return -(target * log_probabilities(logits)).sum(-1)


def ca_mkd_weights(teachers: Tensor, target: Tensor) -> Tensor:
    """w_m = (1 - softmax_m(ℓ)_m) / (M - 1), ``(M, B)``, ℓ_m the cross-entropy of teacher m with the label.

    Zhang et al. 2022 (arXiv 2201.00007). The weights of a sample sum to one, each is at most 1 / (M - 1), and the
    teacher that is nearer to the label has the larger one. A single teacher has weight one.
    """
    if len(teachers) == 1:
        return torch.ones(teachers.shape[:2], device=teachers.device)
    return (1 - cross_entropy(teachers, target).softmax(0)) / (len(teachers) - 1)


def ebkd_weights(teachers: Tensor) -> Tensor:
    """w_m = (1 - H_m / Σ_k H_k), ``(M, B)``, H the entropy at T = 1 (Kwon et al. 2020): sure teachers count more.

    The weights of a sample sum to M - 1 (to one with a single teacher, or where no teacher has any entropy).
    """
    h = entropy(log_probabilities(teachers))
    if len(teachers) == 1:
        return torch.ones_like(h)
    total = h.sum(0)
    return torch.where(total > 0, 1 - h / total.clamp_min(1e-30), torch.full_like(h, 1 / len(teachers)))


def expected_calibration_error(probabilities: Tensor, target: Tensor, bins: int = 15) -> Tensor:
    """Σ_b (n_b / N) |accuracy_b - confidence_b|, a scalar, over ``bins`` equal-width bins (lo, hi] of the confidence.

    ``probabilities`` and ``target`` are ``(N, C)``; the largest entry of each row is prediction and label.
    """
    confidence, guess = probabilities.max(1)
    right = (guess == target.argmax(1)).to(confidence.dtype)
    edges = torch.linspace(0, 1, bins + 1, device=confidence.device, dtype=confidence.dtype)
    bucket = (torch.bucketize(confidence, edges) - 1).clamp(0, bins - 1)
    gaps = torch.zeros(bins, dtype=confidence.dtype, device=confidence.device)
    return gaps.index_add(0, bucket, right - confidence).abs().sum() / len(confidence)
