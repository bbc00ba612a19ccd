"""Examples x a contestant -> completions, whatever answers: a local model, an endpoint, a script."""

from toolkit.generate.answering import Reply, Request, Scripted, Source, answer

__all__ = ["Reply", "Request", "Scripted", "Source", "answer"]
