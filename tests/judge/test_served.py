"""Behind a real `transformers serve` process a judge says what its model says in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.judge.example_battles import battle, kept
from toolkit.judge import judge_battles
from toolkit.judge.generative import EndpointBackend, GenerativeJudge, LocalBackend
from toolkit.judge.prompts import JudgePrompt
from toolkit.models import Loaded
from toolkit.recipe import Endpoint, Generation

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serve")]

OPTIONS = Generation(max_new_tokens=24)


@pytest.mark.usefixtures("served")
def test_a_served_judge_writes_as_it_does_in_memory_and_is_requested_once(
    address: str, tiny_model: Path, tiny: Loaded, short: JudgePrompt, tmp_path: Path
):
    """Random weights write nothing that can be read: every attempt is made, and kept as invalid."""
    battles = [battle(1), battle(2, "four", "five")]
    endpoint = Endpoint(url=f"{address}/v1", model=str(tiny_model), concurrency=2)
    remote = GenerativeJudge(EndpointBackend(endpoint), short, attempts=2, options=OPTIONS)
    judge_battles(remote, battles, store=tmp_path / "remote")
    reply = kept(tmp_path / "remote")
    here = GenerativeJudge(LocalBackend(tiny), short, attempts=1, options=OPTIONS)
    expected = judge_battles(here, battles, store=tmp_path / "here")

    first = {(one.battle_id, one.order): one.reason for one in reply if one.attempt == 1}
    assert first == {(one.battle_id, one.order): one.reason for one in expected}
    assert sorted(one.attempt for one in reply) == [1] * 4 + [2] * 4
    assert all(one.outcome is None and one.tokens_in > 0 and one.tokens_out > 0 for one in reply)

    judge_battles(remote, battles, store=tmp_path / "remote")
    assert kept(tmp_path / "remote") == reply
