from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault_server import Response, fault_server
from tests.judge.example_battles import completion
from toolkit import io
from toolkit.errors import JudgeError
from toolkit.judge.generative import EndpointBackend, GenerativeJudge
from toolkit.judge.logprob import LogprobJudge
from toolkit.judge.prompts import JudgePrompt, load_prompt
from toolkit.judge.verdicts import Grade, grade_completions, grade_scores, import_old_log
from toolkit.models import Loaded
from toolkit.types import Completion, digest

ROWS = [completion(name, i, f"{name} {i}") for name in ("base", "sft") for i in range(4)]


def by_words(_number: int, request: dict) -> Response:
    text = request["messages"][-1]["content"]
    return (
        Response("Hm.")
        if "base 3" in text
        else Response("So so.\n[[4]]" if "base" in text else "Well done.\n[[9]]")
    )


def test_written_grades_are_kept_and_averaged(tmp_path: Path):
    store = tmp_path / "kept"
    with fault_server(by_words) as server:
        grader = GenerativeJudge(EndpointBackend(server.endpoint()), load_prompt("single"))
        grades = grade_completions(grader, ROWS, store=store)
        assert len(server.requests) == 8 + 2
        assert grade_completions(grader, ROWS, store=store) == grades
        assert len(server.requests) == 8 + 2
    assert [row.value for row in grades] == [4, 4, 4, None, 9, 9, 9, 9]
    assert [(score.contestant, score.value, score.n) for score in grade_scores(grades)] == [
        ("base", 4, 3),
        ("sft", 9, 4),
    ]


def test_grades_go_by_what_the_judge_read_and_never_by_names(tmp_path: Path):
    with fault_server(by_words) as server:
        grader = GenerativeJudge(EndpointBackend(server.endpoint()), load_prompt("single"))
        grades = grade_completions(grader, ROWS, store=tmp_path)
        requested = len(server.requests)
        moved = [row.model_copy(update={"contestant": f"my {row.contestant}"}) for row in ROWS[::-1]]
        again = grade_completions(grader, moved, store=tmp_path)
        assert len(server.requests) == requested
        assert [(row.value, row.contestant) for row in again] == [
            (row.value, f"my {row.contestant}") for row in grades[::-1]
        ]
        former = [
            row.model_copy(update={"completion": digest(each.completion)})
            for row, each in zip(grades, ROWS, strict=True)
        ]
        io.write(tmp_path / "grades.jsonl", former)
        import_old_log(tmp_path / "grades.jsonl", tmp_path / "fresh", Grade)
        assert [row.value for row in grade_completions(grader, ROWS, store=tmp_path / "fresh")] == [
            row.value for row in grades
        ]
        assert len(server.requests) == requested


def test_the_letter_grade_is_the_mean_digit(tiny: Loaded, tmp_path: Path):
    prompt = JudgePrompt(
        protocol="single", system="Grade.", user="{{ question }}\n{{ answer_1 }}", letter="1-9?", written="w"
    )
    grades = grade_completions(LogprobJudge(tiny, prompt), ROWS, store=tmp_path)
    assert all(1 < row.value < 9 for row in grades)
    assert len({row.value for row in grades}) == len(grades)
    assert grade_completions(LogprobJudge(tiny, prompt), ROWS, store=tmp_path) == grades


def test_intervals():
    rows = [
        Grade(example_id=str(i), contestant="x", completion="", judge="j", value=value, prompt="p")
        for i, value in enumerate([4.0, 6.0, 8.0, None])
    ]
    (score,) = grade_scores(rows)
    assert (score.value, score.n) == (6, 3)
    assert (score.low, score.high) == pytest.approx((6 - 1.96 * 2 / 3**0.5, 6 + 1.96 * 2 / 3**0.5), abs=1e-3)


def test_a_comparing_prompt_cannot_grade(tiny: Loaded, tmp_path: Path):
    with pytest.raises(JudgeError, match="a pairwise prompt cannot grade one answer"):
        grade_completions(LogprobJudge(tiny, load_prompt("pairwise")), ROWS, store=tmp_path)


def test_references_are_shown_where_wanted(tmp_path: Path):
    row = Completion.model_validate(ROWS[0].model_dump() | {"reference": "THE TRUTH"})
    with fault_server(lambda _number, _request: Response("[[5]]")) as server:
        for reference in (False, True):
            backend = EndpointBackend(server.endpoint())
            grader = GenerativeJudge(backend, load_prompt("rubric"), reference=reference)
            grade_completions(grader, [row], store=tmp_path / str(reference), reference=reference)
    shown = ["THE TRUTH" in request["messages"][-1]["content"] for request in server.requests]
    assert shown == [False, True]
