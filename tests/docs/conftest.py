"""A folder in which what the pages tell a reader to type can be typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.arena.voting import import_rows
from toolkit import io
from toolkit.arena.store import Store
from toolkit.types import WINNERS, Completion, Vote

ROOT = Path(__file__).parents[2]
PACKAGED = ROOT / "toolkit" / "recipes" / "tickets"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader would stand: finished runs in `results/`, votes in an arena, data files of their own."""
    demo = tmp_path / "results" / "demo"
    shutil.copytree(ROOT / "results" / "demo-example", demo)
    (demo / "adapters" / "sft" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    votes = [vote for vote in io.read(demo / "votes.jsonl", Vote) if vote.kind == "judge"][:60]
    battles = [
        {
            "model_a": vote.model_a,
            "model_b": vote.model_b,
            "winner": WINNERS[("a", "b", "tie")[place % 3]],
            "question_id": vote.example_id,
            "voter": f"person {place % 4}",
            "category": ("lamps", "bags")[place % 2],
        }
        for place, vote in enumerate(votes)
    ]
    write_lines(tmp_path / "battles.jsonl", battles)
    write_lines(tmp_path / "bots.jsonl", battles)
    write_lines(tmp_path / "votes.jsonl", battles)
    pd.DataFrame(battles).to_csv(tmp_path / "votes.csv", index=False)
    pd.DataFrame(battles).to_parquet(tmp_path / "votes.parquet")
    import_rows(Store(f"sqlite:///{demo / 'arena.db'}"), battles, run="demo", source="battles.jsonl")
    for again in ("results/second", "results/mine", "results/demo-round-2", "tries/demo"):
        shutil.copytree(demo, tmp_path / again)
    base = list(io.read(demo / "completions" / "base.jsonl", Completion))
    io.write(tmp_path / "base.jsonl", base[:3])
    io.write(tmp_path / "hosted.jsonl", base[:3])
    both = base + list(io.read(demo / "completions" / "dpo.jsonl", Completion))
    io.write(tmp_path / "outputs.jsonl", both)
    io.write(tmp_path / "mine.jsonl", both[len(base) :])
    io.write(tmp_path / "theirs.jsonl", base)
    for name, file in {"train": "sft", "test": "heldout", "a": "sft", "b": "heldout"}.items():
        lines = (PACKAGED / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()[:40]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    shutil.copy(PACKAGED / "pairs.jsonl", tmp_path / "pairs.jsonl")
    shutil.copy(PACKAGED / "pairs-heldout.jsonl", tmp_path / "pairs-heldout.jsonl")
    shutil.copy(PACKAGED / "heldout.jsonl", tmp_path / "questions.jsonl")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        config = {"base_model_name_or_path": "smollm2-135m-instruct", "peft_type": "LORA"}
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "my_prompts.txt").write_text("What is a lamp?\n")
    (tmp_path / "wikitext.txt").write_text("A lamp stands on the table. " * 40 + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_lines(file: Path, rows: list[dict[str, object]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
