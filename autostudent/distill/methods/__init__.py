"""Distillation methods by id: one paper, one file. Outside methods come by the entry-point group below."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract

from autostudent.distill.method import Method
from autostudent.distill.methods.amal import AMAL
from autostudent.distill.methods.at import AT
from autostudent.distill.methods.bd_kd import BDKD
from autostudent.distill.methods.ca_mkd import CAMKD
from autostudent.distill.methods.ces_kd import CESKD
from autostudent.distill.methods.continuation_kd import ContinuationKD
from autostudent.distill.methods.ctkd import CTKD
from autostudent.distill.methods.dgkd import DGKD
from autostudent.distill.methods.dist import DIST
from autostudent.distill.methods.dkd import DKD
from autostudent.distill.methods.dml import DML
from autostudent.distill.methods.eskd import ESKD
from autostudent.distill.methods.fitnets import FitNets
from autostudent.distill.methods.kd import KD
from autostudent.distill.methods.modality_gram import ModalityGram
from autostudent.distill.methods.nkd import NKD
from autostudent.distill.methods.none import NoTeacher
from autostudent.distill.methods.pursuhint import PursuHint
from autostudent.distill.methods.rkd import RKD
from autostudent.distill.methods.self_kd import SelfKD
from autostudent.distill.methods.sokd import SOKD
from autostudent.distill.methods.sp import SP
from autostudent.distill.methods.ta_ensemble import TAEnsemble
from autostudent.distill.methods.takd import TAKD
from autostudent.distill.methods.teacher_sweet_spot import TeacherSweetSpot
from autostudent.distill.methods.tf_nkd import TFNKD
from autostudent.errors import ConfigError, first_line, unknown_name

GROUP = "autostudent.methods"

METHODS: dict[str, type[Method]] = {
    "none": NoTeacher,
    "kd": KD,
    "dkd": DKD,
    "nkd": NKD,
    "tf_nkd": TFNKD,
    "dist": DIST,
    "continuation_kd": ContinuationKD,
    "bd_kd": BDKD,
    "dml": DML,
    "sokd": SOKD,
    "amal": AMAL,
    "self_kd": SelfKD,
    "takd": TAKD,
    "dgkd": DGKD,
    "ta_ensemble": TAEnsemble,
    "ces_kd": CESKD,
    "ca_mkd": CAMKD,
    "fitnets": FitNets,
    "at": AT,
    "sp": SP,
    "rkd": RKD,
    "pursuhint": PursuHint,
    "modality_gram": ModalityGram,
    "ctkd": CTKD,
    "eskd": ESKD,
    "teacher_sweet_spot": TeacherSweetSpot,
}


_names = {cls: name for name, cls in METHODS.items()}  # of all classes that were found here


def plugins() -> dict[str, list[EntryPoint]]:
    """Entry points of outside methods by id, one expected for each; a shipped id is not among them: it is taken."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if point.name not in METHODS:
            found.setdefault(point.name, []).append(point)
    return found


def find_method(key: str, name: str) -> type[Method]:
    """The class of a method by id, shipped or installed by a plug-in.

    Raises:
        ConfigError: for an unknown id, one that two plug-ins have, or a plug-in that cannot be imported or is not a
            `Method` of its own that can be made; ``key`` says where the id was written.
    """
    if name in METHODS:
        return METHODS[name]
    outside = plugins()
    if name not in outside:
        raise unknown_name(key, name, {*METHODS, *outside})
    if len(outside[name]) > 1:
        values = ", ".join(sorted(point.value for point in outside[name]))
        raise ConfigError(key, name, f"one installed entry point of this name; there are {values}")
    [point] = outside[name]
    try:
        found = point.load()
    except Exception as error:  # whatever a module raises that is imported
        allowed = f"a method that can be imported; {point.value} cannot: {first_line(error)}"
        raise ConfigError(key, name, allowed) from None
    if not (isinstance(found, type) and issubclass(found, Method)) or isabstract(found):
        raise ConfigError(key, point.value, f"a subclass of Method with a loss behind the entry point {name!r}")
    if _names.setdefault(found, name) != name:
        raise ConfigError(key, point.value, f"a class of its own behind {name!r}; this one is {_names[found]!r}")
    return found


def method_id(method: Method) -> str:
    """The id by which a method's class was found; one that never was goes by its class name."""
    return _names.get(type(method), type(method).__name__)


def version_of(name: str) -> str:
    """What tells one release of an outside method from another: its class and distribution; "" for a shipped one."""
    return " ".join(
        f"{point.value} {point.dist.name} {point.dist.version}" if point.dist else point.value
        for point in plugins().get(name, [])
    )
