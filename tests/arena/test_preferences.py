"""Votes to preference pairs: ties dropped, agreement asked for, a split by prompt, provenance kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.arena.preferences import PreferenceOptions, VoteWithTexts, preferences
from toolkit.types import Message


def opinion(outcome: str, prompt: str = "Why?", voter: str = "v", swapped: bool = False) -> VoteWithTexts:
    """A vote on the answers "good" of x and "bad" of y; `swapped`: shown the other way round."""
    sides = [("x", "good"), ("y", "bad")][:: -1 if swapped else 1]
    return VoteWithTexts(
        example_id=prompt,
        messages=(Message(role="user", content=prompt),),
        contestant_a=sides[0][0],
        contestant_b=sides[1][0],
        answer_a=sides[0][1],
        answer_b=sides[1][1],
        outcome=outcome,
        voter=voter,
    )


def test_votes_on_either_side_are_taken_together() -> None:
    found = preferences(
        [opinion("a", voter="v1"), opinion("b", voter="v2", swapped=True)], PreferenceOptions(heldout_share=0)
    )
    (row,) = found.train
    assert (row.chosen[0].content, row.rejected[0].content) == ("good", "bad")
    assert row.provenance.model_dump() == {
        "example_id": "Why?",
        "chosen_contestant": "x",
        "rejected_contestant": "y",
        "votes": 2,
        "agreement": 1.0,
        "voters": ("v1", "v2"),
    }


@pytest.mark.parametrize(
    ("outcomes", "why"),
    [
        (["tie", "both_bad"], "tie"),
        (["a", "b"], "disagreement"),
        (["a", "a", "b", "b", "b"], "disagreement"),
        (["a"], "too few votes"),
    ],
)
def test_pairs_that_are_not_clear_are_dropped_and_counted(outcomes: list[str], why: str) -> None:
    found = preferences([opinion(o) for o in outcomes], PreferenceOptions(min_votes=2, min_agreement=0.7))
    assert (found.train, found.heldout) == ([], [])
    assert found.dropped[why] == 1


@given(st.lists(st.sampled_from(["a", "b", "tie", "both_bad"]), min_size=1, max_size=9), st.randoms())
def test_order_and_sides_do_not_matter(outcomes: list[str], random) -> None:
    straight = [opinion(o, voter=str(i)) for i, o in enumerate(outcomes)]
    turned = {"a": "b", "b": "a", "tie": "tie", "both_bad": "both_bad"}
    shuffled = [opinion(turned[o], voter=str(i), swapped=True) for i, o in enumerate(outcomes)]
    random.shuffle(shuffled)
    one, other = preferences(straight), preferences(shuffled)
    assert (one.train, one.heldout, one.dropped) == (other.train, other.heldout, other.dropped)


def test_the_split_is_by_prompt_and_the_same_every_time() -> None:
    opinions = [opinion("a", prompt=f"Why {n}?") for n in range(400)]
    once = preferences(opinions, PreferenceOptions(heldout_share=0.25))
    assert 60 < len(once.heldout) < 140
    again = preferences(opinions[::-1] + opinions, PreferenceOptions(heldout_share=0.25))
    assert {row.id for row in once.heldout} == {row.id for row in again.heldout}
    assert not {row.prompt for row in once.train} & {row.prompt for row in once.heldout}
