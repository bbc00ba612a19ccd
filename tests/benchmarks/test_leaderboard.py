"""The table says who is best, how sure that is, and what to be wary of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from toolkit.benchmarks.results import above_chance, goodhart, leaderboard
from toolkit.cli import main
from toolkit.metrics.measurement import measurement_from_values
from toolkit.types import Difference, Score


def score(contestant: str, metric: str, value: float, margin: float = 0.02) -> Score:
    return Score(
        contestant=contestant, metric=metric, value=value, low=value - margin, high=value + margin, n=100
    )


def change(metric: str, value: float, p_value: float = 0.001) -> Difference:
    return Difference(
        metric=metric, contestant="dpo", against="base", value=value, low=0, high=0, p_value=p_value, n=50
    )


def test_the_best_average_is_first_and_what_may_be_as_good_is_marked():
    board = leaderboard(
        [
            score("base", "hellaswag/acc", 0.30),
            score("base", "hellaswag/acc_norm", 0.40),
            score("base", "rte/acc", 0.60),
            score("sft", "hellaswag/acc_norm", 0.45),
            score("sft", "rte/acc", 0.59),
        ]
    )
    assert board.tasks == ("hellaswag/acc_norm", "rte/acc")
    assert [row.contestant for row in board.rows] == ["sft", "base"]
    sft, base = board.rows
    apart = [measurement_from_values(who, "rte/acc", {str(i): float(i < n) for i in range(900)})
             for who, n in (("base", 540), ("sft", 531))]  # fmt: skip
    names = [row.contestant for row in board.rows]
    paired = leaderboard([score("base", "rte/acc", 0.60), score("sft", "rte/acc", 0.59)], apart)
    within = {row.contestant: row.cells[0].within_noise for row in paired.rows if row.cells[0]}
    assert within == {"base": True, "sft": False}, "always behind on the same questions"
    assert names == ["sft", "base"]
    assert sft.average == pytest.approx((0.45 + 0.59) / 2)
    assert sft.above_chance == pytest.approx((0.2 / 0.75 + 0.18) / 2)
    assert [cell.within_noise for cell in sft.cells] == [True, True]  # 0.59 against 0.60 +- 0.02
    assert [cell.within_noise for cell in base.cells] == [False, True]


def test_averages_are_over_the_tasks_all_have():
    board = leaderboard([score("a", "rte/acc", 0.6), score("a", "sst2/acc", 0.9), score("b", "rte/acc", 0.7)])
    b, a = board.rows
    assert (b.contestant, b.average, a.average) == ("b", 0.7, 0.6)
    assert b.cells[1] is None


def test_figures_that_are_no_shares_are_shown_and_not_averaged():
    board = leaderboard(
        [
            score("a", "rte/acc", 0.6),
            score("a", "wikitext/word_perplexity", 21.0, 1.5),
            score("a", "wmt/bleu", 30.0),
            score("b", "rte/acc", 0.7),
            score("b", "wikitext/word_perplexity", 22.0, 1.5),
            score("b", "wmt/bleu", 31.0),
        ]
    )
    assert [(row.contestant, row.average) for row in board.rows] == [("b", 0.7), ("a", 0.6)]
    b, a = board.rows
    assert [cell.share for cell in a.cells] == [True, False, False]
    assert [cell.within_noise for cell in b.cells] == [True, True, True]
    far = leaderboard([score("a", "w/perplexity", 21.0), score("b", "w/perplexity", 22.0)])
    within = {row.contestant: row.cells[0].within_noise for row in far.rows}
    assert within == {"a": True, "b": False}, "less is better"
    assert {row.average for row in far.rows} == {None}


def test_mmlus_subjects_are_one_column():
    board = leaderboard([score("a", "mmlu/acc", 0.3), score("a", "mmlu_anatomy/acc", 0.5)])
    assert board.tasks == ("mmlu/acc",)


@pytest.mark.parametrize(
    ("task", "value", "expected"),
    [
        ("rte/acc", 0.5, 0.0),
        ("rte/acc", 0.4, 0.0),
        ("rte/acc", 1.0, 1.0),
        ("mmlu_anatomy/acc", 0.625, 0.5),
        ("new/acc", 0.3, 0.3),
    ],
)
def test_guessing_is_zero_and_all_right_is_one(task: str, value: float, expected: float):
    assert above_chance(task, value) == pytest.approx(expected)


def test_one_gain_and_many_losses_are_worth_a_note():
    (note,) = goodhart([change("rougeL", 0.2), change("perplexity", 3.0), change("gsm8k/acc", -0.1)])
    assert note.startswith("dpo gains on rougeL and loses on perplexity, gsm8k/acc against base")
    assert goodhart([change("rougeL", 0.2), change("perplexity", -3.0)]) == []
    assert (
        goodhart([change("a/acc", 0.2), change("w/word_perplexity", -3), change("w/bits_per_byte", -1)]) == []
    )
    assert goodhart([change("rougeL", 0.2), change("bleu", -1, 0.4), change("chrf", -1, 0.4)]) == []


@pytest.mark.parametrize("results", [{}, {"all": {"acc": 1.0}}, {"task": {"alias": "task"}}])
def test_a_table_without_a_figure_is_an_error(results: dict, tmp_path: Path):
    (tmp_path / "mine.json").write_text(json.dumps({"results": results}))
    found = CliRunner().invoke(main, ["leaderboard", str(tmp_path / "mine.json")])
    assert (found.exit_code, found.stdout) == (2, "")
    assert "mine.json: no figure in its `results`" in found.stderr
