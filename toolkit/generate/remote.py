"""A model behind an OpenAI-compatible server as a source of answers: vLLM, `transformers serve`, Ollama."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.generate.base import Reply, Request, sampling
from toolkit.models.endpoints import ChatReply, ChatRequest, Refusal, chat, stop_when_all_refused
from toolkit.models.pacing import Retry
from toolkit.models.spending import Spending, cost
from toolkit.recipe import Endpoint, Generation


@dataclass(frozen=True)
class Remote:
    """Answers of an endpoint, many conversations at once."""

    endpoint: Endpoint
    retry: Retry = Retry()

    def replies(
        self, requests: Sequence[Request], done: Collection[str], options: Generation
    ) -> Iterator[tuple[Request, Reply]]:
        """Replies as they arrive.

        A question that the server refuses while it answers others is a reply of its own kind.

        Raises:
            EndpointError: the server is down, or refuses every request.
        """
        waiting = [request for request in requests if request.id not in done]
        asked = [ChatRequest(request.messages, seed=request.seed % 2**31) for request in waiting]
        earlier = done.values() if isinstance(done, Mapping) else ()
        spent = sum(cost(self.endpoint.price, reply.tokens_in, reply.tokens) for reply in earlier)
        answers = chat(self.endpoint, asked, options, retry=self.retry, spending=Spending(spent))
        for index, answer in stop_when_all_refused(
            answers, self.endpoint.url, len(asked), answered=len(done)
        ):
            if isinstance(answer, Refusal):
                yield waiting[index], Reply("", "refused", 0, error=answer.reason)
            else:
                yield (
                    waiting[index],
                    Reply(_whole(answer), answer.finish, answer.tokens_out, tokens_in=answer.tokens_in),
                )

    def settings(self, options: Generation) -> Mapping[str, Any]:
        """Server, model, sampling and further fields of the request."""
        server = self.endpoint.model_dump(mode="json", include={"model", "parameters"})
        return {"engine": "endpoint", "url": self.endpoint.url, **server, "sampling": sampling(options)}

    def made_with(self, options: Generation) -> Mapping[str, Any]:
        return {}

    def rendered(self, request: Request) -> Any:
        return [message.as_dict() for message in request.messages]


def _whole(answer: ChatReply) -> str:
    """The answer with its thinking before it, as a model here would write it."""
    if not answer.reasoning:
        return answer.text
    closed = f"\n</think>\n\n{answer.text}" if answer.text or answer.finish == "stop" else ""
    return f"<think>\n{answer.reasoning}{closed}"
