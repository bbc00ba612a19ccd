"""Two files of answers: judged into a run, opened in the arena, scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.fault_server import Response, fault_server
from toolkit.arena.battles import load_battle_pool
from toolkit.cli import main
from toolkit.report.load import load_run

QUESTIONS = ["Why?", "When?", "Where?", "Who?"]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The same questions, by id in one file and without ids in the other."""
    ours = [{"id": f"q{n}", "prompt": q, "completion": f"ours {n}"} for n, q in enumerate(QUESTIONS)]
    theirs = [
        {"prompt": q, "response": f"theirs {q}", "reference": f"theirs {q}"} for q in reversed(QUESTIONS)
    ]
    for name, rows in (("ours", ours), ("theirs", theirs)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return "ours.jsonl", "theirs.jsonl"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments])


def prefer_first(number: int, request: dict[str, Any]) -> Response:
    text = json.dumps(request)
    return Response("[[A]]" if text.index("ours ") < text.index("theirs ") else "[[B]]")


def test_judged_files_are_a_run_that_opens(files: tuple[str, str]):
    with fault_server(prefer_first) as server:
        judged = invoke(
            "judge", *files, "--judge", "m", "--endpoint", server.url, "--out", "compared", "--json"
        )
    assert judged.exit_code == 0, judged.output
    assert json.loads(judged.stdout)["votes"] == 4
    pool = load_battle_pool(Path("compared"))
    assert pool.contestants == ("ours", "theirs")
    assert sorted(pool.answers) == ["q0", "q1", "q2", "q3"]
    view = load_run(Path("compared"))
    assert {rating.contestant for rating in view.summary.ratings.judge} == {"ours", "theirs"}
    assert Path("compared/report.html").is_file()
    assert invoke("report", "compared").exit_code == 0


def test_an_arena_opens_on_two_files(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch):
    served = []
    monkeypatch.setattr("apps.server.serve", lambda settings, *_: served.append(settings))
    opened = invoke("serve", *files, "--json")
    assert opened.exit_code == 0, opened.output
    assert served[0].run == str(Path("results/ours-theirs").resolve())
    assert len(load_battle_pool(Path(served[0].run)).answers) == 4


def test_an_arena_opened_on_judged_files_loses_nothing(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("apps.server.serve", lambda *_: None)
    with fault_server(prefer_first) as server:
        invoke("judge", *files, "--judge", "m", "--endpoint", server.url, "--out", "compared")
    summary = Path("compared/summary.json").read_bytes()
    assert invoke("serve", *files, "--out", "compared").exit_code == 0
    assert Path("compared/summary.json").read_bytes() == summary
    Path("part.jsonl").write_text("".join(Path("ours.jsonl").read_text().splitlines(keepends=True)[:2]))
    Path("part.jsonl").rename("ours.jsonl")
    parts = {"2 of its 4 answers": files, "answers of ours are here": ("theirs.jsonl", "third.jsonl")}
    Path("third.jsonl").write_text(Path("theirs.jsonl").read_text())
    for problem, sources in parts.items():
        refused = invoke("serve", *sources, "--out", "compared")
        assert (refused.exit_code, problem in refused.stderr) == (2, True), refused.stderr
    assert Path("compared/summary.json").read_bytes() == summary


def test_scores_are_paired_by_identical_messages(files: tuple[str, str]):
    Path("ours.jsonl").write_text(
        Path("ours.jsonl").read_text().replace('"completion"', '"reference": "x", "completion"')
    )
    scored = json.loads(invoke("score", *files, "--metric", "exact_match", "--json").stdout)
    assert {difference["n"] for difference in scored["differences"]} == {4}


@pytest.mark.parametrize(
    "command", [["judge", "--judge", "m", "--endpoint", "http://127.0.0.1:9/v1"], ["serve"]]
)
def test_files_on_other_questions_are_refused(files: tuple[str, str], command: list[str]):
    rows = [{"prompt": f"{n}?", "completion": "x"} for n in range(4)]
    Path("other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    refused = invoke(command[0], files[0], "other.jsonl", *command[1:])
    assert refused.exit_code == 2
    assert "other.jsonl: 0 of its 4 answers are to questions that the other files answer" in refused.stderr
    refused = invoke(command[0], files[0], files[0], *command[1:])
    assert refused.exit_code == 2
    assert "ours answers example q0 twice; rename one of them" in refused.stderr
