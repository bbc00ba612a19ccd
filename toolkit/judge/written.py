"""The judge that writes its reasons, then its verdict; a reply that cannot be read is asked for again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.judge.asking import JudgePrompt, case, check_fits, render
from toolkit.judge.judging import LONGEST_REPLY, Ask, in_battle_terms
from toolkit.judge.parsing import read_outcome
from toolkit.judge.writing import Writer, choice_format
from toolkit.models.endpoints import Answer, ChatReply, ChatRequest
from toolkit.recipe import Generation
from toolkit.types import Verdict, digest

AGAIN = 0.7
"""Temperature of further attempts: at 0 the same unreadable reply would come again."""


class WrittenJudge:
    """A model that compares two answers in words."""

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
        self.format = choice_format(list(prompt.labels))

    @property
    def name(self) -> str:
        return self.writer.name

    @property
    def prompt_key(self) -> str:
        return self.prompt.key("written")

    def verdicts(self, asks: Sequence[Ask], known: Mapping[Ask, Verdict]) -> Iterator[Verdict]:
        """Yield every reply's verdict: readable or the last attempt, it is final."""
        check_fits(self.prompt, asks)
        made = {ask: known[ask].attempt if ask in known else 0 for ask in asks}
        open_asks = [ask for ask in asks if ask not in known or known[ask].outcome is None]
        for attempt in range(1, self.attempts + 1):
            now = [ask for ask in open_asks if made[ask] < attempt]
            options = self.options if attempt == 1 else self._looser()
            for index, answer in self.writer.write([self._request(ask, attempt) for ask in now], options):
                verdict = self._verdict(now[index], answer, attempt)
                made[now[index]] = attempt if verdict.outcome is None else self.attempts
                yield verdict

    def _looser(self) -> Generation:
        return self.options.model_copy(update={"temperature": max(self.options.temperature, AGAIN)})

    def _request(self, ask: Ask, attempt: int) -> ChatRequest:
        shown = case(ask.battle, ask.order, reference=self.reference)
        messages = render(self.prompt, "written", shown, self.writer.control)
        seed = int(digest(ask.battle.id, ask.order, str(attempt)), 16) % 2**31
        return ChatRequest(messages, seed=seed, response_format=self.format)

    def _verdict(self, ask: Ask, answer: Answer, attempt: int) -> Verdict:
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
    try:
        value = json.loads(reply)
    except (ValueError, RecursionError):
        return reply.strip()
    return str(value.get("reason", reply)) if isinstance(value, dict) else reply.strip()
