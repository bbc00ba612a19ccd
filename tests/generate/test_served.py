"""A real `transformers serve` process on loopback is a contestant that says what its model says here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from toolkit import io
from toolkit.errors import EndpointError
from toolkit.generate import generate_completions
from toolkit.generate.endpoint import EndpointSource
from toolkit.models import load_base
from toolkit.models.rate_limit import Retry
from toolkit.recipe import Endpoint, Generation, ModelOptions
from toolkit.types import Completion, Example, Message

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serve")]

OPTIONS = Generation(max_new_tokens=12)


def examples() -> list[Example]:
    return [Example(id=f"e{i}", messages=(Message(role="user", content="word " * i),)) for i in range(1, 9)]


def test_a_served_model_answers_as_it_does_in_memory_and_is_resumed(
    served: subprocess.Popen[bytes], address: str, tiny_model: Path, tmp_path: Path
):
    endpoint = Endpoint(url=f"{address}/v1", model=str(tiny_model), concurrency=4)
    remote = tmp_path / "remote.jsonl"
    first = generate_completions(endpoint, examples()[:5], contestant="c", options=OPTIONS, out=remote)
    found = generate_completions(endpoint, examples(), contestant="c", options=OPTIONS, out=remote)
    assert found[:5] == first
    here = load_base(str(tiny_model), ModelOptions(device="cpu", dtype="float32"))
    expected = generate_completions(
        here, examples(), contestant="c", options=OPTIONS, out=tmp_path / "here.jsonl"
    )
    assert [one.completion for one in found] == [one.completion for one in expected]
    assert all(one.tokens > 0 for one in found)

    served.kill()
    served.wait()
    quick = EndpointSource(endpoint, Retry(first_wait=0.01, longest_wait=0.02, cool_off=0.01, tries=2))
    more = [*examples(), Example(id="new", messages=(Message(role="user", content="and?"),))]
    with pytest.raises(EndpointError):
        generate_completions(quick, more, contestant="c", options=OPTIONS, out=remote)
    assert len(list(io.read(remote, Completion))) == 8, "the earlier file is kept"
