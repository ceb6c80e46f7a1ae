"""Capabilities are names: equal to plain text, and the same in another process."""

import pickle

from ramify.capabilities import CAPABILITIES, TAPS, Capability, in_words
from ramify.spaces import NASBench201


def test_a_capability_is_its_name():
    assert TAPS == "taps" and "taps" in NASBench201().offers
    assert len(set(CAPABILITIES)) == len(CAPABILITIES)
    again = pickle.loads(pickle.dumps(TAPS))
    assert (again, again.means, again.by) == (TAPS, TAPS.means, TAPS.by)


def test_what_is_lacking_in_words():
    assert in_words(()) == ""
    assert in_words({"x"}) == in_words({Capability("x")}) == "`x`"
    assert in_words({TAPS, "x"}) == f"`taps` (and `x`), {TAPS.sentence}"
    assert Capability("x", "something").sentence == "something"
