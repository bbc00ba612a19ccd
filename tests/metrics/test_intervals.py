"""Intervals cover what they say they cover; paired tests agree with the textbook and the reference tools."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from toolkit.metrics import Measurement, difference, intervals, reference_scorers, score
from toolkit.metrics.measurement import Kind, combine, measurement_from_values
from toolkit.statistics import holm


def of_table(table: np.ndarray, kind: Kind = "mean", contestant: str = "a") -> Measurement:
    return Measurement(
        contestant=contestant,
        metric="m",
        kind=kind,
        example_ids=tuple(f"e{i}" for i in range(len(table))),
        rows=tuple(tuple(row) for row in table.astype(float).tolist()),
    )


def test_wilson_is_that_of_the_textbook():
    expected = stats.binomtest(81, 263).proportion_ci(method="wilson")
    assert intervals.wilson(81, 263) == pytest.approx((expected.low, expected.high), abs=1e-9)
    for n in range(1, 40):  # ends are ends, not what rounding leaves of them
        assert intervals.wilson(0, n)[0] == 0
        assert intervals.wilson(n, n)[1] == 1


def test_five_right_of_five_is_not_certainty():
    found = score(measurement_from_values("a", "accuracy", {f"e{i}": 1.0 for i in range(5)}))
    assert (found.value, found.high, found.n) == (1.0, 1.0, 5)
    assert found.low == pytest.approx(0.566, abs=1e-3)


def test_one_example_has_no_interval():
    found = score(measurement_from_values("a", "m", {"e": 0.3}))
    assert (found.value, found.low, found.high, found.n) == (0.3, None, None, 1)


def test_a_means_interval_is_near_students():
    values = np.random.default_rng(0).normal(5, 2, 40)
    found = score(of_table(values[:, None]))
    expected = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.08)


def skewed(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.beta(5, 1.2, (n, 1))


def surprises(rng: np.random.Generator, n: int) -> np.ndarray:
    tokens = rng.integers(10, 60, n)
    return np.stack([rng.gamma(0.5 * tokens, 1.0), tokens], axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "kind", "truth"), [(skewed, "mean", 5 / 6.2), (surprises, "exp_ratio", math.exp(0.5))]
)
def test_95_percent_intervals_cover_95_percent(
    draw, kind: Kind, truth: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(intervals, "RESAMPLES", 600)
    rng, hits, repeats = np.random.default_rng(1), 0, 600
    for seed in range(repeats):
        low, high = intervals.bootstrap(draw(rng, 40), lambda sums, n: combine(kind, sums, n), seed=seed)
        hits += low <= truth <= high
    assert abs(hits / repeats - 0.95) < 0.015 + 2 * math.sqrt(0.95 * 0.05 / repeats)


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 100])
def test_paired_differences_with_long_tails_are_covered(n: int):
    """Most examples alike, a few far apart: where a bias-corrected bootstrap covers 88%."""
    rng, hits, repeats = np.random.default_rng(2), 0, 2000
    for _ in range(repeats):
        right = rng.random((n, 1))
        left = right + 0.1 + np.where(rng.random((n, 1)) < 0.3, rng.standard_t(4, (n, 1)), 0.0)
        found = difference(of_table(left), of_table(right, contestant="b"), resamples=10)  # of its p-value
        hits += found.low <= 0.1 <= found.high
    assert abs(hits / repeats - 0.95) < 0.015 + 2 * math.sqrt(0.95 * 0.05 / repeats)


def long_tailed_chrf(rng: np.random.Generator, n: int) -> np.ndarray:
    """Answers of very different length, each with a quality of its own; one n-gram order."""
    size = np.ceil(rng.lognormal(4, 0.7, n))
    return np.stack([size, size, rng.binomial(size.astype(int), rng.beta(1, 4, n))], axis=1)


def test_bleu_and_chrf_of_texts_of_unlike_length_are_covered():
    """Where a bias-corrected bootstrap covers 90%; the truth is a fifth."""
    rng, hits, repeats = np.random.default_rng(5), 0, 2000
    for _ in range(repeats):
        low, high = intervals.interval(of_table(long_tailed_chrf(rng, 30), "chrf"))
        hits += low <= 20.0 <= high
    assert abs(hits / repeats - 0.95) < 0.015 + 2 * math.sqrt(0.95 * 0.05 / repeats)


@pytest.mark.parametrize(("kind", "columns"), [("bleu", 10), ("chrf", 18), ("share", 2)])
def test_nothing_in_common_is_no_certainty_of_nothing(kind: Kind, columns: int):
    table = np.zeros((30, columns))
    table[:, :2] = 1 if kind != "share" else (0, 1)
    found = score(of_table(table, kind))
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(intervals.UPPER_END[kind] * intervals.wilson(0, 30)[1])


def test_few_long_texts_count_as_few_degrees_of_freedom():
    """Nine short texts and a long one: as good as nothing is known of the error (a sum of one square)."""
    even = np.array([(100.0, 100.0, 20.0 + i) for i in range(10)])
    uneven = np.array([(100.0 * k, 100.0 * k, (20.0 + i) * k) for i, k in enumerate([1] * 9 + [20])])
    (low, high), (lowest, highest) = (intervals.logit_interval(table, "chrf") for table in (even, uneven))
    error = intervals.jackknife_error(uneven, lambda sums, n: combine("chrf", sums, n)) / 100
    share = float(combine("chrf", uneven.sum(axis=0), 10)) / 100
    margin = 12.706 * error / (share * (1 - share))  # Student's quantile with one degree of freedom
    logits = np.log(share / (1 - share)) + np.array([-margin, margin])
    assert (lowest, highest) == pytest.approx(tuple(100 / (1 + np.exp(-logits))), rel=1e-4)
    assert highest - lowest > 2 * (high - low)


def test_degrees_of_freedom_follow_the_sizes():
    sizes = {"even": np.full(10, 7.0), "one long": np.array([1.0] * 9 + [1000.0]), "no size": np.zeros(10)}
    tables = {name: np.stack([size, size], axis=1) for name, size in sizes.items()}
    found = {name: intervals.degrees_of_freedom("exp_ratio", table) for name, table in tables.items()}
    assert found == pytest.approx({"even": 9, "one long": 1, "no size": 9})
    assert intervals.degrees_of_freedom("mean", tables["one long"]) == 9


@pytest.mark.slow
def test_perplexity_of_texts_of_unlike_length_is_covered():
    """With n - 1 degrees of freedom it was in 90% of samples of 30."""
    rng, hits, repeats = np.random.default_rng(8), 0, 500
    for _ in range(repeats):
        tokens = np.ceil(np.exp(rng.normal(4, 1, 30)))
        table = np.stack([rng.gamma(4, 0.125, 30) * tokens, tokens], axis=1)
        low, high = intervals.interval(of_table(table, "exp_ratio"))
        hits += low <= np.exp(0.5) <= high
    assert hits / repeats > 0.93


def grouped_answers(rng: np.random.Generator, groups: int) -> Measurement:
    """Five questions a group, easy or hard together; 60% right."""
    easy = np.repeat(rng.beta(3, 2, groups), 5)
    right = of_table((rng.random(len(easy)) < easy)[:, None])
    return intervals.clustered(right, {f"e{i}": f"g{i // 5}" for i in range(len(easy))})


@pytest.mark.parametrize("groups", [6, 20])
def test_shares_over_few_groups_are_covered(groups: int):
    rng, hits, repeats = np.random.default_rng(6), 0, 2000
    for _ in range(repeats):
        low, high = intervals.interval(grouped_answers(rng, groups))
        hits += low <= 0.6 <= high
    assert abs(hits / repeats - 0.95) < 0.015 + 2 * math.sqrt(0.95 * 0.05 / repeats)


def test_all_right_in_every_group_is_not_certainty():
    right = of_table(np.ones((30, 1)))
    found = score(intervals.clustered(right, {f"e{i}": f"g{i // 5}" for i in range(30)}))
    assert (found.value, found.high, found.n) == (1.0, 1.0, 6)
    assert found.low == pytest.approx(intervals.wilson(6, 6)[0])


@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.integers(1, 400), st.integers(0, 400)), min_size=2, max_size=20
    )
)
def test_a_chrf_interval_holds_its_value_and_stays_between_the_ends(rows: list[tuple[int, int, int]]):
    table = np.array([(mine, ref, min(mine, ref, match)) for mine, ref, match in rows])
    found = score(of_table(table, "chrf"))
    assert 0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 100


def test_a_means_difference_has_students_interval():
    rng = np.random.default_rng(4)
    left, right = rng.normal(1, 1, (25, 1)), rng.normal(0, 1, (25, 1))
    found = difference(of_table(left), of_table(right, contestant="b"))
    apart = (left - right)[:, 0]
    assert (found.low, found.high) == pytest.approx(
        stats.t.interval(0.95, 24, apart.mean(), stats.sem(apart))
    )


def test_a_corpus_metric_has_an_interval_and_its_value_is_the_corpus_value():
    reply = ["the cat sat on the mat", "dogs run in the park today", "it is raining again here"] * 5
    known = [["the cat sat on a mat"], ["dogs ran in the park"], ["it rains here again"]] * 5
    found = score(of_table(np.array(reference_scorers.bleu_rows(reply, known)), "bleu"))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(tools_bleu(reply, known), abs=1e-9)


def tools_bleu(reply: list[str], known: list[list[str]]) -> float:
    from sacrebleu.metrics import BLEU

    return float(BLEU().corpus_score(reply, [[refs[0] for refs in known]]).score)


def test_few_pairs_are_permuted_exactly():
    left, right = np.array([[1.0], [2.0], [4.0], [8.0]]), np.zeros((4, 1))
    expected = stats.permutation_test(
        (left[:, 0], right[:, 0]), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    found = difference(of_table(left), of_table(right, contestant="b"))
    assert found is not None
    assert (found.value, found.p_value) == (3.75, pytest.approx(expected.pvalue))


def test_many_pairs_agree_with_scipys_permutation_test():
    rng = np.random.default_rng(3)
    left = rng.normal(0.2, 1, (50, 1))
    right = rng.normal(0, 1, (50, 1))
    expected = stats.permutation_test(
        (left[:, 0], right[:, 0]), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=20_000
    )
    found = difference(of_table(left), of_table(right, contestant="b"))
    assert found is not None
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.03)


def test_a_perfect_contestant_is_distinguished_from_nonsense_among_hundreds_of_tests():
    rng = np.random.default_rng(0)
    left, right = rng.normal(0.9, 0.1, (60, 1)), rng.normal(0.1, 0.1, (60, 1))
    found = difference(of_table(left), of_table(right, contestant="b"))
    assert 2.0**-59 <= found.p_value < 1e-12
    few = difference(of_table(left[:16]), of_table(right[:16], contestant="b"))
    assert few.p_value == pytest.approx(2.0**-15)  # no test that swaps sides gives less


def test_right_and_wrong_are_tested_as_mcnemar_does():
    left, right = np.ones((30, 1)), np.ones((30, 1))
    right[:9] = 0
    left[9] = 0
    found = difference(of_table(left), of_table(right, contestant="b"))
    assert found is not None
    assert found.p_value == pytest.approx(stats.binomtest(9, 10).pvalue)
    assert found.value == pytest.approx(8 / 30)
    assert 0 < found.low < found.value < found.high


def test_equal_contestants_differ_by_nothing_but_not_with_certainty():
    same = of_table(np.ones((20, 1)))
    found = difference(same, same.model_copy(update={"contestant": "b"}))
    assert found is not None
    assert (found.value, found.p_value) == (0.0, 1.0)
    assert found.low < 0 < found.high


def test_only_shared_examples_are_compared():
    left = measurement_from_values("a", "m", {"x": 1.0, "y": 2.0, "z": 4.0})
    right = measurement_from_values("b", "m", {"z": 1.0, "y": 1.0, "w": 9.0})
    found = difference(left, right)
    assert found is not None
    assert (found.value, found.n) == (2.0, 2)
    assert difference(left, measurement_from_values("b", "m", {"x": 1.0})) is None


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_holms_correction_is_that_of_its_definition(p_values: list[float]):
    found = holm(p_values)
    ordered = sorted(range(len(p_values)), key=p_values.__getitem__)
    running = 0.0
    for rank, i in enumerate(ordered):
        running = max(running, min(1.0, p_values[i] * (len(p_values) - rank)))
        assert found[i] == running


def test_weighted_holm_is_that_of_its_definition():
    # Weights 8, 1, 1: ordered by p over weight, each p times the weights left over its own.
    assert holm([0.03, 0.004, 0.2], primary=0) == pytest.approx([0.03 * 10 / 8, 0.03 * 10 / 8, 0.2])
    assert holm([0.4, 0.004, 0.6], primary=0) == pytest.approx([0.4 * 9 / 8, 0.004 * 10, 0.6])
    assert holm([0.03], primary=0) == [0.03]


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12), st.data())
def test_a_primary_p_value_grows_by_a_quarter_at_most(p_values: list[float], data: st.DataObject):
    primary = data.draw(st.integers(0, len(p_values) - 1))
    found = holm(p_values, primary)
    assert found[primary] <= p_values[primary] * 1.25 + 1e-12
    assert all(corrected >= plain * (1 - 1e-12) for corrected, plain in zip(found, p_values, strict=True))


def test_any_false_claim_is_as_rare_with_a_primary_measure():
    rng = np.random.default_rng(2)
    alone = rng.uniform(size=(20_000, 6))
    shared = np.repeat(rng.uniform(size=(20_000, 1)), 6, axis=1)  # metrics that count the same thing
    for p_values in (alone, shared, np.concatenate([alone[:, :3], shared[:, 3:]], axis=1)):
        claims = [min(holm(list(row), primary=0)) < 0.05 for row in p_values]
        assert np.mean(claims) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 20_000)


def test_the_number_of_examples_that_would_settle_a_difference_settles_it():
    rng = np.random.default_rng(5)
    left, right = rng.normal(0.2, 1, (60, 1)), rng.normal(0, 1, (60, 1))
    found = difference(of_table(left), of_table(right, contestant="b"))
    assert found is not None
    requested = intervals.examples_needed(found)
    assert requested is not None
    gap, spread = (left - right).mean(), (left - right).std(ddof=1)
    detected = [stats.ttest_1samp(rng.normal(gap, spread, requested), 0).pvalue < 0.05 for _ in range(400)]
    assert 0.70 < np.mean(detected) < 0.90


def test_examples_in_groups_make_wider_intervals_and_the_same_value():
    rng = np.random.default_rng(7)
    by_group = np.repeat(rng.normal(0, 1, 12), 10)
    found = of_table((by_group + rng.normal(0, 0.1, 120))[:, None])
    groups = {f"e{i}": f"g{i // 10}" for i in range(120)}
    alone, together = score(found), score(intervals.clustered(found, groups))
    assert together.value == pytest.approx(alone.value)
    assert together.high - together.low > 2 * (alone.high - alone.low)


def mostly_right(rng: np.random.Generator, n: int, unlike: float) -> np.ndarray:
    """Most answers are perfect, the others anywhere."""
    return np.where(rng.random((n, 1)) < unlike, rng.random((n, 1)), 1.0)


@pytest.mark.parametrize(("n", "unlike"), [(20, 0.03), (20, 0.3), (60, 0.02), (60, 0.1)])
def test_metrics_that_are_mostly_at_their_end_are_covered(
    n: int, unlike: float, monkeypatch: pytest.MonkeyPatch
):
    """Where bias-corrected percentiles covered 46, 94, 63 and 95%, since the few others were not drawn."""
    monkeypatch.setattr(intervals, "RESAMPLES", 300)
    rng, hits, apart, repeats = np.random.default_rng(3), 0, 0, 250
    for _ in range(repeats):
        left, right = (of_table(mostly_right(rng, n, unlike), contestant=name) for name in "ab")
        found, gap = score(left), difference(left, right, resamples=10)
        hits += found.low <= 1 - unlike / 2 <= found.high
        apart += gap.low <= 0 <= gap.high
    assert hits / repeats > 0.92
    assert apart / repeats > 0.92


@pytest.mark.parametrize("kind", ["mean", "bleu", "chrf", "ter", "share"])
@pytest.mark.parametrize("n", [2, 30])
def test_bounded_metrics_have_no_interval_without_width(kind: Kind, n: int):
    rows = {
        "mean": (0.4,),
        "bleu": (9.0, 9.0, *(9.0, 8.0, 7.0, 6.0) * 2),
        "chrf": (5.0,) * 18,
        "ter": (0.0, 5.0),
        "share": (2.0, 5.0),
    }
    one, two = (of_table(np.array([rows[kind]] * n), kind, name) for name in "ab")
    found, gap = score(one), difference(one, two)
    assert found.low < found.high
    assert found.low <= found.value <= found.high
    assert gap.low < 0 < gap.high
    ends = of_table(np.ones((n, 1))), of_table(np.full((n, 1), 0.25), contestant="b")
    assert difference(*ends).low < 0.75 < difference(*ends).high <= 1
