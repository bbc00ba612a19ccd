"""The command, from answer files to votes, win rates and a jury's disagreement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from docs.outputs import OUTPUTS
from tests.fault_server import Response, fault_server
from toolkit import io
from toolkit.cli import main
from toolkit.judge.aggregation import disagreement, majority_votes
from toolkit.types import Vote


def adapter_arena(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["judge", *map(str, arguments)])


def outputs(folder: Path, count: int = 5) -> Path:
    file = folder / "outputs.jsonl"
    rows = [
        {"id": i, "prompt": f"Question {i}?", "outputs": {"sft": "GOOD " * (i + 1), "base": f"BAD {i}"}}
        for i in range(count)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def fair(_number: int, request: dict) -> Response:
    text = request["messages"][-1]["content"]
    return Response("[[A]]" if text.index("GOOD") < text.index("BAD") else "[[B]]")


def partial(number: int, request: dict) -> Response:
    """One judge of the two always takes the first answer."""
    return Response("[[A]]") if request["model"] == "lazy" else fair(number, request)


def test_files_of_outputs_are_judged_and_everything_is_written(tmp_path: Path):
    out = tmp_path / "judged"
    with fault_server(fair) as server:
        options = ["--judge", "fair", "--endpoint", server.url, "--out", out]
        result = adapter_arena(outputs(tmp_path), *options, "--json")
        assert result.exit_code == 0, result.output
        assert len(server.requests) == 10
        again = adapter_arena(outputs(tmp_path), *options)
        assert len(server.requests) == 10
    printed = json.loads(result.stdout)
    assert printed["votes"] == 5
    assert printed["win_rates"][0]["win_rate"]["value"] == 1
    assert printed["statistics"]["fair"]["consistency"]["value"] == 1
    assert "sft over base" in again.stdout
    assert [vote.outcome for vote in io.read(out / "votes.jsonl", Vote)] == ["a"] * 5
    assert {path.name for path in out.iterdir()} == {
        ".verdicts",
        "verdicts.jsonl",
        "votes.jsonl",
        "battle_log.jsonl",
        "mt_bench_judgments.jsonl",
        "judge.json",
        ".lock",
        *(
            "completions",
            "measurements",
            "scores.json",
            "summary.json",
            "report.html",
            "report.md",
            "examples.html",
        ),
    }


def test_a_limit_restricts_the_requests_of_this_call_and_takes_no_votes_away(tmp_path: Path):
    out = tmp_path / "judged"
    with fault_server(fair) as server:
        options = ["--judge", "fair", "--endpoint", server.url, "--out", out]
        assert adapter_arena(outputs(tmp_path), *options).exit_code == 0
        kept = (out / "votes.jsonl").read_bytes()
        assert adapter_arena(outputs(tmp_path), *options, "--limit", 2, "--json").exit_code == 0
        assert adapter_arena(outputs(tmp_path), *options, "--baseline", "sft").exit_code == 0
        assert len(server.requests) == 10
    assert {vote.example_id: vote.model_a for vote in io.read(out / "votes.jsonl", Vote)}.keys() == set(
        "01234"
    )
    assert len(kept.splitlines()) == 5


def test_another_judge_on_a_part_of_the_battles_takes_no_votes_away(tmp_path: Path):
    out = tmp_path / "judged"
    with fault_server(fair) as server:
        options = [outputs(tmp_path), "--endpoint", server.url, "--out", out, "--judge"]
        assert adapter_arena(*options, "fair").exit_code == 0
        before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
        for partial in (["--limit", 2], ["--budget", 2]):
            result = adapter_arena(*options, "other", *partial)
            assert result.exit_code == 2
            assert "votes.jsonl: 3 of 5 judgments would be lost" in result.stderr
            assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before
        for judge in ("fair", "other"):  # a part of the rows
            result = adapter_arena(outputs(tmp_path, 4), *options[1:], judge)
            assert (result.exit_code, "1 of 5 judgments would be lost" in result.stderr) == (2, True)
        assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before
        assert len(server.requests) == 10
        assert adapter_arena(outputs(tmp_path), *options[1:], "other").exit_code == 0  # nothing is lost
    assert {vote.voter for vote in io.read(out / "votes.jsonl", Vote)} == {"other"}


def test_a_judge_that_cast_no_vote_ends_with_the_reason(tmp_path: Path):
    with fault_server(lambda _number, _request: Response("I like both of them.")) as server:
        options = ["--judge", "vague", "--endpoint", server.url, "--out", tmp_path / "out"]
        result = adapter_arena(outputs(tmp_path), *options)
    assert result.exit_code == 1
    assert "no vote was cast: of 10 verdicts 10 could not be read and 0 were refused" in result.stderr
    assert "I like both of them." in result.stderr


def test_endpoints_get_the_requests_of_a_recipe(tmp_path: Path):
    with fault_server(fair) as server:
        result = adapter_arena(
            *(outputs(tmp_path), "--judge", "fair", "--endpoint", server.url, "--out", tmp_path / "out"),
            *("--parameters", "{top_k: 5, seed: null}", "--max-new-tokens", 99, "--concurrency", 2),
        )
        assert result.exit_code == 0, result.output
        assert {(each["top_k"], each["max_tokens"]) for each in server.requests} == {(5, 99)}
        assert not any("seed" in each for each in server.requests)
        assert server.most_busy <= 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--endpoint", "localhost:8000"], "--endpoint: String should match pattern"),
        (["--endpoint", "http://me:secret@host/v1"], "--endpoint: "),
        (["--endpoint", "http://127.0.0.1:9/v1", "--parameters", "[1]"], "--parameters: write a mapping"),
        (["--endpoint", "http://127.0.0.1:9/v1", "--budget-usd", "1"], "budget_usd needs `price`"),
    ],
)
def test_endpoint_options_that_do_not_fit_are_one_line(options: list[str], expected: str, tmp_path: Path):
    result = adapter_arena(outputs(tmp_path), "--judge", "fair", *options)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert "secret" not in result.stderr


def test_several_judges_are_a_jury(tmp_path: Path):
    out = tmp_path / "judged"
    with fault_server(partial) as server:
        judges = ["--judge", "fair", "--judge", "lazy", "--judge", "second"]
        result = adapter_arena(outputs(tmp_path), *judges, "--endpoint", server.url, "--out", out)
    assert result.exit_code == 0, result.output
    assert {(vote.voter, vote.outcome) for vote in io.read(out / "votes.jsonl", Vote)} == {("jury", "a")}
    found = io.read_json(out / "judge.json")["disagreement"]
    assert found["unanimous"]["value"] == 0
    agreement = {tuple(pair["judges"]): pair["agreement"]["value"] for pair in found["pairs"]}
    assert agreement == {("fair", "lazy"): 0, ("fair", "second"): 1, ("lazy", "second"): 0}


def test_an_estimate_sends_no_request_and_comes_near(tmp_path: Path):
    out = tmp_path / "judged"
    with fault_server(fair) as server:
        options = ["--judge", "fair", "--endpoint", server.url, "--out", out]
        before = adapter_arena(outputs(tmp_path), *options, "--estimate", "--json")
        assert before.exit_code == 0, before.output
        assert server.requests == []
        adapter_arena(outputs(tmp_path), *options)
        after = adapter_arena(outputs(tmp_path), *options, "--estimate", "--json")
        requested = [message["content"] for request in server.requests for message in request["messages"]]
    (estimate,) = json.loads(before.stdout)["estimates"]
    assert (estimate["battles"], estimate["requests"]) == (5, 10)
    assert estimate["tokens_in"] == pytest.approx(sum(map(len, requested)) / 4, rel=0.02)
    assert json.loads(after.stdout)["estimates"][0]["requests"] == 0


def test_an_estimate_knows_what_is_stored_of_a_judge_of_any_name(tmp_path: Path):
    with fault_server(fair) as server:
        options = ["--judge", "fair@001", "--endpoint", server.url, "--out", tmp_path / "judged"]
        adapter_arena(outputs(tmp_path), *options)
    after = adapter_arena(outputs(tmp_path), *options, "--estimate", "--json")
    (row,) = json.loads(after.stdout)["estimates"]
    assert (row["judge"], row["known"], row["requests"]) == ("fair@001", 10, 0)


def test_a_local_judge_with_a_prompt_of_ones_own(tiny_model: Path, tmp_path: Path):
    prompt = tmp_path / "mine.yaml"
    prompt.write_text('system: J\nuser: "{{ answer_1 }}\\n{{ answer_2 }}"\nletter: "A/B?"\nwritten: w\n')
    options = ["--judge", tiny_model, "--prompt", prompt, "--rule", "average", "--budget", 2]
    result = adapter_arena(outputs(tmp_path), *options, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["votes"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--endpoint", "http://127.0.0.1:9/v1"], "name the model that judges there with --judge"),
        ([], "judge.model: is required; name the model that judges"),
        (["--estimate"], "judge.model: is required; name the model that judges"),
        (["--judge", "m", "--method", "written", "--rule", "average"], "has no probability to average"),
        (["--judge", "m", "--prompt", "nope"], "nope: no such judge prompt"),
        (["--judge", "m", "--baseline", "gpt"], "judge.baseline: gpt has no completions; known: sft, base"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(tmp_path: Path, options: list[str], message: str):
    result = adapter_arena(outputs(tmp_path), "--out", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error")]) == 1


def vote(battle: str, voter: str, outcome: str) -> Vote:
    return Vote(battle_id=battle, model_a="x", model_b="y", outcome=outcome, voter=voter, kind="judge")


def test_a_jury_needs_more_than_half():
    cast = [vote("1", judge, outcome) for judge, outcome in zip("rst", ["a", "a", "b"], strict=True)]
    cast += [vote("2", judge, outcome) for judge, outcome in zip("rst", ["a", "b", "tie"], strict=True)]
    cast += [vote("3", judge, outcome) for judge, outcome in zip("rs", ["a", "b"], strict=True)]
    assert [(found.battle_id, found.outcome) for found in majority_votes(cast)] == [
        ("1", "a"),
        ("2", "tie"),
        ("3", "tie"),
    ]
    found = disagreement(cast)
    assert found["unanimous"]["n"] == 2, "the third battle was not voted on by all"


def test_a_single_prompt_grades_every_answer_with_one_request(tmp_path: Path):
    out = tmp_path / "judged"

    def grades(_number: int, request: dict) -> Response:
        return Response("Fine.\n[[9]]" if "GOOD" in request["messages"][-1]["content"] else "Poor.\n[[3]]")

    with fault_server(grades) as server:
        options = ["--judge", "m", "--endpoint", server.url, "--out", out, "--prompt", "single", "--json"]
        before = adapter_arena(outputs(tmp_path), *options, "--estimate")
        assert json.loads(before.stdout)["estimates"][0]["requests"] == 10
        result = adapter_arena(outputs(tmp_path), *options)
        assert result.exit_code == 0, result.output
        few = adapter_arena(outputs(tmp_path), *options, "--limit", 2)
        other = adapter_arena(outputs(tmp_path), *options, "--limit", 2, "--reference")
        assert len(server.requests) == 10
        assert few.stdout == result.stdout  # a limit takes no grade away
        assert (other.exit_code, "6 of 10 judgments would be lost" in other.stderr) == (2, True)
        ignored = adapter_arena(outputs(tmp_path), *options, "--baseline", "base")
        assert (ignored.exit_code, "--baseline do not go together" in ignored.stderr) == (2, True)
        fresh = ["--limit", 2, "--budget", 3, "--out", tmp_path / "fresh"]
        assert adapter_arena(outputs(tmp_path), *options, *fresh).exit_code == 0
        assert len(server.requests) == 13
        after = adapter_arena(outputs(tmp_path), *options, "--estimate")
    OUTPUTS["judge --prompt"].model_validate_json(result.stdout)
    scores = {row["contestant"]: (row["value"], row["n"]) for row in json.loads(result.stdout)["grades"]["m"]}
    assert scores == {"sft": (9, 5), "base": (3, 5)}
    assert json.loads(after.stdout)["estimates"][0]["known"] == 10


def test_prices_before_and_after(tmp_path: Path):
    with fault_server(fair) as server:
        options = [
            "--judge",
            "fair",
            "--endpoint",
            server.url,
            "--out",
            tmp_path / "out",
            "--price",
            1000,
            2000,
        ]
        before = adapter_arena(outputs(tmp_path), *options, "--estimate", "--json")
        after = adapter_arena(outputs(tmp_path), *options)
        tokens = sum(
            len(message["content"].split()) for request in server.requests for message in request["messages"]
        )
    OUTPUTS["judge --estimate"].model_validate_json(before.stdout)
    (row,) = json.loads(before.stdout)["estimates"]
    assert row["dollars"] == pytest.approx((row["tokens_in"] * 1000 + row["tokens_out"] * 2000) / 1e6)
    assert row["tokens_out"] == 10 * 512
    assert (
        f"{tokens:,} tokens read and 10 written, {(tokens * 1000 + 10 * 2000) / 1e6:.2f} dollars"
        in after.stdout
    )


def test_annotations_of_alpaca_eval_are_counted_and_no_request_is_sent(tmp_path: Path):
    row = {
        "instruction": "Why?",
        "generator_1": "base",
        "generator_2": "mine",
        "output_1": "a",
        "output_2": "b",
    }
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps([row | {"preference": value} for value in (2, 2, 1, 1.5)]))
    printed = json.loads(adapter_arena(file, "--json").stdout)
    OUTPUTS["judge"].model_validate(printed)
    (found,) = printed["win_rates"]
    assert (found["contestant"], found["win_rate"]["value"], found["win_rate"]["n"]) == ("mine", 0.625, 4)
    assert "mine over base" in adapter_arena(file).stdout


def test_a_reward_model_reads_every_answer_once(tmp_path: Path):
    options = ["--judge", "m", "--method", "reward", "--out", tmp_path / "out", "--estimate", "--json"]
    (row,) = json.loads(adapter_arena(outputs(tmp_path), *options).stdout)["estimates"]
    assert (row["battles"], row["requests"], row["tokens_out"]) == (5, 10, 0)
