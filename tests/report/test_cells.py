"""Cells: everything is drawn, nothing overlaps, and the bytes do not change."""

from itertools import combinations, pairwise
from pathlib import Path

import pytest
from synthetic_runs import GENOTYPE, Graph, darts_graph, nb201_graph

from ramify.report import cells, draw_cell, save_cell
from ramify.report.layout import Layout, Point, Vertex, arrange

NASNET = darts_graph(
    [
        ["sep_conv_5x5", 1], ["sep_conv_7x7", 0], ["max_pool_3x3", 1], ["sep_conv_7x7", 0], ["avg_pool_3x3", 1],
        ["sep_conv_5x5", 0], ["skip_connect", 3], ["avg_pool_3x3", 2], ["sep_conv_3x3", 2], ["max_pool_3x3", 1],
    ],
    [4, 5, 6],
)  # fmt: skip
TWICE = darts_graph([["avg_pool_3x3", 0], ["avg_pool_3x3", 0]] * 5, [2, 3, 4, 5, 6])
EVERYTHING = Graph(
    ("input k−2", "input k−1", "0", "1", "2", "3", "output"),
    tuple((source, target, "sep_conv_3x3") for target in range(2, 6) for source in range(target))
    + tuple((state, 6, "") for state in range(2, 6)),
    (0, 1),
    6,
)
GRAPHS = {
    "darts": darts_graph(GENOTYPE["normal"], [2, 3, 4, 5]),  # type: ignore[arg-type]
    "nasnet": NASNET,
    "twice": TWICE,
    "everything": EVERYTHING,
    "nb201": nb201_graph(["nor_conv_3x3", "none", "skip_connect", "nor_conv_1x1", "none", "avg_pool_3x3"]),
    "unread": Graph(("in", "0", "out"), ((0, 2, "conv_1x1"),), (0,), 2),
}


def layout_of(graph: Graph) -> Layout:
    return arrange(graph, cells._state_size, cells._label_size)


def overlap(one: Vertex, other: Vertex) -> bool:
    return (
        abs(one.x - other.x) < (one.width + other.width) / 2 and abs(one.y - other.y) < (one.height + other.height) / 2
    )


def meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Tell whether the segments a–b and c–d cross."""

    def side(p: Point, q: Point, r: Point) -> bool:
        return (q[0] - p[0]) * (r[1] - p[1]) > (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) != side(a, b, d) and side(c, d, a) != side(c, d, b)


@pytest.mark.parametrize("name", GRAPHS)
def test_no_state_or_label_covers_another(name: str) -> None:
    layout = layout_of(GRAPHS[name])
    boxes = [*layout.states, *(route.label for route in layout.routes if route.label)]
    assert not any(overlap(one, other) for one, other in combinations(boxes, 2))
    for box in boxes:
        assert box.x - box.width / 2 >= 0 and box.x + box.width / 2 <= layout.width + 1e-9
        assert box.y - box.height / 2 >= -1e-9 and box.y + box.height / 2 <= layout.height + 1e-9


@pytest.mark.parametrize("name", GRAPHS)
def test_edges_run_past_the_boxes_that_are_not_theirs(name: str) -> None:
    graph = GRAPHS[name]
    layout = layout_of(graph)
    labels = [route.label for route in layout.routes]
    for (source, target, _), route in zip(graph.edges, layout.routes, strict=True):
        own = (layout.states[source], layout.states[target], route.label)
        others = [box for box in (*layout.states, *labels) if box is not None and all(box is not it for it in own)]
        line = cells._curve(route.points).to_polygons(closed_only=False)[0]
        for x, y in line:
            for box in others:
                assert not (abs(x - box.x) < box.width / 2 - 1e-6 and abs(y - box.y) < box.height / 2 - 1e-6)


def test_edges_point_to_the_right_and_every_operation_is_labeled() -> None:
    for graph in GRAPHS.values():
        layout = layout_of(graph)
        for (_, _, op), route in zip(graph.edges, layout.routes, strict=True):
            assert [x for x, _ in route.points] == sorted(x for x, _ in route.points)
            assert route.operation == op
            assert (route.label is None) == (op == "")


def test_edges_do_not_cross_where_they_need_not() -> None:
    routes = layout_of(GRAPHS["nb201"]).routes
    lines = [cells._curve(route.points).to_polygons(closed_only=False)[0] for route in routes]
    for one, other in combinations(lines, 2):
        assert not any(meet(*first, *second) for first in pairwise(one) for second in pairwise(other))


def test_pictures_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    first = [path.read_bytes() for path in save_cell(GRAPHS["nasnet"], tmp_path / "a", title="normal $x_1$")]
    again = [path.read_bytes() for path in save_cell(GRAPHS["nasnet"], tmp_path / "b.c", title="normal $x_1$")]
    assert first == again
    assert (tmp_path / "b.c.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "b.c.png").read_bytes().startswith(b"\x89PNG")


def test_a_title_adds_room_above() -> None:
    plain, titled = draw_cell(GRAPHS["darts"]), draw_cell(GRAPHS["darts"], title="normal")
    assert titled.get_figheight() > plain.get_figheight()
    assert titled.get_figwidth() == plain.get_figwidth()
