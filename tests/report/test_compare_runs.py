"""Two runs compared: paired, on the examples that are the same in both."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tests.report.runs import NAMES, write_run
from toolkit import io
from toolkit.cli import main
from toolkit.errors import DataError
from toolkit.report import write_comparison
from toolkit.report.compare_runs import build_comparison
from toolkit.report.load import load_run
from toolkit.types import Completion, Message


@pytest.fixture
def two(finished: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run and a changed copy of it."""
    again = Path(shutil.copytree(finished, tmp_path / "again"))
    recipe = yaml.safe_load((again / "recipe.yaml").read_text())
    recipe["stages"][1]["trainer"]["beta"] = 0.3
    (again / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    first = Path(shutil.copytree(finished, tmp_path / "first"))
    return again, first


def test_a_run_is_no_better_than_its_copy(two):
    facts = build_comparison(load_run(two[0]), load_run(two[1]))
    assert facts["opening"].startswith("That cannot be told")
    differences = facts["summary"].differences
    assert {row.value for row in differences} == {0.0}
    assert {row.n for row in differences} == {60}
    firsts = [row[0].text.split(" against ")[0] for row in facts["comparisons"].rows]
    assert firsts == [f"{n} (again)" for n in reversed(NAMES)]


def test_another_run_is_compared_on_what_is_shared(two, tmp_path):
    run, other = two
    file = other / "completions" / "dpo.jsonl"
    for name in NAMES:
        file = other / "completions" / f"{name}.jsonl"
        rows = list(io.read(file, Completion))
        changed = rows[0].model_copy(update={"messages": (Message(role="user", content="another question"),)})
        io.write(file, [changed, *rows[1:50]])
    facts = build_comparison(load_run(run), load_run(other))
    assert {row.n for row in facts["summary"].differences} == {49}
    assert {score.n for score in facts["summary"].scores} == {49}


def test_prompts_that_a_round_was_trained_on_are_left_out_and_reported(two, tmp_path):
    run, other = two
    prompts = [answer.messages for answer in io.read(run / "completions" / f"{NAMES[0]}.jsonl", Completion)]
    pairs = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": [turn.as_dict() for turn in prompt], "chosen": "so", "rejected": "or so"}
        for prompt in prompts[:7]
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["data"][recipe["stages"][1]["data"]] = {"source": str(pairs)}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    facts = build_comparison(load_run(run), load_run(other))
    assert {row.n for row in facts["summary"].differences} == {60 - 7}
    assert facts["summary"].run.endswith("without 7 examples that one of them was trained on")


def test_what_was_changed_is_reported(two):
    changed = build_comparison(load_run(two[0]), load_run(two[1]))["changes"]
    assert [[cell.text for cell in row] for row in changed.rows] == [
        ["stages.1.trainer.beta", "0.3", "not set"]
    ]


@pytest.mark.slow
def test_a_better_run_is_called_better(two):
    run, other = two
    file = other / "measurements" / "dpo.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        if row["metric"] == "rougeL":
            row["rows"] = [[max(0.0, value[0] - 0.3)] for value in row["rows"]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert build_comparison(load_run(run), load_run(other))["opening"].startswith(
        "Yes. dpo (again) is better than dpo (first)"
    )
    assert build_comparison(load_run(other), load_run(run))["opening"].startswith(
        "No. dpo (first) is worse than dpo (again)"
    )


def test_runs_with_nothing_in_common(two, tmp_path):
    run, other = two
    summary = json.loads((other / "summary.json").read_text())
    io.write_json(other / "summary.json", summary | {"contestants": ["somebody"]})
    with pytest.raises(DataError, match="no contestant is in both"):
        write_comparison(run, other)
    shutil.rmtree(run / "completions")
    with pytest.raises(DataError, match="no example is in both"):
        write_comparison(run, write_run(tmp_path / "third"))


def test_the_command_writes_one_report_or_a_comparison(two):
    run, other = two
    one = CliRunner().invoke(main, ["report", str(run)])
    assert (one.exit_code, one.output.strip()) == (0, str(run / "report.html"))
    both = CliRunner().invoke(main, ["report", str(run), str(other), "--json"])
    assert both.exit_code == 0
    files = json.loads(both.output)
    assert files == {"html": str(run / "against-first.html"), "markdown": str(run / "against-first.md")}
    assert "What was changed" in Path(files["html"]).read_text(encoding="utf-8")
    assert "## What was changed" in Path(files["markdown"]).read_text(encoding="utf-8")


def test_the_command_reports_where_no_run_is(tmp_path):
    result = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert "no summary.json here" in result.output
