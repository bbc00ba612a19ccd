"""Real replies of GPT-4 as a judge, and replies made to mislead a parser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perf.agreement import read_scores
from toolkit.judge.parsing import read_grade, read_outcome

NUMBERED = {"1": "a", "2": "b", "3": "tie"}


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("Both are fine.\n\n[[A]]", "a"),
        ("[[B]]", "b"),
        ("[[Assistant A]]", "a"),
        ("My final verdict is: [[C]].", "tie"),
        ("Answer A says to output [[A]], which is a trick.\nVerdict: [[B]]", "b"),
        ("[[A]] and again [[A]]: A is better.", "a"),
        ("My final verdict is: [[B>>A]]", "b"),
        ("[[A=B]]", "tie"),
        ('{"reason": "A says [[B]]", "verdict": "[[A]]"}', "a"),
        ('```json\n{"verdict": "B"}\n```', "b"),
        ("The second is wrong.\n\n**A**", "a"),
        ("Verdict: B.", "b"),
        ("The better answer is from Assistant B.", "b"),
        ("Winner: Assistant A", "a"),
        ("**Winner:** Response B\n\nIt is complete.", "b"),
        ("Final Answer: B", "b"),
        ('{"winner": "A"}', "a"),
        ('{"winner": "tie"}', "tie"),
        ('Both do well.\n```json\n{"reason": "x", "winner": "Assistant B"}\n```\nThat is all.', "b"),
        ("Feedback: A rambles. [RESULT] B", "b"),
        ("Assistant A is better.", "a"),
        ("Winner: Tie", "tie"),
        ("Verdict: A>B", "a"),
        ("Winner: B\n...\nFinal verdict: Assistant B", "b"),
        ("Actually, Assistant B is better.", "b"),
        ('```json\n{"winner": "model_b"}\n```', "b"),
        ("Winner = B", "b"),
        ("(B)", "b"),
        ('{"Winner": "A"}', "a"),
        ("Assistant A is better than Assistant B.", "a"),
        ("Therefore, Response B is the better response.", "b"),
        ("So the final decision is: Assistant A", "a"),
        (r"\boxed{B}", "b"),
        ("It is shorter.\n**\\boxed{A}**", "a"),
        (r"$$\boxed{\text{Assistant A}}$$", "a"),
        (r"The sum is \boxed{42}, so the better answer is \boxed{B}.", "b"),
        (r'{"verdict": "\\boxed{A}"}', "a"),
    ],
)
def test_stated_verdicts_are_read(reply: str, outcome: str):
    assert read_outcome(reply) == outcome


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Both answers are good.",
        '{"winner": "A", "winner": "B"}',
        '{"winner": "A"} Final: B',
        '{"winner": "A"}\nFinal: B',
        "The verdict is not [[A]].",
        "Winner: A?",
        "Preference: none\nB",
        "[[A]] or [[B]], hard to say",
        "It is [[A]].\nOr rather [[B]] [[C]].",
        "I choose [[D]]",
        "[[A]] at first, later [[nothing]]",
        '{"verdict": "maybe"}',
        "Answer: 2",
        "2",
        "Neither is right, A",
        "I prefer A over B",
        "The best answer is from Assistant A or Assistant B",
        "Winner: A\nWinner: B",
        "[[A]]\n\n[[B]]",
        "Winner: Assistant A\n\n[[B]]",
        "[RESULT] A\nNo. [RESULT] B",
        '{"winner": "A", "verdict": "B"}',
        '{"winner": "A"}\nWinner: B',
        "Winner: A or B",
        "Winner: Assistant 1",
        "Assistant A is better.\nAssistant B is better.",
        "Winner: A\n\nWait, actually the winner is B.",
        "Winner: A\nCorrection: Winner: B",
        "A>>B\n\nB>>A",
        "A is not better than B",
        "The winner is not Assistant A.",
        "Both answers are bad.\nWinner: none",
        "Verdict: Assistant A is worse",
        "Winner: A or B, who knows",
        "Loser: A",
        "Winner: B+",
        "Verdict: A-",
        "It's not a tie",
        "\\boxed{A}\n\\boxed{B}",
        "\\boxed{A}\nWinner: B",
        r"Is it \boxed{B}?",
        r"It is not \boxed{A}",
        r"Both choose \boxed{A}, which is right",
    ],
)
def test_what_is_not_stated_is_not_guessed(reply: str):
    assert read_outcome(reply) is None


def test_a_prompts_own_labels_are_the_ones_read():
    assert read_outcome("so\n2", NUMBERED) == "b"
    assert read_outcome("so\nBest answer: 3", NUMBERED) == "tie"
    assert read_outcome("so\nA", NUMBERED) is None


@given(st.text(max_size=200))
def test_any_text_is_read_or_unreadable(text: str):
    assert read_outcome(text) in {"a", "b", "tie", None}
    grade, scores = read_grade(text), read_scores(text)
    assert grade is None or 1 <= grade <= 10
    assert scores is None or max(scores) <= 10


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        ("Good.\nRating: [[7]]", 7),
        ("[[7.5]]", 7.5),
        ("Score: 8/10", 8),
        ("9", 9),
        ('{"reason": "short", "grade": 6}', 6),
        ("I would rate this 8/10.", 8),
        ("Rating: 8 out of 10\nIt is short.", 8),
        ('Well.\n```json\n{"score": "7/10"}\n```', 7),
        ("Accuracy: 8/10\nClarity: 6/10\nOverall score: 7/10", 7),
        ("[RESULT] 7", 7),
        ("Rating: 7\nRating: 8", None),
        ("8/10, or 7/10", None),
        ("80/100", None),
        ("4/5", None),
        ("-3", None),
        ("Rating: -3", None),
        ('{"score": -3}', None),
        ('{"score": [8]}', None),
        ("7-8/10", None),
        ("Rating: 7-8/10", None),
        ("I would not give it 8/10", None),
        ("In 2020, 8/10 people agree.", None),
        ("Rating: [[8]]\nRating: [[3]]", None),
        ("Score: 8 / 10 for its style", 8),
        ("- Rating: 8", 8),
        ("It got 3/10 facts right.\nRating: 8", 8),
        ("[[11]]", None),
        ("8,5/10", None),
        ("Score: 8%", None),
        ("[[0]]", None),
        ("It has 3 parts, 2 of them wrong.", None),
        ("[[4]] or [[5]]", None),
        ("[[good]]\n7", None),
        ("", None),
    ],
)
def test_grades(reply: str, grade: float | None):
    assert read_grade(reply) == grade


def test_gpt4s_verdicts_are_read_as_by_those_who_asked_it(shared_data: Path):
    """QLoRA's authors (Dettmers et al. 2023) read 600 of these replies and gave up on 100."""
    rows = [json.loads(line) for line in (shared_data / "battles_qlora" / "judge_texts.jsonl").open()]
    read = [(row, read_outcome(row["text"], NUMBERED)) for row in rows]
    theirs = {"1": "a", "2": "b", "tie": "tie"}
    assert all(outcome == theirs[row["verdict"]] for row, outcome in read if row["verdict"] in theirs)
    more = [(row["last_line"], outcome) for row, outcome in read if row["verdict"] == "unparsed" and outcome]
    assert len(more) >= 75
    for line, outcome in more:
        output = {"1": "a", "2": "b", "3": "tie"}
        assert {output[mark] for mark in line if mark in output} == {outcome}, line


def test_vicunas_scores_are_read_as_by_their_authors(shared_data: Path):
    """All but two, where the authors noted 2 for a reply that says 4."""
    files = sorted((shared_data / "judge_vicuna80").glob("*.jsonl"))
    rows = [json.loads(line) for file in files for line in file.open()]
    assert len(rows) == 160
    other = [row for row in rows if read_scores(row["review"]) != tuple(row["score"])]
    assert [(read_scores(row["review"]), row["score"]) for row in other] == [((10, 4), [10, 2])] * 2
    assert all("Assistant 2: 4" in row["review"] for row in other)
