"""Quality of training and held-out rows, in one pass; of each row only hashes of eight bytes are kept."""

from __future__ import annotations

import itertools
import re
import string
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolkit.data import Preference, Rated, Row, Text
from toolkit.data.formats import answer_of, passed_over, prompt_of
from toolkit.recipe.loader import KEY_SIGNS, KEYS
from toolkit.run.checks import error, info, patterns, warning
from toolkit.run.checks.patterns import FAULTS, LOWER_IS_BETTER, SCORED
from toolkit.types import Finding, split_thinking

LOPSIDED = 0.9
"""Share of pairs whose chosen answer is the longer (or the shorter), above which length is learned."""

ENOUGH = 20  # rows below which a share says nothing
IMBALANCE = 10
"""Wanted answers for each unwanted one, or the other way, above which KTO sees hardly any of the fewer."""

HASHED = ("exact", "near", "question", "answer", "other", "liked", "disliked")
"""What is kept of every row as a hash of eight bytes."""

SPEAKERS = ("Q:", "Question:", "User:", "Human:", "Prompt:", "Instruction:", "Input:")

NAMED = 20  # columns that are named

TAIL, LOOPED = 30, 150  # characters that come again in a loop, and what a loop has at the least
LENGTHY = 12  # characters of a question that hardly begin an answer by chance


@dataclass
class Tally:
    """How many rows show one kind of fault, and the first of them."""

    first: str
    shown: str
    count: int = 0


class Quality:
    """Looks at the rows of one data set, one after the other."""

    def __init__(
        self,
        name: str,
        special: Sequence[str],
        *,
        trained: bool = True,
        rename: Mapping[str, str] | None = None,
    ) -> None:
        """`special`: special tokens as text; `trained`: rows to train on; `rename`: old column -> new."""
        self.name, self.trained, self.count = name, trained, 0
        self.renamed = {new: old for old, new in (rename or {}).items()}
        self.tallies: dict[str, Tally] = {}
        self.before, self.numbers = "", array("q")  # `file:line` of every row
        self.special = re.compile("|".join(map(re.escape, filter(None, special))) or r"(?!)")
        self.hashes = {key: array("q") for key in HASHED}
        self.longer = self.shorter = self.pairs = self.desirable = self.rated = self.scored = self.even = 0
        self.passed_over: Counter[str] = Counter()
        """Columns and keys of turns that are not read -> rows that have them."""
        self.score_columns: dict[tuple[str, ...], list[tuple[str, str]]] = {}

    def _place(self, row: int) -> str:
        return f"{self.before}{self.numbers[row]}"

    def add(self, place: str, raw: Mapping[str, Any], row: Row) -> None:
        self.count += 1
        self.passed_over.update(passed_over(raw))
        self.before = place.rstrip("0123456789")  # of `file:3`, `file:paragraph 3`
        self.numbers.append(int(place.removeprefix(self.before)))
        turns, answers = prompt_of(row), _answers(row)
        self._text(place, "\n".join([*(turn.content for turn in turns), *answers]))
        if isinstance(row, Text):
            self._hash(row, "", loose(row.text))
            return
        question_key = loose(" ".join(turn.content for turn in turns if turn.role != "system"))
        answer_key = loose(answers[0])
        self._hash(row, question_key, answer_key)
        self._turns(place, [turn.role for turn in turns])
        question = next((turn.content for turn in reversed(turns) if turn.role == "user"), "")
        if not isinstance(row, Rated) or row.desirable:
            self._answer(place, answers[0])
        for answer in answers if len(question) >= LENGTHY else ():
            start = answer.find(question.strip(), 0, len(question.strip()) + 20)
            if start >= 0 and answer[:start].strip() in ("", *SPEAKERS):  # perhaps after the speaker's name
                self._note("prompt-in-answer", place)
                break
        if isinstance(row, Preference):
            self._pair(place, raw, row, answer_key)
        elif isinstance(row, Rated):
            self.rated, self.desirable = self.rated + 1, self.desirable + row.desirable

    def join(self, other: Quality) -> None:
        """Take in what another process found in its part of the rows."""
        for code, tally in other.tallies.items():
            mine = self.tallies.setdefault(code, Tally(tally.first, tally.shown))
            if line_of(tally.first) < line_of(mine.first):
                mine.first, mine.shown = tally.first, tally.shown
            mine.count += tally.count
        self.passed_over.update(other.passed_over)
        self.before = self.before or other.before
        for name in ("count", "longer", "shorter", "pairs", "desirable", "rated", "scored", "even"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        order = np.argsort([*self.numbers, *other.numbers], kind="stable")
        columns = [(self.hashes[key], other.hashes[key]) for key in HASHED]
        for ours, theirs in [*columns, (self.numbers, other.numbers)]:
            both = np.concatenate([np.frombuffer(ours, np.int64), np.frombuffer(theirs, np.int64)])[order]
            del ours[:]
            ours.frombytes(both.tobytes())

    def findings(self) -> Iterator[Finding]:
        """Everything found, each kind once, at the first of its rows."""
        for code, fault in FAULTS.items():
            tally = self.tallies.get(code)
            if tally:
                find = fault.severity if tally.count > fault.share * self.count else info
                text = fault.text.format(n=tally.count, all=self.count, shown=tally.shown)
                if tally.count > 1 and "{n}" not in fault.text:
                    text = f"{text} ({tally.count} of {self.count} rows)"
                yield find("turns" if code.startswith("turns-") else code, tally.first, text, fault.fix)
        yield from self._copies()
        yield from self._sides()
        scores = {name for pairs in self.score_columns.values() for pair in pairs for name in pair}
        rest = [each for each in self.passed_over.most_common(NAMED) if each[0] not in scores]
        if rest:
            text = f"not read, with the rows that have it: {', '.join(f'`{name}` ({n})' for name, n in rest)}"
            fix = "nothing to do, unless a row means something else without it: then `rename` it"
            yield info("passed-over", f"data.{self.name}", text, fix)

    def _note(self, code: str, place: str, shown: str = "") -> None:
        self.tallies.setdefault(code, Tally(place, shown)).count += 1

    def _text(self, place: str, text: str) -> None:
        """What is wrong with characters and marks; searched for only where one of its characters is there."""
        if not text.isascii() or not text.replace("\n", "").isprintable():
            self._characters(place, text)
        markup = "<" in text or "&" in text or "[" in text or "##" in text
        if markup and (found := _in_prose(patterns.HTML, text)):
            self._note("html", place, found[0])
        if found := self.special.search(text):
            self._note("template-in-text", place, found[0])
        elif markup and (found := patterns.MARKUP.search(text)):
            self._note("foreign-template", place, found[0])
        elif ": " in text and len(marks := {mark.strip() for mark in patterns.SPEAKER.findall(text)}) > 1:
            self._note("foreign-template", place, " ".join(sorted(marks)))
        if _has(text, KEY_SIGNS) and (found := KEYS.search(text)):
            self._note("secret", place, f"{found[0][:8]}...")

    def _characters(self, place: str, text: str) -> None:
        if found := patterns.MOJIBAKE.search(text):
            self._note("mojibake", place, repr(found[0]))
        found = patterns.INVISIBLE.search(text)
        if found or ((found := patterns.DIRECTION.search(text)) and not patterns.RIGHT_TO_LEFT.search(text)):
            self._note("invisible", place, f"U+{ord(found[0]):04X}")
        if "\r" in text and self.trained:
            self._note("carriage-return", place)

    def _turns(self, place: str, roles: list[str]) -> None:
        if "user" not in roles:
            self._note("no-question", place)
        if len(roles) < 2:  # noqa: PLR2004
            if roles == ["assistant"]:
                self._note("turns-assistant", place)
            return
        for one, other in itertools.pairwise([*roles, "assistant"]):
            if one == other and one in ("user", "assistant"):
                self._note(f"turns-{one}", place)
                break
        if "system" in roles[1:]:
            self._note("turns-system", place)

    def _answer(self, place: str, answer: str) -> None:
        thought, visible = split_thinking(answer)
        if thought is not None and not visible.strip():
            self._note("open-thinking", place)
        if answer != answer.strip():
            self._note("outer-space", place)
        if "\\" in answer and "\n" not in answer and (found := _in_prose(patterns.LITERAL, answer)):
            self._note("literal-newline", place, found[0])
        if found := patterns.OWN_NAME.match(answer):
            self._note("foreign-template", place, found[0].strip())
        if len(visible) < 40 and patterns.PLACEHOLDER.fullmatch(visible.strip()):  # noqa: PLR2004
            self._note("placeholder", place, repr(visible.strip()[:30]))
        low = visible.lower().replace("\u2019", "'")
        if _has(low, patterns.FILL_IN_SIGNS) and (found := _in_prose(patterns.FILL_IN, visible)):
            self._note("placeholder", place, repr(found[0][:30]))
        if _loops(answer) or _loops(answer[: len(answer) * 3 // 4]):
            self._note("repetition", place)
        if patterns.REFUSAL.match(low[:200]):
            self._note("refusal", place, repr(visible[:40]))
        if _has(low, patterns.BOILERPLATE_SIGNS) and (found := patterns.BOILERPLATE.search(low)):
            self._note("boilerplate", place, repr(found[0]))

    def _pair(self, place: str, raw: Mapping[str, Any], row: Preference, answer_key: str) -> None:
        self.pairs += 1
        self.longer += len(row.chosen) > len(row.rejected)
        self.shorter += len(row.chosen) < len(row.rejected)
        if answer_key == loose(row.rejected):
            self._note("nearly-same", place)
        for one, other in self._score_columns(raw):
            both = raw[one] if one == other else (raw[one], raw.get(other, 0.0))
            better, worse = map(_number, both if isinstance(both, (list, tuple)) and len(both) == 2 else "--")  # noqa: PLR2004
            if better is not None and worse is not None:
                self.scored += 1
                self.even += better == worse
                if better < worse:
                    self._note("swapped", place, f"{one} {better:g} < {f'{other} '.lstrip()}{worse:g}")
                break

    def _score_columns(self, raw: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Pairs of columns that score the sides, higher is better; twice the same: both, `""`: a margin."""
        key = tuple(raw)
        if key not in self.score_columns:
            pairs = [(name, self._other_side(name)) for name in raw]
            self.score_columns[key] = [
                (one, other)
                for one, other in pairs
                if other in raw and one != other and SCORED.search(one) and not LOWER_IS_BETTER.search(one)
            ] or [
                (name, "" if name == "margin" else name)
                for name in ("scores", "ratings", "rewards", "margin")
                if name in raw
            ]
        return self.score_columns[key]

    def _other_side(self, column: str) -> str:
        """The rejected side's column beside one of the chosen side; itself where there is none."""
        one, other = "chosen", "rejected"
        if column not in self.renamed:
            one, other = self.renamed.get(one, one), self.renamed.get(other, other)
        shared = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
        if column.endswith(f"_{one[shared:]}"):
            one, other = one[shared:], other[shared:]
        head, found, tail = column.rpartition(one)
        return f"{head}{other}{tail}" if found else column

    def _hash(self, row: Row, question_key: str, answer_key: str) -> None:
        other = loose(row.rejected) if isinstance(row, Preference) else ""
        label = row.desirable if isinstance(row, Rated) else None
        answers = _answers(row)
        exact = tuple(turn.content for turn in prompt_of(row))
        values = {
            "exact": hash((exact, *answers, label)),
            "near": hash((question_key, answer_key, other, label)),
            "question": hash(question_key),
            "answer": hash(answer_key),
            "other": hash(other),
            "liked": hash((question_key, answer_key)),
        }
        if isinstance(row, Preference):
            values["disliked"] = hash((question_key, other))
        elif label is False:
            values["disliked"], values["liked"] = values["liked"], hash(("", question_key, answer_key))
        else:
            values["disliked"] = hash(("", self.count))
        for key, value in values.items():
            self.hashes[key].append(value)

    def _copies(self) -> Iterator[Finding]:
        arrays = {key: np.frombuffer(values, dtype=np.int64) for key, values in self.hashes.items()}
        exact, near = _later_copies(arrays["exact"]), _later_copies(arrays["near"])
        known = {later for _, later in exact}
        only = [pair for pair in near if pair[1] not in known]
        if exact:
            first, later = exact[0]
            text = f"{len(exact)} of {self.count} rows are copies of others, such as this of "
            text += f"{self._place(first)}: they weigh double"
            yield warning("rows-double", self._place(later), text, "drop the copies")
        if only:
            first, later = only[0]
            text = (
                f"{len(only)} of {self.count} rows differ from others in case, spaces and punctuation only,"
            )
            text += f" this one from {self._place(first)}: they weigh double"
            yield warning("rows-nearly-double", self._place(later), text, "drop the copies")
        if not self.trained:
            yield from self._repeated_questions(arrays, {*known, *(later for _, later in only)})
            return
        both = np.flatnonzero(np.isin(arrays["disliked"], arrays["liked"]))
        if len(both):
            text = "its rejected or unwanted answer is the chosen or wanted one of a row with the same prompt"
            yield warning("contradiction", self._place(int(both[0])), text, "decide which is better")
        yield from self._answers_alike(arrays)

    def _repeated_questions(self, arrays: dict[str, Any], copies: set[int]) -> Iterator[Finding]:
        again = [pair for pair in _later_copies(arrays["question"]) if pair[1] not in copies]
        if again:
            first, later = again[0]
            text = f"{len(again)} of {self.count} questions stand again with another reference, such as"
            text += f" that of {self._place(first)}: they count twice, and no answer fits both"
            yield warning("references-differ", self._place(later), text, "give one row several references")

    def _answers_alike(self, arrays: dict[str, Any]) -> Iterator[Finding]:
        for key, what in (("other", "rejected"), ("answer", "chosen")):
            place, most, _ = self._commonest(arrays[key])
            if self.pairs >= ENOUGH and most > LOPSIDED * self.pairs:
                text = f"{most} of {self.pairs} {what} answers are the same: its words are learned"
                yield warning("one-answer", place, text, f"add pairs with other {what} answers")
        if self.pairs or self.rated:
            return
        pairs = np.unique(np.stack([arrays["question"], arrays["answer"]], axis=1), axis=0)
        _, counts = np.unique(pairs[:, 0], return_counts=True)
        if (many := int((counts > 1).sum())) and len(counts) > 1:
            text = f"{many} questions have several different answers"
            fix = "keep the one that is wanted, unless variety is"
            yield info("answers-differ", f"data.{self.name}", text, fix)
        place, most, different = self._commonest(arrays["answer"])
        share = most / self.count
        if self.count >= ENOUGH and share > 0.5 and len(counts) > 1:  # noqa: PLR2004
            find = warning if share > LOPSIDED or different > ENOUGH / 2 else info
            text = f"{share:.0%} of the answers are the same ({place}): it may be all that is learned"
            fix = "balance the rows, or count what the shortest answer scores"
            yield find("one-answer", f"data.{self.name}", text, fix)

    def _commonest(self, values: Any) -> tuple[str, int, int]:
        """Place of the first row with the commonest value, its count, and the number of values."""
        _, first, counts = np.unique(values, return_index=True, return_counts=True)
        most = int(counts.argmax())
        return self._place(int(first[most])), int(counts[most]), len(counts)

    def _sides(self) -> Iterator[Finding]:
        place = f"data.{self.name}"
        if self.pairs >= ENOUGH:
            for share, what in ((self.longer / self.pairs, "longer"), (self.shorter / self.pairs, "shorter")):
                if share > LOPSIDED:
                    text = f"the chosen answer is {what} in {share:.0%} of the pairs: length may be learned"
                    yield warning("length-bias", place, text, f"add pairs whose better answer is not {what}")
        if swapped := self.tallies.get("swapped"):
            count = f"{swapped.count} of {self.scored} pairs"
            text = f"rejected has the higher score in {count} ({swapped.shown})"
            at = place if swapped.count > self.scored / 2 else swapped.first
            yield warning("swapped", at, text, "swap chosen and rejected (`rename`), or filter by the scores")
        if self.even == self.scored >= ENOUGH:
            text = f"chosen and rejected have the same score in all {self.scored} pairs that have scores"
            yield warning("same-score", place, text, "look where the preferences come from")
        fewer = min(self.desirable, self.rated - self.desirable)
        if self.rated and not fewer:
            kind = "wanted" if self.desirable else "unwanted"
            text = f"every answer is {kind}: there is nothing to tell apart"
            yield error("one-sided", place, text, "add answers of the other kind")
        elif fewer and self.rated - fewer > IMBALANCE * fewer:
            others = self.rated - self.desirable
            text = f"{self.desirable} answers are wanted, {others} unwanted: these hardly count"
            fix = "balance them, or weigh them by trainer.desirable_weight and undesirable_weight"
            yield warning("imbalance", place, text, fix)


def line_of(place: str) -> int:
    """The number that `file:3` or `file:paragraph 3` ends with."""
    return int(place[len(place.rstrip("0123456789")) :] or 0)


def _later_copies(values: Any) -> list[tuple[int, int]]:
    """(first, later) positions of rows with equal values, in order of the later ones."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    origin = first[inverse]
    return [(int(origin[later]), int(later)) for later in np.flatnonzero(origin != np.arange(len(values)))]


def _answers(row: Row) -> list[str]:
    """The answer that is learned or preferred, and the other one of a pair."""
    return [answer_of(row), row.rejected] if isinstance(row, Preference) else [answer_of(row)]


def _loops(text: str) -> bool:
    """Whether a text ends in one passage with words, over and over: at least five times, 150 characters."""
    tail = text[-TAIL:]
    period = len(text) - TAIL - text.rfind(tail, 0, -1) if len(text) > LOOPED else 0
    times = max(5, -(-LOOPED // period)) if period else 0
    again = text[-period:] * times
    return 0 < period * times <= len(text) and text.endswith(again) and any(map(str.isalpha, again[:period]))


def _in_prose(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = pattern.search(text)
    return pattern.search(patterns.CODE.sub("", text)) if found and "`" in text else found


def _has(text: str, signs: Sequence[str]) -> bool:
    for sign in signs:  # noqa: SIM110 - a generator takes three times as long
        if sign in text:
            return True
    return False


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) or value is None else float(value)
    except (TypeError, ValueError):
        return None


def question_of(row: Row) -> str:
    """The question as one plain text, without system turns."""
    return plain(" ".join(turn.content for turn in prompt_of(row) if turn.role != "system"))


def all_text(row: Row) -> str:
    return "\n".join([*(turn.content for turn in prompt_of(row)), *_answers(row)])


def loose(text: str) -> str:
    """Without case, spaces and the marks of sentences; those of sums and programs count."""
    return text.lower().translate(_LOOSE)


_LOOSE = dict.fromkeys(map(ord, " \t\n\r\u00a0.,;:!?\"'\u2018\u2019\u201c\u201d\u2026"))


def plain(text: str) -> str:
    """In lower case, words only, with single spaces."""
    return " ".join(words_of(text))


def words_of(text: str) -> list[str]:
    return text.lower().translate(_SPACED).split()


_MARKS = "".join(map(chr, (*range(0xA1, 0xC0), 0xD7, 0xF7, *range(0x2010, 0x2070), *range(0x3001, 0x3020))))
_ASCII = string.punctuation.replace("_", "")
_SPACED = dict.fromkeys(map(ord, f"{_ASCII}{_MARKS}\uff01\uff0c\uff0e\uff1a\uff1b\uff1f"), " ")
