"""A user's own questions: the contestants of a run answer them, and the judge votes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tests.fault_server import Response, fault_server
from toolkit import io, models
from toolkit.cli import main
from toolkit.recipe import ModelOptions
from toolkit.types import Completion, Vote


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Path:
    """A run of two contestants that needed no training."""
    data = tmp_path / "heldout.jsonl"
    data.write_text('{"prompt": "old lamp", "completion": "lamp"}\n')
    recipe = {
        "name": "run",
        "base": str(tiny_model),
        "model": {"device": "cpu", "dtype": "float32"},
        "data": {"heldout": {"source": str(data)}},
        "contestants": {"base": {}, "polite": {"prompt": [{"role": "system", "content": "Be polite."}]}},
        "scoring": {"examples": "heldout", "generation": {"max_new_tokens": 8}},
    }
    return written(recipe, tmp_path / "run")


def written(recipe: dict, folder: Path) -> Path:
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def judge_questions(run: Path, questions: Path, tmp_path: Path) -> dict:
    prompt = tmp_path / "mine.yaml"
    prompt.write_text(
        'system: J\nuser: "{{ question }} {{ answer_1 }}\\n{{ answer_2 }}"\nletter: "A/B?"\nwritten: w\n'
    )
    options = ["--questions", questions, "--prompt", prompt, "--rule", "average", "--json"]
    result = CliRunner().invoke(main, ["judge", str(run), *map(str, options)])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_prompts_in_a_text_file_are_answered_and_judged(run: Path, tmp_path: Path):
    questions, out = tmp_path / "prompts.txt", run / "questions" / "prompts"
    # no newline at the end, as editors leave it
    questions.write_text("Where is my lamp?\n\nWhere is my lamp?\n  And my kettle? ")
    found = judge_questions(run, questions, tmp_path)
    assert (found["battles"], found["votes"], found["folder"]) == (2, 2, str(out))
    answers = {
        name: list(io.read(out / "completions" / f"{name}.jsonl", Completion)) for name in ("base", "polite")
    }
    for reply in answers.values():
        assert [row.messages[-1].content for row in reply] == ["Where is my lamp?", "And my kettle?"]
        assert all(0 < row.tokens <= 8 for row in reply)
    assert answers["polite"][0].completion != answers["base"][0].completion, "its prompt is put before"
    voted = {vote.example_id for vote in io.read(out / "votes.jsonl", Vote)}
    assert voted == {row.example_id for row in answers["base"]}

    verdicts = (out / "verdicts.jsonl").read_text()
    judge_questions(run, questions, tmp_path)
    assert (out / "verdicts.jsonl").read_text() == verdicts, "what is judged is not judged again"
    questions.write_text(questions.read_text() + "\nMy fan hums.\n")
    assert judge_questions(run, questions, tmp_path)["votes"] == 3
    assert (out / "verdicts.jsonl").read_text().startswith(verdicts)
    assert not (run / "votes.jsonl").exists(), "the run's own votes are another matter"


def test_other_questions_under_the_same_name_replace_nothing(run: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    files = tmp_path / "prompts.jsonl", tmp_path / "other" / "prompts.jsonl"
    files[0].write_text('{"prompt": "Where is my lamp?"}\n')
    files[1].write_text('{"prompt": "And my kettle?"}\n')
    judge_questions(run, files[0], tmp_path)
    out = run / "questions" / "prompts"
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    refused = CliRunner().invoke(main, ["judge", str(run), "--questions", str(files[1])])
    assert refused.exit_code == 2
    assert "1 of its 1 answers, such as that to row-1, are to none of these 1 examples" in refused.stderr
    assert {file: file.read_bytes() for file in before} == before
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["contestants"]["rude"] = {"prompt": [{"role": "system", "content": "Be rude."}]}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert judge_questions(run, files[0], tmp_path)["votes"] == 3


def test_an_empty_file_of_prompts_is_named(run: Path, tmp_path: Path):
    questions = tmp_path / "prompts.txt"
    questions.write_text("\n")
    result = CliRunner().invoke(main, ["judge", str(run), "--questions", str(questions)])
    assert result.exit_code == 2
    assert "prompts.txt: no prompts; write one on each line" in result.stderr


def test_a_server_judges_a_run_whose_own_judge_averages_probabilities(run: Path, tmp_path: Path):
    recipe = yaml.safe_load((run / "recipe.yaml").read_text()) | {"judge": {"rule": "average"}}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    questions = tmp_path / "prompts.txt"
    questions.write_text("Where is my lamp?\n")
    with fault_server(lambda _number, _request: Response("[[A]]")) as server:
        options = ["--questions", questions, "--judge", "m", "--endpoint", server.url]
        result = CliRunner().invoke(main, ["judge", str(run), *map(str, options)])
    assert result.exit_code == 0, result.output
    (cast,) = io.read(run / "questions" / "prompts" / "votes.jsonl", Vote)
    assert (cast.voter, cast.outcome) == ("m", "tie")


def test_what_makes_other_votes_has_a_folder_of_its_own(run: Path):
    for name in ("base", "polite"):
        row = Completion(example_id="e", contestant=name, messages=[{"role": "user", "content": "q"}],
                         completion=name, finish="stop", tokens=1, reference="r")  # fmt: skip
        io.write(run / "completions" / f"{name}.jsonl", [row])
    with fault_server(lambda _number, _request: Response("[[A]]")) as server:
        options = ["--judge", "m", "--endpoint", server.url, "--json"]
        for more, name in (([], "m"), (["--reference"], "m-reference")):
            found = json.loads(CliRunner().invoke(main, ["judge", str(run), *options, *more]).stdout or "{}")
            assert found.get("folder", name).endswith(name)
            assert (run / "judges" / name).is_dir()


def test_contestants_behind_a_server_answer_too(run: Path, tmp_path: Path):
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    with fault_server(
        lambda _number, request: Response(request["messages"][-1]["content"].upper())
    ) as server:
        recipe["contestants"] = {"base": {}, "loud": {"endpoint": {"url": server.url, "model": "loud"}}}
        served = written(recipe, tmp_path / "served")
        questions = tmp_path / "prompts.txt"
        questions.write_text("Where is my lamp?\n")
        found = judge_questions(served, questions, tmp_path)
    assert (found["battles"], found["votes"]) == (1, 1)
    (reply,) = io.read(served / "questions" / "prompts" / "completions" / "loud.jsonl", Completion)
    assert reply.completion == "WHERE IS MY LAMP?"


def test_the_judge_is_loaded_as_the_run_was(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loaded = []
    load_base = models.load_base

    def noted(name: str, options: ModelOptions) -> object:
        loaded.append(options)
        return load_base(name, options)

    monkeypatch.setattr(models, "load_base", noted)
    questions = tmp_path / "prompts.txt"
    questions.write_text("Where is my lamp?\n")
    judge_questions(run, questions, tmp_path)
    assert loaded[-1] == ModelOptions(device="cpu", dtype="float32")
