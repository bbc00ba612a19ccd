"""Judges that write their reasons, then their verdict; a reply that cannot be read is asked for again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from toolkit.judge.asking import JudgePrompt, case, check_fits, render
from toolkit.judge.judging import LONGEST_REPLY, Ask, in_battle_terms
from toolkit.judge.parsing import read_field, read_outcome
from toolkit.judge.writing import Writer, choice_format
from toolkit.models.endpoints import Answer, ChatReply, ChatRequest
from toolkit.recipe import Generation
from toolkit.types import Verdict, digest

AGAIN = 0.7
"""Temperature of further attempts: at 0 the same unreadable reply would come again."""


class Said(Protocol):
    """What a reply was read as: a verdict, a grade."""

    @property
    def attempt(self) -> int: ...

    @property
    def readable(self) -> bool: ...


Item = TypeVar("Item")
Read = TypeVar("Read", bound=Said)


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
        return self.prompt.key("written")

    def replies(self, items: Sequence[Item], known: Mapping[int, Read]) -> Iterator[Read]:
        """Yield what every reply says: readable or the last attempt, it is final.

        Args:
            items: what is judged.
            known: place in `items` -> what was last said on it.
        """
        made = dict.fromkeys(range(len(items)), 0)
        made |= {place: self._made(said) for place, said in known.items()}
        for attempt in range(1, self.attempts + 1):
            now = [place for place, count in made.items() if count < attempt]
            options = self.options if attempt == 1 else self._looser()
            asked = [self._request(items[place], attempt) for place in now]
            for index, answer in self.writer.write(asked, options):
                said = self._read(items[now[index]], answer, attempt)
                made[now[index]] = self._made(said)
                yield said

    def _made(self, said: Read) -> int:
        """How many attempts need not be made any more."""
        return self.attempts if said.readable else said.attempt

    def _looser(self) -> Generation:
        return self.options.model_copy(update={"temperature": max(self.options.temperature, AGAIN)})

    @abstractmethod
    def _request(self, item: Item, attempt: int) -> ChatRequest: ...

    @abstractmethod
    def _read(self, item: Item, answer: Answer, attempt: int) -> Read: ...


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

    def _read(self, ask: Ask, answer: Answer, attempt: int) -> Verdict:
        fields: dict[str, Any] = {"reason": f"no reply: {getattr(answer, 'reason', '')}", "outcome": None}
        if isinstance(answer, ChatReply):
            shown = read_outcome(answer.text, self.prompt.labels) if answer.finish == "stop" else None
            fields = {
                "outcome": in_battle_terms(shown, ask.order),
                "reason": words(answer.text),
                "tokens_in": answer.tokens_in,
                "tokens_out": answer.tokens_out,
            }
        return Verdict(
            battle_id=ask.battle.id,
            judge=self.name,
            order=ask.order,
            prompt=self.prompt_key,
            attempt=attempt,
            **fields,
        )


def words(reply: str) -> str:
    """The judge's reasons: of a structured reply its `reason`, else all of it."""
    reason = read_field(reply, "reason")
    return reply.strip() if reason is None else str(reason)
