"""Win rates: AlpacaEval's published raw figures to the digit, and the logistic fit against scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.agreement import standard_error
from tests.judge.example_battles import RuleJudge, battle
from toolkit.errors import DataError
from toolkit.judge import judge_battles
from toolkit.judge.aggregation import (
    Preference,
    aggregate_votes,
    is_separable,
    length_controlled,
    logistic,
    preferences_from_votes,
    win_rates,
)


def win_share(value: float, length: int = 100, other: int = 100) -> Preference:
    return Preference(contestant="x", against="y", value=value, length=length, length_against=other)


def alpaca(folder: Path, model: str) -> list[Preference]:
    rows = [json.loads(line) for line in (folder / f"{model}.jsonl").open()]
    return [
        win_share((row["preference"] or 1.5) - 1, len(row["output"]), row["len_baseline"])
        for row in rows
        if row["preference"] is not None
    ]


def published(folder: Path) -> dict[str, dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "published.jsonl").open()]
    names = ("win_rate", "standard_error", "length_controlled_winrate")
    return {row["model"]: {name: float(row[name]) for name in names} for row in rows}


def test_alpacaevals_raw_win_rates_to_the_digit(shared_data: Path):
    folder = shared_data / "judge_alpacaeval_NC"
    for model, figures in published(folder).items():
        rows = alpaca(folder, model)
        (found,) = win_rates(rows)
        assert 100 * found["win_rate"]["value"] == pytest.approx(figures["win_rate"], abs=1e-9)
        assert 100 * standard_error(rows) == pytest.approx(figures["standard_error"], abs=1e-9)


def test_a_pair_is_one_row_whichever_side_its_answers_were_on():
    rows = [
        win_share(value, length, 100).model_copy(update={"example_id": str(n)})
        for n, (value, length) in enumerate([(1, 120), (1, 90), (0, 140), (0.5, 80), (1, 60), (0, 110)])
    ]
    mixed = [row.reversed() if n % 2 else row for n, row in enumerate(rows)]
    (expected,), (found,) = win_rates(rows), win_rates(mixed)
    assert found["win_rate"] == expected["win_rate"]
    assert found["length_controlled"] == pytest.approx(expected["length_controlled"])
    assert (found["contestant"], found["against"]) == ("x", "y")


def test_length_control_moves_as_published(shared_data: Path):
    """The published fit also uses files that are not here: difficulties, gamed answers of its baseline."""
    folder = shared_data / "judge_alpacaeval_NC"
    for model, figures in published(folder).items():
        found = length_controlled(alpaca(folder, model))
        assert 100 * found["value"] > figures["win_rate"]
        assert 100 * found["value"] == pytest.approx(figures["length_controlled_winrate"], abs=8)


@pytest.mark.parametrize(("gap", "effect"), [(0, 0.0), (1, 1.5), (2, 1.5)])
def test_length_controlled_intervals_cover_where_lengths_go_with_sides(gap: int, effect: float):
    rng, held = np.random.default_rng(0), 0
    for _ in range(100):
        apart, quality = rng.normal(gap, 1, 60), rng.normal(0, 0.5)
        log_odds = quality + effect * np.tanh(apart / apart.std(ddof=1))
        won = rng.random(60) < 1 / (1 + np.exp(-log_odds))
        found = length_controlled(
            [win_share(float(v), 1000 + int(100 * d), 1000) for v, d in zip(won, apart, strict=True)]
        )
        held += not is_separable(found) or found["low"] <= 1 / (1 + np.exp(-quality)) <= found["high"]
    assert held >= 90


def test_a_contestant_that_is_always_far_longer_cannot_be_separated_from_length():
    rows = [win_share(float(k % 10 > 0), 1000 + k, 100) for k in range(60)]
    assert not is_separable(length_controlled(rows))


def test_the_fit_is_scikit_learns():
    linear = pytest.importorskip("sklearn.linear_model")
    chooser = np.random.default_rng(0)
    columns = np.stack([np.ones(200), chooser.normal(size=200), chooser.normal(size=200)], axis=1)
    values = chooser.beta(0.5, 0.5, size=200)
    fitted, _ = logistic(columns, values, np.full(3, 0.5))
    reference = linear.LogisticRegression(C=2.0, fit_intercept=False, tol=1e-10, max_iter=1000)
    reference.fit(
        np.concatenate([columns, columns]),
        np.repeat([1, 0], 200),
        sample_weight=np.concatenate([values, 1 - values]),
    )
    assert fitted == pytest.approx(reference.coef_[0], abs=1e-6)


def test_a_judge_that_only_counts_characters_finds_equal_answers_equal():
    chooser = np.random.default_rng(1)
    lengths = chooser.integers(50, 500, size=(400, 2))
    rows = [win_share(float(a + 150 > b), int(a) + 150, int(b)) for a, b in lengths]
    (found,) = win_rates(rows)
    assert found["win_rate"]["value"] > 0.75
    assert abs(found["length_controlled"]["value"] - 0.5) < 0.15


def test_without_a_difference_in_length_nothing_is_taken_out():
    rows = [win_share(1.0)] * 30 + [win_share(0.0)] * 10
    found = length_controlled(rows)
    assert found["value"] == pytest.approx(0.75, abs=1e-3)
    assert (found["low"], found["high"]) == pytest.approx((0.596, 0.859), abs=0.01)


@given(st.integers(1, 40))
def test_a_clean_sweep_keeps_an_interval(n: int):
    found = length_controlled([win_share(1.0, 100 + i, 100) for i in range(n)])
    assert 0.5 < found["value"] < 1
    assert found["high"] - found["low"] > 1e-3


def test_no_battles_no_rate():
    with pytest.raises(DataError, match="no battles"):
        length_controlled([])


def test_votes_become_preferences_with_lengths(tmp_path: Path):
    battles = [battle(i, "x" * (i + 2), "y") for i in range(3)]
    judge = RuleJudge(lambda one, other: "a" if len(one) > len(other) else "b")
    found = preferences_from_votes(
        battles, aggregate_votes(battles, judge_battles(judge, battles, store=tmp_path / "kept"))
    )
    assert [(row.contestant, row.value, row.length) for row in found] == [("left", 1.0, n) for n in (2, 3, 4)]


def test_a_judges_mean_probability_is_what_ratings_and_win_rates_count(tmp_path: Path):
    """0.51 in both orders is a win by a hair's breadth, and 51% of a win."""
    from toolkit.ratings import bradley_terry
    from toolkit.types import Verdict

    battles = [battle(str(k)) for k in range(40)]
    rng = np.random.default_rng(0)
    verdicts = [
        Verdict(battle_id=each.id, order=order, judge="j", outcome="a", probability_a=p)
        for each, p in zip(battles, rng.normal(0.51, 0.004, 40), strict=True)
        for order in ("ab", "ba")
    ]
    cast = aggregate_votes(battles, verdicts)
    assert {vote.outcome for vote in cast} == {"a"}
    (rate,) = win_rates(preferences_from_votes(battles, cast))
    assert rate["win_rate"]["value"] == pytest.approx(0.51, abs=0.002)
    assert rate["win_rate"]["high"] < 0.52
    fit = bradley_terry(cast)
    assert max(row.value for row in fit.ratings) == pytest.approx(1000 + 400 / np.log(10) * 0.02, abs=1)
    within = aggregate_votes(battles, verdicts, noise={"j": 0.05})
    assert {vote.outcome for vote in within} == {"tie"}
    assert [vote.probability_a for vote in within] == [vote.probability_a for vote in cast]
