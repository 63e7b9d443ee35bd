"""Confidence-aware multi-teacher distillation. Zhang, Chen, Wang 2022, arXiv 2201.00007; with its three baselines."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autostudent.distill import losses
from autostudent.distill.hinted import adapter
from autostudent.distill.method import Method, Paper, hp
from autostudent.distill.types import Needs, Spec, State, View

WEIGHTS = ("confidence", "average", "entropy", "gradient")


def min_norm_weights(gram: list[list[float]], cap: float, rounds: int = 200) -> list[float]:
    """argmin_w wᵀ G w with Σ w = 1 and 0 <= w <= max(cap, 1 / M), G ``(M, M)`` positive semi-definite.

    AEKD's weights, G being the inner products of the teachers' gradients. Solved by moving weight between the pair of
    teachers that gains most.
    """
    count = len(gram)
    cap = max(cap, 1 / count)
    w = [1 / count] * count
    for _ in range(rounds):
        slope = [sum(g * x for g, x in zip(row, w, strict=True)) for row in gram]
        takers = [k for k in range(count) if w[k] < cap]
        givers = [k for k in range(count) if w[k] > 0]
        if not takers or not givers:
            break
        to, off = min(takers, key=slope.__getitem__), max(givers, key=slope.__getitem__)
        gain = slope[off] - slope[to]
        if gain <= 1e-12 * (1e-300 + max(gram[k][k] for k in range(count))):
            break
        bend = gram[to][to] + gram[off][off] - 2 * gram[to][off]
        room = min(cap - w[to], w[off])
        step = room if bend <= 0 else min(room, gain / bend)
        w[to], w[off] = (cap if step == cap - w[to] else w[to] + step), (0.0 if step == w[off] else w[off] - step)
    return w


@dataclass(frozen=True)
class CAMKD(Method):
    """CE + weight Σ_m w_m T² KL(p_m ‖ p_s) / M + feature Σ_m v_m ‖h_m - F_m‖² / M, w and v by image.

    ``weights``: "confidence" (`losses.ca_mkd_weights`), or the baselines "average" (AVER), "entropy" (EBKD) and
    "gradient" (AEKD; no 1 / M). With ``feature`` > 0 the student's map at the third stage is resized to teacher m's and
    adapted to its channels, h_m = ReLU(BN(1x1 conv)); v_m follow from the teacher's own frozen head on h_m's mean over
    space.

    Note: the 1 / M is the official code's, the paper has none. Every teacher gets the student's original map, not the
    one resized for the teacher before. The intermediate part is off unless asked for (the paper's weight is 50): it
    looks into teachers, and fits only heads that take a map's mean. Gradient flows through v, as officially, unless
    ``detach``.
    """

    paper = Paper(
        "Confidence-Aware Multi-Teacher Knowledge Distillation",
        "Hailin Zhang and Defang Chen and Can Wang",
        2022,
        arxiv="2201.00007",
        venue="ICASSP",
        note="1 / M as in the official code; maps resized from the original; the intermediate part off by default",
    )
    temperature: float = hp(4.0, low=1.0, high=20.0, log=True, doc="softens both distributions")
    weight: float = hp(1.0, low=0.25, high=4.0, log=True, doc="of the teachers against the labels")
    feature: float = hp(0.0, low=0.0, high=200.0, doc="weight of the intermediate part; 50 in the paper")
    feature_from: float = hp(1 / 240, low=0.0, high=0.5, doc="share of the run after which it counts")
    weights: str = hp("confidence", choices=WEIGHTS, doc="how teachers are weighed")
    detach: bool = hp(False, choices=(False, True), doc="cut the gradient through the intermediate part's weights")
    tap: str = "stage3"

    @property
    def needs(self) -> Needs:
        taps = (self.tap,) if self.feature > 0 else ()
        return Needs(teachers=(2, None), access="heads" if taps else "logits", taps=taps)

    def init(self, spec: Spec) -> State:
        state = State()
        if self.feature > 0:
            own = spec.student.taps[self.tap][0]
            state.adapters = nn.ModuleList(adapter(own, teacher.taps[self.tap][0]) for teacher in spec.teachers)
        return state

    def loss(self, view: View, state: State) -> Tensor:
        wrong = self.weight * self.logit_part(view)
        if self.feature > 0 and view.progress >= self.feature_from:
            wrong = wrong + self.feature * self.feature_part(view, state)
        return wrong

    def logit_part(self, view: View) -> Tensor:
        """The weighted divergences ``(B,)``."""
        teachers, heat = torch.stack(view.teacher_logits), view.heat(self.temperature)
        log_t, log_s = losses.log_probabilities(teachers, heat), losses.log_probabilities(view.logits, heat)
        apart = heat**2 * losses.divergence(log_t, log_s.expand_as(log_t))
        if self.weights == "average":
            return apart.mean(0)
        if self.weights == "gradient":
            pulls = (log_s.exp() - log_t.exp()).detach().mean(1).double()
            chosen = min_norm_weights((pulls @ pulls.T).tolist(), 0.6)
            return (apart * apart.new_tensor(chosen)[:, None]).sum(0)
        sure = self.weights == "confidence"
        given = losses.ca_mkd_weights(teachers, view.batch.target) if sure else losses.ebkd_weights(teachers)
        return (given * apart).mean(0)

    def feature_part(self, view: View, state: State) -> Tensor:
        """The weighted distances of adapted maps ``(B,)``."""
        assert isinstance(state.adapters, nn.ModuleList)
        own, seconds, distances = view.own.taps[self.tap], [], []
        for number, source in enumerate(view.sources):
            wanted, head = source.taps[self.tap].relu(), view.heads[number]  # as adapters' maps, and as heads read it
            assert head is not None
            adapted = state.adapters[number](resized(own, wanted.shape[-2], wanted.shape[-1]))
            seconds.append(head(adapted.mean((2, 3))))
            distances.append((adapted - wanted).square().mean((1, 2, 3)))
        given = losses.ca_mkd_weights(torch.stack(seconds), view.batch.target)
        return ((given.detach() if self.detach else given) * torch.stack(distances)).mean(0)


def resized(x: Tensor, height: int, width: int) -> Tensor:
    """A map ``(B, channels, H, W)`` at another size: averaged down, or bilinear up."""
    if x.shape[-2:] == (height, width):
        return x
    if x.shape[-1] > width:
        return F.adaptive_avg_pool2d(x, (height, width))
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
