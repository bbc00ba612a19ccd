"""A small recipe that goes through every step with a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

WORDS = [
    "lamp",
    "kettle",
    "chair",
    "radio",
    "bag",
    "toaster",
    "clock",
    "mirror",
    "stool",
    "wallet",
    "belt",
    "fan",
]


@pytest.fixture
def small_recipe(tmp_path: Path, tiny_model: Path) -> Path:
    """The file of a recipe: SFT, DPO on top, two contestants more, scores, judge."""
    return write_small_recipe(tmp_path, tiny_model)


def write_small_recipe(tmp_path: Path, tiny_model: Path) -> Path:

    def ask(word: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"my {word} broke"}]

    def say(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    files = {
        "sft": [{"prompt": ask(word), "completion": say(f"Product: {word}")} for word in WORDS],
        "pairs": [
            {"prompt": ask(w), "chosen": say(f"Product: {w}"), "rejected": say(f"A {w}?")} for w in WORDS
        ],
        "heldout": [
            {"id": f"h{i}", "messages": ask(f"old {word}"), "reference": f"Product: {word}"}
            for i, word in enumerate(WORDS[:6])
        ],
    }
    for name, rows in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    trainer = {"max_steps": 6, "per_device_train_batch_size": 2, "save_steps": 2, "learning_rate": 1e-3}
    recipe = {
        "name": "small",
        "base": str(tiny_model),
        "model": {"device": "cpu", "dtype": "float32"},
        "data": {name: {"source": f"{name}.jsonl"} for name in files},
        "stages": [
            {"name": "sft", "method": "sft", "data": "sft", "trainer": trainer},
            {"name": "dpo", "method": "dpo", "start": "sft", "data": "pairs", "trainer": trainer},
        ],
        "scoring": {
            "examples": "heldout",
            "fewshot_baseline": False,
            "generation": {"max_new_tokens": 12, "batch_size": 4},
            "metrics": ["perplexity", "rouge", "bleu", "chrf", "exact_match", "length"],
        },
        "judge": {},
    }
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file
