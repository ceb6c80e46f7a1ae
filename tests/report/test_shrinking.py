"""What the report tells of a space that was shrunk."""

import pytest

from ramify.report.shrinking import angles, draw_shrunk, lives, shrunk, sizes
from ramify.spaces import DARTSCells, MobileChain, NASBench201


def rows_of(space, *iterations):
    """Return rows in which every table of angles counts up, each with what goes: (choices, edge, operation)."""
    rows = []
    for number, gone in enumerate(iterations):
        tables = {
            name: [
                [edge + op / 10 if exists else None for op, exists in enumerate(row)]
                for edge, row in enumerate(choice.mask.tolist())
            ]
            for name, choice in space.choices.items()
        }
        dropped = [{"choices": list(names), "edge": list(edge), "operation": op} for names, edge, op in gone]
        rows.append({"phase": "shrink", "step": number + 1, "angles": tables, "errors": tables, "dropped": dropped})
    return [row | {"size": 10 ** (5 - at)} for at, row in enumerate(rows)]


def test_what_went_when():
    space = NASBench201()
    rows = rows_of(space, [(["cell"], (0, 1), "none")], [(["cell"], (2, 3), "avg_pool_3x3")])
    (story,) = shrunk(rows, space.choices)
    assert story.name == "cell"
    assert story.edges[:2] == ("0 → 1", "0 → 2")
    assert [(e, o, at) for e, row in enumerate(story.went) for o, at in enumerate(row) if at] == [(0, 0, 1), (5, 4, 2)]
    assert story.label((5, 4)) == "2 → 3  avg_pool_3x3"


def test_kinds_of_cells_that_share_their_lists_are_one_story():
    space = DARTSCells()
    (story,) = shrunk(rows_of(space, [(["normal", "reduce"], (0, 2), "none")]), space.choices)
    assert story.name == "normal, reduce"
    rows = rows_of(space, [(["reduce"], (0, 2), "none")])
    rows[0]["angles"]["normal"][0][0] = 7.0
    apart = shrunk(rows, space.choices)
    assert [found.name for found in apart] == ["normal", "reduce"]
    assert [found.went[0][0] for found in apart] == [0, 1]


def test_strips_rank_the_angles_of_each_iteration():
    space = MobileChain(blocks=(1, 2, 1, 1, 1, 1))
    (story,) = shrunk(rows_of(space, [], []), space.choices)
    assert story.edges[1] == "layer 1"
    known = [value for row in story.strips for value in row if value is not None]
    assert (min(known), max(known)) == (0, 1)
    assert story.strips[0][:2] == [0, 0]  # the smallest, in both iterations
    assert story.strips[0][2] is None  # the gap
    assert story.strips[0][-1] is None  # a first layer cannot be left out
    assert len(story.strips[0]) == 7 * 3 - 1
    assert story.middles[:2] == [0.5, 3.5]


@pytest.mark.parametrize("space", [NASBench201(), MobileChain(), DARTSCells()], ids=lambda space: space.name)
def test_figures(space):
    name = next(iter(space.choices))
    edge, op = space.choices[name].edges[0], space.choices[name].ops[0]
    rows = rows_of(space, [(list(space.choices), edge, op)], [], [])
    (story,) = shrunk(rows, space.choices)
    shown = lives(story, 3)
    assert shown.values[0][0] == 1 and shown.told[0][0] == "went in iteration 1"
    assert (0, 1) in shown.framed and shown.told[0][1] == "is left"
    ranks = angles(story)
    assert ranks.names[2].endswith("iteration 3") and ranks.told[0][2].endswith("rad")
    assert {len(row) for row in (*ranks.values, *ranks.told, ranks.names, ranks.columns)} == {len(ranks.names)}
    assert list(sizes(10**6, rows).lines[0].y) == [10**6, 10**5, 10**4, 10**3]
    assert draw_shrunk([story], 3).axes[0].get_title(loc="left").endswith("iteration in which it went")


def test_nothing_to_tell():
    assert shrunk([], NASBench201().choices) == []
    assert shrunk(rows_of(NASBench201(), []), None) == []
