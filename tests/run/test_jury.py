"""A recipe with a jury: every judge's verdicts are kept, and a majority of the judges is the vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.fault_server import FaultServer, Response, fault_server
from toolkit import io
from toolkit.cli import main
from toolkit.errors import EndpointError
from toolkit.recipe import load
from toolkit.run import run
from toolkit.run.folder import RunFolder
from toolkit.run.launch import run_step
from toolkit.run.plan import plan_steps
from toolkit.run.resolve import Execution
from toolkit.types import Verdict, Vote

BATTLES = 6


def prefer_first(_number: int, request: dict) -> Response:
    """`first` takes whatever it is shown first; the others call every battle a tie."""
    return Response("[[A]]" if request["model"] == "first" else "[[C]]")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with fault_server(prefer_first) as state:
        yield state


@pytest.fixture
def with_jury(small_recipe: Path, tmp_path: Path, server: FaultServer) -> Callable[..., Path]:
    """Writes a recipe without training whose jury is the base and these models at the server."""
    prompt = tmp_path / "mine.yaml"
    prompt.write_text('system: J\nuser: "{{ answer_1 }}\\n{{ answer_2 }}"\nletter: "A/B?"\nwritten: w\n')

    def write(*models: str) -> Path:
        served = [{"endpoint": {"url": server.url, "model": name}, "method": "written"} for name in models]
        raw = yaml.safe_load(small_recipe.read_text())
        raw["data"] = {"heldout": raw["data"]["heldout"]}
        raw.pop("stages", None)
        raw["contestants"] = {"base": {}, "told": {"prompt": [{"role": "system", "content": "Be brief."}]}}
        raw["scoring"]["metrics"] = ["length"]
        raw["judge"] = {"jury": [{}, *served], "prompt": str(prompt)}
        small_recipe.write_text(yaml.safe_dump(raw))
        return small_recipe

    return write


def received(folder: Path) -> Counter[str]:
    """How many verdicts each judge gave."""
    verdicts = io.read(folder / "verdicts.jsonl", Verdict)
    return Counter(verdict.judge.partition("@")[0] for verdict in verdicts)


def cast(folder: Path) -> list[Vote]:
    return list(io.read(folder / "votes.jsonl", Vote))


@pytest.mark.slow
def test_a_jury_votes_and_no_member_judges_twice(with_jury, server: FaultServer, tmp_path: Path):
    summary = run(load(with_jury("first", "even")), tmp_path)
    folder = tmp_path / "small"
    counts = received(folder)
    local = next(name for name in counts if name not in ("first", "even"))
    assert counts == {local: 2 * BATTLES, "first": 2 * BATTLES, "even": 2 * BATTLES}
    # One says tie by contradicting itself and one by its word: whatever the local one says, two say tie.
    assert [(vote.voter, vote.outcome, vote.kind) for vote in cast(folder)] == [
        ("jury", "tie", "judge")
    ] * BATTLES
    assert len(server.requests) == 4 * BATTLES

    assert {name.partition("@")[0] for name in summary.notes["judge"]} == set(counts)
    pairs = {tuple(pair["judges"]): pair["agreement"] for pair in summary.notes["jury"]["pairs"]}
    assert pairs["even", "first"]["value"] == 1
    assert summary.notes["jury"]["unanimous"]["n"] == BATTLES
    report = (folder / "report.md").read_text()
    assert "The jury's votes" in report
    assert "| even and first | 100%" in report

    assert "judge" in run(load(with_jury("first", "even")), tmp_path).skipped
    run(load(with_jury("first", "even", "third")), tmp_path)
    assert len(server.requests) == 6 * BATTLES, "a judge that joins is asked, and no other"
    assert received(folder)["third"] == 2 * BATTLES


@pytest.mark.slow
def test_a_judge_that_fails_costs_the_others_nothing(with_jury, server: FaultServer, tmp_path: Path):
    down = True

    def script(number: int, request: dict) -> Response:
        return Response(status=401) if down and request["model"] == "even" else prefer_first(number, request)

    server.script = script
    with pytest.raises(EndpointError):
        run(load(with_jury("first", "even")), tmp_path)
    before, down = received(tmp_path / "small"), False
    assert before["first"] == 2 * BATTLES
    assert "even" not in before
    run(load(with_jury("first", "even")), tmp_path)
    assert received(tmp_path / "small") == before | {"even": 2 * BATTLES}


@pytest.mark.slow
def test_steps_side_by_side_leave_what_one_after_the_other_do(with_jury, tmp_path: Path):
    run(load(with_jury("first", "even")), tmp_path / "whole")
    split = RunFolder(tmp_path / "split" / "small")
    split.path.mkdir(parents=True)
    split.recipe.write_text(
        with_jury("first", "even").read_text().replace("heldout.jsonl", str(tmp_path / "heldout.jsonl"))
    )
    steps = plan_steps(Execution(load(split.recipe), split), judges=2)
    judging = [step for step in steps if step.name.startswith("judge")]
    assert [step.name for step in judging] == [f"judge part {n} of 4" for n in (1, 2, 3, 4)] + ["judge"]
    assert [step.model for step in judging] == [True, True, False, False, False]
    for step in [*steps[:-5], *reversed(judging[:-1]), judging[-1]]:
        run_step(step.name, str(split.path), str(tmp_path), 2, False)
    assert cast(split.path) == cast(tmp_path / "whole" / "small")
    assert received(split.path) == received(tmp_path / "whole" / "small")


@pytest.mark.slow
def test_the_command_takes_the_recipes_jury(with_jury, server: FaultServer, tmp_path: Path):
    from click.testing import CliRunner

    run(load(with_jury("first", "even")), tmp_path)
    requested = len(server.requests)
    found = CliRunner().invoke(main, ["judge", str(tmp_path / "small"), "--estimate", "--json"])
    estimates = yaml.safe_load(found.stdout)["estimates"]
    assert [row["known"] for row in estimates] == [2 * BATTLES] * 3
    found = CliRunner().invoke(main, ["judge", str(tmp_path / "small")])
    assert found.exit_code == 0, found.output
    assert len(server.requests) == requested
    assert {vote.voter for vote in cast(tmp_path / "small")} == {"jury"}
