"""Generation by an OpenAI-compatible server: vLLM, `transformers serve`, Ollama, hosted APIs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.generate.base import Reply, Request, sampling
from toolkit.models.endpoints import ChatReply, ChatRequest, Refusal, chat, stop_when_all_refused
from toolkit.models.rate_limit import Retry, Spending, cost
from toolkit.recipe import Endpoint, Generation


@dataclass(frozen=True)
class EndpointSource:
    """Concurrent generation by an endpoint."""

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
        chat_requests = [ChatRequest(request.messages, seed=request.seed % 2**31) for request in waiting]
        earlier = done.values() if isinstance(done, Mapping) else ()
        spent = sum(cost(self.endpoint.price, reply.tokens_in, reply.tokens) for reply in earlier)
        answers = chat(self.endpoint, chat_requests, options, retry=self.retry, spending=Spending(spent))
        for index, answer in stop_when_all_refused(
            answers, self.endpoint.url, len(chat_requests), answered=len(done)
        ):
            if isinstance(answer, Refusal):
                yield waiting[index], Reply("", "refused", 0, error=answer.reason)
            else:
                yield (
                    waiting[index],
                    Reply(
                        _with_reasoning(answer), answer.finish, answer.tokens_out, tokens_in=answer.tokens_in
                    ),
                )

    def settings(self, options: Generation) -> Mapping[str, Any]:
        """Server, model, sampling and further fields of the request."""
        server = self.endpoint.model_dump(mode="json", include={"model", "parameters"})
        return {"engine": "endpoint", "url": self.endpoint.url, **server, "sampling": sampling(options)}

    def metadata(self, options: Generation) -> Mapping[str, Any]:
        return {}

    def rendered(self, request: Request) -> Any:
        return [message.as_dict() for message in request.messages]


def _with_reasoning(answer: ChatReply) -> str:
    """The reply with its reasoning in front, in the format of local models."""
    if not answer.reasoning:
        return answer.text
    closed = f"\n</think>\n\n{answer.text}" if answer.text or answer.finish == "stop" else ""
    return f"<think>\n{answer.reasoning}{closed}"
