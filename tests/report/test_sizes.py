"""Widths and depths over a search, in the report."""

from ramify import spaces
from ramify.report.sizes import size_history
from ramify.report.story import panels

CHOICES = spaces.PrunableResNet(depth=14).choices


def row(epoch, share):
    width = [[0.0] * 8 for _ in range(13)]
    for weights in width:
        weights[0], weights[7] = 1 - share, share
    return {"epoch": epoch, "mixing": {"width": width, "depth": [[1 - share, share]] * 3}}


def test_means_of_what_is_probable():
    sizes = size_history([row(0, 0.5), row(1, 1.0)], CHOICES)
    assert (sizes.axis, sizes.positions, len(sizes.rows)) == ("epoch", (0, 1), 13)
    assert sizes.shares[0] == (0.65, 1.0)
    assert sizes.depths.series["stage 2"] == (1.5, 2.0)
    assert sizes.depths.title == "blocks that a stage keeps"


def test_depths_of_networks_for_imagenet_are_shares():
    choices = spaces.PrunableResNet("imagenet", searched="depth").choices
    sizes = size_history([{"epoch": 0, "mixing": {"depth": [[0.5, 0.5]] * 4}}], choices)
    assert sizes.rows == () and sizes.depths.series["stage 4"] == (0.75,)
    assert sizes.depths.title == "share of its blocks that a stage keeps"


def test_other_searches_have_none():
    assert size_history([{"epoch": 0, "mixing": {"cell": [[1.0]]}}], spaces.NASBench201().choices) is None
    assert size_history([row(0, 0.5)], None) is None
    assert size_history([], CHOICES) is None


def test_a_cost_is_drawn_with_its_target():
    rows = [{"epoch": n, "expected_macs": 3.0 - n, "derived_macs": 2.0, "target_macs": 1.5} for n in range(2)]
    (panel,) = panels(rows)
    assert (panel.title, list(panel.series)) == ("macs", ["expected", "derived", "target"])
    (panel,) = panels([{"epoch": 0, "expected_macs": 3.0}])
    assert panel.title == "expected macs"
