"""Every shipped method and some compositions against the conformance suite."""

from __future__ import annotations

import pytest

from autostudent.distill.method import Method, Wrapper
from autostudent.distill.methods import METHODS, find_method, method_id
from autostudent.distill.methods.amal import AMAL
from autostudent.distill.methods.at import AT
from autostudent.distill.methods.bd_kd import BDKD
from autostudent.distill.methods.ca_mkd import CAMKD
from autostudent.distill.methods.ces_kd import CESKD
from autostudent.distill.methods.ctkd import CTKD
from autostudent.distill.methods.dkd import DKD
from autostudent.distill.methods.dml import DML
from autostudent.distill.methods.eskd import ESKD
from autostudent.distill.methods.fitnets import FitNets
from autostudent.distill.methods.kd import KD
from autostudent.distill.methods.modality_gram import ModalityGram
from autostudent.distill.methods.nkd import NKD
from autostudent.distill.methods.pursuhint import PursuHint
from autostudent.distill.methods.rkd import RKD
from autostudent.distill.methods.self_kd import SelfKD
from autostudent.distill.methods.sp import SP
from autostudent.distill.methods.ta_ensemble import TAEnsemble
from autostudent.distill.methods.teacher_sweet_spot import TeacherSweetSpot
from autostudent.errors import ConfigError
from autostudent.testing.methods import MethodSuite

SHIPPED = {name: cls(inner=KD()) if issubclass(cls, Wrapper) else cls() for name, cls in METHODS.items()}
VARIANTS = {
    "ca_mkd maps": CAMKD(feature=5.0, tap="stage1"),
    "ca_mkd aekd": CAMKD(weights="gradient"),
    "ca_mkd ebkd": CAMKD(weights="entropy"),
    "bd_kd smooth": BDKD(temperature=2.0, sharpness=2.0, direction="reverse_when_sure"),
    "dml joint": DML(order="joint"),
    "self_kd twice": SelfKD(generations=2),
    "ces_kd agreement": CESKD(inner=KD(), score="ladder_agreement", locked="ce_only"),
    "ta_ensemble of logits": TAEnsemble(mix="logits", score="nll", inner=DKD()),
    "ctkd over an ensemble": CTKD(inner=TAEnsemble(inner=NKD())),
    "sweet spot permuted": TeacherSweetSpot(permute=True, inner=KD()),
    "amal of three": AMAL(meta_lr=150.0),
    "wrapper over wrapper": ESKD(inner=CTKD(inner=CESKD(inner=DKD(), locked="skip"))),
    "fitnets beside kd": FitNets(labels=0.1, weight=0.9, beta=10.0, stage=1),
    "at of one stage": AT(labels=0.1, weight=0.9, stages=1),
    "sp beside kd": SP(labels=0.1, weight=0.9, stage=2),
    "rkd of angles": RKD(labels=0.1, weight=0.9, distance=0.0, angle=100.0),
    "modality_gram without kd": ModalityGram(labels=1.0, weight=0.0, beta=100.0, stages=2, width=16),
    "pursuhint by attention": PursuHint(hint="at", points=2, beta=500.0),
    "stopped hints": ESKD(inner=FitNets(), stop=0.75),
    "ctkd over hints": CTKD(inner=FitNets(weight=0.9, beta=10.0)),
    "ctkd over amal": CTKD(span=5.0, inner=AMAL(teacher_weight=0.1, meta_lr=150.0)),
}


class TestShipped(MethodSuite):
    @pytest.fixture(params=SHIPPED)
    def method(self, request: pytest.FixtureRequest) -> Method:
        return SHIPPED[request.param]


@pytest.mark.slow
class TestVariants(MethodSuite):
    @pytest.fixture(params=VARIANTS)
    def method(self, request: pytest.FixtureRequest) -> Method:
        return VARIANTS[request.param]


ONE_VOICE = {"kd", "dkd", "nkd", "dist", "continuation_kd", "amal"}
HINTED = {"fitnets", "at", "sp", "rkd", "pursuhint", "modality_gram"}
LOSSES = {name for name, cls in METHODS.items() if not issubclass(cls, Wrapper)}
TAKEN = {
    "takd": ONE_VOICE | HINTED | {"bd_kd", "sokd"},
    "ces_kd": ONE_VOICE,
    "ta_ensemble": ONE_VOICE,
    "teacher_sweet_spot": ONE_VOICE,
    "ctkd": LOSSES - {"none", "tf_nkd", "continuation_kd"},
    "eskd": LOSSES,
}


@pytest.mark.parametrize("wrapper", TAKEN)
def test_every_wrapper_takes_the_losses_that_it_can_change_and_no_others(wrapper: str) -> None:
    taken = set()
    for name in LOSSES:
        try:
            METHODS[wrapper](inner=METHODS[name]())
        except ConfigError:
            continue
        taken.add(name)

    assert taken == TAKEN[wrapper]


def test_ids_are_found_both_ways_and_unknown_ones_get_a_suggestion() -> None:
    for name, cls in METHODS.items():
        made = cls(inner=KD()) if issubclass(cls, Wrapper) else cls()
        assert find_method("kd.loss", name) is cls
        assert method_id(made) == name
    with pytest.raises(ConfigError, match="did you mean 'dkd'"):
        find_method("kd.loss", "dkdd")


def test_knobs_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"KD\.temperature: got 50.*1\.0 to 20\.0"):
        KD(temperature=50.0)
    with pytest.raises(ConfigError, match=r"DML\.order: got 'random'"):
        DML(order="random")
