"""The report's tables as plain values: drawn once as HTML and once as Markdown."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from markupsafe import Markup

from toolkit.benchmarks.results import Cell as BoardCell
from toolkit.benchmarks.results import goodhart, leaderboard
from toolkit.metric_info import BENCHMARKS, GROUPS, MetricInfo, metric_info
from toolkit.metrics.compare import SliceFigure, compare
from toolkit.metrics.measurement import Measurement, measurement_from_values
from toolkit.ratings import WinRate
from toolkit.report import charts
from toolkit.report.formatting import (
    ABSENT,
    MINUS,
    duration,
    listed,
    number,
    p,
    percent,
    signed,
    size,
    span,
)
from toolkit.report.headline import Claim, Comparison, ComparisonPair, conclude, quoted_scores
from toolkit.report.load import RunView
from toolkit.statistics import holm
from toolkit.types import Completion, Rating, Score, StageResult, Summary, Vote

EMPTY = Markup()


@dataclass(frozen=True)
class Cell:
    text: str
    small: str = ""
    """A second line: the interval, the number of votes."""
    tone: str = ""
    """Class of the style sheet: `better`, `worse`, `words`, `code`, `tint-1` .. `tint-5`."""
    chart: Markup = EMPTY


@dataclass(frozen=True)
class Table:
    """A caption, one header row, and rows whose first cell names them."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @classmethod
    def of(cls, caption: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> Self:
        """Build a table; texts and numbers become cells."""
        cells = (tuple(x if isinstance(x, Cell) else Cell(str(x)) for x in row) for row in rows)
        return cls(caption, tuple(header), tuple(cells))

    def tone(self, column: int) -> str:
        """`words` over a column of texts, which are not aligned as numbers are."""
        cells = [row[column] for row in self.rows if column < len(row)]
        return "words" if cells and cells[0].tone in ("words", "code") else ""


def words(text: object) -> Cell:
    return Cell(str(text), tone="words")


def interval_cell(row: Score | Rating | None, digits: int) -> Cell:
    """A value with its interval below it."""
    return Cell(number(row.value, digits), span(row.low, row.high, digits)) if row else Cell(ABSENT)


@dataclass(frozen=True)
class Panel:
    """One metric of all contestants."""

    metric: str
    metric_info: MetricInfo
    scores: tuple[Score, ...]
    colours: dict[str, int]

    @property
    def n(self) -> str:
        return _range(score.n for score in self.scores)

    @property
    def chart(self) -> Markup:
        title = f"{self.metric_info.title} of every contestant with 95% intervals, {self.metric_info.note}"
        return charts.contestant_dots(title, self.scores, self.colours, self.metric_info.digits)


def _range(counts: Iterable[int]) -> str:
    found = sorted(set(counts))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def panels(view: RunView, colours: dict[str, int]) -> dict[str, list[Panel]]:
    """Group of metrics -> its panels, in the report's order; benchmarks are a group of their own."""
    by_metric: dict[str, list[Score]] = {}
    for score in view.summary.scores:
        by_metric.setdefault(score.metric, []).append(score)
    groups: dict[str, list[Panel]] = {group: [] for group in (*GROUPS, BENCHMARKS)}
    for metric, found in by_metric.items():
        info = metric_info(metric, view.less_is_better)
        groups[info.group].append(Panel(metric, info, tuple(found), colours))
    return {group: own for group, own in groups.items() if own}


def scores(found: Iterable[Panel], names: Sequence[str], title: str = "Every score") -> Table:
    """Every score with its interval: a row a metric, a column a contestant."""
    rows = []
    for panel in found:
        info, by_name = panel.metric_info, {score.contestant: score for score in panel.scores}
        cells = (interval_cell(by_name.get(name), info.digits) for name in names)
        rows.append((Cell(info.title, info.note), *cells, panel.n))
    return Table.of(f"{title}, with its 95% interval below it", ("metric", *names, "n"), rows)


def comparisons(compared: Sequence[Comparison]) -> Table:
    """The headline comparisons by the measure that decides, with what the other kinds of measures show."""
    reach = _reaches(compared)
    rows = [
        (Cell(each.pair.title, each.pair.role), _difference(each.primary, reach), words(each.kinds))
        for each in compared
    ]
    title = next((each.primary.metric_info.title for each in compared if each.primary), "no measure")
    caption = f"Paired differences in {title}, 95% intervals, corrected p"
    return Table.of(caption, ("", "difference", "by kind of measure"), rows)


def differences(compared: Sequence[Comparison]) -> Table:
    """A row a metric, a column a comparison, every interval drawn; rows of one metric have one scale."""
    reach = _reaches(compared)
    by_metric: dict[str, dict[int, Claim]] = {}
    for column, comparison in enumerate(compared):
        for claim in comparison.claims:
            by_metric.setdefault(claim.difference.metric, {})[column] = claim
    rows = []
    for claims in by_metric.values():
        info = next(iter(claims.values())).metric_info
        n = _range(claim.difference.n for claim in claims.values())
        cells = (_difference(claims.get(column), reach) for column in range(len(compared)))
        rows.append((Cell(info.title, f"{info.note}, n {n}"), *cells))
    header = ("metric", *(f"{c.pair.contestant} {MINUS} {c.pair.against}" for c in compared))
    return Table.of("Paired differences with 95% intervals and corrected p", header, rows)


def _difference(claim: Claim | None, reach: Mapping[str, float]) -> Cell:
    """One difference with a chart of its interval, better to the right."""
    if claim is None:
        return Cell(ABSENT)
    found, info, sign = claim.difference, claim.metric_info, claim.metric_info.better or 1
    tone = "unclear" if claim.conclusion == "describes" else claim.conclusion
    title = f"{info.title}: {claim.evidence}; {claim.conclusion}"
    low, high = sorted((found.low * sign, found.high * sign))
    chart = charts.forest(title, found.value * sign, (low, high), reach[found.metric], tone)
    return Cell(claim.size, f"{claim.interval}; {claim.p}", tone, chart)


def _reaches(compared: Iterable[Comparison]) -> dict[str, float]:
    """Metric -> the furthest end of its intervals in any comparison: rows of one metric share a scale."""
    found: dict[str, float] = {}
    for claim in (claim for comparison in compared for claim in comparison.claims):
        row = claim.difference
        found[row.metric] = max(found.get(row.metric, 0.0), abs(row.low), abs(row.high), abs(row.value))
    return found


def ratings(title: str, rows: Sequence[Rating], settings: str = "") -> Table:
    """One row a contestant; `settings` of the fit go into the caption."""
    cells = [
        (row.contestant, row.rank, number(row.value, 0), span(row.low, row.high, 0), row.battles)
        for row in rows
    ]
    caption = f"{title}: Bradley-Terry ratings{f'; {settings}' if settings else ''}"
    return Table.of(caption, ("contestant", "rank", "rating", "95% interval", "battles"), cells)


def ratings_beside(sides: Mapping[str, Sequence[Rating]]) -> Table:
    """The same contestants by several kinds of voters, side by side."""
    order = dict.fromkeys(row.contestant for rows in reversed([*sides.values()]) for row in rows)
    cells = [{row.contestant: _ranked_cell(row) for row in rows} for rows in sides.values()]
    rows = [(name, *(by_name.get(name, Cell(ABSENT)) for by_name in cells)) for name in order]
    caption = "Bradley-Terry ratings with their 95% intervals, by who voted"
    return Table.of(caption, ("contestant", *sides), rows)


def _ranked_cell(row: Rating) -> Cell:
    cell = interval_cell(row, 0)
    return replace(cell, small=", ".join(filter(None, (cell.small, f"rank {row.rank}"))))


def win_rates_together(rates: Sequence[WinRate]) -> Table:
    """People and judge together, pair by pair."""
    rows = []
    for rate in rates:
        interval = f"{percent(rate.low)} to {percent(rate.high)}"
        rows.append((f"{rate.first} against {rate.second}", percent(rate.value), interval, rate.labels))
    header = ("pair", "points of the first", "95% interval", "battles that people voted on")
    return Table.of("People + judge: share of points the first took from the second", header, rows)


def wins(title: str, votes: Sequence[Vote], names: Sequence[str]) -> Table | None:
    """Pair by pair, the share of points the row took from the column; a tie is half a point."""
    if not votes:
        return None
    points: dict[tuple[str, str], list[float]] = {}
    for vote in votes:
        points.setdefault((vote.model_a, vote.model_b), []).append(vote.points)
        points.setdefault((vote.model_b, vote.model_a), []).append(1 - vote.points)
    rows = [(a, *(_won(points.get((a, b), ())) for b in names)) for a in names]
    caption = f"{title}: share of points the row took from the column (a tie is half a point)"
    return Table.of(caption, ("", *names), rows)


def _won(points: Sequence[float]) -> Cell:
    if not points:
        return Cell(ABSENT)
    share = sum(points) / len(points)
    return Cell(percent(share), f"n {len(points)}", tone=f"tint-{1 + min(4, int(share * 5))}")


def stages(found: Sequence[StageResult]) -> Table:
    rows = [
        (
            Cell(stage.name, _stage_note(stage)),
            duration(stage.seconds),
            size(stage.peak_memory_bytes),
            number(stage.train_loss),
            words(", ".join(f"{key.replace('_', ' ')} {number(x)}" for key, x in stage.heldout.items())),
        )
        for stage in found
    ]
    return Table.of("Stages", ("stage", "time", "peak memory", "train loss", "on held-out rows"), rows)


@dataclass(frozen=True)
class SeedPlot:
    """The primary measure, or the one that is quoted, for every seed that stages were trained with."""

    title: str
    table: Table
    chart: Markup


def by_seed(summary: Summary, colours: dict[str, int]) -> SeedPlot | None:
    seeds, scores = summary.notes.get("seeds", {"values": {}, "count": 0}), quoted_scores(summary)
    metric = scores[0].metric if scores else ""
    values = {name: found.get(metric, ()) for name, found in seeds["values"].items()}
    values = {name: found for name, found in values.items() if len(found) == seeds["count"]}
    if not values:
        return None
    info, header = metric_info(metric), (f"seed {place}" for place in range(1, seeds["count"] + 1))
    title = f"{info.title} by training seed"
    table = Table.of(title, ("contestant", *header), [(name, *map(number, values[name])) for name in values])
    return SeedPlot(title, table, charts.contestant_dots(title, scores, colours, info.digits, values))


def _stage_note(stage: StageResult) -> str:
    parts = [] if stage.method == stage.name else [stage.method]
    parts += [] if stage.selected_step is None else [f"step {stage.selected_step} published"]
    return ", ".join(parts)


def answers(completions: dict[str, list[Completion]]) -> Table:
    """Counts of cut, refused, empty and repeated answers."""
    cut_and_refused = ("cut at the token limit", "refused by the server")
    header = ("contestant", "answers", *cut_and_refused, "empty", "repeated", "median tokens")
    rows = []
    for name, found in completions.items():
        answered = [each for each in found if not each.refused]
        texts = Counter(each.completion for each in answered)
        tokens = sorted(each.tokens for each in answered) or [0]
        median = number(tokens[len(tokens) // 2] if any(tokens) else None, 0)  # files of answers have none
        cut = sum(each.finish == "length" for each in found)
        empty = sum(not each.completion.strip() for each in answered)
        repeated = sum(count for count in texts.values() if count > 1)
        refused = len(found) - len(answered)
        rows.append((name, len(found), cut, refused, empty, repeated, median))
    return Table.of("The answers themselves", header, rows)


def facts(caption: str, values: Mapping[str, Any]) -> Table:
    """Names and values."""
    return Table.of(caption, ("", ""), ((key, words(value)) for key, value in values.items()))


def to_markdown(table: Table) -> str:
    """A GitHub-style table; charts are left out."""
    texts = [
        [f"{cell.text} ({cell.small})" if cell.small else cell.text for cell in row] for row in table.rows
    ]
    lines = [[*map(escaped, table.header)], ["---", *("---:" for _ in table.header[1:])]]
    lines += [[*map(escaped, row)] for row in texts]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(text: str) -> str:
    """Untrusted text inside a line of Markdown: no tags, no table cells, no emphasis, no links."""
    for mark in "\\`*_[]|#~":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def fenced(text: str) -> str:
    """Untrusted text as a Markdown code block, in a fence longer than any inside it."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
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
    found = [s for s in view.summary.scores if metric_info(s.metric).group == BENCHMARKS]
    if not found:
        return None
    measured = [
        measurement_from_values(name, metric, values)
        for name, own in view.questions.items()
        for metric, values in own.items()
    ]
    compared = compare(measured)
    rows = [
        (
            metric_info(each.metric).title,
            words(f"{each.contestant} {MINUS} {each.against}"),
            Cell(signed(each.value), span(each.low, each.high, sign=True)),
            Cell(p(each.p_value), f"{p(corrected)} corrected"),
            each.n,
        )
        for each, corrected in zip(compared.differences, compared.corrected, strict=True)
    ]
    header = ("task: metric", "difference", "with its 95% interval", "p", "n")
    table = Table.of("Benchmark differences, paired on the same questions", header, rows)
    notes = tuple(goodhart(compared.differences))
    return BenchmarkSection(_board(found, measured), table if rows else None, notes)


def _board(found: Sequence[Score], measured: Sequence[Measurement]) -> Table:
    board = leaderboard(found, measured)
    rows = [
        (row.contestant, *map(_board_cell, row.cells), _percent(row.average), _percent(row.above_chance))
        for row in board.rows
    ]
    header = ("contestant", *(metric_info(task).title for task in board.tasks), "average", "above chance")
    shares = all(place.share for row in board.rows for place in row.cells if place)
    unit = "" if shares else "shares "
    caption = f"Leaderboard, {unit}in percent; ≈ marks what is not decided to be below the best"
    return Table.of(caption, header, rows)


def _board_cell(place: BoardCell | None) -> Cell:
    if place is None:
        return Cell(ABSENT)
    score, mark = place.score, "≈ " if place.within_noise else ""
    if not place.share:
        return Cell(f"{mark}{number(score.value, 2)}", span(score.low, score.high, 2))
    low, high = (None if end is None else 100 * end for end in (score.low, score.high))
    return Cell(f"{mark}{_percent(score.value)}", span(low, high, 1))


def _percent(share: float | None) -> str:
    return number(None if share is None else 100 * share, 1)


@dataclass(frozen=True)
class SliceSection:
    metric: str
    table: Table
    worse: str
    """Where the headline's contestant got worse, in one sentence."""
    further: tuple[str, ...]
    """Other metrics whose figures by slice are in `summary.json`."""


SLICE_COMPARISONS = 2
"""Comparisons that are shown and corrected for by slice: the most important ones of the headline."""


def slice_section(view: RunView, pairs: Sequence[ComparisonPair]) -> SliceSection | None:
    """Scores and corrected differences of the headline comparisons by slice; `None`: there are no slices."""
    figures = [SliceFigure.model_validate(each) for each in view.summary.notes.get("slices", ())]
    if not figures or not pairs:
        return None
    metrics = list(dict.fromkeys(each.metric for each in figures))
    primary = view.summary.notes.get("primary")
    metric = primary if primary in metrics else metrics[0]
    info, names = metric_info(metric, view.less_is_better), view.summary.contestants
    own = [each for each in figures if each.metric == metric]
    by_slice = {(each.slice, each.score.contestant): each.score for each in own if each.score}
    found = {(each.slice, d.contestant, d.against): d for each in own if (d := each.difference)}
    there = {key[1:] for key in found}
    compared = [q for q in pairs[:SLICE_COMPARISONS] if (q.contestant, q.against) in there]
    tested = {key: d for key, d in found.items() if key[1:] in {(q.contestant, q.against) for q in compared}}
    corrected = holm([d.p_value for d in tested.values()])
    claims = {
        key: Claim(d, p_value, conclude(d, p_value, info.better), info, None, None)
        for (key, d), p_value in zip(tested.items(), corrected, strict=True)
    }
    reach = {metric: max((abs(end) for d in tested.values() for end in (d.low, d.high)), default=0.0)}
    rows, worse = [], []
    for place in dict.fromkeys(each.slice for each in own):
        count = max(score.n for (where, _), score in by_slice.items() if where == place)
        cells = [interval_cell(by_slice.get((place, name)), info.digits) for name in names]
        for pair in compared:
            claim = claims.get((place, pair.contestant, pair.against))
            cells.append(_difference(claim, reach))
            if claim and claim.conclusion == "worse":
                worse.append(f"{': '.join(place)} ({pair.title})")
        rows.append((Cell(": ".join(place), f"n {count}"), *cells))
    titles = [f"{pair.contestant} {MINUS} {pair.against}" for pair in compared]
    where = f"is not shown to have got worse in any of {len(rows)} slices"
    if worse:
        where = f"got worse in {listed(worse)}"
    return SliceSection(
        metric=info.title,
        table=Table.of(f"{info.title} by slice", ("slice", *names, *titles), rows),
        worse=f"{info.title} {where}.",
        further=tuple(each for each in metrics if each != metric),
    )
