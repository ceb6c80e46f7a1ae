"""How names and values stand in messages."""

from ramify.wording import excerpt, listing, sentence


def test_a_sentence_keeps_the_capitals_of_names():
    assert sentence("write the HTML report of CDARTS") == "Write the HTML report of CDARTS"
    assert (sentence("ABS shrinks"), sentence("")) == ("ABS shrinks", "")


def test_values_are_cut_to_their_beginning():
    assert excerpt("abc") == "'abc'" and excerpt([1, 2]) == "[1, 2]"
    assert excerpt("x" * 100, 5) == "'xxxxx…'" and excerpt(list(range(100)), 9) == "[0, 1, 2,…"


def test_long_listings_say_how_much_is_left_out():
    assert listing(["a", 1]) == "'a', '1'"
    assert listing(["a" * 40]) == f"'{'a' * 30}…'"
    assert listing(map(str, range(50)), 20) == "'0', '1', '2', '3' and 46 more"
    assert listing([]) == ""
