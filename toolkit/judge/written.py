"""Judges that write their reasons, then their verdict; a reply that cannot be read is asked for again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

from toolkit.judge.asking import JudgePrompt, case, check_fits, render
from toolkit.judge.judging import LONGEST_REPLY, Ask, in_battle_terms
from toolkit.judge.parsing import read_field, read_outcome
from toolkit.judge.writing import Writer, choice_format
from toolkit.models.endpoints import Answer, ChatReply, ChatRequest, stop_when_all_refused
from toolkit.recipe import Generation
from toolkit.types import Judgment, Verdict, digest, split_thinking

AGAIN = 0.7
"""Temperature of further attempts: at 0 the same unreadable reply would come again."""


Item = TypeVar("Item")
Read = TypeVar("Read", bound=Judgment)


class InWords(ABC, Generic[Item, Read]):
    """A model that judges in words; what cannot be read is asked for again, `attempts` times in all."""

    def __init__(
        self,
        writer: Writer,
        prompt: JudgePrompt,
        *,
        reference: bool = False,
        attempts: int = 3,
        options: Generation = Generation(max_new_tokens=LONGEST_REPLY),
    ) -> None:
        self.writer, self.prompt, self.reference = writer, prompt, reference
        self.attempts, self.options = attempts, options

    @property
    def name(self) -> str:
        return self.writer.name

    @property
    def prompt_key(self) -> str:
        return self.prompt.key("written", self.reference, self.writer.endpoint)

    def replies(self, items: Sequence[Item], known: Mapping[int, Read]) -> Iterator[Read]:
        """Yield what every reply says: readable or the last attempt, it is final.

        Args:
            items: what is judged.
            known: place in `items` -> what was last said on it.
        """
        last, answered = dict(known), len(known)
        made = {place: self._made(last[place]) if place in last else 0 for place in range(len(items))}
        self.writer.spend(
            sum(said.tokens_in for said in known.values()), sum(said.tokens_out for said in known.values())
        )
        for attempt in range(1, self.attempts + 1):
            now = [place for place, count in made.items() if count < attempt]
            options = self.options if attempt == 1 else self._looser()
            asked = [self._request(items[place], attempt) for place in now]
            answers = self.writer.write(asked, options)
            for index, answer in stop_when_all_refused(answers, self.name, len(asked), answered=answered):
                answered += isinstance(answer, ChatReply)
                place = now[index]
                last[place] = said = self._read(items[place], answer, attempt, last.get(place))
                made[place] = self._made(said)
                yield said

    def _made(self, said: Read) -> int:
        """How many attempts need not be made any more."""
        if said.cut_at is not None and said.cut_at < self.options.max_new_tokens:
            return 0
        return self.attempts if said.readable or said.refused else said.attempt

    def _looser(self) -> Generation:
        return self.options.model_copy(update={"temperature": max(self.options.temperature, AGAIN)})

    @abstractmethod
    def _request(self, item: Item, attempt: int) -> ChatRequest: ...

    @abstractmethod
    def _read(self, item: Item, answer: Answer, attempt: int, before: Read | None) -> Read: ...


class WrittenJudge(InWords[Ask, Verdict]):
    """A model that compares two answers in words."""

    def verdicts(self, asks: Sequence[Ask], known: Mapping[Ask, Verdict]) -> Iterator[Verdict]:
        """Yield every reply's verdict."""
        check_fits(self.prompt, asks)
        yield from self.replies(asks, {place: known[ask] for place, ask in enumerate(asks) if ask in known})

    @cached_property
    def _format(self) -> Mapping[str, Any]:
        return choice_format(list(self.prompt.labels))

    def _request(self, ask: Ask, attempt: int) -> ChatRequest:
        shown = case(ask.battle, ask.order, reference=self.reference)
        messages = render(self.prompt, "written", shown, self.writer.control)
        seed = int(digest(ask.battle.id, ask.order, str(attempt)), 16) % 2**31
        return ChatRequest(messages, seed=seed, response_format=self._format)

    def _read(self, ask: Ask, answer: Answer, attempt: int, before: Verdict | None) -> Verdict:
        shown = None
        if isinstance(answer, ChatReply) and answer.finish == "stop":
            shown = read_outcome(split_thinking(answer.text)[1], self.prompt.labels)
        return Verdict(
            battle_id=ask.battle.id,
            judge=self.name,
            order=ask.order,
            prompt=self.prompt_key,
            attempt=attempt,
            outcome=in_battle_terms(shown, ask.order),
            **facts(answer, self.options, before),
        )


def facts(answer: Answer, options: Generation, before: Judgment | None) -> dict[str, Any]:
    """What judgments keep of a reply besides what it says: reasons or a refusal, tokens of all attempts."""
    read, written = (before.tokens_in, before.tokens_out) if before else (0, 0)
    if not isinstance(answer, ChatReply):
        refused = {"error": answer.reason, "reason": f"refused: {answer.reason}"}
        return refused | {"tokens_in": read, "tokens_out": written}
    return {
        "reason": words(answer.text),
        "tokens_in": read + answer.tokens_in,
        "tokens_out": written + answer.tokens_out,
        "cut_at": options.max_new_tokens if answer.finish == "length" else None,
    }


def words(reply: str) -> str:
    """The judge's reasons: of a structured reply its `reason`, else all of it."""
    reason = read_field(reply, "reason")
    return reply.strip() if reason is None else str(reason)
