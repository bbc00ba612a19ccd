"""What must not change a rating: names, order, sides, copies, and a newcomer who decides nothing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.ratings.logs import simulated
from toolkit.errors import DataError, RatingError
from toolkit.ratings import bradley_terry, by_category, elo, style_controlled, tabulate
from toolkit.types import SWAPPED, Vote

NAMES = ["base", "sft", "dpo", "orpo"]
LOG = simulated(4, 600, seed=9)

some_votes = st.lists(
    st.builds(
        lambda pair, outcome, weight: Vote(model_a=pair[0], model_b=pair[1], outcome=outcome, weight=weight),
        st.permutations(NAMES),
        st.sampled_from(sorted(SWAPPED)),
        st.sampled_from([0.5, 1.0, 2.0]),
    ),
    min_size=1,
    max_size=30,
)
methods = pytest.mark.parametrize("ties", ["half", "davidson", "rao-kupper"])


def values(fit):
    return {row.contestant: row.value for row in fit.ratings}


def mirrored(vote):
    return vote.model_copy(
        update={"model_a": vote.model_b, "model_b": vote.model_a, "outcome": SWAPPED[vote.outcome]}
    )


def rated(votes, **settings):
    """Ratings with a prior, so that they are finite; or no example where nothing can be fit."""
    try:
        return values(bradley_terry(votes, prior=1.0, **settings))
    except RatingError:
        assume(False)


@pytest.mark.matrix
@methods
@given(cast=some_votes)
def test_sides_and_order(ties, cast):
    assert rated(cast, ties=ties) == pytest.approx(
        rated([mirrored(vote) for vote in reversed(cast)], ties=ties), abs=1e-3
    )


@pytest.mark.matrix
@methods
@given(cast=some_votes, fresh=st.permutations(["w", "x", "y", "z"]))
def test_names(ties, cast, fresh):
    new = dict(zip(NAMES, fresh, strict=True))
    renamed = [v.model_copy(update={"model_a": new[v.model_a], "model_b": new[v.model_b]}) for v in cast]
    expected = {new[name]: value for name, value in rated(cast, ties=ties).items()}
    assert rated(renamed, ties=ties) == pytest.approx(expected, abs=1e-3)


@given(cast=some_votes)
def test_a_vote_of_weight_two_is_two_votes(cast):
    twice = [vote for vote in cast for _ in range(int(2 * vote.weight))]
    plain = [vote.model_copy(update={"weight": 1.0}) for vote in twice]
    heavy = [vote.model_copy(update={"weight": 2 * vote.weight}) for vote in cast]
    assert rated(heavy) == pytest.approx(rated(plain), abs=1e-3)


@methods
@given(cast=some_votes)
def test_all_votes_twice(ties, cast):
    """No rating moves; only where the votes alone determine the ratings."""
    try:
        once, twice = (bradley_terry(votes, ties=ties, prior=0) for votes in (cast, cast * 2))
    except RatingError:
        return
    assert np.allclose(once.strength, twice.strength, atol=1e-6)


@given(opponent=st.sampled_from(["m0", "m1", "m2", "m3"]), battles=st.integers(1, 40))
def test_a_newcomer_who_decides_nothing(opponent, battles):
    """They tied with one contestant, so they stand beside them, and nobody moves."""
    ties = pd.DataFrame({"model_a": "new", "model_b": opponent, "winner": "tie"}, index=range(battles))
    before = values(bradley_terry(LOG, anchor="m0"))
    after = values(bradley_terry(pd.concat([LOG, ties]), anchor="m0"))
    assert after.pop("new") == pytest.approx(before[opponent], abs=1e-3)
    assert after == pytest.approx(before, abs=1e-3)


@pytest.mark.slow
@given(cast=some_votes)
def test_elo_only_moves_points_and_knows_no_sides(cast):
    result = values(elo(cast, order="file"))
    assert sum(result.values()) == pytest.approx(1000 * len(result), abs=1e-3)
    assert values(elo([mirrored(vote) for vote in cast], order="file")) == pytest.approx(result, abs=1e-3)


def add_lengths(log, seed=0):
    rng = np.random.default_rng(seed)
    return log.assign(
        length_a=rng.integers(1, 300, len(log)),
        length_b=rng.integers(1, 300, len(log)),
        question_id=[f"q{k}" for k in range(len(log))],
    )


def test_style_control_knows_no_sides():
    log = add_lengths(LOG)
    other = log.rename(
        columns={"model_a": "model_b", "model_b": "model_a", "length_a": "length_b", "length_b": "length_a"}
    )
    other["winner"] = log["winner"].replace({"model_a": "model_b", "model_b": "model_a"})
    one, swapped = style_controlled(log, anchor="m1"), style_controlled(other, anchor="m1")
    assert values(swapped) == pytest.approx(values(one), abs=1e-3)
    assert swapped.coefficients[0].value == pytest.approx(one.coefficients[0].value)


def test_style_control_finds_what_length_alone_won():
    """Votes go by the relative length alone, and m1 writes twice as much: held equal, nobody is ahead."""
    rng = np.random.default_rng(1)
    log = add_lengths(simulated(2, 4000, seed=1))
    for side in "ab":
        log.loc[log[f"model_{side}"] == "m1", f"length_{side}"] *= 2
    a, b = log["length_a"], log["length_b"]
    log["winner"] = np.where(
        rng.random(len(log)) < 1 / (1 + np.exp(-2 * (a - b) / (a + b + 1))), "model_a", "model_b"
    )
    raw, even = bradley_terry(log), style_controlled(log)
    assert [row.rank for row in raw.ratings] == [1, 2]
    assert [row.rank for row in even.ratings] == [1, 1]
    scale = np.sqrt((((a - b) / (a + b + 1)) ** 2).mean())
    assert even.coefficients[0].value == pytest.approx(2 * scale, abs=0.1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"length_a": 1, "length_b": 1}, RatingError, "length is the same on both sides of every vote"),
        ({"length_b": "long"}, DataError, "votes row 1: length_b is 'long'; it must be a number"),
    ],
)
def test_a_style_without_information_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        style_controlled(add_lengths(LOG).assign(**change))


def test_a_style_without_its_columns_is_refused():
    with pytest.raises(DataError, match="they need the columns length_a and length_b"):
        style_controlled(LOG)


def test_each_category_is_rated_by_its_own_votes():
    log = LOG.assign(category=np.where(np.arange(len(LOG)) % 3 == 0, "code", "talk"))
    found = by_category(log, bradley_terry)
    assert list(found) == ["code", "talk"]
    for name, fit in found.items():
        assert values(fit) == values(bradley_terry(log[log["category"] == name]))
    assert by_category(LOG, bradley_terry) == {}


def test_a_voters_weight_multiplies_their_votes():
    log = LOG.assign(voter=np.where(np.arange(len(LOG)) % 4 == 0, "ann", "bob"))
    without = values(bradley_terry(tabulate(log).reweighted({"ann": 0})))
    assert without == pytest.approx(values(bradley_terry(log[log["voter"] == "bob"])), abs=1e-3)
    twice = values(bradley_terry(tabulate(log).reweighted({"ann": 2})))
    again = pd.concat([log, log[log["voter"] == "ann"]])
    assert twice == pytest.approx(values(bradley_terry(again)), abs=1e-3)
    for weights, message in (({"cy": 1}, "no vote is by cy; voters: ann, bob"), ({"ann": -1}, "is -1")):
        with pytest.raises(RatingError, match=message):
            tabulate(log).reweighted(weights)
