"""Every method learns from the same tokens that generation starts from, under every template TRL ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from tests.data.test_chat import SHIPPED, TEMPLATES, turn
from tests.train.test_methods import FP32, recipe_of, stage
from toolkit.data import Conversation, Preference, Rated
from toolkit.data.chat import encode_turns, render
from toolkit.errors import DataError, RecipeError
from toolkit.generate.base import Request
from toolkit.generate.local import LocalSource
from toolkit.models import Loaded, hardware, load_base
from toolkit.train import preference, reward, rl
from toolkit.train.base import Base
from toolkit.train.methods import configuration

THOUGHT = "<think>\nlet me see, {}\n</think>\n\n"
TALK = [turn("user", "first"), turn("assistant", "one."), turn("user", "second")]
THINKING = [turn("user", "first"), turn("assistant", THOUGHT.format("a") + "one."), turn("user", "second")]
PROMPTS = {
    "single turn": TALK[:1],
    "several turns": TALK,
    "system turn": [turn("system", "be brief"), *TALK],
    "thinking": THINKING,
}
SHORT = {"precompute_ref_log_probs": False, "max_length": None, "per_device_train_batch_size": 8}


def started(loaded: Loaded, folder: Path) -> Base:
    chosen = hardware.choose(FP32)
    model = AutoModelForCausalLM.from_pretrained(folder)
    return Base("t", folder, "", model, loaded.tokenizer, chosen, chosen, "none", None, None, continued=False)


def pair_rows(tokenizer: Any) -> list[Preference]:
    """A pair for each kind of prompt that the template takes."""
    rows = []
    for name, prompt in PROMPTS.items():
        start = THOUGHT.format("b") if name == "thinking" else ""
        try:
            render(tokenizer, prompt)
        except DataError:
            assert name == "system turn"
            continue
        rows.append(Preference(id=name, prompt=prompt, chosen=f"{start}yes, two.", rejected=f"{start}no."))
    return rows


def read(batch: Any, side: str = "") -> list[tuple[list[int], list[int]]]:
    """Tokens and loss mask of each row of a batch, without padding."""
    ids, mask, learned = (batch[f"{side}{key}"] for key in ("input_ids", "attention_mask", "completion_mask"))
    return [
        (row[there.bool()].tolist(), mask[there.bool()].tolist())
        for row, there, mask in zip(ids, mask, learned, strict=True)
    ]


@pytest.mark.matrix
@pytest.mark.parametrize("name", SHIPPED)
def test_every_method_learns_what_generation_starts_from(name: str, tmp_path: Path, tiny_model: Path):
    loaded = load_base(str(tiny_model), FP32)
    loaded.tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text()
    rows, base = pair_rows(loaded.tokenizer), started(loaded, tiny_model)
    prompts = [LocalSource(loaded).rendered(Request(row.id, tuple(row.prompt), 0)) for row in rows]

    def sft(answers: list[str]) -> list[tuple[list[int], list[int]]]:
        found = []
        for row, prompt, answer in zip(rows, prompts, answers, strict=True):
            talk = Conversation(id="", messages=(*row.prompt, turn("assistant", answer)))
            earlier = range(len(row.prompt))
            (part,) = encode_turns(loaded.tokenizer, talk.messages, unlearned=earlier)
            assert part.input_ids[: len(prompt)] == prompt
            assert part.completion_mask == [0] * len(prompt) + [1] * (len(part.input_ids) - len(prompt))
            found.append((part.input_ids, part.completion_mask))
        return found

    chosen, rejected = sft([row.chosen for row in rows]), sft([row.rejected for row in rows])
    stages = [stage(method, method, "pairs", trainer=SHORT) for method in ("dpo", "kto")]
    recipe = recipe_of(tmp_path, tiny_model, stages)
    shared = {"output_dir": str(tmp_path / "out")}
    pairs = preference.dpo_trainer(base, recipe.stage("dpo"), rows, [], shared)
    assert read(pairs.data_collator(list(pairs.train_dataset))) == chosen + rejected

    rated = [
        Rated(id=row.id, prompt=row.prompt, completion=answer, desirable=expected)
        for row in rows
        for answer, expected in ((row.chosen, True), (row.rejected, False))
    ]
    both = [each for pair in zip(chosen, rejected, strict=True) for each in pair]
    single = preference.kto_trainer(started(loaded, tiny_model), recipe.stage("kto"), rated, [], shared)
    batch = single.data_collator(list(single.train_dataset))
    assert sorted(read(batch)) == sorted(both)
    expected = dict(zip((tuple(ids) for ids, _ in read(batch)), batch["label"].tolist(), strict=True))
    assert all(expected[tuple(ids)] for ids, _ in chosen)

    def answers(read: list[tuple[list[int], list[int]]]) -> list[list[int]]:
        return sorted([token for token, learned in zip(*row, strict=True) if learned] for row in read)

    assert answers(read(batch, "KL_")) == answers(both)

    odds = preference.orpo_dataset(base, rows, None)
    assert odds["chosen_input_ids"] == [ids for ids, _ in chosen]
    assert odds["prompt_input_ids"] == prompts
    scored = reward.dataset(base, rows)
    assert scored["rejected_ids"] == [ids for ids, _ in rejected]
    for kind in rl.KINDS.values():
        rollouts = kind.__new__(kind)
        rollouts.processing_class = loaded.tokenizer
        assert rollouts._tokenize_prompts(rl.dataset(rows)["prompt"])[0] == prompts


def test_prompts_that_leave_no_room_are_left_out_and_all_of_them_refused(tmp_path: Path, tiny_model: Path):
    loaded = load_base(str(tiny_model), FP32)
    rows, base = pair_rows(loaded.tokenizer), started(loaded, tiny_model)
    assert [len(preference.encode_pairs(base, rows, length)) for length in (None, 30)] == [4, 1]
    assert len(preference.kto_dataset(base, rows, 30)) == 2
    with pytest.raises(DataError, match="every prompt has 10 tokens or more"):
        preference.encode_pairs(base, rows, 10)


def test_a_template_of_a_trainer_is_refused(tmp_path: Path, tiny_model: Path):
    loaded = load_base(str(tiny_model), FP32)
    odd = stage("s", "sft", "answers", trainer={"chat_template_path": "other.jinja"})
    recipe = recipe_of(tmp_path, tiny_model, [odd])
    with pytest.raises(RecipeError, match=r"trainer.chat_template_path: .* `model.chat_template`"):
        configuration(started(loaded, tiny_model), recipe.stages[0], {"output_dir": str(tmp_path)})


def test_a_thought_that_the_prompt_opens_is_none_of_the_answer_that_is_rewarded(tiny_model: Path):
    loaded = load_base(str(tiny_model), FP32)
    loaded.tokenizer.chat_template = (TEMPLATES / "deepseek_r1_distill.jinja").read_text()
    seen: list[str] = []

    class Spy:
        def encode(self, prompt: Any, answer: str) -> list[int]:
            seen.append(answer)
            return []

        def rewards(self, rows: list[Any]) -> list[float]:
            return [0.0 for _ in rows]

    scored = rl._reward("spy", Spy(), loaded.tokenizer)  # type: ignore[arg-type]
    ids = loaded.tokenizer("why\n</think>\n\nbecause<|end|>", add_special_tokens=False)["input_ids"]
    scored(prompts=[[TALK[0].as_dict()]], completion_ids=[ids])
    assert seen == ["<think>\nwhy\n</think>\n\nbecause"]
