"""Example weights."""

import pytest

from antiphon.coordinator.aggregation.examples import Bounded, NoExamples, Shares, example_weights


def test_without_examples_everybody_counts_one() -> None:
    assert example_weights(NoExamples(), [0, 5, 10**12]) == (1.0, 1.0, 1.0)


def test_shares_divided_by_their_number_are_fedavgs() -> None:
    weights = example_weights(Shares(), [30, 10, 60])
    assert [weight / 3 for weight in weights] == pytest.approx([0.3, 0.1, 0.6])


def test_shares_without_any_example_count_alike() -> None:
    assert example_weights(Shares(), [0, 0]) == (1.0, 1.0)


def test_an_agent_that_claims_too_much_is_limited() -> None:
    assert example_weights(Shares(limit=100), [100, 10**15]) == (1.0, 1.0)
    assert example_weights(Bounded(reference=100.0, bound=3.0), [10**15]) == (3.0,)


def test_bounded_examples_do_not_depend_on_buffer_mates() -> None:
    rule = Bounded(reference=100.0)
    alone = example_weights(rule, [50])[0]
    assert example_weights(rule, [50, 1000])[0] == example_weights(rule, [50, 1])[0] == alone == 0.5


@pytest.mark.parametrize("rule", [NoExamples(), Bounded(reference=1.0), Shares()])
def test_a_negative_number_of_examples_is_an_error(rule: NoExamples | Bounded | Shares) -> None:
    with pytest.raises(ValueError, match="negative"):
        example_weights(rule, [1, -1])
