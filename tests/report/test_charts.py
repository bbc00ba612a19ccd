"""Charts are well-formed whatever they are given, and draw what they say."""

import math
import re
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from toolkit.report.charts import MOST_POINTS, Curve, Dot, curves, dots, forest

any_number = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1e6, 1e6)
maybe = st.none() | any_number
label = st.text(max_size=40)
dot = st.builds(Dot, label=label, value=any_number, low=maybe, high=maybe, colour=st.integers(0, 20))
points = st.lists(st.tuples(any_number, any_number), max_size=60)


def assert_drawable(svg: str) -> None:
    if not svg:
        return
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert "aria-label" in root.attrib
    drawn = [
        value
        for node in root.iter()
        for key, value in node.attrib.items()
        if key not in ("aria-label", "class", "role")
    ]
    assert not re.search(r"nan|inf", " ".join(drawn), re.IGNORECASE)


@given(label, st.lists(dot, max_size=6), st.integers(0, 4))
def test_dots_are_always_well_formed(title, rows, digits):
    assert_drawable(dots(title, rows, digits))


@given(label, st.lists(st.builds(Curve, label=label, points=points, dotted=st.booleans()), max_size=3))
def test_curves_are_always_well_formed(title, lines):
    assert_drawable(curves(title, lines))


@given(label, any_number, any_number, any_number, st.floats(0, 1e6))
def test_forest_cells_are_always_well_formed(title, value, low, high, reach):
    assert_drawable(forest(title, value, (low, high), reach, "unclear"))


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8, unique=True))
def test_dots_keep_the_order_of_their_values(values):
    svg = ET.fromstring(dots("t", [Dot(str(i), value) for i, value in enumerate(values)]))
    places = [float(node.attrib["cx"]) for node in svg.iter("circle")]
    for i, one in enumerate(values):
        for j, other in enumerate(values):
            if one < other:
                assert places[i] <= places[j]


def test_an_interval_is_drawn_around_its_dot():
    svg = ET.fromstring(dots("t", [Dot("x", 0.5, 0.4, 0.7)]))
    bar = next(node for node in svg.iter("path") if "bar" in node.attrib["class"])
    start, end = re.fullmatch(r"M([\d.]+) \d+H([\d.]+)", bar.attrib["d"]).groups()
    assert float(start) < float(next(svg.iter("circle")).attrib["cx"]) < float(end)


def test_a_value_of_several_seeds_is_drawn_as_their_rings():
    svg = ET.fromstring(dots("t", [Dot("x", 0.5, 0.4, 0.7, points=(0.4, 0.6, math.nan)), Dot("y", 0.9)]))
    drawn = [node.attrib["class"].split()[0] for node in svg.iter("circle")]
    assert drawn == ["ring", "ring", "dot"]


def test_nothing_to_draw_is_no_chart():
    assert dots("t", []) == ""
    assert dots("t", [Dot("x", math.nan)]) == ""
    assert curves("t", [Curve("x", [(1, 2)])]) == ""


def test_labels_cannot_break_out():
    svg = dots('"><script>', [Dot("</svg><script>alert(1)</script>\x00", 1.0)])
    assert "<script" not in svg
    assert_drawable(svg)


def test_a_long_log_is_thinned_and_keeps_its_ends():
    svg = ET.fromstring(curves("t", [Curve("x", [(float(i), float(i)) for i in range(100_000)])]))
    drawn = next(svg.iter("polyline")).attrib["points"].split()
    assert 2 < len(drawn) <= MOST_POINTS


def test_a_reader_without_eyes_gets_the_figures():
    assert 'aria-label="Loss: training from 2 at 1 to 0.5 at 9"' in curves(
        "Loss", [Curve("training", [(1, 2), (9, 0.5)])]
    )
    assert "sft 0.90" in dots("t", [Dot("sft", 0.9)])
