"""Distillation methods by id: one paper, one file. Outside methods come by the entry-point group below."""

from __future__ import annotations

from importlib.metadata import entry_points

from autostudent.distill.method import Method
from autostudent.distill.methods.amal import AMAL
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
from autostudent.distill.methods.kd import KD
from autostudent.distill.methods.nkd import NKD
from autostudent.distill.methods.none import NoTeacher
from autostudent.distill.methods.self_kd import SelfKD
from autostudent.distill.methods.sokd import SOKD
from autostudent.distill.methods.ta_ensemble import TAEnsemble
from autostudent.distill.methods.takd import TAKD
from autostudent.distill.methods.teacher_sweet_spot import TeacherSweetSpot
from autostudent.distill.methods.tf_nkd import TFNKD
from autostudent.errors import ConfigError, unknown_name

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
    "ctkd": CTKD,
    "eskd": ESKD,
    "teacher_sweet_spot": TeacherSweetSpot,
}


def find_method(key: str, name: str) -> type[Method]:
    """The class of a method by id, shipped or installed by a plug-in.

    Raises:
        ConfigError: for an unknown id, or a plug-in that is not a `Method`; ``key`` says where the id was written.
    """
    if name in METHODS:
        return METHODS[name]
    plugged = {point.name: point for point in entry_points(group=GROUP)}
    if name not in plugged:
        raise unknown_name(key, name, {*METHODS, *plugged})
    found = plugged[name].load()
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(key, plugged[name].value, f"a subclass of Method behind the entry point {name!r}")
    return found


def method_id(method: Method) -> str:
    """The id of a method's class; outside methods without one go by their class name."""
    ids = {cls: name for name, cls in METHODS.items()}
    ids |= {} if type(method) in ids else {p.load(): p.name for p in entry_points(group=GROUP)}
    return ids.get(type(method), type(method).__name__)
