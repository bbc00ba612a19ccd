"""Generation by an OpenAI-compatible server; apart from `base`, since the client takes long to import."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.generate.base import Replies, Reply, Request, Source, sampling
from toolkit.models.endpoints import ChatRequest, Refusal, chat, stop_when_all_refused
from toolkit.models.rate_limit import Retry, Spending, cost
from toolkit.recipe import Endpoint, Generation


@dataclass(frozen=True)
class EndpointSource(Source):
    """An OpenAI-compatible server: vLLM, `transformers serve`, Ollama, a hosted API; concurrent requests."""

    endpoint: Endpoint
    retry: Retry = Retry()

    def replies(self, requests: Sequence[Request], done: Collection[str], options: Generation) -> Replies:
        """Replies as they arrive, single refusals too; an `EndpointError` where none comes."""
        waiting = [request for request in requests if request.id not in done]
        chat_requests = [ChatRequest(request.messages, seed=request.seed % 2**31) for request in waiting]
        earlier = done.values() if isinstance(done, Mapping) else ()
        spent = sum(cost(self.endpoint.price, reply.tokens_in, reply.tokens) for reply in earlier)
        answers = chat(self.endpoint, chat_requests, options, retry=self.retry, spending=Spending(spent))
        answers = stop_when_all_refused(answers, self.endpoint.url, len(chat_requests), answered=len(done))
        for index, answer in answers:
            if isinstance(answer, Refusal):
                yield waiting[index], Reply("", "refused", 0, error=answer.reason)
                continue
            text = answer.text
            if answer.reasoning:  # in the format of local models
                closed = f"\n</think>\n\n{text}" if text or answer.finish == "stop" else ""
                text = f"<think>\n{answer.reasoning}{closed}"
            reply = Reply(text, answer.finish, answer.tokens_out, tokens_in=answer.tokens_in)
            yield waiting[index], reply

    def settings(self, options: Generation) -> Mapping[str, Any]:
        """Server, model, sampling and further fields of the request."""
        server = self.endpoint.model_dump(mode="json", include={"model", "parameters"})
        return {"engine": "endpoint", "url": self.endpoint.url, **server, "sampling": sampling(options)}
