"""Charts of few and of many contestants: every name is whole, every figure there, every line to be seen."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from apps import charts
from apps.settings import THEME
from toolkit.ratings import BradleyTerry, History, bradley_terry
from toolkit.types import Rating, Vote


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_stand_out_from_the_page(scheme: str) -> None:
    ground = THEME[f"theme.{scheme}.backgroundColor"]
    assert min(contrast(colour, ground) for colour in [*charts.LINES, charts.GREY]) >= 3


@pytest.mark.parametrize(
    "name",
    ["base", "tinyllama-1.1b-chat-v1.0-sft-dpo-round-2", "x" * 70, "runs/last week/model_a", "-" * 40],
)
def test_a_name_is_broken_and_never_cut(name: str) -> None:
    lines = charts.wrapped(name).split("\n")
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")
    assert max(map(len, lines)) <= charts.NAME_WIDTH


@pytest.mark.parametrize("size", [2, 4, 8, 9, 30])
def test_every_cell_of_the_matrix_has_its_figure_and_every_axis_all_names(size: int) -> None:
    names = [f"contestant-{number}" for number in range(size)]
    pairs = itertools.permutations(names, 2)
    rates = [{"contestant": a, "against": b, "rate": 0.254, "votes": 9} for a, b in pairs]
    chart = charts.with_page_ink(charts.win_rates(rates, names)).to_dict()
    assert chart["config"]["axis"]["labelColor"] == "currentColor", (
        "read when drawn: schemes change meanwhile"
    )
    texts = [layer for layer in chart["layer"] if layer["mark"]["type"] == "text"]
    assert texts[0]["encoding"]["text"]["field"] == "percent"
    data = next(iter(chart["datasets"].values()))
    assert {row["percent"] for row in data} == {"25%" if size <= charts.FEW else "25"}
    for axis in (texts[0]["encoding"]["x"]["axis"], texts[0]["encoding"]["y"]["axis"]):
        assert (axis["labelOverlap"], axis["labelLimit"] >= 200) == (False, True)


@pytest.mark.parametrize("ending", ["", "-instruct-of-a-very-long-name-that-takes-lines"])
@pytest.mark.parametrize("size", [8, 30])
def test_labels_of_lines_stand_apart_and_at_most_eight_lines_have_a_colour(size: int, ending: str) -> None:
    names = tuple(f"contestant-{number}{ending}" for number in range(size))
    values = np.full((4, size), 1000.0) + np.arange(size) / 100
    values[0, 0] = 1010
    chart = charts.over_time(History(names, np.array([10, 20, 30, 40]), values), names).to_dict()
    labels = next(rows for rows in chart["datasets"].values() if "label" in rows[0])
    places = [row["label"] for row in labels]
    assert len(places) == len(charts.LINES)
    assert max(len(line) for row in labels for line in row["name"].split("\n")) <= charts.NAME_WIDTH
    pixel = (values.max() - values.min()) / chart["height"]
    lines = max(row["name"].count("\n") + 1 for row in labels)
    assert all(above - below >= 15 * lines * pixel for above, below in itertools.pairwise(places))
    assert min(places) >= values.min(), "none lies on the axis"


@pytest.mark.parametrize("size", [4, 30])
def test_a_row_is_as_high_as_its_name_in_lines(size: int) -> None:
    names = [f"sft-llama-3.1-8b-instruct-with-a-very-long-name-v{number}" for number in range(size)]
    lines = charts.wrapped(names[-1]).count("\n") + 1
    rows = [Rating(contestant=name, value=1000, low=990, high=1010, battles=9, rank=1) for name in names]
    rates = [
        {"contestant": a, "against": b, "rate": 0.2, "votes": 9} for a, b in itertools.permutations(names, 2)
    ]
    matrix = charts.win_rates(rates, names).to_dict()
    cell = matrix["height"]["step"] if size > charts.FEW else matrix["height"] / size
    assert lines > 2
    assert min(cell, charts.intervals(rows).to_dict()["height"] / size) >= 13 * lines
    beside = charts.beside(dict.fromkeys(("People", "Judge"), rows)).to_dict()
    assert 2 * beside["height"]["step"] >= 13 * lines


def test_intervals_have_no_legend_and_name_each_row() -> None:
    rows = [
        Rating(contestant=f"c{n}", value=1000 - n, low=990.0 - n, high=1010.0 - n, battles=9, rank=n + 1)
        for n in range(30)
    ]
    chart = charts.intervals(rows).to_dict()
    names = [row["contestant"] for row in next(iter(chart["datasets"].values()))]
    assert names == [row.contestant for row in rows]
    assert not any("color" in layer["encoding"] for layer in chart["layer"])


def test_votes_that_would_decide_are_named_only_where_that_is_informative() -> None:
    def ratings(wins: int, losses: int) -> BradleyTerry:
        won = [Vote(model_a="x", model_b="y", outcome="a")] * wins
        return bradley_terry([*won, *[Vote(model_a="x", model_b="y", outcome="b")] * losses])

    assert ratings(26, 25).votes_needed_text("x", "y") == "unknown"
    assert re.fullmatch(r"\d+ \(\d+ to [\d,]+\)", ratings(33, 22).votes_needed_text("x", "y"))
    assert ratings(60, 10).votes_needed_text("x", "y") == "decided"
