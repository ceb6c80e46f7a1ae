"""The contract of strategies: the library's keep it, a user's do, and every fault is named."""

import pytest

from plain import Plain
from ramify.errors import ConfigurationError
from ramify.spaces import NASBench201
from ramify.strategies import CDARTS, STRATEGIES, compatible
from ramify.testing import ContractError, check_strategy
from small_runs import SPACES
from small_runs import STRATEGIES as SMALL
from testing.faulty_strategies import FAULTS, Greedy, Walk

FIRST = {name: next(key for key in SPACES if compatible(SPACES[key][0], settings)) for name, settings in SMALL.items()}


@pytest.mark.parametrize("name", SMALL)
def test_the_librarys_strategies(name):
    check_strategy(SMALL[name], *SPACES[FIRST[name]])


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
