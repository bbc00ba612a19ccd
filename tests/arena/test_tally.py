"""What pages show besides ratings."""

from __future__ import annotations

from pathlib import Path

from tests.arena.example_run import judge_run, write_run
from toolkit import io
from toolkit.arena.battles import load_battle_pool
from toolkit.arena.tally import verdicts_on, win_rates, with_lengths
from toolkit.judge.battles import build_battles
from toolkit.ratings import tabulate
from toolkit.recipe import Judge
from toolkit.types import Completion, Message, Verdict, Vote


def test_a_tie_is_half_a_win_for_each() -> None:
    votes = [Vote(model_a="x", model_b="y", outcome=outcome) for outcome in ("a", "a", "tie", "b")]
    assert win_rates(tabulate(votes)) == [
        {"contestant": "x", "against": "y", "rate": 0.625, "votes": 4},
        {"contestant": "y", "against": "x", "rate": 0.375, "votes": 4},
    ]


def test_an_examples_verdicts_are_found_by_what_was_judged(tmp_path: Path) -> None:
    run = judge_run(write_run(tmp_path / "household"))
    verdicts = list(io.read(run / "verdicts.jsonl", Verdict))
    answers = load_battle_pool(run).answers
    found = {example: verdicts_on(by_name, verdicts) for example, by_name in answers.items()}
    assert {len(each) for each in found.values()} == {6}, "three pairs in two orders"
    assert sum(len(each) for each in found.values()) == len(verdicts)
    first = answers["house-00"]
    changed = {name: answer.model_copy(update={"completion": "new"}) for name, answer in first.items()}
    assert verdicts_on(changed, verdicts) == []


def test_verdicts_on_conversations_with_different_earlier_turns_are_found() -> None:
    user = Message(role="user", content="And now?")
    answers = {}
    for name in ("x", "y"):
        turns = (
            Message(role="user", content="Hello"),
            Message(role="assistant", content=f"I am {name}"),
            user,
        )
        fields = {"example_id": "e", "contestant": name, "messages": turns, "completion": f"now {name}"}
        answers[name] = Completion(**fields, finish="stop", tokens=2)
    (battle,) = build_battles({name: [answer] for name, answer in answers.items()}, Judge())
    verdict = Verdict(judge="j", battle_id=battle.id, order="ab", outcome="a")
    assert verdicts_on(answers, [verdict]) == [("x", "y", verdict)]


def test_votes_get_the_lengths_of_the_answers_they_are_on(tmp_path: Path) -> None:
    pool = load_battle_pool(write_run(tmp_path / "household"))
    on_a_run = Vote(example_id="house-00", model_a="otter-b2", model_b="badger-c3", outcome="a", weight=0.5)
    of_its_own = Vote(example_id="e", model_a="wrong", model_b="right", outcome="tie")
    unknown = Vote(example_id="gone", model_a="otter-b2", model_b="badger-c3", outcome="b")
    nameless = Vote(model_a="otter-b2", model_b="heron", outcome="b")
    others = {("e", "wrong"): "1", ("e", "right"): "2 and 3"}
    table, measures = with_lengths(tabulate([on_a_run, of_its_own, unknown, nameless]), pool, others)
    otter, badger = (pool.answers["house-00"][name].completion for name in ("otter-b2", "badger-c3"))
    assert table.names == ("badger-c3", "otter-b2", "right", "wrong")
    assert [table.names[code] for code in table.first] == ["otter-b2", "wrong"]
    assert [column.tolist() for column in measures["length"]] == [
        [len(otter.split()), 1],
        [len(badger.split()), 3],
    ]
    assert table.weights.tolist() == [0.5, 1]
    assert table.labels["example"].codes.tolist() == [0, 1], "intervals are over examples"
