"""Teacher-assistant distillation. Mirzadeh et al. 2020, arXiv 1902.03393."""

from __future__ import annotations

from dataclasses import dataclass

from autostudent.distill.method import Paper, Wrapper
from autostudent.errors import ConfigError


@dataclass(frozen=True)
class TAKD(Wrapper):
    """A single-teacher loss whose teacher is an assistant of the ladder.

    Which one is ``teach.rung`` (1 is the largest), or for ``teach.rule`` to say: "full_chain" (the last),
    "geometric_params" or "acc_midpoint" (halfway between teacher and student by size or accuracy).
    Assistants are the study's, each taught by the next larger one (or the best on held-out data: ``ladder.chain: dp``),
    trained once for all students. So nothing is left to do here but to say whose idea it was.

    Note: the official code averages the divergence over classes too (``kd.kl_reduction: elementmean``), which makes the
    teacher's weight C times smaller.
    """

    paper = Paper(
        "Improved Knowledge Distillation via Teacher Assistant",
        "Seyed Iman Mirzadeh and Mehrdad Farajtabar and Ang Li and Nir Levine and Akihiro Matsukawa "
        "and Hassan Ghasemzadeh",
        2020,
        arxiv="1902.03393",
        venue="AAAI",
        note="divergence summed over classes unless asked otherwise; the ladder's own recipe is fixed per study",
    )

    wants = "an assistant of the ladder"

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most = self.inner.needs.teachers
        if least > 1 or most == 0:
            raise ConfigError("takd over", type(self.inner).__name__, "a loss that learns from one frozen teacher")
