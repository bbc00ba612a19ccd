"""The gate: requirements parsed, decided by intervals, and written for CI."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner, Result

from toolkit import io
from toolkit.cli import main
from toolkit.errors import InputError
from toolkit.fingerprints import file_hash
from toolkit.metrics import Measurement, difference
from toolkit.metrics.measurement import measurement_from_values
from toolkit.report import headline
from toolkit.report.gate import GUARD, parse_requirement, run_gate
from toolkit.types import Ratings, Summary


def finished(folder: Path, values: dict[str, dict[str, list[float]]]) -> Path:
    """A run with these figures: contestant -> metric -> a value an example."""
    summary = Summary(
        run="run",
        contestants=tuple(values),
        scores=(),
        differences=(),
        ratings=Ratings(),
        stages=(),
        skipped=(),
        seconds=0.0,
        notes={"primary": "right"},
    )
    io.write_json(folder / "summary.json", summary)
    for name, metrics in values.items():
        measured = [
            measurement_from_values(name, metric, [(f"e{i}", value) for i, value in enumerate(figures)])
            for metric, figures in metrics.items()
        ]
        io.write(folder / "measurements" / f"{name}.jsonl", measured)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The last contestant is right far more often, and forgot a little."""
    base = [float(i % 4 == 0) for i in range(40)]
    tuned = [float(i % 4 != 1) for i in range(40)]
    wave = [0.02 * (-1) ** i for i in range(40)]
    return finished(
        tmp_path / "run",
        {
            "base": {"right": base, "same": base, GUARD: [1.0 + w for w in wave]},
            "sft": {"right": tuned, "same": base[::-1], GUARD: [1.03 - w for w in wave]},
        },
    )


@pytest.mark.parametrize(
    ("requirement", "verdict", "metric"),
    [
        ("primary: better than base", "passed", "right"),
        ("right: better than base by 0.3", "passed", "right"),
        ("right: better than base by 0.4", "undecided", "right"),
        ("right: better than base by 0.9", "failed", "right"),
        ("same: better than base", "undecided", "same"),
        ("guard: not worse than base by 0.05", "passed", GUARD),
        ("guard: not worse than base by 0.01", "failed", GUARD),
        (f"  {GUARD} :not  worse than base by .05", "passed", GUARD),
    ],
)
def test_each_requirement(run: Path, requirement: str, verdict: str, metric: str):
    (check,) = run_gate(run, [parse_requirement(requirement)]).checks
    assert (check.verdict, check.metric, check.contestant) == (verdict, metric, "sft")
    assert (check.examples_needed is not None) == (verdict == "undecided" and check.value != 0)


@pytest.mark.parametrize(
    "text", ["right better than base", "right: better than", "right: not worse than base", "right: good", ""]
)
def test_other_forms_are_refused(text: str):
    with pytest.raises(InputError, match="write `METRIC: better than NAME`"):
        parse_requirement(text)


def invoke(run: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["gate", str(run), *arguments])


@pytest.mark.parametrize(
    ("requirements", "code"),
    [
        (["right: better than base", "guard: not worse than base by 0.05"], 0),
        (["right: better than base", "same: better than base"], 3),
        (["same: better than base", "right: better than base by 0.9"], 4),
        (["nothing: better than base"], 2),
        (["right: better than nobody"], 2),
        (["right: better than sft"], 2),
    ],
)
def test_exit_codes(run: Path, requirements: list[str], code: int):
    done = invoke(run, *[part for each in requirements for part in ("--require", each)])
    assert done.exit_code == code, done.output


@pytest.mark.parametrize("left", ["", "half"])
def test_results_that_are_not_as_they_were_written_pass_no_gate(run: Path, left: str):
    file = run / "measurements" / "sft.jsonl"
    outputs = {"measurements/sft.jsonl": {"size": file.stat().st_size, "sha256": file_hash(file)}}
    io.write_json(run / "manifest.json", {"steps": {"measure sft": {"done": True, "outputs": outputs}}})
    required = ("--require", "right: better than base")
    assert invoke(run, *required).exit_code == 0
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1])) if left else file.unlink()
    done = invoke(run, *required)
    assert (done.exit_code, done.stdout) == (2, "")
    lost = "was changed after it was written" if left else "is gone"
    assert f"error: {run}: measurements/sft.jsonl {lost}" in done.stderr
    listed = CliRunner().invoke(main, ["leaderboard", str(run)])
    assert f"warning: {run}: measurements/sft.jsonl {lost}" in listed.stderr


def test_what_ci_reads(run: Path, tmp_path: Path):
    files = ["--junit", str(tmp_path / "gate.xml"), "--markdown", str(tmp_path / "gate.md"), "--json"]
    required = ["right: better than base", "right: better than base by 0.9"]
    done = invoke(run, *[part for each in required for part in ("--require", each)], *files)
    assert json.loads(done.stdout)["verdict"] == "failed"
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.find("failure") is not None for case in suite] == [False, True]
    assert "| failed | right: better than base by 0.9 |" in (tmp_path / "gate.md").read_text()


def test_at_the_margin_few_pass(tmp_path: Path):
    """Non-inferiority at its limit: true differences equal to the margin pass in about 2.5% of runs."""
    generator, passed = np.random.default_rng(0), 0
    for n in range(100):
        figures = {"base": generator.normal(size=50), "sft": generator.normal(-0.5, size=50)}
        run = finished(tmp_path / str(n), {name: {"m": list(map(float, v))} for name, v in figures.items()})
        gate = run_gate(run, [parse_requirement("m: not worse than base by 0.5")])
        passed += gate.verdict == "passed"
    assert passed <= 7  # 1% of the time more, were it 2.5%


def test_gate_and_report_never_contradict_each_other(tmp_path: Path):
    """Weak differences in four metrics: some intervals exclude 0 and p does not survive the correction."""
    verdicts, alone = {"better": "passed", "worse": "failed", "unclear": "undecided"}, 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shift = rng.normal(0, 0.12, 4)
        values = {
            name: {f"m{k}": (0.5 + side * shift[k] + rng.normal(0, 0.3, 60)).tolist() for k in range(4)}
            for name, side in (("base", 0), ("sft", 1))
        }
        folder = finished(tmp_path / str(seed), values)
        found = {name: io.read(folder / "measurements" / f"{name}.jsonl", Measurement) for name in values}
        rows = [difference(one, two) for one, two in zip(found["sft"], found["base"], strict=True)]
        summary = Summary.model_validate(io.read_json(folder / "summary.json"))
        summary = summary.model_copy(update={"differences": tuple(row for row in rows if row)})
        io.write_json(folder / "summary.json", summary)
        report = headline.compare(summary, headline.ComparisonPair("sft", "base", headline.OTHER))
        for claim in report.claims:
            metric = claim.difference.metric
            (check,) = run_gate(folder, [parse_requirement(f"{metric}: better than base")]).checks
            assert check.verdict == verdicts[claim.conclusion]
            alone += claim.conclusion == "unclear" and not check.low <= 0 <= check.high
    assert alone > 0
