"""The report's tables as plain values: drawn once as HTML and once as Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from toolkit.benchmarks.results import Cell as BoardCell
from toolkit.benchmarks.results import goodhart, leaderboard
from toolkit.metric_info import BENCHMARKS, GROUPS, MetricInfo, metric_info
from toolkit.metrics.compare import Comparison as PairedDifferences
from toolkit.metrics.compare import compare
from toolkit.metrics.measurement import measurement_from_values
from toolkit.ratings import WinRate
from toolkit.report import charts, formatting
from toolkit.report.headline import Claim, Comparison
from toolkit.report.load import RunView
from toolkit.types import Completion, Difference, Rating, Score, StageResult, Vote

EMPTY = Markup()


@dataclass(frozen=True)
class Cell:
    text: str
    small: str = ""
    """A second line: the interval, the number of votes."""
    tone: str = ""
    """Class of the style sheet: `better`, `worse`, `words`, `tint-1` .. `tint-5`."""
    chart: Markup = EMPTY


@dataclass(frozen=True)
class Table:
    """A caption, one header row, and rows whose first cell names them."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def tone(self, column: int) -> str:
        """`words` over a column of texts, which are not aligned as numbers are."""
        cells = [row[column] for row in self.rows if column < len(row)]
        return "words" if cells and cells[0].tone in ("words", "code") else ""


@dataclass(frozen=True)
class Panel:
    """One metric of all contestants."""

    metric: str
    metric_info: MetricInfo
    scores: tuple[Score, ...]
    colours: dict[str, int]

    @property
    def n(self) -> str:
        counts = sorted({score.n for score in self.scores})
        return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"

    @property
    def chart(self) -> Markup:
        rows = [
            charts.Dot(s.contestant, s.value, s.low, s.high, self.colours.get(s.contestant, 0))
            for s in self.scores
        ]
        title = f"{self.metric_info.title} of every contestant with 95% intervals, {self.metric_info.note}"
        return charts.dots(title, rows, self.metric_info.digits)


def panels(view: RunView, colours: dict[str, int]) -> dict[str, list[Panel]]:
    """Group of metrics -> its panels, in the report's order; benchmarks are a group of their own."""
    by_metric: dict[str, list[Score]] = {}
    for score in view.summary.scores:
        by_metric.setdefault(score.metric, []).append(score)
    found = [
        Panel(metric, metric_info(metric, view.less_is_better), tuple(scores), colours)
        for metric, scores in by_metric.items()
    ]
    grouped = {
        group: [panel for panel in found if panel.metric_info.group == group]
        for group in (*GROUPS, BENCHMARKS)
    }
    return {group: own for group, own in grouped.items() if own}


def scores(found: Iterable[Panel], names: Sequence[str], title: str = "Every score") -> Table:
    """Every score with its interval: a row a metric, a column a contestant."""
    rows = []
    for panel in found:
        by_name = {score.contestant: score for score in panel.scores}
        cells = [_score(by_name.get(name), panel.metric_info.digits) for name in names]
        rows.append((Cell(panel.metric_info.title, panel.metric_info.note), *cells, Cell(panel.n)))
    return Table(f"{title}, with its 95% interval below it", ("metric", *names, "n"), tuple(rows))


def _score(score: Score | None, digits: int) -> Cell:
    if score is None:
        return Cell(formatting.ABSENT)
    return Cell(formatting.number(score.value, digits), formatting.span(score.low, score.high, digits))


def comparisons(compared: Sequence[Comparison]) -> Table:
    """The headline comparisons by the measure that decides, with what the other kinds of measures show."""
    claims = [comparison.primary for comparison in compared]
    reach = _reaches(compared)
    rows = tuple(
        (
            Cell(comparison.pair.title, comparison.pair.role),
            _difference(claim, reach[claim.difference.metric] if claim else 0.0),
            Cell(comparison.kinds, tone="words"),
        )
        for comparison, claim in zip(compared, claims, strict=True)
    )
    title = next((claim.metric_info.title for claim in claims if claim), "no measure")
    return Table(
        f"Paired differences in {title}, 95% intervals, corrected p",
        ("", "difference", "by kind of measure"),
        rows,
    )


def differences(compared: Sequence[Comparison]) -> Table:
    """A row a metric, a column a comparison, every interval drawn; rows of one metric have one scale."""
    reach = _reaches(compared)
    by_metric: dict[str, dict[int, Claim]] = {}
    for column, comparison in enumerate(compared):
        for claim in comparison.claims:
            by_metric.setdefault(claim.difference.metric, {})[column] = claim
    rows = []
    for metric, claims in by_metric.items():
        means = next(iter(claims.values())).metric_info
        cells = [_difference(claims.get(column), reach[metric]) for column in range(len(compared))]
        counts = sorted({claim.difference.n for claim in claims.values()})
        n = f"n {counts[0]}" if len(counts) == 1 else f"n {counts[0]} to {counts[-1]}"
        rows.append((Cell(means.title, f"{means.note}, {n}"), *cells))
    header = ("metric", *(f"{c.pair.contestant} {formatting.MINUS} {c.pair.against}" for c in compared))
    return Table("Paired differences with 95% intervals and corrected p", header, tuple(rows))


def _difference(claim: Claim | None, reach: float) -> Cell:
    if claim is None:
        return Cell(formatting.ABSENT)
    tone = "unclear" if claim.conclusion == "describes" else claim.conclusion
    text = f"{claim.evidence}; {claim.conclusion}"
    chart = difference_chart(claim.difference, claim.metric_info, reach, tone, text)
    return Cell(claim.size, f"{claim.interval}; {claim.p}", tone, chart)


def difference_chart(found: Difference, info: MetricInfo, reach: float, tone: str, text: str) -> Markup:
    """One difference as a dot with its interval, better to the right; `text` is its alternative."""
    sign = info.better or 1
    low, high = sorted((found.low * sign, found.high * sign))
    return charts.forest(f"{info.title}: {text}", found.value * sign, (low, high), reach, tone)


def _reaches(compared: Iterable[Comparison]) -> dict[str, float]:
    """Metric -> the furthest end of its intervals in any comparison: rows of one metric share a scale."""
    found: dict[str, float] = {}
    for claim in (claim for comparison in compared for claim in comparison.claims):
        row = claim.difference
        found[row.metric] = max(found.get(row.metric, 0.0), abs(row.low), abs(row.high), abs(row.value))
    return found


def ratings(title: str, rows: Sequence[Rating], settings: str = "") -> Table:
    return Table(
        f"{title}: Bradley-Terry ratings{f'; {settings}' if settings else ''}",
        ("contestant", "rank", "rating", "95% interval", "battles"),
        tuple(
            (
                Cell(row.contestant),
                Cell(str(row.rank)),
                Cell(formatting.number(row.value, 0)),
                Cell(formatting.span(row.low, row.high, 0)),
                Cell(str(row.battles)),
            )
            for row in rows
        ),
    )


def ratings_beside(sides: Mapping[str, Sequence[Rating]]) -> Table:
    """The same contestants by several kinds of voters, side by side."""
    order = dict.fromkeys(row.contestant for rows in reversed([*sides.values()]) for row in rows)
    by_name = {side: {row.contestant: row for row in rows} for side, rows in sides.items()}
    rows = tuple((Cell(name), *(_rating(own.get(name)) for own in by_name.values())) for name in order)
    return Table("Bradley-Terry ratings with their 95% intervals, by who voted", ("contestant", *sides), rows)


def _rating(row: Rating | None) -> Cell:
    if row is None:
        return Cell(formatting.ABSENT)
    span = formatting.span(row.low, row.high, 0)
    return Cell(formatting.number(row.value, 0), f"{span}, rank {row.rank}" if span else f"rank {row.rank}")


def win_rates_together(rates: Sequence[WinRate]) -> Table:
    """People and judge together, pair by pair."""
    rows = tuple(
        (
            Cell(f"{each.first} against {each.second}"),
            Cell(formatting.percent(each.value)),
            Cell(f"{formatting.percent(each.low)} to {formatting.percent(each.high)}"),
            Cell(str(each.labels)),
        )
        for each in rates
    )
    header = ("pair", "points of the first", "95% interval", "battles that people voted on")
    return Table("People + judge: share of points the first took from the second", header, rows)


def wins(title: str, votes: Sequence[Vote], names: Sequence[str]) -> Table | None:
    """Pair by pair, the share of points the row took from the column; a tie is half a point."""
    if not votes:
        return None
    points: dict[tuple[str, str], float] = {}
    met: Counter[tuple[str, str]] = Counter()
    for vote in votes:
        share = vote.points
        for pair, won in (((vote.model_a, vote.model_b), share), ((vote.model_b, vote.model_a), 1 - share)):
            points[pair] = points.get(pair, 0.0) + won
            met[pair] += 1
    rows = tuple((Cell(a), *(_won(points.get((a, b)), met[a, b]) for b in names)) for a in names)
    caption = f"{title}: share of points the row took from the column (a tie is half a point)"
    return Table(caption, ("", *names), rows)


def _won(points: float | None, n: int) -> Cell:
    if points is None or n == 0:
        return Cell(formatting.ABSENT)
    share = points / n
    return Cell(formatting.percent(share), f"n {n}", tone=f"tint-{1 + min(4, int(share * 5))}")


def stages(found: Sequence[StageResult]) -> Table:
    rows = tuple(
        (
            Cell(stage.name, "" if stage.method == stage.name else stage.method),
            Cell(formatting.duration(stage.seconds)),
            Cell(formatting.size(stage.peak_memory_bytes)),
            Cell(formatting.number(stage.train_loss)),
            Cell(_named(stage.heldout), tone="words"),
        )
        for stage in found
    )
    return Table("Stages", ("stage", "time", "peak memory", "train loss", "on held-out rows"), rows)


def _named(values: dict[str, float]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {formatting.number(value)}" for key, value in values.items())


def answers(completions: dict[str, list[Completion]]) -> Table:
    """Counts of cut, refused, empty and repeated answers."""
    rows = tuple((Cell(name), *_counts(found)) for name, found in completions.items())
    header = (
        "contestant",
        "answers",
        "cut at the token limit",
        "refused by the server",
        "empty",
        "said more than once",
        "median tokens",
    )
    return Table("The answers themselves", header, rows)


def _counts(found: Sequence[Completion]) -> tuple[Cell, ...]:
    answered = [completion for completion in found if not completion.refused]
    texts = Counter(completion.completion for completion in answered)
    tokens = sorted(completion.tokens for completion in answered) or [0]
    return (
        Cell(str(len(found))),
        Cell(str(sum(completion.finish == "length" for completion in found))),
        Cell(str(len(found) - len(answered))),
        Cell(str(sum(not completion.completion.strip() for completion in answered))),
        Cell(str(sum(count for count in texts.values() if count > 1))),
        Cell(str(tokens[len(tokens) // 2])),
    )


def facts(caption: str, values: dict[str, Any], header: tuple[str, str] = ("", "")) -> Table:
    """Names and values."""
    rows = tuple((Cell(key), Cell(str(value), tone="words")) for key, value in values.items())
    return Table(caption, header, rows)


def to_markdown(table: Table) -> str:
    """A GitHub-style table; charts are left out."""
    lines = [[escaped(title) for title in table.header], ["---", *("---:" for _ in table.header[1:])]]
    lines += [[_plain(cell) for cell in row] for row in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(cell: Cell) -> str:
    text = f"{cell.text} ({cell.small})" if cell.small else cell.text
    return escaped(text)


def escaped(text: str) -> str:
    """Untrusted text inside a line of Markdown: no tags, no table cells, no emphasis, no links."""
    for mark in "\\`*_[]|#~":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def fenced(text: str) -> str:
    """Untrusted text as a Markdown code block, in a fence longer than any inside it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


@dataclass(frozen=True)
class BenchmarkSection:
    """Contents of the benchmark section."""

    board: Table
    differences: Table | None
    """On the same questions, where lm-eval's sample logs are there."""
    notes: tuple[str, ...]
    """What to be wary of."""


def benchmark_section(view: RunView) -> BenchmarkSection | None:
    """The leaderboard of a run; `None` when no benchmark was run."""
    scores = [s for s in view.summary.scores if metric_info(s.metric).group == BENCHMARKS]
    if not scores:
        return None
    compared = compare(
        [
            measurement_from_values(name, metric, values)
            for name, found in view.questions.items()
            for metric, values in found.items()
        ]
    )
    table = _benchmark_differences(compared) if compared.differences else None
    return BenchmarkSection(_board(scores), table, tuple(goodhart(compared.differences)))


def _board(scores: Sequence[Score]) -> Table:
    found = leaderboard(scores)
    rows = tuple(
        (
            Cell(row.contestant),
            *(_board_cell(place) for place in row.cells),
            Cell(_percent(row.average)),
            Cell(_percent(row.above_chance)),
        )
        for row in found.rows
    )
    header = ("contestant", *(metric_info(task).title for task in found.tasks), "average", "above chance")
    shares = all(place.share for row in found.rows for place in row.cells if place)
    caption = (
        f"Leaderboard, {'' if shares else 'shares '}in percent; ≈ marks what is within noise of the best"
    )
    return Table(caption, header, rows)


def _board_cell(place: BoardCell | None) -> Cell:
    if place is None:
        return Cell(formatting.ABSENT)
    score = place.score
    mark = "≈ " if place.within_noise else ""
    if not place.share:
        return Cell(f"{mark}{formatting.number(score.value, 2)}", formatting.span(score.low, score.high, 2))
    low, high = (None if end is None else 100 * end for end in (score.low, score.high))
    return Cell(f"{mark}{_percent(score.value)}", formatting.span(low, high, 1))


def _percent(share: float | None) -> str:
    return formatting.number(None if share is None else 100 * share, 1)


def _benchmark_differences(compared: PairedDifferences) -> Table:
    rows = tuple(
        (
            Cell(metric_info(each.metric).title),
            Cell(f"{each.contestant} {formatting.MINUS} {each.against}", tone="words"),
            Cell(formatting.signed(each.value), formatting.span(each.low, each.high, sign=True)),
            Cell(formatting.p(each.p_value), f"{formatting.p(corrected)} corrected"),
            Cell(str(each.n)),
        )
        for each, corrected in zip(compared.differences, compared.corrected, strict=True)
    )
    header = ("task: metric", "difference", "with its 95% interval", "p", "n")
    return Table("Benchmark differences, paired on the same questions", header, rows)
