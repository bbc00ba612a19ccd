"""Completions of examples by a local model, an endpoint or a Python function."""

from toolkit.generate.base import Reply, Request, Scripted, Source
from toolkit.generate.completions import generate_completions

__all__ = ["Reply", "Request", "Scripted", "Source", "generate_completions"]
