"""A run's completions, scores and votes as data sets, to load with `datasets` or to put on the hub."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from toolkit import io
from toolkit.errors import DataError
from toolkit.metric_info import metric_info
from toolkit.recipe import Recipe, contestants, is_fair_baseline
from toolkit.report.formatting import number, span
from toolkit.report.load import load_run
from toolkit.types import Completion, Difference, Record, Score, Summary, digest

if TYPE_CHECKING:
    from datasets import Dataset
    from huggingface_hub import EvalResult

CARD = """---
pretty_name: {run}, its completions, scores and votes
tags: [adapter-arena]
configs:
{configs}
---
# {run}

Written by adapter-arena from a finished run: {sizes}.

    datasets.load_dataset("<this folder>", "{first}")
"""


def run_datasets(run: Path) -> dict[str, Dataset]:
    """The tables of a finished run: `completions`, `scores`, and `votes` where any were cast.

    Voters who are people appear under a hash of their name. Raises `DataError` where no run is finished.
    """
    from datasets import Dataset

    view = load_run(run)
    people = [v.model_copy(update={"voter": digest("voter", v.voter)}) for v in view.people]
    records: dict[str, list[Record]] = {
        "completions": [each for rows in view.completions.values() for each in rows],
        "scores": list(view.summary.scores),
        "votes": [*view.judge_votes, *people],
    }
    found = {}
    for name, table in records.items():
        rows = [each.model_dump(mode="json") for each in table]
        columns = dict.fromkeys(key for row in rows for key in row)  # `datasets` takes those of the first row
        if rows:
            found[name] = Dataset.from_list([{key: row.get(key) for key in columns} for row in rows])
    return found


def write_datasets(run: Path, out: Path) -> dict[str, int]:
    """Write them as Parquet files and a card, so that `datasets.load_dataset(out, "votes")` reads them.

    Returns each table's number of rows; raises `DataError` where no run is finished, or `out` is there.
    """
    if out.exists():
        raise DataError(f"{out}: is there already; name a new folder")
    tables = run_datasets(run)
    sizes = {name: len(table) for name, table in tables.items()}
    card = CARD.format(
        run=load_run(run).summary.run,
        configs="\n".join(f"- config_name: {name}\n  data_files: {name}.parquet" for name in tables),
        sizes=", ".join(f"{count} {name}" for name, count in sizes.items()),
        first=next(iter(tables)),
    )
    with io.new_folder(out) as beside:
        for name, table in tables.items():
            table.to_parquet(beside / f"{name}.parquet")
        io.write_text(beside / "README.md", card)
    return sizes


def write_scores(card: Path, recipe: Recipe, stage: str, summary: Summary, completions: Path) -> None:
    """Write the scores of a stage's model into its card, beside the baseline's and with an example.

    The `card` is the `README.md` of an adapter or merged model, whose earlier scores are replaced; it stays
    as it is where the stage is no contestant by itself. `completions` is the run's folder of these.
    """
    from huggingface_hub import ModelCard

    specs = contestants(recipe).items()
    name = next((name for name, spec in specs if spec.stage == stage and not spec.has_prompt), None)
    results = [_result(score, recipe) for score in summary.scores if score.contestant == name]
    if name is None or not results:
        return
    written = ModelCard(card.read_text(encoding="utf-8"))
    written.data["model_name"], written.data["eval_results"] = f"{recipe.name}/{stage}", results
    written.text = written.text.partition(SCORES)[0].rstrip() + "\n" + _scores(name, recipe, summary)
    written.text += _example(completions / f"{name}.jsonl")
    io.write_text(card, str(written))


SCORES = "\n## Scores"


def _scores(name: str, recipe: Recipe, summary: Summary) -> str:
    """Scores beside those of the baseline, with the paired difference; 95% intervals."""
    specs = contestants(recipe)
    prompted = [other for other, spec in specs.items() if is_fair_baseline(spec)]
    others = [*prompted, *(other for other, spec in specs.items() if spec.on_base and other not in prompted)]
    against = next((other for other in others if other != name), None)
    base = {score.metric: score for score in summary.scores if score.contestant == against}
    gaps = {
        gap.metric: gap for gap in summary.differences if (gap.contestant, gap.against) == (name, against)
    }
    rows = [
        f"| {metric_info(score.metric).title} | {_cell(score)} | {_cell(base.get(score.metric))} | "
        f"{_cell(gaps.get(score.metric))} | {score.n} |"
        for score in summary.scores
        if score.contestant == name
    ]
    head = f"| held-out examples, 95% intervals | {name} | {against or ''} | difference | n |"
    return "\n".join([SCORES, "", head, "| --- | ---: | ---: | ---: | ---: |", *rows, ""])


def _cell(value: Score | Difference | None) -> str:
    return "" if value is None else f"{number(value.value)} {span(value.low, value.high)}".rstrip()


def _example(file: Path) -> str:
    """The first example and its answer, as an indented block."""
    first = next(io.read(file, Completion), None) if file.is_file() else None
    if first is None:
        return ""
    turns = f"{first.messages[-1].content}\n\n{first.completion}"[:EXAMPLE_CHARACTERS]
    return "\nAn example, prompt and answer:\n\n" + indent(turns, "    ", lambda _line: True) + "\n"


EXAMPLE_CHARACTERS = 2000


def _result(score: Score, recipe: Recipe) -> EvalResult:
    """One `model-index` result; the format has no field for interval and n, so the metric name holds them."""
    from huggingface_hub import EvalResult

    dataset, _, metric = score.metric.rpartition("/")
    known = score.low is not None and score.high is not None
    between = f"95% {score.low:.4g} to {score.high:.4g}, " if known else ""
    if not dataset:  # the examples': a hub id, or a file without where it lies here
        assert recipe.scoring is not None
        source = recipe.data[recipe.scoring.examples].source
        dataset = Path(source).stem if Path(source).suffix else source
    return EvalResult(
        task_type="text-generation",
        dataset_type=dataset,
        dataset_name=dataset,
        metric_type=metric,
        metric_name=f"{metric} ({between}n = {score.n})",
        metric_value=score.value,
        verified=False,
    )
