"""Worked examples of contestants (`shots`): drawn from training rows, their number tuned on others."""

import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from toolkit.data import Conversation, Rated, Row, Text
from toolkit.data.chat import prompt_ids, turn_separator, with_prompt
from toolkit.data.formats import VISIBLE, answer_of, prompt_of
from toolkit.errors import DataError
from toolkit.metrics import Measurement
from toolkit.recipe import MOST_SHOTS, Contestant
from toolkit.types import Example, Message, Record, split_thinking

logger = logging.getLogger(__name__)

CANDIDATES = (1, 3, 5, 8)  # numbers of worked examples that `auto` tries
TUNING_ROWS = 40  # training rows, none of them a worked example, on which they are tried
FEWEST_ANSWERS = 5  # answers from which on a format can be read off them
MOST_STOPS = 4  # stop strings that servers take
TIE_BREAK = "rougeL"  # all may be wrong by the primary measure, and some nearer than others
LONGEST = 20  # examples whose prompts are measured, those of the longest texts


class WorkedExamples(Record):
    """What a contestant with `shots` is shown before every example: `shots/<contestant>.json`."""

    shots: int
    data: str
    """The data set they are rows of."""
    prompt: tuple[Message, ...]
    stop: tuple[str, ...]
    """Texts at which an answer of this format has ended."""
    metric: str | None = None
    """By which `shots` was chosen; `None`: the recipe says how many."""
    scores: dict[int, float] = Field(default={})
    """Number of worked examples -> the metric on `n` further training rows."""
    n: int = 0


class Exchange(Record):
    """A question and its answer in a training row."""

    id: str
    system: tuple[Message, ...]
    question: Message
    answer: Message

    @property
    def texts(self) -> tuple[str, str]:
        return self.question.content, self.answer.content

    @property
    def example(self) -> Example:
        return Example(id=self.id, messages=(*self.system, self.question), reference=self.answer.content)


def exchange_of(row: Row) -> Exchange | None:
    """A row's first question and answer, where the answer is one to learn from."""
    if isinstance(row, Text) or (isinstance(row, Rated) and not row.desirable):
        return None
    turns = [*prompt_of(row), Message(role="assistant", content=answer_of(row))]
    start = int(turns[0].role == "system")
    unlearned = row.unlearned if isinstance(row, Conversation) else ()
    if [turn.role for turn in turns[start : start + 2]] != ["user", "assistant"] or start + 1 in unlearned:
        return None
    answer = split_thinking(turns[start + 1].content)[1].strip()
    if not VISIBLE.search(answer):
        return None
    reply = Message(role="assistant", content=answer)
    return Exchange(id=row.id, system=tuple(turns[:start]), question=turns[start], answer=reply)


def draw_exchanges(rows: Iterable[Row], measured: Sequence[Example], seed: int) -> list[Exchange]:
    """Exchanges in the order in which they are drawn; none has a text of what contestants are measured on."""
    from toolkit.run.checks.overlap import COMMON, MeasuredTexts  # imports what trains
    from toolkit.run.checks.quality import plain

    found = [exchange for exchange in map(exchange_of, rows) if exchange]
    counts = Counter(plain(exchange.answer.content) for exchange in found)
    common = {text for text, count in counts.items() if count > max(2.0, COMMON * len(found))}
    questions = [" ".join(t.content for t in each.messages if t.role != "system") for each in measured]
    answers = {plain(text) for each in measured for text in (each.reference, *each.references) if text}
    held = MeasuredTexts({plain(text) for text in questions}, answers - common)
    drawn: list[Exchange] = []
    ids, prompts = set[str](), set[str]()
    for exchange in random.Random(seed).sample(found, len(found)):
        texts = [plain(text) for text in exchange.texts]
        if exchange.id in ids or texts[0] in prompts or held.shown_in(texts):
            continue
        drawn.append(exchange)
        ids.add(exchange.id)
        prompts.add(texts[0])
        if len(drawn) == MOST_SHOTS + TUNING_ROWS:
            break
    return drawn


def stop_strings(exchanges: Sequence[Exchange], tokenizer: Any = None) -> tuple[str, ...]:
    """Texts at which an answer of this format has ended, so that no further turn is invented behind it.

    A line break or an empty line, the label that every answer or question begins with, and what the chat
    template puts before the next question; each only where none of the answers holds it.
    """
    questions, answers = ([each.texts[side].strip() for each in exchanges] for side in (0, 1))
    found = []
    if len(answers) >= FEWEST_ANSWERS:
        breaks = (mark for mark in ("\n", "\n\n", "\n\n\n") if not any(mark in text for text in answers))
        found += [next(breaks, ""), *(_label(texts) for texts in (answers, questions))]
    if tokenizer is not None:
        found.append(turn_separator(tokenizer))
    usable = [stop for stop in dict.fromkeys(found) if stop and not any(stop in text for text in answers)]
    shortest = [stop for stop in usable if not any(other != stop and other in stop for other in usable)]
    return tuple(shortest[:MOST_STOPS])


def _label(texts: Sequence[str]) -> str:
    """The label before a colon that all texts begin with, as it would begin a further one; or nothing."""
    found = {match[0] if (match := re.match(r"[^\n:]{1,40}:", text)) else "" for text in texts}
    label = found.pop()
    return f"\n{label}" if label and not found else ""


@dataclass(frozen=True)
class Reader:
    """How a model reads prompts, to know what fits."""

    tokenizer: Any
    window: int  # tokens that its context leaves for a prompt

    def fit(self, prompts: Mapping[int, tuple[Message, ...]], examples: Sequence[Example]) -> list[int]:
        """The numbers of worked examples that fit before the longest of the examples."""
        longest = sorted(examples, key=lambda each: sum(len(turn.content) for turn in each.messages))

        def size(prompt: tuple[Message, ...]) -> int:
            rows = (with_prompt(prompt, each.messages) for each in longest[-LONGEST:])
            return max(len(prompt_ids(self.tokenizer, row)) for row in rows)

        return [count for count, prompt in prompts.items() if size(prompt) <= self.window]


Measure = Callable[[WorkedExamples, list[Example]], list[Measurement]]
"""Completions of training rows behind worked examples, measured by the tuning metric."""


@dataclass(frozen=True)
class Choice:
    """Worked examples of one contestant, to be drawn."""

    name: str
    spec: Contestant
    data: str
    exchanges: Sequence[Exchange]
    examples: Sequence[Example]
    reader: Reader | None  # `None`: of a server, which knows what fits

    def worked(self, count: int) -> WorkedExamples:
        """The first so many exchanges as worked examples."""
        return WorkedExamples(
            shots=count,
            data=self.data,
            prompt=tuple(turn for each in self.exchanges[:count] for turn in (each.question, each.answer)),
            stop=stop_strings(self.exchanges, self.reader and self.reader.tokenizer),
        )

    def fixed(self, count: int) -> WorkedExamples:
        """As many as the recipe says; a `DataError` where rows or the model's context have fewer."""
        key = f"contestants.{self.name}.shots"
        if len(self.exchanges) < count:
            raise DataError(
                f"{key}: {count} worked examples are more than {len(self.exchanges)} rows of `{self.data}` "
                "that begin with a question and its answer and are not held out; lower it, or add rows"
            )
        fit = self._fit(range(1, count + 1))
        if count not in fit:
            most = max(fit, default=0)
            raise DataError(
                f"{key}: {count} worked examples and the longest example do not fit the model's context; "
                + (f"at most {most} do" if most else "leave them out, or name a model with a longer one")
            )
        return self.worked(count)

    def tuned(self, measure: Measure, figure: str) -> WorkedExamples:
        """As many as do best by a figure on other training rows; on a tie by ROUGE-L, then fewer."""
        kept = self.exchanges[: max(CANDIDATES) + TUNING_ROWS]
        others = min(TUNING_ROWS, max(len(kept) // 2, len(kept) - max(CANDIDATES)))
        rows = [each.example for each in kept[len(kept) - others :]]
        enough = [count for count in CANDIDATES if count <= len(kept) - len(rows)]
        candidates, key = self._fit(enough), f"contestants.{self.name}"
        if candidates != enough:
            skipped = " or ".join(str(count) for count in enough if count not in candidates)
            text = "%s.shots: %s worked examples do not fit the model's context; not tried"
            logger.warning(text, key, skipped)
        if not candidates:
            logger.warning("%s: it is shown no worked example: no row of %s fits", key, self.data)
        if len(candidates) < 2:  # noqa: PLR2004
            return self.worked(max(candidates, default=0))
        scores: dict[int, float] = {}
        ties: dict[int, float] = {}
        for count in candidates:
            found = measure(self.worked(count), rows)
            by_figure = {each.metric: each for each in found}
            measured = by_figure.get(figure)
            if measured is None:
                raise DataError(f"{key}.shots: answers to training rows have no {figure}; say how many")
            better, scores[count] = measured.direction, measured.value
            ties[count] = by_figure[TIE_BREAK].value if TIE_BREAK in by_figure else 0.0
            logger.info("%s: %d worked examples, %s %.3f", self.name, count, figure, measured.value)
        best = max(candidates, key=lambda count: (better * scores[count], ties[count], -count))
        return self.worked(best).model_copy(update={"metric": figure, "scores": scores, "n": len(rows)})

    def _fit(self, counts: Iterable[int]) -> list[int]:
        prompts = {count: self.spec.prompt + self.worked(count).prompt for count in counts}
        return self.reader.fit(prompts, self.examples) if self.reader else list(prompts)
