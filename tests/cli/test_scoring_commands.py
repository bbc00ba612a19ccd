"""answer, perplexity, metrics, score: arguments in, results on stdout, one clear line on wrong input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from toolkit import io
from toolkit.benchmarks.results import values_of
from toolkit.benchmarks.task_files import task_file
from toolkit.cli import main
from toolkit.recipe.files import PACKAGED
from toolkit.types import Completion


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def parsed(*arguments: str | Path) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "questions.jsonl"
    rows = [{"id": f"q{i}", "prompt": f"What is {i}?", "reference": f"It is {i}."} for i in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """Completions of two contestants, the second one better."""
    files = []
    for name, reply in (("base", "something else"), ("sft", "the cat sat on the mat")):
        made = [
            Completion(
                example_id=f"e{i}",
                contestant=name,
                messages=(),
                completion=f"{reply} {i}",
                reference=f"the cat sat on the mat {i}",
                finish="stop",
                tokens=3,
            )
            for i in range(8)
        ]
        files.append(tmp_path / f"{name}.jsonl")
        io.write(files[-1], made)
    return files


def test_answer_writes_completions(tiny_model: Path, questions: Path, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    found = parsed("answer", tiny_model, questions, "--out", out, "--max-new-tokens", "4", "--name", "tiny")
    made = list(io.read(out, Completion))
    assert [each.example_id for each in made] == ["q0", "q1", "q2"]
    assert found == {
        "contestant": "tiny",
        "completions": 3,
        "tokens": sum(each.tokens for each in made),
        "cut_off": sum(each.finish == "length" for each in made),
        "refused": 0,
        "file": str(out),
    }
    whole = out.read_bytes()
    (other := tmp_path / "other.jsonl").write_text('{"id": "z", "prompt": "Why?"}\n')
    (mixed := tmp_path / "mixed.jsonl").write_text(
        questions.read_text().splitlines()[0]
        + '\n{"id": "y", "prompt": "Why?"}\n{"id": "z", "prompt": "How?"}\n'
    )
    for requested, more in ((questions, ["--limit", "2"]), (other, []), (mixed, [])):
        part = run(
            "answer", tiny_model, requested, "--out", out, "--max-new-tokens", "4", "--name", "tiny", *more
        )
        assert (part.exit_code, "would be lost" in part.stderr, out.read_bytes()) == (2, True, whole)


def test_perplexity_of_reference_answers(tiny_model: Path, questions: Path):
    scores = parsed("perplexity", tiny_model, questions)["scores"]
    assert [(each["metric"], each["n"]) for each in scores] == [("perplexity", 3), ("bits_per_byte", 3)]
    assert scores[0]["low"] < scores[0]["value"] < scores[0]["high"]


def test_perplexity_of_each_document(tiny_model: Path, tmp_path: Path):
    file = tmp_path / "texts.jsonl"
    rows = [{"id": "one", "text": "A cat sat."}, {"id": "two", "text": "It rained all day."}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = parsed("perplexity", tiny_model, file, "--each")
    assert [document["id"] for document in found["documents"]] == ["one", "two"]
    values = sorted(document["perplexity"] for document in found["documents"])
    assert values[0] < found["scores"][0]["value"] < values[1]
    assert "bits_per_byte" in run("perplexity", tiny_model, file, "--each").stdout


def test_perplexity_of_a_text_file(tiny_model: Path, tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("One paragraph.\n\nAnother one." * 20)
    (perplexity, _) = parsed("perplexity", tiny_model, text, "--window", "64", "--stride", "16")["scores"]
    assert perplexity["n"] == 1
    result = run("perplexity", tiny_model, text, "--window", "64", "--stride", "65")
    assert result.exit_code == 2
    assert result.stderr.endswith("error: stride 65: it must be from 1 to the window's length, 64\n")


def test_metrics_of_files(two: list[Path]):
    scores = parsed("metrics", *two, "--metric", "rouge", "--metric", "bleu")["scores"]
    value = {(each["contestant"], each["metric"]): each["value"] for each in scores}
    assert len(value) == 10
    assert value["sft", "rouge1"] == 1.0
    assert value["base", "rouge1"] < 0.5


def test_bertscore_is_made_as_requested(two: list[Path], tmp_path: Path):
    baseline = tmp_path / "baseline.tsv"
    baseline.write_text("LAYER,P,R,F\n" + "".join(f"{layer},0.5,0.5,0.5\n" for layer in range(4)))

    def f1(*options: str | Path) -> float:
        scores = parsed("metrics", two[0], "--metric", "bertscore", *options)["scores"]
        return next(float(each["value"]) for each in scores if each["metric"] == "bertscore_f1")

    plain = f1("--layer", "3")
    assert f1("--layer", "3", "--baseline", baseline) == pytest.approx(2 * plain - 1, abs=1e-6)
    assert f1("--layer", "3", "--idf") != pytest.approx(plain, abs=1e-6)
    result = run("metrics", two[0], "--metric", "bertscore", "--rescale")
    assert result.exit_code == 2
    assert "bert-score has no baseline for layer 4 of all-minilm-l6-v2" in result.stderr


def test_several_files_of_references_are_several_references(two: list[Path], tmp_path: Path):
    files = []
    for number, reply in enumerate(("something else 0", "the cat sat on a mat 1")):
        rows = [{"id": f"e{number}", "prompt": "?", "answer": reply}]
        files.append(tmp_path / f"known{number}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = [option for file in files for option in ("--references", file)]
    (found,) = [
        each
        for each in parsed("metrics", two[0], "--metric", "exact_match", *more)["scores"]
        if each["metric"] == "exact_match"
    ]
    assert (found["value"], found["n"]) == (1 / 8, 8), "right by the reference of another file"


def test_score_compares_contestants_on_the_same_examples(two: list[Path]):
    found = parsed("score", *two, "--metric", "rouge")
    assert {each["metric"] for each in found["scores"]} == {"rouge1", "rouge2", "rougeL", "rougeLsum"}
    first = found["differences"][0]
    assert (first["contestant"], first["against"], first["n"]) == ("sft", "base", 8)
    assert first["value"] > 0.5
    assert first["p_value"] == pytest.approx(2 / 2**8)
    assert found["p_holm"][0] == pytest.approx(4 * 2 / 2**8)


def test_score_reads_a_run_folder_with_its_perplexities(two: list[Path], tmp_path: Path):
    folder = tmp_path / "run"
    (folder / "completions").mkdir(parents=True)
    for file in two:
        file.rename(folder / "completions" / file.name)
    from toolkit.metrics import Measurement

    measured = Measurement(
        contestant="sft",
        metric="perplexity",
        kind="exp_ratio",
        example_ids=("e0", "e1"),
        rows=((2, 4), (1, 4)),
    )
    io.write(folder / "measurements" / "sft.jsonl", [measured])
    metrics = {each["metric"] for each in parsed("score", folder, "--metric", "bleu")["scores"]}
    assert metrics == {"bleu", "perplexity"}


def test_a_runs_contestants_are_compared_with_the_first_of_its_recipe(two: list[Path], tmp_path: Path):
    folder = tmp_path / "run"
    for name, file in zip(("b", "a"), two, strict=True):
        named = [each.model_copy(update={"contestant": name}) for each in io.read(file, Completion)]
        io.write(folder / "completions" / f"{name}.jsonl", named)
    (by_name,) = parsed("score", folder, "--metric", "exact_match")["differences"][:1]
    assert (by_name["contestant"], by_name["against"]) == ("b", "a")
    order = [{"contestant": name, "metric": "bleu", "value": 0} for name in ("gone", "b", "a")]
    io.write_json(folder / "scores.json", order)
    (by_recipe,) = parsed("score", folder, "--metric", "exact_match")["differences"][:1]
    assert (by_recipe["contestant"], by_recipe["against"]) == ("a", "b")


def test_tables_are_for_people(two: list[Path]):
    result = run("score", *two, "--metric", "exact_match")
    assert result.exit_code == 0
    assert "exact_match" in result.stdout
    assert "p (Holm): corrected for all differences here (2)" in result.stdout
    assert "n to settle" in result.stdout


def test_examples_in_groups_are_compared_by_groups(two: list[Path], tmp_path: Path):
    groups = tmp_path / "groups.csv"
    groups.write_text("example_id,group\n" + "".join(f"e{i},g{i // 2}\n" for i in range(8)))
    alone, together = (
        parsed("score", *two, "--metric", "exact_match", *more)["differences"][0]
        for more in ((), ("--groups", groups))
    )
    assert (alone["n"], together["n"]) == (8, 4)
    assert together["value"] == pytest.approx(alone["value"])
    assert together["p_value"] > alone["p_value"]
    groups.write_text("example_id,of\ne1,g\n")
    result = run("score", *two, "--groups", groups)
    assert result.exit_code == 2
    assert "groups.csv:2: a row of groups has `example_id` and `group`" in result.stderr


def test_runs_that_group_an_example_differently_are_refused(two: list[Path], tmp_path: Path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, file in zip(folders, two, strict=True):
        (folder / "completions").mkdir(parents=True)
        file.rename(folder / "completions" / file.name)
        (folder / "groups.jsonl").write_text(json.dumps({"example_id": "e1", "group": folder.name}) + "\n")
    result = run("score", *folders, "--metric", "exact_match")
    assert result.exit_code == 2
    assert "example e1 is in group two here and in one in another run; say which" in result.stderr
    chosen = run("score", *folders, "--metric", "exact_match", "--groups", folders[0] / "groups.jsonl")
    assert chosen.exit_code == 0
    assert "over groups of examples" in chosen.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["metrics", "nowhere.jsonl"], "nowhere.jsonl: no such data file"),
        (["perplexity", "no-such-model", "nowhere.txt"], "nowhere.txt: no such data file"),
        (["answer", "./no-model", "package:tickets/heldout.jsonl", "--out", "x.jsonl"], "no such model"),
        (
            ["answer", "m", "q.jsonl", "--out", "x", "--endpoint", "http://h/v1", "--adapter", "a"],
            "--endpoint and --adapter do not go together",
        ),
        (["answer", "m", "q.jsonl", "--out", "x", "--key-env", "K"], "--key-env requires --endpoint"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments: list[str], message: str):
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_the_same_contestant_twice_is_refused(two: list[Path], tmp_path: Path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(two[0].read_bytes())
    result = run("score", two[0], copy)
    assert result.exit_code == 2
    assert "contestant base is in" in result.stderr


def test_bench_and_leaderboard(tiny_model: Path, tmp_path: Path):
    task = ["tickets_choice", "--file", "test=package:tickets/choice.jsonl", "--limit", "10"]
    for name in ("one", "two"):
        out = tmp_path / "run" / "benchmarks" / f"{name}.json"
        (score,) = parsed("bench", tiny_model, *task, "--name", name, "--out", out)["scores"]
        assert (score["contestant"], score["metric"], score["n"]) == (name, "tickets_choice/acc", 10)
    board = parsed("leaderboard", tmp_path / "run")
    assert board["tasks"] == ["tickets_choice/acc"]
    assert [row["contestant"] for row in board["rows"]] == ["one", "two"]
    (difference,) = board["differences"]
    assert (difference["value"], difference["p_value"], difference["n"]) == (0.0, 1.0, 10)
    assert "not decided to be worse" in run("leaderboard", tmp_path / "run").stdout
    twice = run("leaderboard", tmp_path / "run", shutil.copytree(tmp_path / "run", tmp_path / "again"))
    assert twice.exit_code == 2
    assert "tickets_choice of one is in" in twice.stderr
    (tmp_path / "other.json").write_text("[]")
    other = run("leaderboard", tmp_path / "other.json")
    assert (other.exit_code, "no lm-eval result" in other.stderr) == (2, True)


def test_bench_adds_a_task_to_a_result_file(tiny_model: Path, tmp_path: Path):
    second = tmp_path / "second.yaml"
    second.write_text(task_file("tickets_choice").read_text().replace("tickets_choice", "second"))
    rows, out = ["--file", "test=package:tickets/choice.jsonl"], tmp_path / "one.json"
    bench = ["bench", tiny_model, "--name", "one"]
    parsed(*bench, "tickets_choice", *rows, "--limit", "10", "--out", out)
    parsed(*bench, second, *rows, "--limit", "5", "--out", out)
    assert set(io.read_json(out)["results"]) == {"tickets_choice", "second"}
    assert {file.stem for file in (tmp_path / "one").iterdir()} == {
        "samples_tickets_choice",
        "samples_second",
    }
    parsed(*bench, second, *rows, "--limit", "5", "--out", tmp_path / "more" / "one.json")
    less = run(*bench, "tickets_choice", *rows, "--limit", "5", "--out", out)
    assert (less.exit_code, "--limit 5 would replace them" in less.stderr) == (2, True)
    less = run(*bench, second, *rows, "--limit", "3", "--out", out)
    assert (less.exit_code, "holds second on 5 questions, and --limit 3" in less.stderr) == (2, True)
    few = tmp_path / "few.jsonl"
    few.write_text("".join((PACKAGED / "tickets/choice.jsonl").read_text().splitlines(keepends=True)[:4]))
    less = run(*bench, second, "--file", f"test={few}", "--out", out)
    assert (less.exit_code, "on 5 questions, and 4 would replace them" in less.stderr) == (2, True)
    other = run("bench", tiny_model, second, *rows, "--limit", "5", "--name", "two", "--out", out)
    assert (other.exit_code, "holds the results of one" in other.stderr) == (2, True)
    (tmp_path / "own").mkdir()
    first = parsed(*bench, "tickets_choice", *rows, "--limit", "10", "--out", tmp_path / "own" / "one.json")
    assert first["scores"]
    board = parsed("leaderboard", tmp_path / "own" / "one.json", tmp_path / "more" / "one.json")
    assert (len(board["rows"]), len(board["tasks"])) == (1, 2)
    log = tmp_path / "one" / "samples_second.jsonl"
    assert "second/acc" in values_of(tmp_path / "one")
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:3]))
    assert set(values_of(tmp_path / "one")) == {"tickets_choice/acc"}  # torn


def test_metrics_without_references_are_no_success(tmp_path: Path):
    file = tmp_path / "said.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n')
    bare = run("metrics", file)
    assert (bare.exit_code, "has a reference to be measured against" in bare.stderr) == (2, True)
    assert run("metrics", file, "--metric", "length").exit_code == 0


def test_bench_reports_the_defaults_it_used(tiny_model: Path, tmp_path: Path):
    assert run("bench", tiny_model, "gsm8k", "--file", "rows.jsonl").exit_code == 2
    result = run("bench", tiny_model, "humaneval", "--file", "test=rows.jsonl", "--out", tmp_path / "x.json")
    assert result.exit_code == 2
    assert "--allow-code-execution" in result.stderr
    assert "no benchmark results here" in run("leaderboard", tmp_path).stderr
