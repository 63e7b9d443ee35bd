from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostudent.space.domains import Choice, Domain, Float, Int, same

numbers = st.floats(-1e6, 1e6, allow_nan=False)
positive = st.floats(1e-6, 1e6)
domains = st.one_of(
    st.builds(lambda a, b: Float(min(a, b), max(a, b)), numbers, numbers),
    st.builds(lambda a, b: Float(min(a, b), max(a, b), log=True), positive, positive),
    st.builds(lambda a, b: Int(min(a, b), max(a, b)), st.integers(-50, 50), st.integers(-50, 50)),
    st.builds(lambda a, b: Int(min(a, b), max(a, b), log=True), st.integers(1, 50), st.integers(1, 50)),
    st.builds(
        lambda v: Choice(tuple(v)), st.lists(st.one_of(st.text(max_size=3), st.integers()), min_size=1, unique=True)
    ),
)


@given(domains, st.integers(0, 2**32 - 1))
def test_draws_and_moves_stay_inside_and_survive_encoding(domain: Domain, seed: int) -> None:
    rng = np.random.default_rng(seed)
    value = domain.sample(rng)
    for _ in range(3):
        assert domain.contains(value)
        again = domain.decode(domain.encode(value))
        assert domain.contains(again)
        assert again == value or again == pytest.approx(value, rel=1e-6, abs=1e-6)
        value = domain.move(value, rng)


@given(domains, st.floats(-1, 2))
def test_any_number_decodes_to_something_allowed(domain: Domain, u: float) -> None:
    assert domain.contains(domain.decode(u))


@given(domains)
def test_numbers_encode_into_the_unit_interval(domain: Domain) -> None:
    if not isinstance(domain, Choice):
        assert domain.encode(domain.low) == 0.0  # type: ignore[attr-defined]
        assert 0.0 <= domain.encode(domain.high) <= 1.0 + 1e-12  # type: ignore[attr-defined]


def test_logarithmic_draws_are_even_in_the_logarithm() -> None:
    rng = np.random.default_rng(0)
    values = [Float(1e-4, 1.0, log=True).sample(rng) for _ in range(4000)]
    assert np.mean(np.array(values) < 1e-2) == pytest.approx(0.5, abs=0.03)
    ones = [Int(1, 3, log=True).sample(rng) for _ in range(4000)]
    assert np.mean(np.array(ones) == 1) == pytest.approx(np.log(3) / np.log(7), abs=0.03)


def test_weights_of_choices() -> None:
    rng = np.random.default_rng(0)
    values = [Choice(("a", "b", "c"), (1.0, 3.0, 0.0)).sample(rng) for _ in range(4000)]
    assert values.count("b") / len(values) == pytest.approx(0.75, abs=0.03)
    assert "c" not in values


def test_types_are_told_apart() -> None:
    assert not same(True, 1)
    assert not Choice((1, 2)).contains(True)
    assert not Int(0, 1).contains(True)
    assert not Int(0, 3).contains(1.0)
    assert not Float(0, 3).contains("1")
    assert Float(0, 3).contains(1)
    assert not Float(0, 3).contains(float("nan"))


def test_moves_of_a_choice_go_elsewhere() -> None:
    rng = np.random.default_rng(0)
    assert {Choice(("a", "b", "c")).move("a", rng) for _ in range(50)} == {"b", "c"}
    assert all(Int(1, 9).move(5, rng) != 5 for _ in range(50))
