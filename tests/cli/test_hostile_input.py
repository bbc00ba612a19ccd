"""Every command that reads or writes files, given what is none: one line, exit code 2, nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from toolkit.cli import main

EXAMPLE = Path(__file__).parents[2] / "results" / "demo-example"
SERVER = ("--endpoint", "http://127.0.0.1:9/v1")

READERS = {
    "ratings": ["ratings", "IN"],
    "agreement": ["agreement", "IN", "good.csv"],
    "agreement with": ["agreement", "good.csv", "IN"],
    "metrics": ["metrics", "IN"],
    "references": ["metrics", "good.jsonl", "--metric", "length", "--references", "IN"],
    "score": ["score", "IN"],
    "groups": ["score", "good.jsonl", "--metric", "length", "--groups", "IN"],
    "leaderboard": ["leaderboard", "IN"],
    "report": ["report", "IN"],
    "export": ["export", "IN", "out"],
    "merge": ["merge", "IN", "dpo", "--out", "out"],
    "export-model": ["export-model", "IN", "dpo", "--to", "vllm", "--out", "out"],
    "push": ["push", "IN", "a/b"],
    "preferences": ["preferences", "--from-votes", "IN", "--out", "out"],
    "votes import": ["votes", "import", "IN", "run"],
    "votes export": ["votes", "export", "IN", "out.csv"],
    "judge": ["judge", "IN", "--judge", "m", *SERVER, "--out", "out"],
    "questions": ["judge", "run", "--questions", "IN", "--estimate"],
    "answer": ["answer", "m", "IN", *SERVER, "--out", "out"],
    "model": ["answer", "IN", "good.jsonl", "--out", "out"],
    "perplexity": ["perplexity", "IN", "good.jsonl"],
    "bench": ["bench", "IN", "tickets_choice", "--out", "out"],
    "check": ["check", "IN"],
    "train": ["train", "IN"],
    "run": ["run", "IN"],
    "init": ["init", "out.yaml", "--base", "x/y", "--data", "IN", "--heldout", ""],
    "serve": ["serve", "IN"],
}
FILES = {
    "empty.jsonl": b"",
    "blank.jsonl": b" \n\t\n",
    "binary.jsonl": bytes(range(256)) * 4,
    "number.json": b"3\n",
    "objects.json": b"[{}]\n",
    "nested.json": b"[" * 3000 + b"]" * 3000,
    "heading.csv": b"model_a,model_b,winner\n",
    "unusable.csv": b"model_a,model_b,winner\na,b,maybe\n",
    "text.db": b"x",
    "folder.jsonl": None,
    "loop.jsonl": None,
    "nothere.jsonl": None,
    "long" * 80: None,
}
HUB = {("init", "long" * 80)}
"""What may be a data set of the hub."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with bad inputs, good ones, and a run."""
    for name, content in FILES.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "good.jsonl").write_text('{"prompt": "q", "completion": "a", "reference": "b"}\n')
    (tmp_path / "good.csv").write_text("model_a,model_b,winner\na,b,model_a\n")
    (tmp_path / "taken").write_text("a file")
    shutil.copytree(EXAMPLE, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("apps.server.serve", lambda *_: pytest.fail("it serves"))
    return tmp_path


def refused(arguments: list[str], codes: tuple[int, ...] = (2,)) -> str:
    """What a command that is refused writes: its error, in one line."""
    done = CliRunner().invoke(main, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    errors = [line for line in done.stderr.splitlines() if line.lower().startswith("error")]
    assert done.exit_code in codes, done.output
    assert len(errors) == 1 or arguments[0] in ("check", "run", "train"), done.stderr
    return done.stderr


def content(folder: Path) -> dict[Path, bytes]:
    return {
        p: p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name not in (".lock", "run.log") and ".verdicts" not in p.parts
    }


@pytest.mark.matrix
@pytest.mark.parametrize("name", READERS)
def test_what_cannot_be_read_is_refused_and_nothing_is_written(name: str, folder: Path):
    before = content(folder)
    for file in (each for each in FILES if (name, each) not in HUB):
        done = [file if word == "IN" else word for word in READERS[name]]
        refused(done, (1, 2) if name in ("push", "questions") else (2,))
        assert content(folder) == before, file


@pytest.mark.matrix
@pytest.mark.parametrize("out", ["taken/below", "folder.jsonl"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["answer", "m", "good.jsonl", *SERVER, "--out"],
        ["bench", "smollm2-135m-instruct", "tickets_choice", "--out"],
        ["preferences", "--from-votes", "run", "--voters", "judge", "--out"],
        ["init", "--base", "x/y", "--data", "good.jsonl", "--heldout", ""],
        ["merge", "run", "dpo", "--out"],
        ["export", "run"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_places_that_cannot_be_written(arguments: list[str], out: str, folder: Path):
    before = content(folder)
    refused([*arguments, out])
    assert content(folder) == before


BROKEN = ("summary.json", "manifest.json", "recipe.yaml", "scores.json", "checks.json", "votes.jsonl")


@pytest.mark.matrix
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("value", [b"", b"3", b"[3]", bytes(range(256))], ids=["empty", "3", "[3]", "binary"])
def test_a_run_with_a_broken_file_is_one_line_or_goes_without(name: str, value: bytes, folder: Path):
    (folder / "run" / name).write_bytes(value)
    score = ["score", "run", "--metric", "length"]
    for arguments in (["report", "run"], ["leaderboard", "run"], ["export", "run", "o"], score):
        done = CliRunner().invoke(main, arguments)
        assert done.exception is None or isinstance(done.exception, SystemExit), (arguments, done.exception)
        assert done.exit_code in (0, 2), done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "run", "--metric", "length", "--against", "nobody"], "nobody"),
        (["leaderboard", "run", "--against", "nobody"], "nobody"),
        (["ratings", "good.csv", "--by", "nothing"], "nothing"),
        (["metrics", "good.jsonl", "--metric", "nothing"], "nothing"),
        (["merge", "run", "nobody", "--out", "o"], "nobody"),
        (["judge", "run", "--baseline", "nobody", "--estimate"], "nobody"),
        (["judge", "run", "--limit", "0"], "0"),
        (["answer", "m", "good.jsonl", *SERVER, "--out", "o", "--limit", "-3"], "-3"),
        (["answer", "m", "good.jsonl", *SERVER, "--out", "o", "--temperature", "nan"], "nan"),
        (["answer", "m", "good.jsonl", *SERVER, "--out", "o", "--timeout", "nan"], "timeout"),
        (["answer", "m", "good.jsonl", "--out", "o", "--endpoint", "http://h:999999/v1"], "no address"),
        (["answer", "m", "good.jsonl", "--out", "o", "--endpoint", "http://"], "no address"),
        (["serve", "run", "--port", "99999999"], "99999999"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else value,
)
def test_values_that_cannot_be_are_named(arguments: list[str], message: str, folder: Path):
    before = content(folder)
    assert message in refused(arguments)
    assert content(folder) == before
