"""The report's slices: corrected differences of the primary measure, and where it got worse."""

from __future__ import annotations

from toolkit.metrics.compare import slice_figures
from toolkit.metrics.measurement import measurement_from_values
from toolkit.report.headline import OTHER, ComparisonPair
from toolkit.report.load import RunView
from toolkit.report.tables import slice_section
from toolkit.types import Ratings, Summary


def section(tmp_path, worse: bool):
    ids = [f"e{n}" for n in range(40)]
    base = measurement_from_values("base", "right", [(each, float(n % 2)) for n, each in enumerate(ids)])
    tuned = [float(n % 2 if n < 20 else not worse) for n in range(40)]
    sft = measurement_from_values("sft", "right", list(zip(ids, tuned, strict=True)))
    slices = {("language", "en"): frozenset(ids[:20]), ("language", "de"): frozenset(ids[20:])}
    figures = slice_figures([base, sft], slices, {})
    summary = Summary(
        run="r",
        contestants=("base", "sft"),
        scores=(),
        differences=(),
        ratings=Ratings(),
        stages=(),
        skipped=(),
        seconds=0.0,
        notes={"slices": [each.model_dump() for each in figures], "primary": "right"},
    )
    return slice_section(RunView(tmp_path, summary), [ComparisonPair("sft", "base", OTHER)])


def test_what_got_worse_is_named(tmp_path):
    found = section(tmp_path, worse=True)
    assert found.worse == "right got worse in language: de (sft against base)."
    assert [row[-1].tone for row in found.table.rows] == ["unclear", "worse"]
    assert found.table.header == ("slice", "base", "sft", "sft \N{MINUS SIGN} base")


def test_nothing_is_claimed_where_nothing_is_shown(tmp_path):
    found = section(tmp_path, worse=False)
    assert found.worse == "right is not shown to have got worse in any of 2 slices."
    assert [row[-1].tone for row in found.table.rows] == ["unclear", "better"]
