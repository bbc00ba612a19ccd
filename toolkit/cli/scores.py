"""How commands show scores and differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from toolkit.cli.model_options import PATH
from toolkit.cli.output import print_table
from toolkit.metric_info import FIGURES, FUNCTION, Tokenizer

if TYPE_CHECKING:
    from toolkit.metrics import Measurement
    from toolkit.metrics.compare import Comparison
    from toolkit.metrics.registry import Encoding
    from toolkit.types import Score

METRICS = tuple(name for name in FIGURES if name != "perplexity")
"""The text metrics' names."""


class MetricName(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A text metric's name, or a function of the user's own, `FILE.py:FUNCTION`."""

    name = "metric"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in METRICS and not FUNCTION.search(value):
            self.fail(f"{value!r} is none of {', '.join(METRICS)}, FILE.py:FUNCTION", param, ctx)
        return value


metric_option = click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=MetricName(),
    help=f"{', '.join(METRICS)}, or FILE.py:FUNCTION of your own; may be repeated. Left out: the named ones.",
)

REFERENCES = "File of reference answers, besides those in the completions; may be repeated: several each."

ENCODING = (
    click.option(
        "--encoder", default="all-minilm-l6-v2", show_default=True, help="Of BERTScore: folder or hub id."
    ),
    click.option("--layer", type=click.IntRange(1), help="Of the encoder; left out, bert-score's choice."),
    click.option("--idf", is_flag=True, help="BERTScore weights tokens by their rarity."),
    click.option("--rescale", is_flag=True, help="BERTScore above bert-score's published baseline."),
    click.option("--baseline", type=PATH, help="The same, with a baseline file in bert-score's format."),
    click.option(
        "--tokenizer",
        type=click.Choice(get_args(Tokenizer)),
        help="Of ROUGE and BLEU; auto: by the script of the references; left out, their own, for English.",
    ),
)
"""Options of commands that may make BERTScores; they hand what they get to `encoding`."""

DECIDED = 0.05
"""Corrected p-value below which nothing more is needed."""


def encoding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of BERTScore to a command."""
    for option in reversed(ENCODING):
        command = option(command)
    return command


def encoding(rescale: bool, baseline: Path | None, **options: Any) -> Encoding:
    """How texts are to be read."""
    from toolkit.metrics.registry import Encoding

    return Encoding(rescale=baseline or rescale, **options)


def require_references(
    source: Path | str, contestant: str, metrics: Sequence[str], found: Sequence[Measurement]
) -> None:
    """Refuse to go on where nothing but lengths could be measured, and more was asked for.

    Raises:
        DataError: no completion has a reference, or every one was refused by its server.
    """
    from toolkit.errors import DataError

    forms = ("length", "distinct", "repetition")
    if set(metrics) != {"length"} and all(each.metric.startswith(forms) for each in found):
        raise DataError(
            f"{source}: no completion of {contestant} has a reference to be measured against; name a file of "
            "them with --references, or ask for `--metric length` alone"
        )


def print_scores(scores: Sequence[Score]) -> None:
    """One line a figure: metric, contestant, value, 95% interval, n."""
    rows = [
        [score.metric, score.contestant, number(score.value), between(score.low, score.high), str(score.n)]
        for score in sorted(scores, key=lambda score: score.metric)
    ]
    print_table(["metric", "contestant", "value", "95% interval", "n"], rows)


def print_differences(found: Comparison) -> None:
    """One line a comparison: its p-value as it is and corrected for the number of comparisons.

    Where it is undecided, the last cell says how many examples would settle a difference of this size.
    """
    rows = [
        [
            each.metric,
            f"{each.contestant} - {each.against}",
            number(each.value),
            between(each.low, each.high),
            p(each.p_value),
            p(p_value),
            str(each.n),
            str(wanted) if p_value >= DECIDED and wanted is not None and wanted > each.n else "",
        ]
        for each, p_value, wanted in zip(
            found.differences, found.corrected, found.examples_needed, strict=True
        )
    ]
    click.echo()
    print_table(["metric", "difference", "value", "95% interval", "p", "p (Holm)", "n", "n to settle"], rows)


def p(value: float) -> str:
    """Four digits; none so small is 0."""
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"  # noqa: PLR2004


def between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} .. {number(high)}"


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"
