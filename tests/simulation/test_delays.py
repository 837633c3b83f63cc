"""Delay laws: their moments, their bounds, and what their refusals say."""

import math

import msgspec
import numpy as np
import pytest

from antiphon.codecs.errors import ConfigError
from antiphon.simulation.delays import LONGEST, Law, law_of

DRAWS = 40_000


def drawn(law: Law, count: int = DRAWS, seed: int = 5) -> list[float]:
    rng = np.random.default_rng(seed)
    return [law.draw(rng) for _ in range(count)]


@pytest.mark.parametrize(
    ("law", "mean", "deviation"),
    [
        (Law(law="constant", scale=3.0), 3.0, 0.0),
        (Law(law="half-normal"), math.sqrt(2 / math.pi), math.sqrt(1 - 2 / math.pi)),
        (Law(law="exponential", scale=5.0), 5.0, 5.0),
        (Law(law="uniform", low=50.0, high=80.0), 65.0, 30 / math.sqrt(12)),
        (Law(law="uniform", low=1.0, high=2.0, scale=10.0), 15.0, 10 / math.sqrt(12)),
        (Law(law="pareto", shape=3.0), 1.5, math.sqrt(0.75)),
        (Law(law="lognormal"), math.exp(0.5), math.sqrt((math.e - 1) * math.e)),
        (
            Law(law="lognormal", mu=1.0, sigma=0.5),
            math.exp(1.125),
            math.exp(1.125) * math.sqrt(math.e**0.25 - 1),
        ),
    ],
    ids=str,
)
def test_draws_have_the_mean_and_the_deviation_of_their_law(law: Law, mean: float, deviation: float) -> None:
    values = drawn(law)
    assert law.mean == pytest.approx(mean)
    assert np.mean(values) == pytest.approx(mean, abs=5 * deviation / math.sqrt(DRAWS) + 1e-12)
    assert np.std(values) == pytest.approx(deviation, rel=0.15, abs=1e-12)


@pytest.mark.parametrize("shape", [1.0, 1.2, 1.5])
def test_capped_pareto_has_its_mean_its_tail_and_its_cap(shape: float) -> None:
    law = Law(law="pareto", shape=shape, cap=50.0)
    values = np.array(drawn(law))
    assert values.min() >= 1.0
    assert values.max() == 50.0
    assert np.mean(values) == pytest.approx(law.mean, rel=0.03)
    # P(X > x) = x^-shape
    assert np.mean(values > 10.0) == pytest.approx(10.0**-shape, rel=0.1)
    integral = 1.0 + math.log(50.0) if shape == 1.0 else 1.0 + (1.0 - 50.0 ** (1.0 - shape)) / (shape - 1.0)
    assert law.mean == pytest.approx(integral), "1 + the integral of the tail from 1 to the cap"


def test_pareto_without_a_cap_may_have_no_mean_but_every_draw_is_finite() -> None:
    law = Law(law="pareto", shape=0.01)
    assert law.mean == math.inf
    assert Law(law="pareto", shape=2.0).mean == 2.0
    assert max(drawn(law, 2000)) == LONGEST


def test_wildest_lognormal_is_finite() -> None:
    assert max(drawn(Law(law="lognormal", sigma=1e6), 100)) == LONGEST


def test_uniform_stays_between_its_bounds() -> None:
    values = drawn(Law(law="uniform", low=8.0, high=12.0))
    assert 8.0 <= min(values) < 8.01
    assert 11.99 < max(values) < 12.0


def test_same_seed_same_draws_and_another_seed_others() -> None:
    law = Law(law="exponential")
    assert drawn(law, 5) == drawn(law, 5)
    assert drawn(law, 5) != drawn(law, 5, seed=6)


def test_number_is_a_constant() -> None:
    law = law_of(2.5)
    assert (law.draw(np.random.default_rng(0)), law.mean, str(law)) == (2.5, 2.5, "2.5 s")
    assert law_of(law) is law


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"law": "half-normal", "low": 1.0}, 'law = "half-normal" has no low; "uniform" has'),
        ({"law": "uniform", "low": 1.0}, 'law = "uniform" needs low and high'),
        ({"law": "uniform", "low": 2.0, "high": 1.0}, "low is 2, above high, which is 1"),
        ({"law": "pareto"}, 'law = "pareto" needs shape'),
        ({"law": "lognormal", "mu": math.inf}, "must be finite"),
    ],
)
def test_numbers_that_do_not_go_with_the_law_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        msgspec.convert(given, Law)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (Law(law="uniform", low=1, high=2), "uniform 1 to 2 s"),
        (Law(law="half-normal", scale=10), "10 x half-normal s"),
        (Law(law="exponential"), "exponential s"),
        (Law(law="pareto", shape=1.2, cap=50), "Pareto(1.2, at most 50) s"),
        (Law(law="pareto", shape=1.5, scale=2), "2 x Pareto(1.5) s"),
        (Law(law="lognormal"), "lognormal(0, 1) s"),
    ],
)
def test_law_reads_as_people_say_it(law: Law, words: str) -> None:
    assert str(law) == words
