"""The circle closes: train, vote, export the votes, train on them, and the new contestant wins the next vote.

The voters are scripted. Two of them like short answers and say so to nobody; a third tosses a coin. SFT
teaches a tiny model to answer now shortly, now at length; only the votes can tell DPO which is liked.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import forked
from toolkit.arena import accepted_votes
from toolkit.arena.battles import BlindBallot, load_battle_pool
from toolkit.arena.service import ArenaService, Rules
from toolkit.arena.store import Store
from toolkit.ratings import bradley_terry
from toolkit.types import Outcome

pytestmark = pytest.mark.slow

THINGS = ["lamp", "fan", "bag", "cup", "hat", "pen", "box", "key", "mug", "rug", "jar", "pan", "belt", "bowl"]
STATES = ["old", "red", "big", "wet", "new", "tin", "hot", "dry"]
PROMPTS = [f"my {state} {thing} broke" for thing in THINGS for state in STATES]
FIRST, SECOND = PROMPTS[::2], PROMPTS[1::2]
"""What is asked before the first vote, and before the second."""

MANNER = {"role": "system", "content": "Say more"}
"""Trained with long answers only, so that one stage makes two contestants who do not always say the same."""

SHORT, LONG = "Sorry.", "Sorry to hear that, we will see."


def as_messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"source": path.name}


def train_and_answer(folder: Path, recipe: dict[str, Any]) -> Path:
    """Run a recipe as its user does; returns the run folder."""
    file = folder / "circle.yaml"
    file.write_text(yaml.safe_dump(recipe))
    call(
        folder, "run", file, "--out", folder / "results", "--anyway"
    )  # the held-out questions are those trained on
    return folder / "results" / "circle"


def call(folder: Path, *arguments: object) -> Any:
    code, out, err = forked.command([*map(str, arguments), "--json"], folder)
    assert code == 0, err[-2000:]
    return json.loads(out)


def likes_short(ballot: BlindBallot) -> Outcome:
    """The hidden preference, on nothing but what a page may show."""
    a, b = len(ballot.answer_a), len(ballot.answer_b)
    return "tie" if abs(a - b) < 8 else "a" if a < b else "b"


def vote(run: Path, contestants: tuple[str, ...]) -> None:
    """Three voters see every battle there is."""
    store = Store(f"sqlite:///{run / 'arena.db'}")
    service = ArenaService(load_battle_pool(run, contestants), store, Rules(per_minute=10_000))
    coin = random.Random(0)
    for voter in ("ann", "bob", "toss"):
        service.register_voter(voter)
        while ballot := service.ballot(voter):
            service.vote(voter, ballot.id, coin.choice("ab") if voter == "toss" else likes_short(ballot))
    store.close()


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path) -> dict[str, Any]:
    """SFT on short and long answers alike; its two contestants answer at temperature 1."""
    reply = [
        {"messages": [*manner, *as_messages(prompt), {"role": "assistant", "content": answer}]}
        for prompt in PROMPTS
        for manner, answer in (([], SHORT), ([], LONG), ([MANNER], LONG))
    ]
    return {
        "name": "circle",
        "base": str(tiny_model),
        "model": {"device": "cpu", "dtype": "float32"},
        "data": {
            "said": write(tmp_path / "said.jsonl", reply),
            "first": write(tmp_path / "first.jsonl", [{"messages": as_messages(prompt)} for prompt in FIRST]),
            "second": write(
                tmp_path / "second.jsonl", [{"messages": as_messages(prompt)} for prompt in SECOND]
            ),
        },
        "stages": [
            {
                "name": "sft",
                "method": "sft",
                "data": "said",
                "adapter": {"r": 32},
                "trainer": {"learning_rate": 1e-2, "max_steps": 240, "per_device_train_batch_size": 16},
            }
        ],
        "contestants": {"sft": {"stage": "sft"}, "sft-more": {"stage": "sft", "prompt": [MANNER]}},
        "scoring": {
            "examples": "first",
            "generation": {"max_new_tokens": 40, "temperature": 1.0, "batch_size": 56},
            "metrics": ["length"],
        },
    }


def test_votes_make_the_next_contestant_better(recipe: dict[str, Any], tmp_path: Path) -> None:
    run = train_and_answer(tmp_path, recipe)
    vote(run, ("sft", "sft-more"))

    out, heldout = tmp_path / "pairs.jsonl", tmp_path / "pairs-heldout.jsonl"
    requested = ("--min-votes", 2, "--min-agreement", 0.7, "--heldout-share", 0.25)
    counts = call(
        tmp_path, "preferences", "--from-votes", run, "--out", out, "--heldout", heldout, *requested
    )
    rows = [json.loads(line) for file in (out, heldout) for line in file.read_text().splitlines()]
    assert counts["pairs"] >= 8
    assert counts["heldout"] >= 1
    assert counts["dropped"]["disagreement"] >= 1, "the coin spoiled some"
    assert len(rows) == counts["pairs"] + counts["heldout"]
    for row in rows:
        assert len(row["chosen"][0]["content"]) < len(row["rejected"][0]["content"])
        assert row["provenance"]["agreement"] >= 0.7
        assert {"ann", "bob"} <= set(row["provenance"]["voters"])
        sides = row["provenance"]["chosen_contestant"], row["provenance"]["rejected_contestant"]
        assert set(sides) == {"sft", "sft-more"}

    recipe["data"] |= {"pairs": {"source": out.name}, "pairs-heldout": {"source": heldout.name}}
    recipe["stages"].append(
        {
            "name": "dpo",
            "method": "dpo",
            "start": "sft",
            "data": "pairs",
            "heldout": "pairs-heldout",
            "trainer": {"learning_rate": 1e-3, "max_steps": 20, "per_device_train_batch_size": 8},
        }
    )
    recipe["contestants"] = {"sft": {"stage": "sft"}, "dpo": {"stage": "dpo"}}
    recipe["scoring"]["examples"] = "second"  # prompts that nobody has voted on
    run = train_and_answer(tmp_path, recipe)
    vote(run, ("sft", "dpo"))

    votes = [v for v in accepted_votes(f"sqlite:///{run / 'arena.db'}") if "dpo" in (v.model_a, v.model_b)]
    best, second = bradley_terry(votes).ratings
    assert (best.contestant, best.rank) == ("dpo", 1)
    assert best.value > second.value + 50
