"""Caching goes by content: a changed file redoes the steps that depend on it, and no other step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tests.fault_server import Response, fault_server
from tests.run.conftest import write_small_recipe
from toolkit import recipe as recipes
from toolkit.cli import main
from toolkit.errors import DataError, RecipeError
from toolkit.generate import generate_completions
from toolkit.recipe import Endpoint, Generation
from toolkit.run import run, train
from toolkit.run.checks import check
from toolkit.run.folder import RunFolder, select_version, versions
from toolkit.types import Example, Message

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("content")]  # one finished run for all

TRAINED = {"train sft", "train dpo"}
STEPS = {f"{what} {who}" for what in ("answer", "measure", "benchmark") for who in ("base", "sft", "dpo")}
ALL = {"judge", "report"} | TRAINED | STEPS


def checked(workspace: RunWorkspace) -> bool:
    """Whether the run did its check again."""
    before = workspace.out().checks.stat().st_mtime_ns
    workspace.run()
    return workspace.out().checks.stat().st_mtime_ns != before


TASK = """
task: words
dataset_path: json
dataset_kwargs: {data_files: {test: words.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: !function words_target.target
metric_list: [{metric: acc}]
"""


def steps_of(*kinds: str) -> set[str]:
    """All steps of these kinds, with the report, which shows what they made."""
    return {step for step in ALL if step.split()[0] in kinds} | {"report"}


class RunWorkspace:
    """A recipe with every file that it opens in a folder of its own, and its results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def recipe(self) -> dict:
        return dict(yaml.safe_load((self.folder / "small.yaml").read_text()))

    def change(self, **values: object) -> None:
        """Set keys of the recipe, by dotted names."""
        raw = self.recipe
        for key, value in values.items():
            *parents, last = key.split("__")
            place = raw
            for part in parents:
                place = place[int(part)] if isinstance(place, list) else place[part]
            place[last] = value
        (self.folder / "small.yaml").write_text(yaml.safe_dump(raw))

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.folder / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new, 1))

    def run(self) -> tuple[str, set[str]]:
        """The folder's name, and which steps were done (and not skipped).

        The check is left out: it names files by where they lie, so it is done again in a copy.
        """
        with chdir(self.folder):
            summary = run(recipes.load(self.folder / "small.yaml"), self.folder / "out")
        manifest = json.loads((self.folder / "out" / summary.run / "manifest.json").read_text())
        return summary.run, set(manifest["steps"]) - set(summary.skipped) - {"check"}

    def out(self, name: str = "small") -> RunFolder:
        return RunFolder(self.folder / "out" / name)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A finished run, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    base = shutil.copytree(tiny_model, folder / "base")
    write_small_recipe(folder, base)
    (folder / "chat.jinja").write_text((base / "chat_template.jinja").read_text())
    rows = [{"question": f"a {w}", "choices": ["yes", "no"], "right": i % 2} for i, w in enumerate("abcd")]
    (folder / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "words.yaml").write_text(TASK)
    (folder / "words_target.py").write_text("def target(row):\n    return row['right']\n")
    (folder / "own.py").write_text("def words(text, reference, row):\n    return len(text.split())\n")
    workspace = RunWorkspace(folder)
    workspace.change(
        base="base",
        model__chat_template="chat.jinja",
        scoring__metrics=["perplexity", "rouge", "length", {"function": "own.py:words"}],
        scoring__benchmarks=[{"task": "words.yaml"}],
    )
    name, done = workspace.run()
    assert (name, done) == ("small", ALL)
    return folder


@pytest.fixture
def workspace(finished: Path, tmp_path: Path) -> RunWorkspace:
    """A copy of the finished run."""
    return RunWorkspace(shutil.copytree(finished, tmp_path / "copy"))


def test_an_unchanged_run_is_skipped_wherever_it_lies(workspace: RunWorkspace):
    assert workspace.run() == ("small", set())


NEUTRAL: dict[str, Callable[[RunWorkspace], None]] = {
    "logging and saving": lambda workspace: workspace.change(
        stages__0__trainer=workspace.recipe["stages"][0]["trainer"] | {"logging_steps": 3, "save_steps": 5}
    ),
    "batch size": lambda workspace: workspace.change(
        scoring__generation={"max_new_tokens": 12, "batch_size": 2}
    ),
    "attention": lambda workspace: workspace.change(model__attention="eager"),
    "time stamps": lambda workspace: (workspace.folder / "sft.jsonl").touch(),
}


@pytest.mark.parametrize("change", NEUTRAL.values(), ids=NEUTRAL)
def test_what_changes_no_output_redoes_nothing(workspace: RunWorkspace, change: Callable):
    change(workspace)
    assert workspace.run() == ("small", set())


IN_PLACE: dict[str, tuple[Callable[[RunWorkspace], object], set[str]]] = {
    "a task's rows": (
        lambda workspace: workspace.edit("words.jsonl", '"right": 1', '"right": 0'),
        steps_of("benchmark"),
    ),
    "a task's function": (
        lambda workspace: workspace.edit("words_target.py", "row['right']", "1 - row['right']"),
        steps_of("benchmark"),
    ),
    "a task's file": (
        lambda workspace: workspace.edit("words.yaml", "metric: acc", "metric: acc "),
        steps_of("benchmark"),
    ),
    "a metric": (
        lambda workspace: workspace.change(scoring__metrics=["perplexity", "rouge", "length", "chrf"]),
        steps_of("measure"),
    ),
    "a judge": (lambda workspace: workspace.change(judge={"limit": 3}), steps_of("judge")),
    "a reference": (
        lambda workspace: workspace.edit(
            "heldout.jsonl", '"reference": "Product: lamp"', '"reference": "a lamp"'
        ),
        steps_of("answer", "measure"),
    ),
    "a reference that the judge is shown": (
        lambda workspace: (
            workspace.change(judge={"reference": True}),
            workspace.run(),
            workspace.edit("heldout.jsonl", '"reference": "Product: lamp"', '"reference": "a lamp"'),
        ),
        steps_of("answer", "measure", "judge"),
    ),
}


@pytest.mark.parametrize(("change", "expected"), IN_PLACE.values(), ids=IN_PLACE)
def test_a_change_redoes_what_depends_on_it_in_place(
    workspace: RunWorkspace, change: Callable, expected: set[str]
):
    change(workspace)
    assert workspace.run() == ("small", expected)


NEW_VERSION: dict[str, tuple[Callable[[RunWorkspace], object], set[str]]] = {
    "the base's configuration": (
        lambda workspace: workspace.edit(
            "base/config.json", '"rms_norm_eps"', '"comment": 1, "rms_norm_eps"'
        ),
        ALL,
    ),
    "the base's generation settings": (
        lambda workspace: (workspace.folder / "base" / "generation_config.json").write_text(
            '{"eos_token_id": [0, 5]}'
        ),
        ALL,
    ),
    "the chat template": (lambda workspace: workspace.edit("chat.jinja", "{", " {"), ALL),
    "the pairs": (
        lambda workspace: workspace.edit("pairs.jsonl", "A lamp?", "One lamp?"),
        {step for step in ALL if "dpo" in step} | {"judge", "report"},
    ),
    "the sampling": (
        lambda workspace: workspace.change(scoring__generation={"max_new_tokens": 5}),
        steps_of("answer", "measure", "judge"),
    ),
}


@pytest.mark.parametrize(("change", "expected"), NEW_VERSION.values(), ids=NEW_VERSION)
def test_a_change_of_what_a_finished_run_stands_on_makes_a_version(
    workspace: RunWorkspace, change: Callable, expected: set[str]
):
    before = {
        path: path.read_bytes()
        for path in workspace.out().path.rglob("*")
        if path.is_file() and path.name != "run.log"
    }
    change(workspace)
    assert workspace.run() == ("small-2", expected)
    assert before == {path: path.read_bytes() for path in before}
    assert workspace.run() == ("small-2", set())


def test_going_back_finds_the_earlier_version(workspace: RunWorkspace):
    before = (workspace.folder / "small.yaml").read_text()
    workspace.change(stages=[], contestants={}, judge=None, scoring__generation={"max_new_tokens": 5})
    assert workspace.run()[0] == "small-2"
    (workspace.folder / "small.yaml").write_text(before)
    assert workspace.run() == ("small", {"report"})  # which counts the other version
    assert workspace.run() == ("small", set())


DAMAGED: dict[str, tuple[str, Callable[[Path], object], set[str]]] = {
    "completions torn": (
        "completions/sft.jsonl",
        lambda f: f.write_bytes(f.read_bytes()[:-30]),
        {"answer sft"},
    ),
    "completions emptied": ("completions/base.jsonl", lambda f: f.write_text(""), {"answer base"}),
    "completions short of a row": (
        "completions/dpo.jsonl",
        lambda f: f.write_text("".join(f.read_text().splitlines(keepends=True)[1:])),
        {"answer dpo"},
    ),
    "measurements edited": (
        "measurements/base.jsonl",
        lambda f: f.write_text(f.read_text() + " "),
        {"measure base"},
    ),
    "votes deleted": ("votes.jsonl", lambda f: f.unlink(), {"judge"}),
    "verdicts deleted": ("verdicts.jsonl", lambda f: f.unlink(), {"judge"}),
    "verdicts torn": ("verdicts.jsonl", lambda f: f.write_bytes(f.read_bytes()[:3000]), {"judge"}),
    "benchmark emptied": ("benchmarks/base.json", lambda f: f.write_text("{}"), {"benchmark base"}),
    "scores edited": ("scores.json", lambda f: f.write_text("[]"), {"report"}),
    "summary edited": ("summary.json", lambda f: f.write_text(f.read_text().replace("1", "2")), {"report"}),
    "report emptied": ("report.html", lambda f: f.write_text(""), {"report"}),
    "ratings deleted": ("ratings.json", lambda f: f.unlink(), {"report"}),
    "check emptied": ("checks.json", lambda f: f.write_text("[]x"), set()),
}


@pytest.mark.parametrize(("name", "damage", "expected"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_output_is_reported_and_made_again(
    workspace: RunWorkspace, name: str, damage: Callable, expected: set[str], caplog: pytest.LogCaptureFixture
):
    file = workspace.out().path / name
    whole = file.read_bytes()
    damage(file)
    caplog.set_level("WARNING", "toolkit")
    assert workspace.run() == ("small", expected)
    if name != "summary.json":  # it counts what was skipped
        assert figures(file.read_bytes(), file) == figures(whole, file)
    assert workspace.run() == ("small", set())


def command(*arguments: object) -> None:
    found = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.stderr


def test_run_does_not_call_repaired_outputs_nothing_to_do(workspace: RunWorkspace):
    (workspace.out().path / "votes.jsonl").write_text("")
    with chdir(workspace.folder):
        first, second = (CliRunner().invoke(main, ["run", "small.yaml", "--out", "out"]) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "Nothing to do" not in first.output
    assert "Nothing to do" in second.output


def test_a_report_written_again_is_taken_as_the_run_s_own(workspace: RunWorkspace):
    (workspace.out().path / "report.html").write_text("torn")
    command("report", workspace.out().path)
    assert workspace.run() == ("small", set())


def bench(workspace: RunWorkspace, *more: object) -> None:
    """As the recipe loads the model, which is taken from the run."""
    options = ("--name", "base", "--device", "cpu", "--out", workspace.out().benchmarks("base"))
    with chdir(workspace.folder):
        command("bench", "base", *more, *options)


def test_what_a_command_judges_further_is_kept_and_reported(workspace: RunWorkspace):
    def battles() -> list[int]:
        [judge] = json.loads(workspace.out().summary.read_text())["notes"]["judge"].values()
        return [judge["battles"], len(workspace.out().votes.read_text().splitlines())]

    whole = battles()
    with chdir(workspace.folder):
        command("judge", workspace.out().path, "--limit", 1)
        assert workspace.run() == ("small", set())
        workspace.change(judge={"limit": 2})
        workspace.run()
        assert battles()[1] == 6
        command("judge", workspace.out().path, "--limit", 4)
    assert workspace.run() == ("small", {"report"})
    assert battles() == whole, "with those that were judged before"


def test_a_task_added_to_a_run_is_kept_and_reported_and_nothing_is_measured_again(workspace: RunWorkspace):
    shutil.copy(workspace.folder / "words.yaml", workspace.folder / "more.yaml")
    workspace.edit("more.yaml", "task: words", "task: more")
    bench(workspace, "more.yaml")
    assert workspace.run() == ("small", {"report"})  # which shows the new task
    assert workspace.run() == ("small", set())
    assert "more/acc" in workspace.out().summary.read_text()


def test_a_task_of_the_recipe_measured_otherwise_is_measured_again(workspace: RunWorkspace):
    before = workspace.out().benchmarks("base").read_bytes()
    bench(workspace, "words.yaml", "--chat-template")
    assert workspace.run() == ("small", {"benchmark base"})
    assert figures(
        workspace.out().benchmarks("base").read_bytes(), workspace.out().benchmarks("base")
    ) == figures(before, workspace.out().benchmarks("base"))


WRITERS: dict[str, Callable[[Path], list[object]]] = {
    "report": lambda run: ["report", run],
    "report against": lambda run: ["report", run, run],
    "export": lambda run: ["export", run, run / "data"],
    "merge": lambda run: ["merge", run, "sft", "--out", run / "merged"],
    "export-model": lambda run: ["export-model", run, "sft", "--to", "vllm", "--out", run / "served"],
    "preferences": lambda run: ["preferences", "--from-votes", run, "--out", run / "pairs.jsonl"],
    "held-out preferences": lambda run: [
        *("preferences", "--from-votes", run, "--out", run.parent / "pairs.jsonl"),
        *("--heldout", run / "heldout.jsonl"),
    ],
    "votes export": lambda run: ["votes", "export", run, run / "votes.csv"],
    "votes import": lambda run: ["votes", "import", run / "votes.jsonl", run],
}


@pytest.mark.parametrize("arguments", WRITERS.values(), ids=WRITERS)
def test_commands_that_write_into_a_run_wait_for_nobody(workspace: RunWorkspace, arguments: Callable):
    run = workspace.out().path
    if "export" in (given := [str(one) for one in arguments(run)]) and "votes" in given:
        command("votes", "import", run / "votes.jsonl", run)
    files = {path for path in run.rglob("*") if path.name not in (".lock", "run.log")}
    with workspace.out().locked():
        found = CliRunner().invoke(main, given)
    assert (found.exit_code, found.stderr.count("\n")) == (1, 1)
    assert "is at work here; wait for it" in found.stderr
    assert files == {path for path in run.rglob("*") if path.name not in (".lock", "run.log")}


def test_a_store_with_bytes_that_are_no_text_is_requested_again(workspace: RunWorkspace):
    for file in workspace.out().answers.glob("*.jsonl"):
        file.write_bytes(file.read_bytes()[:-20] + b"\xff\n")
    workspace.out().completions("base").unlink()
    assert workspace.run() == ("small", {"answer base"})


@pytest.mark.parametrize("content", ['{"steps": {"train', "[]", '{"steps": []}'])
def test_a_torn_manifest_is_named(workspace: RunWorkspace, content: str):
    workspace.out().manifest.write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json.*move .* away"):
        workspace.run()


def test_a_judge_that_may_write_more_is_given_what_was_cut_again(workspace: RunWorkspace):
    workspace.change(judge={"max_new_tokens": 99})
    assert workspace.run() == ("small", {"judge"})


def test_versions_are_distinguished_from_runs_of_that_name_and_found_behind_a_gap(tmp_path: Path):
    def made(name: str, recipe: str, sampling: str) -> RunFolder:
        steps = {"report": {"done": True}}
        manifest = {"recipe": recipe, "identity": {"sampling": sampling}, "steps": steps}
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps(manifest))
        return RunFolder(tmp_path / name)

    first, third = made("mine", "mine", "a"), made("mine-3", "mine", "c")
    made("mine-2", "other", "b")
    assert list(versions(tmp_path, "mine")) == [first, third]
    assert select_version(tmp_path, "mine", {"sampling": "c"}) == third
    assert select_version(tmp_path, "mine", {"sampling": "b"}).path.name == "mine-4"
    assert list(versions(tmp_path, "mine-3")) == []
    assert select_version(tmp_path, "mine-3", {"sampling": "c"}).path.name == "mine-3-2"


def figures(content: bytes, file: Path) -> object:
    """A file's content without times and addresses."""
    if file.suffix == ".html":
        return b"<html" in content
    return json.loads(content)["results"] if file.parent.name == "benchmarks" else content


def trainings(workspace: RunWorkspace) -> dict[str, bytes]:
    return {
        file.parent.name: file.read_bytes()
        for file in (workspace.out().path / "adapters").glob("*/adapter_model.safetensors")
    }


def test_a_stage_of_another_name_is_not_trained_again(workspace: RunWorkspace):
    before = trainings(workspace)
    recipe = workspace.recipe
    recipe["stages"][0]["name"] = recipe["stages"][1]["start"] = "warm"
    workspace.change(stages=recipe["stages"])
    name, done = workspace.run()
    done -= {f"{kind} sft" for kind in ("train", "answer", "measure", "benchmark")}  # of the name before
    assert (name, done) == ("small", {"answer warm", "measure warm", "benchmark warm", "judge", "report"})
    assert trainings(workspace)["warm"] == before["sft"]
    folder = workspace.out().adapter("warm")
    assert [json.loads((folder / name).read_text())[key] for name, key in KEYS] == ["warm", "warm"]
    assert "# small/warm" in (folder / "README.md").read_text()
    assert workspace.run()[1] == {f"{kind} sft" for kind in ("train", "answer", "measure", "benchmark")}


KEYS = [("stage.json", "name"), ("lineage.json", "stage")]


def test_an_edited_description_of_an_adapter_is_put_back(
    workspace: RunWorkspace, caplog: pytest.LogCaptureFixture
):
    file, before = workspace.out().adapter("sft") / "stage.json", trainings(workspace)
    whole = file.read_text()
    file.write_text(whole.replace('"train_loss": ', '"train_loss": 1'))
    caplog.set_level("WARNING", "toolkit")
    assert workspace.run() == ("small", set())
    assert (file.read_text(), trainings(workspace)) == (whole, before)
    assert "adapters/sft was changed after it was written; put back" in caplog.text


def test_the_check_is_done_again_when_weights_of_a_judge_or_contestant_change(workspace: RunWorkspace):
    for name in ("judge", "rival"):
        shutil.copytree(workspace.folder / "base", workspace.folder / name)
    workspace.change(
        judge={"model": "judge", "limit": 1},
        contestants={"base": {}, "dpo": {"stage": "dpo"}, "rival": {"model": "rival"}},
    )
    assert checked(workspace)
    assert not checked(workspace)
    for name in ("judge", "rival"):
        weights = workspace.folder / name / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        assert checked(workspace), name


def test_the_check_is_done_again_when_what_a_metric_or_task_opens_changes(workspace: RunWorkspace):
    (workspace.folder / "aid.py").write_text("def count(text):\n    return len(text.split())\n")
    own = "from aid import count\ndef words(text, reference, row):\n    return count(text)\n"
    (workspace.folder / "own.py").write_text(own)
    assert checked(workspace)
    for name, old, new in (
        ("aid.py", ".split()", ""),
        ("words.jsonl", "a b", "a lamp"),
        ("words_target.py", "row", "doc"),
    ):
        assert not checked(workspace)
        file = workspace.folder / name
        file.write_text(file.read_text().replace(old, new))
        assert checked(workspace), name


def test_a_task_added_to_the_recipe_runs_alone(workspace: RunWorkspace, monkeypatch: pytest.MonkeyPatch):
    from toolkit.benchmarks import runner

    requested, real = [], runner.run_benchmarks

    def counting(loaded: object, tasks: list, **options: object) -> object:
        requested.extend((options["contestant"], task.task, task.limit) for task in tasks)
        return real(loaded, tasks, **options)

    monkeypatch.setattr(runner, "run_benchmarks", counting)
    shutil.copy(workspace.folder / "words.yaml", workspace.folder / "more.yaml")
    workspace.edit("more.yaml", "task: words", "task: more")
    words = str(workspace.folder / "words.yaml")
    workspace.change(scoring__benchmarks=[{"task": words}, {"task": str(workspace.folder / "more.yaml")}])
    workspace.run()
    assert [(who, Path(task).stem) for who, task, _ in requested] == [
        (who, "more") for who in ("base", "sft", "dpo")
    ]
    assert {"words/acc", "more/acc"} <= {
        score["metric"] for score in json.loads(workspace.out().scores.read_text())
    }
    requested.clear()
    workspace.change(
        scoring__benchmarks=[{"task": words, "limit": 2}, {"task": str(workspace.folder / "more.yaml")}]
    )
    workspace.run()
    assert [(Path(task).stem, limit) for _, task, limit in requested] == [("words", 2)] * 3
    requested.clear()
    workspace.change(scoring__benchmarks=[{"task": words}])
    workspace.run()
    assert requested == []
    for file in (workspace.folder / "out" / ".benchmarks").glob("*/result.json"):
        file.write_text("{}")
    workspace.out().benchmarks("base").unlink()
    workspace.run()
    assert [who for who, *_ in requested] == ["base"], "edited results are measured again"


def test_a_stage_starts_on_a_stage_of_another_run(workspace: RunWorkspace, caplog: pytest.LogCaptureFixture):
    before = trainings(workspace)["sft"]
    raw = workspace.recipe | {"name": "round-2", "stages": workspace.recipe["stages"][1:]}
    raw["stages"][0]["start"] = "out/small:sft"
    (workspace.folder / "round-2.yaml").write_text(yaml.safe_dump(raw))

    def load() -> recipes.Recipe:
        return recipes.load(workspace.folder / "round-2.yaml")

    with chdir(workspace.folder):
        assert [finding for finding in check(load()).findings if finding.severity == "error"] == []
        train(load(), workspace.folder / "out")
        folder = workspace.out("round-2")
        assert (folder.adapter("sft") / "adapter_model.safetensors").read_bytes() == before
        assert json.loads((folder.adapter("dpo") / "lineage.json").read_text())["parent"] == "sft"
        caplog.set_level("INFO", "toolkit")
        train(load(), workspace.folder / "out")
        assert "train sft: done already" in caplog.text
        weights = workspace.out().adapter("sft") / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
        with pytest.raises(DataError, match="changed after it was written"):
            train(load(), workspace.folder / "out")
        for start, problem in {
            "out/none:sft": "no run is in",
            "out/small:sfd": "no stage `sfd`; it has sft",
        }.items():
            raw["stages"][0]["start"] = start
            (workspace.folder / "round-2.yaml").write_text(yaml.safe_dump(raw))
            with pytest.raises(RecipeError, match=problem):
                load()
        raw["stages"][0]["start"], raw["base"] = "out/small:sft", "smollm2-135m-instruct"
        (workspace.folder / "round-2.yaml").write_text(yaml.safe_dump(raw))
        assert any("was trained on other weights" in finding.message for finding in check(load()).findings)


def test_a_flipped_adapter_is_trained_again(workspace: RunWorkspace):
    file = workspace.out().adapter("dpo") / "adapter_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-5] + bytes([whole[-5] ^ 64]) + whole[-4:])
    name, done = workspace.run()
    assert (name, done) == ("small", {"train dpo", "report"})  # which shows how long it took
    assert file.read_bytes() == whole


def test_an_added_row_is_requested_alone_and_a_corrected_reference_not_at_all(
    workspace: RunWorkspace, monkeypatch: pytest.MonkeyPatch
):
    from toolkit.generate.local import LocalSource

    requested: list[str] = []
    replies = LocalSource.replies

    def counting(self: LocalSource, requests: list, done: set[str], options: object):
        requested.extend(request.id for request in requests if request.id not in done)
        return replies(self, requests, done, options)

    monkeypatch.setattr(LocalSource, "replies", counting)
    workspace.edit("heldout.jsonl", '"reference": "Product: lamp"', '"reference": "a lamp"')
    workspace.run()
    assert requested == []
    row = {"id": "new", "messages": [{"role": "user", "content": "my lamp?"}], "reference": "Product: lamp"}
    with (workspace.folder / "heldout.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    workspace.run()
    assert requested == ["new"] * 3
    assert len(workspace.out().completions("base").read_text().splitlines()) == 7


def test_a_row_put_first_is_requested_alone_where_answers_are_sampled_and_rows_have_no_ids(tmp_path: Path):
    with fault_server(lambda number, _request: Response(f"reply {number}")) as server:
        options, requested = Generation(temperature=0.7), []
        for words in (["b", "b", "c"], ["a", "b", "b", "c"]):
            messages = [(Message(role="user", content=word),) for word in words]
            rows = [Example(id=f"row-{place}", messages=each) for place, each in enumerate(messages)]
            made = generate_completions(
                server.endpoint(concurrency=1),
                rows,
                contestant="x",
                options=options,
                out=tmp_path / "x.jsonl",
            )
            requested.append(([each.completion for each in made], len(server.requests)))
    (first, count), (second, later) = requested
    assert (count, later) == (3, 4)
    assert second[1:] == first
    assert len(set(second)) == 4


def test_a_slash_after_a_server_s_address_changes_nothing():
    one, other = (Endpoint(url=f"http://host/v1{end}", model="m") for end in ("", "/"))
    assert one == other


PRICES = {"price": [1, 2], "budget_usd": 50, "timeout": 9, "concurrency": 1}


@pytest.mark.parametrize("reply", ["I like both.", "[[A]]"])
def test_a_judge_without_a_vote_fails_and_prices_send_no_request_again(
    reply: str, tmp_path: Path, tiny_model: Path
):
    def script(_number: int, request: dict) -> Response:
        return Response(reply if request["model"] == "judge" else "re: " + request["messages"][-1]["content"])

    with fault_server(script) as server, chdir(tmp_path):
        write_small_recipe(tmp_path, tiny_model)
        workspace, url = RunWorkspace(tmp_path), {"url": server.url}
        paid, judge = {"endpoint": url | {"model": "paid"}}, {"endpoint": url | {"model": "judge"}}
        workspace.change(
            stages=[], contestants={"base": {}, "paid": paid}, judge=judge | {"method": "written"}
        )
        found = CliRunner().invoke(main, ["run", "small.yaml", "--out", "out"])
        if reply != "[[A]]":
            assert found.exit_code == 1
            assert "no vote was cast: of 12 verdicts 12 could not be read" in found.stderr
            return
        assert found.exit_code == 0
        requested = len(server.requests)
        workspace.change(contestants__paid__endpoint=paid["endpoint"] | PRICES)
        workspace.change(judge__endpoint=judge["endpoint"] | PRICES)
        assert workspace.run() == ("small", set())
    assert len(server.requests) == requested


def test_a_run_of_an_earlier_version_is_kept_and_its_paid_answers_are_not_requested_again(
    tmp_path: Path, tiny_model: Path
):
    with fault_server(
        lambda _number, request: Response("re: " + request["messages"][-1]["content"])
    ) as server:
        write_small_recipe(tmp_path, tiny_model)
        workspace = RunWorkspace(tmp_path)
        remote = {"endpoint": {"url": server.url, "model": "paid"}}
        workspace.change(
            stages=[], judge=None, contestants={"base": {}, "paid": remote}, scoring__metrics=["rouge"]
        )
        workspace.run()
        requested = len(server.requests)
        assert requested == 6
        manifest = json.loads(workspace.out().manifest.read_text())
        plain = {name: {"inputs": "0" * 16, "done": True, "seconds": 1.0} for name in manifest["steps"]}
        workspace.out().manifest.write_text(json.dumps({"steps": plain}))  # as version 0.1 wrote it
        shutil.rmtree(workspace.out().answers)
        before = {
            path: path.read_bytes()
            for path in workspace.out().path.rglob("*")
            if path.is_file() and path.name != "run.log"
        }
        assert workspace.run()[0] == "small-2"
        assert len(server.requests) == requested
    assert before == {path: path.read_bytes() for path in before}
    theirs, ours = (workspace.out(name).completions("paid").read_text() for name in ("small", "small-2"))
    assert ours == theirs


def test_what_was_requested_is_not_requested_again_under_other_names(tmp_path: Path, tiny_model: Path):
    """Requests after each kind of change, to a paid contestant and a paid judge."""

    def script(_number: int, request: dict) -> Response:
        text = request["messages"][-1]["content"]
        return Response("[[A]]" if request["model"] == "judge" else f"{request['model']}: {text}")

    with fault_server(script) as server, chdir(tmp_path):
        write_small_recipe(tmp_path, tiny_model)
        workspace = RunWorkspace(tmp_path)
        one, two = ({"endpoint": {"url": server.url, "model": name}} for name in ("one", "two"))
        rows = [json.loads(line) for line in (tmp_path / "heldout.jsonl").read_text().splitlines()]
        rows = [{key: row[key] for key in ("messages", "reference")} for row in rows]

        def requested(rows: list[dict], **changes: object) -> int:
            (tmp_path / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            workspace.change(**changes)
            before = len(server.requests)
            workspace.run()
            return len(server.requests) - before

        judge = {"endpoint": {"url": server.url, "model": "judge"}, "method": "written"}
        first = {"stages": [], "judge": judge, "scoring__metrics": ["rouge"]}
        assert requested(rows, contestants={"one": one, "two": two}, **first) == 24
        assert requested(rows, contestants={"two": two, "renamed": one}) == 0
        new = {"messages": [{"role": "user", "content": "another?"}], "reference": "yes"}
        assert requested([new, *rows]) == 4, "two answers, and a battle in both orders"
        assert requested([*rows[::-1], new]) == 0
        assert requested([*rows[::-1], new | {"reference": "no"}]) == 0
        assert requested(rows, scoring__generation={"max_new_tokens": 9}) == 12, (
            "a new version, the same verdicts"
        )
        assert workspace.out("small-2").verdicts.read_bytes()
        command("judge", workspace.out("small-2").path)
        assert len(server.requests) == 24 + 4 + 12
