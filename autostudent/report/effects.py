"""What wins: marginal effects of every question that the search asked, between students of equal size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.special import stdtrit  # scipy.stats would take a second to import

from autostudent.records import Trial, TrialState, Value
from autostudent.report.contents import Contents

SIZE = "params.target"  # size is what the comparison holds still
LEAST = 3  # students that a level needs to be shown
BINS = 3  # ranges into which a number with many values is cut


@dataclass(frozen=True)
class Effect:
    """One level of one question: mean accuracy beyond that of a student of equal size, in percentage points.

    ``half`` is half its 95 % interval (Student's t), None for a single student. ``tried`` counts all students of the
    level, ``students`` those that were trained to the end, ``best`` is the best accuracy, ``fronts`` how many of them
    are on the front.
    """

    level: str
    tried: int
    students: int
    points: float
    half: float | None
    best: float
    fronts: int


@dataclass(frozen=True)
class Question:
    """Levels by falling effect. ``share`` of the variance at equal size that the levels explain, adjusted (ε²).

    ``sized``: effects are at equal size, else (of few sizes) beyond the mean of all.
    """

    name: str
    levels: tuple[Effect, ...]
    share: float
    sized: bool = True

    @property
    def heading(self) -> str:
        """What the column of effects is called."""
        return "At equal size, points" if self.sized else "Beyond the mean, points"

    @property
    def note(self) -> str:
        """How the effects are to be read."""
        sized = (
            "“At equal size” compares each with what a student of its parameter count reaches on average in this study"
        )
        mean = (
            "They have too few different sizes to allow for these: “beyond the mean” compares each with the mean of all"
        )
        return (
            f"Students that were trained to the end. {sized if self.sized else mean}, mean and 95 % interval in "
            "percentage points; a search is no controlled experiment, so read it as a hint."
        )


def size_of(trial: Trial) -> float:
    """Parameters of a student."""
    return max(trial.costs.get("params", 1.0), 1.0)


def equal_size(trials: Sequence[Trial]) -> np.ndarray:
    """Accuracy (n,) beyond what a student of that size has on average here: residuals of a parabola in log size."""
    accuracy = np.array([trial.values["accuracy"] for trial in trials])
    logs = np.log([size_of(trial) for trial in trials])
    degree = degree_of(logs)
    if degree == 0:
        return accuracy - accuracy.mean()
    centred = (logs - logs.mean()) / max(float(logs.std()), 1e-9)
    return np.asarray(accuracy - np.polyval(np.polyfit(centred, accuracy, degree), centred))


def degree_of(sizes: np.ndarray) -> int:
    """Of the polynomial in size that is fitted: a curve needs more points than it has bends."""
    return min(2, len(np.unique(sizes)) // 6)


def question(contents: Contents, name: str, levels: Mapping[int, str]) -> Question | None:
    """The effects of one question, whose answers ``levels`` holds by student; None when nobody was trained to the end.

    Students without an answer are left out: a conditional question is asked of some students only.
    """
    complete = [trial for trial in contents.trials if trial.state is TrialState.COMPLETE]
    answered = [n for n, trial in enumerate(complete) if trial.number in levels]
    if not answered:
        return None
    beyond = 100 * equal_size(complete)
    groups: dict[str, list[int]] = defaultdict(list)
    for n in answered:
        groups[levels[complete[n].number]].append(n)
    tried: dict[str, int] = defaultdict(int)
    for level in levels.values():
        tried[level] += 1
    on_front = {row["trial"] for row in contents.front}
    found = []
    for level, members in groups.items():
        mine = beyond[members]
        n = len(mine)
        half = float(stdtrit(n - 1, 0.975) * mine.std(ddof=1) / n**0.5) if n > 1 else None
        best = max(complete[member].values["accuracy"] for member in members)
        fronts = sum(complete[member].number in on_front for member in members)
        found.append(Effect(level, tried[level], n, float(mine.mean()), half, best, fronts))
    found.sort(key=lambda effect: -effect.points)
    share = explained(beyond[answered], [groups[effect.level] for effect in found], beyond)
    return Question(name, tuple(found), share, degree_of(np.array([size_of(trial) for trial in complete])) > 0)


def explained(values: np.ndarray, groups: Sequence[Sequence[int]], beyond: np.ndarray) -> float:
    """ε²: the share of the variance of ``values`` between groups, less what chance alone gives; 0 to 1."""
    n, k = len(values), len(groups)
    total = float(((values - values.mean()) ** 2).sum())
    if n <= k or k < 2 or total <= 0:
        return 0.0
    within = sum(float(((beyond[list(group)] - beyond[list(group)].mean()) ** 2).sum()) for group in groups)
    return max(0.0, 1 - (within / (n - k)) / (total / (n - 1)))


def by_method(contents: Contents) -> Question | None:
    """Which distillation method wins."""
    return question(contents, "Method", {trial.number: contents.method(trial) for trial in contents.trials})


def by_teachers(contents: Contents) -> Question | None:
    """Whose teaching wins."""
    teachers = {n: label[1] or "–" for n, label in contents.recipes.items()}
    return question(contents, "Taught by", {trial.number: teachers.get(trial.number, "–") for trial in contents.trials})


def searched(contents: Contents) -> list[Question]:
    """Every variable of the search with at least two levels of `LEAST` students, the most telling first."""
    names = dict.fromkeys(name for trial in contents.trials for name in trial.candidate.config if name != SIZE)
    found = []
    for name in names:
        answers = {
            trial.number: trial.candidate.config[name] for trial in contents.trials if name in trial.candidate.config
        }
        asked = question(contents, name, levels_of(answers))
        if asked is None:
            continue
        kept = tuple(effect for effect in asked.levels if effect.students >= LEAST)
        if len(kept) > 1:
            found.append(replace(asked, levels=kept))
    return sorted(found, key=lambda asked: (-asked.share, asked.name))


def levels_of(answers: Mapping[int, Value]) -> dict[int, str]:
    """Levels as text; numbers with many values are cut into `BINS` ranges that hold equally many students."""
    values = list(answers.values())
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not numeric or len(set(values)) <= 2 * BINS:
        return {number: f"{value:.4g}" if isinstance(value, float) else str(value) for number, value in answers.items()}
    numbers = np.array([float(value) for value in values])
    edges = np.quantile(numbers, np.linspace(0, 1, BINS + 1))
    places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, BINS - 1)
    for digits in range(3, 17):
        texts = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(texts)) == len(np.unique(edges)):  # ranges that differ are called differently
            break
    words = [f"{low} to {high}" for low, high in pairwise(texts)]
    return {number: words[place] for number, place in zip(answers, places, strict=True)}
