"""Rows of training and held-out data, read once: those that do not fit, and what the others hold."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from toolkit import io
from toolkit.data import Conversation, Row, load_groups
from toolkit.data.formats import RowError, prompt_of
from toolkit.data.readers import has_parts, load_placed_examples, stream_rows
from toolkit.errors import DataError
from toolkit.progress import log_progress
from toolkit.recipe import Recipe
from toolkit.run.checks import error, info, warning
from toolkit.run.checks.overlap import Hits, Overlap
from toolkit.run.checks.quality import Quality, line_of
from toolkit.types import Example, Finding, Message

logger = logging.getLogger(__name__)

MAX_PLACES = 5  # places named for one kind of problem; the rest are counted
SAMPLE = 20_000  # rows of a data set that are rendered and measured in tokens; contents are looked at in all
LARGE = 50_000_000  # bytes of a file from which on several processes look at it
PROCESSES = 4
STEP = 10_000  # rows between two reports of progress


@dataclass
class Seen:
    """What is kept of a data set's rows: how many there are, and a sample of them with their places."""

    rows: list[Row] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    count: int = 0
    kinds: dict[type, Row] = field(default_factory=dict)  # the first row of each kind
    system: int = 0  # rows with a system turn
    draws: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, place: str, row: Row) -> None:
        """Reservoir sampling (Vitter 1985): each row is in the sample with the same chance."""
        self.count += 1
        self.kinds.setdefault(type(row), row)
        self.system += [turn.role for turn in prompt_of(row)[:1]] == ["system"]
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
        both.sort(key=lambda pair: line_of(pair[0]))
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
        return HeldOut(), [_unread(name, problem)]
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
        quality = Quality(name, special, trained=name in trained, rename=recipe.data[name].rename)
        seen, problems = _scan(recipe, name, quality, compared if name in trained else None)
        findings += problems
        if seen.count:
            sets[name] = seen
            findings += quality.findings()
        if seen.count > len(seen.rows):
            text = f"{seen.count} rows are looked at; templates and lengths are checked on "
            text += f"{len(seen.rows)} of them"
            findings.append(info("sampled", f"data.{name}", text, "nothing to do: they are drawn at random"))
    return sets, findings


@dataclass
class Scan:
    """What one pass over the rows of a data set, or over one part of them, found."""

    recipe: Recipe
    name: str
    quality: Quality
    overlap: Overlap | None  # of rows that are trained on
    seen: Seen = field(default_factory=Seen)
    bad: int = 0
    problems: list[Finding] = field(default_factory=list)

    def look(self, part: io.Part) -> None:
        """Look at the rows of one part; what keeps rows from being read goes into `problems`."""
        source = self.recipe.data[self.name]
        try:
            for place, raw, row in stream_rows(source, seed=self.recipe.seed, part=part):
                if isinstance(row, RowError):
                    self.bad += 1
                    if self.bad <= MAX_PLACES and not source.skip_bad_rows:
                        fix = "mend the row, or set skip_bad_rows: true"
                        self.problems.append(error("row", place, str(row), fix))
                    continue
                self.seen.add(place, row)
                self.quality.add(place, raw, row)
                if self.overlap:
                    self.overlap.add(self.name, row)
                if self.seen.count % STEP == 0 and not part[0]:
                    done = self.seen.count * part[1]
                    log_progress(logger, f"checking {self.name}: rows", done, source.limit or 0)
        except DataError as problem:
            self.problems.insert(0, _unread(self.name, problem))

    def join(
        self, seen: Seen, quality: Quality, hits: Hits | None, bad: int, problems: list[Finding]
    ) -> None:
        """Take in what another process found in its part."""
        self.seen.join(seen)
        self.quality.join(quality)
        if self.overlap and hits:
            self.overlap.hits[self.name].join(hits)
        self.bad += bad
        both = sorted([*self.problems, *problems], key=lambda each: line_of(each.place))
        rows, others = ([each for each in both if (each.code == "row") is kind] for kind in (True, False))
        self.problems = others[:1] + rows[:MAX_PLACES]


def _scan(recipe: Recipe, name: str, quality: Quality, overlap: Overlap | None) -> tuple[Seen, list[Finding]]:
    """Look at all rows of a data set; gives a sample of them, and what keeps rows from being read."""
    source, scan = recipe.data[name], Scan(recipe, name, quality, overlap)
    file = Path(source.source)
    large = has_parts(source) and file.is_file() and file.stat().st_size > LARGE
    parts = min(PROCESSES, os.cpu_count() or 1) if large else 1
    with ExitStack() as running:
        others = [_start(running, scan, (part, parts)) for part in range(1, parts)]
        scan.look((0, parts))
        for part, pipe in enumerate(others, start=1):
            try:
                scan.join(*pipe.recv())
            except EOFError:
                logger.warning("%s: a process that looked at its rows died; done again in this one", file)
                scan.look((part, parts))
    problems, place = scan.problems, f"data.{name}"
    if not scan.seen.count and not scan.bad and not problems:
        problems.append(error("data", place, f"{file}: no rows", "mend the file"))
    if scan.bad and source.skip_bad_rows:
        text = f"{scan.bad} rows do not fit and are left out"
        problems.append(warning("rows-skipped", place, text, "look at them, or drop them"))
    elif scan.bad > MAX_PLACES:
        text = f"{scan.bad - MAX_PLACES} more rows do not fit"
        problems.append(error("row", place, text, "mend them, or set skip_bad_rows: true"))
    return scan.seen, problems


def _start(running: ExitStack, scan: Scan, part: io.Part) -> Connection:
    """Have another process, forked with the scan as it is, look at one part; it sends what it found."""
    forked = multiprocessing.get_context("fork")
    receive, send = forked.Pipe(duplex=False)
    process = forked.Process(target=_look_and_send, args=(scan, part, send), daemon=True)
    process.start()
    send.close()
    running.callback(process.join)
    return receive


def _look_and_send(scan: Scan, part: io.Part, send: Connection) -> None:
    scan.look(part)
    hits = scan.overlap.hits[scan.name] if scan.overlap else None
    send.send((scan.seen, scan.quality, hits, scan.bad, scan.problems))


def _unread(name: str, problem: DataError) -> Finding:
    if "from the hub" in str(problem):
        fix = "it will be fetched at the first run; to check it now, go online"
        return info("data-not-checked", f"data.{name}", str(problem), fix)
    text = str(problem).removesuffix(" (or set `skip_bad_rows: true`)")
    return error("data", f"data.{name}", text, "mend the file")


def system_turns(recipe: Recipe, sets: dict[str, Seen], heldout: HeldOut) -> Iterator[Finding]:
    """Whether prompts have another form than in training."""
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
        from toolkit.train.methods import row_mismatch

        for name in (stage.data, stage.heldout):
            problem = row_mismatch(stage, list(sets[name].kinds.values())) if name in sets else None
            if problem:
                yield error("row-kind", f"stages.{stage.name}", problem, f"give {name} another format")
