"""From the flat configuration of a candidate to the method that teaches it: the factored recipe, put together.

Questions that are answered apart: ``kd.loss`` (the loss), ``teach.scheme`` (who teaches: the main teacher, a rung of
the ladder, an expert for each image, an ensemble of assistants, all), ``teach.rule`` and ``teach.rung`` (which rung),
``teach.source`` (another teacher in the main one's place), ``kd.curriculum`` (a learned temperature), ``kd.stop`` (when
the teacher falls silent), ``optim.*`` (how the student is optimised). A hyperparameter of a method is looked for under
``<method id>.<name>`` and then under ``kd.<name>``, where methods share it; what is not given keeps the method's
default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log
from statistics import linear_regression
from typing import Any

from autostudent.distill.labels import QUIET
from autostudent.distill.method import Method, Paper, Wrapper, check_knob, knobs
from autostudent.distill.methods import METHODS, find_method, method_id
from autostudent.errors import ConfigError, unknown_name
from autostudent.records import Value
from autostudent.settings import Roster

SCHEMES = {"single": None, "ladder": "takd", "experts": "ces_kd", "ensemble": "ta_ensemble", "all": None}
CURRICULA = {"fixed": None, "ctkd": "ctkd"}
RULES = ("explicit", "geometric_params", "acc_midpoint", "full_chain")
FULL = "full"  # the value of teach.source that is no other teacher
OPTIM = {"optim.lr": 0.1, "optim.weight_decay": 5e-4, "optim.smoothing": 0.0}
RANGES = dict.fromkeys((*OPTIM, "kd.stop"), (0.0, 1.0)) | {"optim.lr": (1e-6, 100.0)}
QUESTIONS = ("kd.loss", "kd.curriculum", "kd.stop", "teach.scheme", "teach.rule", "teach.rung", "teach.source")


@dataclass(frozen=True)
class Recipe:
    """How one student is taught.

    ``name`` is a label derived from the parts ("none", "kd", "takd", "ctkd(ces_kd)"). ``teachers`` are names of the
    study's frozen teachers, in the order of the method's sources; all that it may be, where a rule that goes by the
    student's size was asked without one.
    """

    name: str
    method: Method
    teachers: tuple[str, ...]
    lr: float
    weight_decay: float
    smoothing: float = 0.0

    @property
    def papers(self) -> tuple[Paper, ...]:
        """What to cite for this recipe, wrappers first."""
        return tuple(method.paper for method in layers(self.method))


def layers(method: Method) -> list[Method]:
    """A method and what it wraps, from the outside in."""
    found = [method]
    while isinstance(found[-1], Wrapper):
        found.append(found[-1].inner)
    return found


def label(method: Method) -> str:
    """The derived name: ids from the outside in; who teaches does not repeat that the loss is plain ``kd``."""
    if not isinstance(method, Wrapper):
        return method_id(method)
    own, inner = method_id(method), label(method.inner)
    return own if own in QUIET and inner == "kd" else f"{own}({inner})"


def read_recipe(config: Mapping[str, Value], roster: Roster, params: float | None = None) -> Recipe:
    """The recipe that ``config`` stands for; entries about the student are left alone.

    Args:
        config: active parameters of a candidate, by dotted name.
        roster: the study's frozen teachers.
        params: of the student, for rules that go by its size (`_rung`).

    Raises:
        ConfigError: for an unknown method or hyperparameter, a value out of range, or parts that do not go together.
    """
    reader = _Reader(config)
    method = reader.make(str(config.get("kd.loss", "none")), "kd.loss")
    method, teachers = _who_teaches(reader, method, roster, params)
    curriculum = str(config.get("kd.curriculum", "fixed"))
    if curriculum not in CURRICULA:
        raise unknown_name("kd.curriculum", curriculum, CURRICULA)
    if CURRICULA[curriculum]:
        loss = layers(method)[-1]
        for key in ("kd.temperature", f"{method_id(loss)}.temperature"):
            if key in config and not loss.scaled:
                raise ConfigError(key, config[key], f"nothing with kd.curriculum {curriculum}: it is learned")
        method = reader.make("ctkd", "kd.curriculum", inner=method)
    stop = _number(config, "kd.stop", 1.0)
    if stop < 1.0 or roster.sources.get(str(config.get("teach.source", FULL))) == "eskd":
        method = reader.make("eskd", "kd.stop", inner=method, stop=stop)
    reader.finish()
    optim = {name.removeprefix("optim."): _number(config, name, default) for name, default in OPTIM.items()}
    return Recipe(label(method), method, teachers, **optim)


def _who_teaches(reader: _Reader, loss: Method, roster: Roster, params: float | None) -> tuple[Method, tuple[str, ...]]:
    """The loss under the teaching scheme, and the teachers' names."""
    config, (least, most) = reader.config, loss.needs.teachers
    scheme = str(config.get("teach.scheme", "single" if least <= 1 else "all"))
    if scheme not in SCHEMES:
        raise unknown_name("teach.scheme", scheme, SCHEMES)
    name = method_id(loss)
    if most == 0:
        for key in (
            "teach.scheme",
            "teach.source",
            "teach.rule",
            "teach.rung",
            *(("kd.stop",) if name == "none" else ()),
        ):
            if key in config:
                raise ConfigError(key, config[key], f"nothing: the loss {name} has no frozen teacher")
        return loss, ()
    if not roster.ladder:
        raise ConfigError("kd.loss", name, "a loss without a teacher: the study has none")
    source = str(config.get("teach.source", FULL))
    if source != FULL and scheme != "single":
        raise ConfigError(
            "teach.source", source, f"nothing with the scheme {scheme}: it stands in for a single teacher"
        )
    for key in ("teach.rule", "teach.rung"):
        if key in config and scheme != "ladder":
            raise ConfigError(key, config[key], f"nothing with the scheme {scheme}: it names a rung of the ladder")
    wrapper = SCHEMES[scheme]
    if scheme == "single":
        chosen: tuple[str, ...] = (_source(source, roster),)
        wrapper = roster.sources.get(source) if roster.sources.get(source) != "eskd" else None
    elif scheme == "ladder":
        chosen = _rung(config, roster, params)
    else:
        family = loss.family if wrapper is None else METHODS[wrapper].family
        chosen = roster.family(family)
        if wrapper is not None and len(chosen) < 2:
            flat = family == "flat"
            raise ConfigError("teach.scheme", scheme, _assistants(len(chosen) - (not flat), 2 if flat else 1))
    handed = 1 if wrapper is not None else len(chosen)
    if handed < least or (most is not None and handed > most):
        allowed = f"exactly {least}" if least == most else f"at least {least}"
        raise ConfigError("teach.scheme", scheme, f"a scheme that gives {name} {allowed} teachers, not {handed}")
    return (reader.make(wrapper, "teach.scheme", inner=loss) if wrapper else loss), chosen


def _number(config: Mapping[str, Value], key: str, default: float) -> float:
    """An entry that is a number of its range in `RANGES`."""
    low, high = RANGES[key]
    value = config.get(key, default)
    check_knob(key, value, {"choices": (), "low": low, "high": high})
    return float(value)


def require_entries(names: Iterable[str]) -> None:
    """Raises `ConfigError` for a name that cannot be an entry of a recipe, such as ``dkdd.beta``.

    `read_recipe` leaves such a name alone, because a candidate's configuration describes the student too.
    """
    for name in names:
        room = name.split(".", 1)[0]
        if room not in ("kd", "teach", "optim"):
            find_method(name, room)


def _source(name: str, roster: Roster) -> str:
    """The teacher that ``teach.source`` names."""
    if name == FULL:
        return roster.ladder[0]
    if name not in roster.sources:
        known = ", ".join((FULL, *roster.sources))
        raise ConfigError("teach.source", name, f"one of: {known}; add {name} to the study's teachers, or narrow it")
    return name


def _rung(config: Mapping[str, Value], roster: Roster, params: float | None) -> tuple[str, ...]:
    """The teacher on the rung that the recipe asks for; all that it may be, while figures or ``params`` are not known.

    Rules of Mirzadeh et al. 2020 (arXiv 1902.03393), ``teach.rule``: "explicit", ``teach.rung`` says it; "full_chain",
    the last (with ``ladder.chain: dp`` at the end of the best way there); "geometric_params", whose size is nearest to
    the geometric mean of the main teacher's and the student's; "acc_midpoint", whose accuracy is nearest to the mean of
    theirs. The student's own accuracy, for which the paper trains it beforehand, is read off a line through the
    ladder's accuracies over the logarithm of their sizes. Accuracies are those on the validation split, because
    assistants learn from the meta split too; they decide among a few rungs.
    """
    ladder, rule = roster.ladder, config.get("teach.rule", RULES[0])
    if rule not in RULES:
        raise unknown_name("teach.rule", str(rule), RULES)
    if len(ladder) < 2:
        raise ConfigError("teach.scheme", "ladder", _assistants(0))
    if rule == "explicit":
        rung = _typed(config.get("teach.rung", 1), 1)
        if isinstance(rung, bool) or not isinstance(rung, int) or not 1 <= rung < len(ladder):
            raise ConfigError("teach.rung", rung, _assistants(len(ladder) - 1))
        return (ladder[rung],)
    if "teach.rung" in config:
        raise ConfigError("teach.rung", config["teach.rung"], f"nothing with teach.rule {rule}")
    if rule == "full_chain":
        return ladder[-1:]
    if params is None or any(name not in roster.figures for name in ladder):
        return ladder[1:]
    sizes = [log(roster.figures[name][0]) for name in ladder]
    scores = [roster.figures[name][1] for name in ladder]
    place, own = sizes, log(params)
    if rule == "acc_midpoint":
        line = linear_regression(sizes, scores)
        place, own = scores, min(1.0, max(0.0, line.intercept + line.slope * own))
    middle = (place[0] + own) / 2
    return (min(ladder[1:], key=lambda name: abs(place[ladder.index(name)] - middle)),)


def _assistants(count: int, least: int = 1) -> str:
    if count < least:
        few = "no assistants" if count == 0 else f"{count} assistant"
        return f"no ladder scheme, because the study has {few}; add `ladder: {{of: …, assistants: 2}}` to it"
    return f"1 to {count}, the study's assistants; raise ladder.assistants or narrow teach.rung in the recipe's space"


WORDS: dict[str, dict[str, Value]] = {
    "takd": {"teach.scheme": "ladder"},
    "ces_kd": {"teach.scheme": "experts"},
    "ta_ensemble": {"teach.scheme": "ensemble"},
    "ctkd": {"kd.curriculum": "ctkd"},
    "eskd": {"kd.stop": 0.6},
}
"""What a wrapper's id stands for in a configuration."""


def recipe_config(name: str, roster: Roster) -> dict[str, Value]:
    """The configuration behind a derived name: "dkd", "takd", "ctkd(ces_kd(dkd))"; `read_recipe` is the way back.

    Raises:
        ConfigError: for an unknown id, or wrappers in an order in which they are never put together.
    """
    if name.count("(") != name.count(")"):
        raise ConfigError("method", name, "a closing bracket for every opening one, as in ctkd(ces_kd(dkd))")
    *outer, loss = [part.strip() for part in name.rstrip(") ").split("(")]
    if issubclass(find_method("method", loss), Wrapper):
        outer, loss = [*outer, loss], "kd"
    config: dict[str, Value] = {"kd.loss": loss}
    for part in outer:
        if part == "teacher_sweet_spot":
            best = next((source for source, by in roster.sources.items() if by == part), None)
            if best is None:
                raise ConfigError("method", part, "a study with a teacher that has sweet_spot: {…}; this one has none")
            config["teach.source"] = best
        elif part in WORDS:
            config |= WORDS[part]
        else:
            find_method("method", part)
            raise ConfigError("method", name, f"a wrapper around {loss}; {part} is a loss")
    built = label(read_recipe(config, roster).method)
    wanted = "(".join([*outer, loss]) + ")" * len(outer)
    if built.replace("(kd)", "") != wanted.replace("(kd)", ""):
        raise ConfigError("method", name, f"{built}, the order in which the parts are put together")
    return config


class _Reader:
    """Makes methods from a configuration and remembers which entries were used."""

    def __init__(self, config: Mapping[str, Value]) -> None:
        self.config = config
        self.used = {*QUESTIONS, *OPTIM}
        self.made: list[str] = []
        self.known: set[str] = set()

    def make(self, name: str, key: str, **parts: Any) -> Method:
        """The method ``name``, its hyperparameters taken from the configuration."""
        cls = find_method(key, name)
        if issubclass(cls, Wrapper) and not parts:
            raise ConfigError(
                key, name, "a loss; this one changes another loss (see teach.scheme, kd.curriculum, kd.stop)"
            )
        self.made.append(name)
        given: dict[str, Any] = {}
        for knob, default, _ in knobs(cls):
            if knob in parts:
                continue
            self.known.add(f"{name}.{knob}")
            for entry in (f"{name}.{knob}", f"kd.{knob}"):
                if entry in self.config:
                    given[knob] = _typed(self.config[entry], default)
                    self.used.add(entry)
                    break
        return cls(**given, **parts)

    def finish(self) -> None:
        """Raises `ConfigError` for entries of the recipe that no part of it reads."""
        for entry in self.config:
            room = entry.split(".", 1)[0]
            if entry not in self.used and (room in ("kd", "teach", "optim") or room in METHODS or room in self.made):
                raise unknown_name(f"recipe {'+'.join(self.made)}", entry, self.used | self.known)


def _typed(value: Value, default: object) -> object:
    """``value`` as the hyperparameter's type: numbers of a space are floats even where whole ones are meant."""
    if isinstance(default, int) and not isinstance(default, bool) and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
