"""The contract of strategies: a user's keep it, and every fault is named; the library's: `test_strategy_matrix.py`."""

import pytest

from plain_space import Plain
from ramify.errors import ConfigurationError
from ramify.spaces import NASBench201
from ramify.strategies import CDARTS, STRATEGIES
from ramify.testing import ContractError, check_strategy
from testing.faulty_strategies import FAULTS, Greedy, Walk


@pytest.mark.slow
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_librarys_classes_in_one_line(name):
    check_strategy(STRATEGIES[name])


@pytest.mark.parametrize("strategy", [Walk, Greedy, Walk(steps=3)], ids=str)
def test_strategies_of_users_in_one_line(strategy):
    check_strategy(strategy)


def test_a_space_of_a_user():
    check_strategy(Walk, Plain)


def test_a_long_search_is_followed_to_some_safe_point():
    check_strategy(Walk(steps=10**6), NASBench201, points=5)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name):
    strategy, said = FAULTS[name]
    with pytest.raises(ContractError) as raised:
        check_strategy(strategy, Plain)
    message = str(raised.value)
    assert said in message
    assert (message.startswith(strategy.__name__) and ": a strategy " in message) or "`compatible` refuses" in message
    assert "; mend it: " in message and message.endswith(".") and "\n" not in message


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ConfigurationError, match="CDARTS cannot search "):
        check_strategy(CDARTS, Plain)
    with pytest.raises(ConfigurationError, match="a strategy is a subclass of Strategy"):
        check_strategy(NASBench201)
