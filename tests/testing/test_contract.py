"""How contracts are written and how they speak."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch

import ramify
from ramify.testing import ContractError, differences
from ramify.testing.bits import drawn_from, packed, restored, watched
from ramify.testing.contract import Contract, called


def contract_of(check):
    contract = Contract("a number")
    contract.promise("is even", mend="double it")(check)
    return contract


def test_a_breach_is_one_sentence_of_what_was_expected_what_happened_and_where_to_mend_it():
    def check(number):
        if number % 2:
            yield f"{number} leaves 1"
            yield "this is not reported"

    contract_of(check).check(4, "four")
    with pytest.raises(ContractError) as raised:
        contract_of(check).check(3, "three")
    assert str(raised.value) == "three: a number is even, but 3 leaves 1; mend it: double it."
    assert isinstance(raised.value, AssertionError)


def test_what_the_code_of_others_raises_is_a_breach_with_its_cause():
    def check(number):
        yield from ()
        raise KeyError("layer\n7")

    with pytest.raises(ContractError, match="four: a number is even, but it raised KeyError: 'layer") as e:
        contract_of(check).check(4, "four")
    assert isinstance(e.value.__cause__, KeyError)


def test_promises_are_kept_in_order():
    contract, seen = Contract("a number"), []
    for name in ("first", "second"):
        contract.promise(name, mend="it")(lambda number, name=name: iter(seen.append(name) or ()))
    contract.check(1, "one")
    assert seen == ["first", "second"] == [promise.says for promise in contract.promises]


def test_names():
    assert (called(dict), called({}), called(len)) == ("dict", "dict", "len")


@pytest.mark.parametrize(
    ("a", "b", "place"),
    [
        ({"x": torch.zeros(2)}, {"x": torch.tensor([0.0, 1e-45])}, [".x"]),
        ({"x": 1}, {"x": 1.0}, [".x: 1 and 1.0"]),
        ({"x": [1, 2]}, {"x": [1]}, [".x: 2 and 1 items"]),
        ({"x": 1}, {"y": 1}, [": ['x', 'y']"]),
        ({"x": (1, {"y": torch.ones(1)})}, {"x": [1, {"y": torch.ones(1)}]}, []),
    ],
)
def test_differences(a, b, place):
    assert differences(a, b) == place


def test_states_are_read_as_checkpoints_are():
    state = {"step": 1, "scores": {"cell": torch.arange(3.0)}, "path": [("a", 1)]}
    assert not differences(restored(packed(state)), state)
    with pytest.raises(Exception, match="weights_only"):
        restored(packed({"space": ramify.spaces.NASBench201()}))


@pytest.mark.parametrize(
    ("name", "draw"),
    [("random", random.random), ("numpy.random", np.random.rand), ("torch", lambda: torch.rand(1))],
)
def test_draws_from_global_generators_are_seen_and_undone(name, draw):
    before = random.getstate(), np.random.get_state()[2], torch.random.get_rng_state()
    with watched() as states:
        assert not drawn_from(states)
        draw()
        assert drawn_from(states) == [name]
    assert random.getstate() == before[0] and np.random.get_state()[2] == before[1]
    assert torch.equal(torch.random.get_rng_state(), before[2])


def test_it_is_imported_without_pytest_and_at_once():
    """A stranger's tests may be any program; and `strikes` comes before what it strikes at."""
    code = "import sys; from ramify.testing import strikes; print(sorted({'torch', 'pytest'} & set(sys.modules)))"
    code += "; from ramify.testing import *; print('pytest' in sys.modules, chaos.__name__, check_space.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "False chaos check_space"]


def test_everything_that_is_promised_is_there():
    assert set(dir(ramify.testing)) == set(ramify.testing.__all__)
    assert all(getattr(ramify.testing, name).__name__ == name for name in ramify.testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'check_everything'"):
        _ = ramify.testing.check_everything
