"""A candidate's parameters in Optuna's words, so that its dashboard and its samplers can read them."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autostudent.records import Value
from autostudent.space.domains import Choice, Domain, Float, Int


def distribution(domain: Domain) -> BaseDistribution:
    """The same range as an Optuna distribution."""
    if isinstance(domain, Float):
        return FloatDistribution(domain.low, domain.high, log=domain.log)
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high, log=domain.log)
    assert isinstance(domain, Choice)
    return CategoricalDistribution(domain.values)


def distributions(config: Mapping[str, Value], domains: Mapping[str, Domain]) -> dict[str, BaseDistribution]:
    """Distributions of the active parameters; a value outside its range (a default, say) is left out.

    The candidate itself is stored whole elsewhere: these are for people and other programs to look at.
    """
    return {
        name: distribution(domains[name])
        for name, value in config.items()
        if name in domains and domains[name].contains(value)
    }
