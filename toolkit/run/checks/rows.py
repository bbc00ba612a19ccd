"""Rows of training and held-out data, read once: those that do not fit, and what the others hold."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolkit import io
from toolkit.data import Conversation, Row, Text, load_groups
from toolkit.data.formats import RowError, convert
from toolkit.data.readers import has_parts, load_placed_examples, selected_rows
from toolkit.errors import DataError
from toolkit.progress import log_progress
from toolkit.recipe import DataSource, Recipe
from toolkit.run.checks.findings import error, info, warning
from toolkit.run.checks.overlap import Overlap
from toolkit.run.checks.quality import Quality
from toolkit.train.methods import row_mismatch
from toolkit.types import Example, Finding, Message

logger = logging.getLogger(__name__)

MAX_PLACES = 5
"""Places named for one kind of problem; the rest are counted."""

SAMPLE = 20_000
"""Rows of a data set that are rendered and measured in tokens; contents are looked at in all."""

LARGE = 50_000_000
"""Bytes of a file from which on several processes look at it."""

PROCESSES = 4

STEP = 10_000
"""Rows between two reports of progress."""


@dataclass
class Seen:
    """What is kept of a data set's rows: how many there are, and a sample of them with their places."""

    rows: list[Row] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    count: int = 0
    kinds: dict[type, Row] = field(default_factory=dict)
    """The first row of each kind."""
    system: int = 0
    """Rows with a system turn."""
    draws: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, place: str, row: Row) -> None:
        """Reservoir sampling (Vitter 1985): each row is in the sample with the same chance."""
        self.count += 1
        self.kinds.setdefault(type(row), row)
        self.system += not isinstance(row, Text) and _first_role(row) == "system"
        if self.count <= SAMPLE:
            self.rows.append(row)
            self.places.append(place)
        elif (slot := int(self.draws.random() * self.count)) < SAMPLE:
            self.rows[slot], self.places[slot] = row, place

    def join(self, other: Seen) -> None:
        """Take in the rows that another process saw, as many as they weigh, in the order of their lines."""
        both = [*zip(self.places, self.rows, strict=True), *zip(other.places, other.rows, strict=True)]
        if len(both) > SAMPLE:
            share = round(SAMPLE * self.count / (self.count + other.count))
            both = both[: len(self.rows)][:share] + both[len(self.rows) :][: SAMPLE - share]
        both.sort(key=lambda pair: int(pair[0].rpartition(":")[2]))
        self.places, self.rows = [place for place, _ in both], [row for _, row in both]
        self.count, self.system = self.count + other.count, self.system + other.system
        self.kinds = {**other.kinds, **self.kinds}


@dataclass(frozen=True)
class HeldOut:
    """The examples that contestants are measured on."""

    examples: list[Example] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    """Example id -> group, where the recipe names a column of groups."""


def read_heldout(recipe: Recipe) -> tuple[HeldOut, list[Finding]]:
    """The held-out examples, and what does not fit."""
    if recipe.scoring is None:
        return HeldOut(), []
    name = recipe.scoring.examples
    try:
        placed = load_placed_examples(recipe.data[name], seed=recipe.seed)
        column = recipe.scoring.groups
        groups = load_groups(recipe.data[name], column) if column else {}
    except DataError as problem:
        return HeldOut(), [_unread(name, recipe.data[name], str(problem))]
    return HeldOut([example for _, example in placed], [place for place, _ in placed], groups), []


def heldout_quality(recipe: Recipe, heldout: HeldOut, special: Sequence[str]) -> Iterator[Finding]:
    """What is wrong with held-out examples that fit; what is measured is as good as they are."""
    if recipe.scoring is None or not heldout.examples:
        return
    quality = Quality(recipe.scoring.examples, special, trained=False)
    for example, place in zip(heldout.examples, heldout.places, strict=True):
        answer = (Message(role="assistant", content=example.reference or "-"),)
        quality.add(place, {}, Conversation(id=example.id, messages=(*example.messages, *answer)))
    yield from quality.findings()


def read(recipe: Recipe, special: Sequence[str], compared: Overlap) -> tuple[dict[str, Seen], list[Finding]]:
    """The rows of every data set that stages use, and what is wrong with them."""
    sets: dict[str, Seen] = {}
    findings: list[Finding] = []
    trained = {stage.data for stage in recipe.stages}
    names = dict.fromkeys(part for stage in recipe.stages for part in (stage.data, stage.heldout) if part)
    for name in names:
        scan = Scan(recipe, name, special, compared if name in trained else None)
        findings += scan.run()
        if scan.seen.count:
            sets[name] = scan.seen
            findings += scan.quality.findings()
            findings += _sampled(name, scan.seen)
    return sets, findings


class Scan:
    """One pass over the rows of a data set, by several processes where the file is large."""

    def __init__(self, recipe: Recipe, name: str, special: Sequence[str], compared: Overlap | None) -> None:
        self.name, self.source, self.seed = name, recipe.data[name], recipe.seed
        trained = compared is not None
        self.quality = Quality(name, special, trained=trained, rename=self.source.rename)
        self.seen, self.bad, self.compared = Seen(), BadRows(name, self.source), compared
        self.problem: Finding | None = None

    def run(self) -> list[Finding]:
        """Look at all rows; gives what keeps rows from being read."""
        file = Path(self.source.source)
        shared = has_parts(self.source) and file.is_file() and file.stat().st_size > LARGE
        count = min(PROCESSES, os.cpu_count() or 1) if shared else 1
        if count == 1:
            self.look(io.WHOLE)
        else:
            others = [_Other(self, (part, count)) for part in range(1, count)]
            self.look((0, count))
            for other in others:
                if found := other.result():
                    self._join(found)
                else:
                    logger.warning("%s: a process that looked at its rows died; done again in this one", file)
                    self.look(other.part)
        if self.problem is None and not self.seen.count and not self.bad.count:
            self.problem = error("data", f"data.{self.name}", f"{file}: no rows", "mend the file")
        return [*([self.problem] if self.problem else []), *self.bad.findings()]

    def look(self, part: tuple[int, int]) -> None:
        """Look at the rows of one part."""
        last: dict[str, Any] = {}

        def make(raw: dict[str, Any], row_id: str) -> Row:
            nonlocal last
            last = raw
            return convert(raw, self.source.format, row_id)

        try:
            for place, row in selected_rows(self.source, make, self.seed, part):
                if isinstance(row, RowError):
                    self.bad.add(place, row)
                    continue
                self.seen.add(place, row)
                self.quality.add(place, last, row)
                if self.compared:
                    self.compared.add(self.name, row)
                if self.seen.count % STEP == 0 and not part[0]:
                    done = self.seen.count * part[1]
                    log_progress(logger, f"checking {self.name}: rows", done, self.source.limit or 0)
        except DataError as problem:
            self.problem = _unread(self.name, self.source, str(problem))

    def _join(self, other: Scan) -> None:
        """Take in what another process saw of its part."""
        self.seen.join(other.seen)
        self.quality.join(other.quality)
        self.bad.join(other.bad)
        self.problem = self.problem or other.problem
        if self.compared and other.compared:
            self.compared.hits[self.name].join(other.compared.hits[self.name])


class _Other:
    """Another process, forked with the scan as it is, that looks at one part of the rows."""

    def __init__(self, scan: Scan, part: tuple[int, int]) -> None:
        forked = multiprocessing.get_context("fork")
        self.part = part
        self.receive, self.send = forked.Pipe(duplex=False)
        self.process = forked.Process(target=self._run, args=(scan,), daemon=True)
        self.process.start()
        self.send.close()

    def _run(self, scan: Scan) -> None:
        with contextlib.suppress(BaseException):  # the first process meets it too, and says it
            scan.look(self.part)
            if scan.compared:
                scan.compared = scan.compared.found_only()
            self.send.send(scan)

    def result(self) -> Scan | None:
        """What it found; `None` where it died."""
        try:
            found: Scan | None = self.receive.recv()
        except EOFError:
            found = None
        self.process.join()
        return found


def _first_role(row: Any) -> str:
    return str((row.messages if isinstance(row, Conversation) else row.prompt)[0].role)


def _sampled(name: str, seen: Seen) -> Iterator[Finding]:
    if seen.count > len(seen.rows):
        text = (
            f"{seen.count} rows are looked at; templates and lengths are checked on {len(seen.rows)} of them"
        )
        yield info("sampled", f"data.{name}", text, "nothing to do: they are drawn at random")


class BadRows:
    """The rows of one data set that do not fit: the first ones by file and line, and how many there are."""

    def __init__(self, name: str, source: DataSource) -> None:
        self.name, self.source, self.count = name, source, 0
        self.first: list[Finding] = []

    def add(self, place: str, problem: RowError) -> None:
        self.count += 1
        if self.count <= MAX_PLACES and not self.source.skip_bad_rows:
            self.first.append(error("row", place, str(problem), "mend the row, or set skip_bad_rows: true"))

    def join(self, other: BadRows) -> None:
        self.count += other.count
        self.first = sorted(
            [*self.first, *other.first], key=lambda found: int(found.place.rpartition(":")[2])
        )[:MAX_PLACES]

    def findings(self) -> Iterator[Finding]:
        place = f"data.{self.name}"
        yield from self.first
        if self.source.skip_bad_rows and self.count:
            text = f"{self.count} rows do not fit and are left out"
            yield warning("rows-skipped", place, text, "look at them, or drop them")
        elif self.count > MAX_PLACES:
            text = f"{self.count - MAX_PLACES} more rows do not fit"
            yield error("row", place, text, "mend them, or set skip_bad_rows: true")


def _unread(name: str, source: DataSource, problem: str) -> Finding:
    if "from the hub" in problem:
        fix = "it will be fetched at the first run; to check it now, go online"
        return info("data-not-checked", f"data.{name}", problem, fix)
    fix = "mend the file"
    return error("data", f"data.{name}", problem.removesuffix(" (or set `skip_bad_rows: true`)"), fix)


def system_turns(recipe: Recipe, sets: dict[str, Seen], heldout: HeldOut) -> Iterator[Finding]:
    """Whether the model is asked in another way than it was trained."""
    if recipe.scoring is None or not heldout.examples:
        return
    with_system = sum(example.messages[0].role == "system" for example in heldout.examples)
    for name in dict.fromkeys(stage.data for stage in recipe.stages if stage.method != "text"):
        if name not in sets:
            continue
        trained, rows = sets[name].system, sets[name].count
        if (trained == rows and not with_system) or (not trained and with_system == len(heldout.examples)):
            which = ("every row", "no held-out example") if trained else ("no row", "every held-out example")
            text = f"{which[0]} of `{name}` has a system turn and {which[1]} has: it is asked in another way"
            fix = "give both the same system turn, or contestants a `prompt` with it"
            yield warning("system-turn", f"data.{recipe.scoring.examples}", text, fix)


def kinds(recipe: Recipe, sets: dict[str, Seen]) -> Iterator[Finding]:
    """Stages whose rows are not of the kind their method learns from."""
    for stage in recipe.stages:
        for name in (stage.data, stage.heldout):
            problem = row_mismatch(stage, list(sets[name].kinds.values())) if name in sets else None
            if problem:
                yield error("row-kind", f"stages.{stage.name}", problem, f"give {name} another format")
