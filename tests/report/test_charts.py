"""Charts: axes with round ticks on which everything fits, and drawings that say what they show."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.report.axes import linear, logarithmic, shares
from ramify.report.charts import Bars, Chart, Line, Points, short
from ramify.report.figures import axis_of, curve
from ramify.report.heat import HeatMap
from ramify.report.story import Panel

NUMBERS = st.floats(-1e299, 1e299) | st.floats(-1e3, 1e3)


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.booleans(), st.booleans())
def test_everything_fits_on_its_axis(values, fits, whole):
    axis = linear(values, fits=fits, whole=whole)
    assert axis.low < axis.high and list(axis.ticks) == sorted(set(axis.ticks))
    assert len(axis.ticks) <= 12 and len(axis.texts) == len(axis.ticks)
    for value in (*values, *axis.ticks):
        assert -1e-6 <= axis.share(value) <= 1 + 1e-6


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        (shares(), ("0.00", "0.25", "0.50", "0.75", "1.00")),
        (linear([0, 9], whole=True), ("0", "3", "6", "9")),
        (linear([0.123, 0.9], fits=False), ("0.00", "0.25", "0.50", "0.75", "1.00")),
        (linear([0, 4e7]), ("0", "10M", "20M", "30M", "40M")),
        (linear([97.1, 99.9], within=(0, 100), fits=False), ("97", "98", "99", "100")),
        (logarithmic([0.2, 300]), ("0.1", "1", "10", "100", "1,000")),
        (logarithmic([1, 1e9]), ("10⁰", "10²", "10⁴", "10⁶", "10⁸")),
        (linear([]), ("0.00", "0.25", "0.50", "0.75", "1.00")),
    ],
)
def test_ticks(axis, texts):
    assert axis.texts == texts


def test_a_share_has_all_of_its_axis_and_a_percentage_ends_at_a_hundred():
    axis = axis_of("skip share", [0.0, 0.01])
    assert (axis.low, axis.high) == (0, 1)
    assert axis_of("accuracy, %", [40.0, 99.9]).high == 100
    assert axis_of("share of zeros", [0.2, 0.3]).high == 1
    assert axis_of("shared loss", [2.0, 3.0]).high == 3


def drawn(chart):
    """Return the chart's SVG, which is well-formed."""
    html = chart.html("name", "What <it> shows")
    return ElementTree.fromstring(re.sub(r' (role|tabindex)="[^"]*"', "", html)), html


def test_a_line_runs_through_its_points():
    line = Line("loss <1>", "#2f6690", [0, 5, 10], [0.0, None, 1.0])
    root, html = drawn(Chart(linear([0, 10]), shares(), (line,)))
    (path,) = (it for it in root.iter("path") if it.get("class") == "line")
    assert path.get("d") == "M0 1000L1000 0"
    assert "loss &lt;1&gt;" in html and "What &lt;it&gt; shows. loss &lt;1&gt;: from 0 to 1." in html
    stairs = Chart(linear([0, 10]), shares(), (Line("", "#2f6690", [0, 10], [0.0, 1.0], stairs=True),))
    assert 'd="M0 1000H1000V0"' in stairs.html("a", "b")


def test_bands_bars_and_points():
    line = Line("a", "#2f6690", [0, 1], [0.5, 0.5], low=[0.4, None], high=[0.6, None])
    points = Points("p", "#1c7a5a", [0.5], [0.25], ["said"])
    bars = Bars("#2f6690", [0, 0.5, 1], [1, 0.5])
    chart = Chart(shares(), shares(), (line,), (points,), bars)
    _, html = drawn(chart)
    assert 'd="M500 750h0"' in html and 'd="M0 1000V0H500V1000zM500 1000V500H1000V1000z"' in html
    assert 'class="band"' in html
    assert chart.data()["places"] == [(500, 250, "said")]


def test_positions_are_told_once():
    lines = tuple(Line(name, "#2f6690", [1, 2], [0.123456, None]) for name in "ab")
    series = Chart(linear([1, 2]), shares(), lines).data()["series"]
    assert series[0]["x"] == [1, 2] and "x" not in series[1]
    assert series[0]["y"] == [0.12346, None]


def test_panels_are_charts():
    panel = Panel("accuracy, %", "epoch", (0, 1), {"training": (10.0, 20.0), "validation": (None, 15.0)})
    chart = curve(panel)
    assert [line.name for line in chart.lines] == ["training", "validation"]
    assert curve(Panel("loss", "epoch", (0,), {"training": (1.0,)})).lines[0].name == ""


@given(st.lists(st.lists(st.none() | st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=4))
def test_merged_cells_cover_what_single_ones_do(values):
    rows = [f"r{n}" for n in range(len(values))]
    fine = HeatMap(rows, ["0", "1", "2"], values, 0, 1, axis="epoch")
    covered = {}
    for level, path in re.findall(r'class="h(\d+)" d="([^"]*)"', "".join(fine._merged())):
        for x, y, wide in re.findall(r"M(\d+) (\d+)h(\d+)v", path):
            covered |= {(int(y), int(x) + step): int(level) for step in range(int(wide))}
    expected = {
        (r, c): fine.level(value) for r, row in enumerate(values) for c, value in enumerate(row) if value is not None
    }
    assert covered == expected


def test_shades_and_numbers_of_a_heat_map():
    heat = HeatMap(["r"], ["a", "b", "c"], [[0.0, 1.0, None]], 0, 1, framed={(0, 1): "#1c7a5a"})
    assert [heat.level(value) for value in heat.values[0]] == [0, 15, -1]
    html = heat.html("h", "Heat")
    assert ">.00<" in html and ">1<" in html and html.count('class="frame"') == 1
    assert heat.data()["values"] == [[0, 1, None]]
    assert HeatMap(["r"], ["a"], [[0.5]], 0.5, 0.5).level(0.5) == 0


def test_values_are_short():
    largest = 1.7976931348623157e308
    assert [short(value) for value in (1.0, 0.1234567, 123456.7, 1e20, largest)] == [1, 0.12346, 123460, 1e20, largest]
    assert not math.isnan(short(0.0))


@pytest.mark.parametrize(
    "values", [[1e308, -1e308], [5e-324, 0.0], [3.0, 3.0000000000000004], [1.7976931348623157e308]]
)
def test_numbers_of_any_size_have_an_axis(values):
    for axis in (linear(values), linear(values, fits=False), logarithmic(values), logarithmic(values, fits=True)):
        assert axis.low < axis.high and len(axis.texts) == len(axis.ticks)
        chart = Chart(axis, axis, (Line("a", "#2f6690", values, values),))
        assert all(-2000 <= place <= 3000 for each in chart.places(chart.lines[0]) for place in each)
        assert "nan" not in chart.html("a", "b")
    assert HeatMap(["r"], [str(n) for n in range(len(values))], [values], min(values), max(values)).html("a", "b")
