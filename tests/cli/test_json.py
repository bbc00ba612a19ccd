"""Every command has `--json`, and what it prints is what its schema says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from docs.outputs import OUTPUTS
from toolkit.arena import accepted_votes
from toolkit.cli import COMMANDS, main

EXAMPLE = Path(__file__).parents[2] / "results" / "demo-example"


def commands() -> dict[str, click.Command]:
    """Every command by its words; those of a group in place of the group."""
    context, found = click.Context(main), {}
    for name in COMMANDS:
        command = main.get_command(context, name)
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": part for sub, part in command.commands.items()}
            found |= {name: command} if command.invoke_without_command else {}
        else:
            found[name] = command
    return found


def test_every_command_takes_json_and_has_a_schema():
    found = commands()
    without = [name for name, command in found.items() if not any("--json" in p.opts for p in command.params)]
    assert without == []
    assert {name.partition(" --")[0] for name in OUTPUTS} == set(found)


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_option_has_help_or_names_its_choices(name: str):
    options = [param for param in commands()[name].params if isinstance(param, click.Option)]
    assert [o.name for o in options if not o.help and not o.show_default] == []


def run_with_json(name: str, *arguments: object, code: int = 0) -> Any:
    """The value a command prints with `--json`, held against its schema."""
    words = name.split()
    done = CliRunner().invoke(main, [*words, *map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    value = json.loads(done.stdout)
    OUTPUTS[name].model_validate(value)
    return value


@pytest.mark.slow
def test_trained_scored_and_judged(small_recipe: Path, tmp_path: Path, tiny_model: Path):
    """One run of a tiny model, and every command that reads it."""
    out = ("--out", tmp_path / "results")
    assert [stage["name"] for stage in run_with_json("train", small_recipe, "sft", *out)["stages"]] == ["sft"]
    assert "train sft" in run_with_json("run", small_recipe, *out)["skipped"]
    run = tmp_path / "results" / "small"
    assert Path(run_with_json("report", run)["html"]).is_file()
    assert run_with_json("score", run, "--against", "base", "--metric", "rouge")["differences"]
    assert run_with_json("metrics", run / "completions" / "sft.jsonl", "--metric", "rouge")["scores"]
    assert run_with_json("ratings", run / "votes.jsonl")["ratings"]
    assert run_with_json("ratings", run / "votes.jsonl", "--method", "elo", "--by", "voter")["voter"]
    assert run_with_json("agreement", run / "votes.jsonl", run / "votes.jsonl")["agreement"]["value"] == 1
    assert run_with_json("judge --estimate", run)["estimates"][0]["battles"]
    assert run_with_json("judge", run)["battles"]
    run_with_json("preferences", "--from-votes", run, "--voters", "judge", "--out", tmp_path / "pairs.jsonl")
    assert run_with_json("merge", run, "sft", "--out", tmp_path / "merged")["drift"]
    assert run_with_json("export-model", run, "sft", "--to", "vllm", "--out", tmp_path / "served")["command"]


def test_one_model_at_a_time(tiny_model: Path, tmp_path: Path):
    rows = [{"prompt": f"my lamp {i}", "completion": "a lamp"} for i in range(3)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = ("--device", "cpu", "--dtype", "float32")
    reply = run_with_json(
        "answer",
        tiny_model,
        tmp_path / "q.jsonl",
        "--out",
        tmp_path / "a.jsonl",
        "--max-new-tokens",
        5,
        *common,
    )
    assert reply["completions"] == 3
    assert run_with_json("perplexity", tiny_model, tmp_path / "q.jsonl", *common)["scores"]
    file = (
        "--file",
        "test=package:tickets/choice.jsonl",
        "--limit",
        4,
        "--out",
        tmp_path / "benchmarks" / "t.json",
    )
    assert run_with_json("bench", tiny_model, "tickets_choice", *file, *common)["scores"]
    assert run_with_json("leaderboard", tmp_path)["rows"]


def test_votes_in_and_out(tmp_path: Path):
    row = {"model_a": "x", "model_b": "y", "winner": "model_a"}
    (tmp_path / "votes.jsonl").write_text(json.dumps(row) + "\n")
    run = tmp_path / "run"
    run.mkdir()
    assert run_with_json("votes import", tmp_path / "votes.jsonl", run)["added"] == 1
    assert run_with_json("votes export", run, tmp_path / "out.csv")["votes"] == 1
    (vote,) = accepted_votes(f"sqlite:///{run / 'arena.db'}")
    assert run_with_json("votes forget", run, vote.voter)["battles"] == 1


def test_before_anything_runs(small_recipe: Path, tmp_path: Path):
    assert "findings" in run_with_json("check", small_recipe)
    data = ("--base", "x/y", "--data", tmp_path / "sft.jsonl", "--heldout", "")
    assert run_with_json("init", tmp_path / "new.yaml", *data)["method"] == "sft"
    done = CliRunner().invoke(main, ["doctor", "--json"])
    OUTPUTS["doctor"].model_validate(json.loads(done.stdout))


def test_data_sets_of_a_run(tmp_path: Path):
    assert run_with_json("export", EXAMPLE, tmp_path / "data")["rows"]


def test_a_push_reports_where_it_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("toolkit.models.bases.push", lambda folder, repo, *, private: f"https://hub/{repo}")
    assert run_with_json("push", tmp_path, "ann/tickets")["repository"].endswith("ann/tickets")


def test_serve_prints_its_address_and_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    served = []

    def serve(settings: object, address: object, announce: Callable[[], None]) -> None:
        served.append((settings, address))
        announce()

    monkeypatch.setattr("apps.server.serve", serve)
    run = Path(shutil.copytree(EXAMPLE, tmp_path / "run"))
    assert run_with_json("serve", run, "--port", 8600)["url"] == "http://localhost:8600/"
    assert len(served) == 1
