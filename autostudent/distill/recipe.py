"""From the flat configuration of a candidate to the method that teaches it: the factored recipe, put together.

Questions that are answered apart: ``kd.loss`` (the loss), ``teach.scheme`` (who teaches), ``kd.curriculum`` (a learned
temperature), ``kd.stop`` (when the teacher falls silent), ``optim.*`` (how the student is optimised). A hyperparameter
of a method is looked for under ``<method id>.<name>`` and then under ``kd.<name>``, where methods share it; what is not
given keeps the method's default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autostudent.distill.method import Method, Paper, Wrapper, knobs
from autostudent.distill.methods import METHODS, find_method, method_id
from autostudent.errors import ConfigError, unknown_name
from autostudent.records import Value

SCHEMES = {"single": None, "ladder": "takd", "experts": "ces_kd", "all": None}
CURRICULA = {"fixed": None, "ctkd": "ctkd"}
OPTIM = {"optim.lr": 0.1, "optim.weight_decay": 5e-4, "optim.smoothing": 0.0}
QUESTIONS = ("kd.loss", "kd.curriculum", "kd.stop", "teach.scheme", "teach.rung")


@dataclass(frozen=True)
class Recipe:
    """How one student is taught.

    ``name`` is a label derived from the parts ("none", "kd", "takd", "ctkd(ces_kd)"). ``teachers`` are names of the
    study's frozen teachers, in the order of the method's sources.
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
    """The derived name: ids from the outside in; the ladder schemes do not repeat that their loss is plain ``kd``."""
    if not isinstance(method, Wrapper):
        return method_id(method)
    own, inner = method_id(method), label(method.inner)
    return own if own in ("takd", "ces_kd") and inner == "kd" else f"{own}({inner})"


def read_recipe(config: Mapping[str, Value], ladder: Sequence[str]) -> Recipe:
    """The recipe that ``config`` stands for; entries about the student are left alone.

    Args:
        config: active parameters of a candidate, by dotted name.
        ladder: names of the study's frozen teachers by falling capacity, the main teacher first, then its assistants.

    Raises:
        ConfigError: for an unknown method or hyperparameter, a value out of range, or parts that do not go together.
    """
    reader = _Reader(config)
    method = reader.make(str(config.get("kd.loss", "none")), "kd.loss")
    method, teachers = _who_teaches(reader, method, tuple(ladder))
    curriculum = str(config.get("kd.curriculum", "fixed"))
    if curriculum not in CURRICULA:
        raise unknown_name("kd.curriculum", curriculum, CURRICULA)
    if CURRICULA[curriculum]:
        method = reader.make("ctkd", "kd.curriculum", inner=method)
    if float(config.get("kd.stop", 1.0)) < 1.0:
        method = reader.make("eskd", "kd.stop", inner=method)
    reader.finish()
    optim = {name.removeprefix("optim."): float(config.get(name, default)) for name, default in OPTIM.items()}
    return Recipe(label(method), method, teachers, **optim)


def _who_teaches(reader: _Reader, loss: Method, ladder: tuple[str, ...]) -> tuple[Method, tuple[str, ...]]:
    """The loss under the teaching scheme, and the teachers' names."""
    config, (least, most) = reader.config, loss.needs.teachers
    scheme = str(config.get("teach.scheme", "single" if least <= 1 else "all"))
    if scheme not in SCHEMES:
        raise unknown_name("teach.scheme", scheme, SCHEMES)
    name = method_id(loss)
    if most == 0:
        if "teach.scheme" in config:
            raise ConfigError("teach.scheme", scheme, f"nothing: the loss {name} has no frozen teacher")
        return loss, ()
    if not ladder:
        raise ConfigError("kd.loss", name, "a loss without a teacher: the study has none")
    if scheme == "ladder":
        rung = int(config.get("teach.rung", 1))
        if not 1 <= rung < len(ladder):
            raise ConfigError("teach.rung", rung, _assistants(len(ladder) - 1))
        chosen: tuple[str, ...] = (ladder[rung],)
    elif scheme == "single":
        chosen = ladder[:1]
    else:
        if scheme == "experts" and len(ladder) < 2:
            raise ConfigError("teach.scheme", scheme, _assistants(0))
        chosen = ladder
    handed = 1 if scheme == "experts" else len(chosen)
    if handed < least or (most is not None and handed > most):
        allowed = f"exactly {least}" if least == most else f"at least {least}"
        raise ConfigError("teach.scheme", scheme, f"a scheme that gives {name} {allowed} teachers, not {handed}")
    wrapper = SCHEMES[scheme]
    return (reader.make(wrapper, "teach.scheme", inner=loss) if wrapper else loss), chosen


def _assistants(count: int) -> str:
    if count == 0:
        return "no ladder scheme, because the study has no assistants; add `ladder: {of: …, assistants: 2}` to it"
    return f"1 to {count}, the study's assistants; raise ladder.assistants or narrow teach.rung in the recipe's space"


class _Reader:
    """Makes methods from a configuration and remembers which entries were used."""

    def __init__(self, config: Mapping[str, Value]) -> None:
        self.config = config
        self.used = {*QUESTIONS, *OPTIM}
        self.made: list[str] = []

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
                known = {f"{name}.{knob}" for name in self.made for knob, _, _ in knobs(find_method("kd.loss", name))}
                raise unknown_name(f"recipe {'+'.join(self.made)}", entry, self.used | known)


def _typed(value: Value, default: object) -> object:
    """``value`` as the hyperparameter's type: numbers of a space are floats even where whole ones are meant."""
    if isinstance(default, int) and not isinstance(default, bool) and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
