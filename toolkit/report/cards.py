"""The scores of a run in the cards of its models, in the `model-index` form that the hub shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toolkit import records
from toolkit.recipe import Recipe, contestants
from toolkit.types import Score, Summary

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


def write_scores(card: Path, recipe: Recipe, stage: str, summary: Summary) -> None:
    """Put what a stage's model scored into its card; scores that were there before are replaced.

    Args:
        card: the `README.md` of an adapter or of a merged model.
        recipe: the run's recipe.
        stage: which stage the model is of; one that is no contestant by itself leaves the card as it is.
        summary: the run's figures.
    """
    from huggingface_hub import ModelCard

    players = contestants(recipe).items()
    name = next((name for name, spec in players if spec.stage == stage and not spec.prompt), None)
    results = [_result(score, recipe) for score in summary.scores if score.contestant == name]
    if not results:
        return
    written = ModelCard(card.read_text(encoding="utf-8"))
    written.data["model_name"], written.data["eval_results"] = f"{recipe.name}/{stage}", results
    records.write_text(card, str(written))


def _result(score: Score, recipe: Recipe) -> EvalResult:
    """One score; its interval and n stand in the metric's name, for the form has no place of their own."""
    from huggingface_hub import EvalResult

    task, _, metric = score.metric.rpartition("/")
    known = score.low is not None and score.high is not None
    between = f"95% {score.low:.4g} to {score.high:.4g}, " if known else ""
    dataset = task or _dataset(recipe)
    return EvalResult(
        task_type="text-generation",
        dataset_type=dataset,
        dataset_name=dataset,
        metric_type=metric,
        metric_name=f"{metric} ({between}n = {score.n})",
        metric_value=score.value,
        verified=False,
    )


def _dataset(recipe: Recipe) -> str:
    """The data set of the examples: its hub id, or its file's name without where it lies here."""
    assert recipe.scoring is not None
    source = recipe.data[recipe.scoring.examples].source
    return Path(source).stem if Path(source).suffix else source
