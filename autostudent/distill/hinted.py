"""What the methods that look at a teacher's maps have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from autostudent.distill import losses
from autostudent.distill.map_losses import alike
from autostudent.distill.method import Method, hp
from autostudent.distill.types import Needs, State, View


@dataclass(frozen=True)
class Hinted(Method):
    """labels CE + weight T² KL(p_t ‖ p_s) + what a child adds of the taps it names.

    Without a weight no logits of the teacher are learned from, as in the codes whose factors the children have.
    """

    temperature: float = hp(4.0, low=1.0, high=20.0, log=True, doc="softens both distributions")
    labels: float = hp(1.0, low=0.0, high=4.0, doc="weight of the labels")
    weight: float = hp(0.0, low=0.0, high=4.0, doc="weight of the teacher's logits")

    @property
    @abstractmethod
    def taps(self) -> tuple[str, ...]:
        """Where student and teacher are looked at."""

    @abstractmethod
    def hints(self, view: View, state: State) -> Tensor:
        """What is learned at the taps, ``(B,)``, with its factors."""

    @property
    def needs(self) -> Needs:
        return Needs(teachers=(1, 1), access="taps", taps=self.taps)

    def loss(self, view: View, state: State) -> Tensor:
        wrong = self.hints(view, state)
        if self.weight > 0:
            teacher, heat = view.teacher_logits[0], view.heat(self.temperature)
            wrong = wrong + self.weight * losses.kd(view.logits, teacher, heat)
        return wrong

    def label_weight(self, view: View, state: State) -> float:
        return self.labels


def stages(count: int) -> tuple[str, ...]:
    """The taps of so many stages, from the first."""
    return tuple(f"stage{number}" for number in range(1, count + 1))


def hint_taps(count: int) -> tuple[str, ...]:
    """The taps of so many hint points of a teacher."""
    return tuple(f"hint{number}of{count}" for number in range(1, count + 1))


def active(view: View, tap: str) -> tuple[Tensor, Tensor]:
    """The maps of student and teacher at a tap as the next layer reads them (after a ReLU), at one size."""
    return alike(view.own.taps[tap].relu(), view.sources[0].taps[tap].relu())


def pooled(x: Tensor) -> Tensor:
    """The mean over pixels ``(B, channels)`` of a map; a vector as it is."""
    return x.flatten(2).mean(2) if x.ndim > 2 else x


def adapter(own: int, wanted: int) -> nn.Module:
    """From the student's channels to a teacher's: ReLU(BN(1x1 convolution))."""
    return nn.Sequential(nn.Conv2d(own, wanted, 1), nn.BatchNorm2d(wanted), nn.ReLU())
