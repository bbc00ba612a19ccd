"""Examples x a contestant -> completions, whatever answers: a local model, an endpoint, a script."""

from toolkit.generate.answering import answer
from toolkit.generate.base import Reply, Request, Scripted, Source

__all__ = ["Reply", "Request", "Scripted", "Source", "answer"]
