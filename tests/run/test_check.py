"""`check` finds every planted fault, names its place, and finds nothing where nothing is wrong."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from transformers import AutoTokenizer

from toolkit import recipe as recipes
from toolkit.cli import main
from toolkit.data.formats import RowError, convert
from toolkit.errors import DataError, RecipeError
from toolkit.run import checks
from toolkit.run.checks import trainer_fields
from toolkit.types import Finding

WORDS = (
    "lamp fan bag cup hat pen box key jar mat rug toy urn vase bowl fork spoon plate stool clock desk".split()
)
OUTPUTS = "sorry about that; a new one goes out to you this week by post"


class Plan:
    """A recipe and its files, right until something is changed."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.files: dict[str, list[Any]] = {
            "sft": [{"prompt": f"my {w} broke", "completion": f"{w}: {OUTPUTS}"} for w in WORDS],
            "pairs": [
                {
                    "prompt": f"the {w} is late",
                    "chosen": f"{w}: {OUTPUTS}",
                    "rejected": f"{w}? {'no ' * (i % 2 * 40)}",
                }
                for i, w in enumerate(WORDS)
            ],
            "heldout": [{"prompt": f"where is the {w} I paid for", "completion": w} for w in WORDS],
            "bench": [
                {"question": f"what is a {w} good for in a house", "choices": ["a", "b"], "answer": 0}
                for w in WORDS
            ],
        }
        trainer = {"learning_rate": 1e-3, "per_device_train_batch_size": 4}
        self.raw: dict[str, Any] = {
            "name": "t",
            "base": str(model),
            "data": {name: {"source": f"{name}.jsonl"} for name in ("sft", "pairs", "heldout")},
            "stages": [
                {"name": "sft", "method": "sft", "data": "sft", "trainer": dict(trainer)},
                {"name": "dpo", "method": "dpo", "start": "sft", "data": "pairs", "trainer": dict(trainer)},
            ],
            "scoring": {
                "examples": "heldout",
                "benchmarks": [{"task": "tickets_choice", "files": {"test": "bench.jsonl"}}],
            },
        }

    def check(self, **options: Any) -> list[Finding]:
        for name, rows in self.files.items():
            lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
            (self.folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        return checks.check(recipes.parse(self.raw, self.folder / "r.yaml"), **options).findings

    def template(self, text: str | None, **tokens: str) -> None:
        """Give the base another chat template, and other special tokens."""
        own = self.folder / "model"
        shutil.copytree(self.raw["base"], own)
        tokenizer = AutoTokenizer.from_pretrained(own)
        for name, token in tokens.items():
            setattr(tokenizer, name, token)
        (own / "chat_template.jinja").unlink(missing_ok=True)
        tokenizer.chat_template = text
        tokenizer.save_pretrained(own)
        self.raw["base"] = str(own)


@pytest.fixture
def plan(tmp_path: Path, tiny_model: Path) -> Plan:
    return Plan(tmp_path, tiny_model)


def serious(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity != "info"]


def test_nothing_is_found_where_nothing_is_wrong(plan: Plan):
    assert serious(plan.check()) == []


TURNS = "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
ASK = "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
NO_THINKING = TURNS.replace("\n{{", "\n{{ '<think></think>' if m['role'] == 'assistant' }}{{")
NO_SYSTEM = TURNS.replace("messages %}", "messages if m['role'] != 'system' %}", 1)
SYSTEM = {"role": "system", "content": "be short"}


def stage(plan: Plan, index: int = 0, **changes: Any) -> None:
    plan.raw["stages"][index] |= changes


def field(plan: Plan, index: int = 0, **changes: Any) -> None:
    plan.raw["stages"][index]["trainer"] |= changes


def row(plan: Plan, name: str, number: int, value: Any) -> None:
    plan.files[name][number] = value


def talk(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def online(plan: Plan, **trainer: Any) -> None:
    reward = {"name": "good", "method": "reward", "data": "pairs"}
    plan.raw["stages"] = [
        plan.raw["stages"][0],
        reward,
        {
            "name": "rl",
            "method": "rloo",
            "data": "sft",
            "start": "sft",
            "rewards": {"good": 1},
            "trainer": trainer,
        },
    ]


def pairs(plan: Plan, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    plan.files["pairs"] = [change(copy.copy(pair)) for pair in plan.files["pairs"]]


def swap(plan: Plan) -> None:
    first = plan.files["pairs"][0]
    plan.files["pairs"].append(first | {"chosen": first["rejected"], "rejected": first["chosen"]})


def remote(**changes: Any) -> dict[str, Any]:
    """Contestants of which one is on a server."""
    endpoint = {"url": "http://127.0.0.1:9/v1", "model": "m"} | changes
    return {"base": {}, "sft": {"stage": "sft"}, "dpo": {"stage": "dpo"}, "far": {"endpoint": endpoint}}


def bench(plan: Plan, *tasks: dict[str, Any]) -> None:
    plan.raw["scoring"]["benchmarks"] = list(tasks)


def players(plan: Plan, **more: Any) -> None:
    plan.raw["contestants"] = {"base": {}, "sft": {"stage": "sft"}, "dpo": {"stage": "dpo"}} | more


CHOICE = {"task": "tickets_choice", "files": {"test": "bench.jsonl"}}
MATHS = {"task": "gsm8k", "files": {"test": "maths.jsonl", "train": "more.jsonl"}}


def maths(plan: Plan, shots: int) -> None:
    rows = [{"question": f"what is {n} plus 1", "answer": f"#### {n + 1}"} for n in range(8)]
    plan.files |= {"maths": rows[:4], "more": rows[4:]}
    bench(plan, MATHS | {"num_fewshot": shots})


FAULTS: dict[str, tuple[Callable[[Plan], Any], str, str]] = {
    # name: (what is planted, the finding's code, what its place and message hold)
    "a retired field": (lambda p: field(p, max_seq_length=512), "retired-field", "use max_length"),
    "a field of older TRL": (
        lambda p: field(p, 1, max_prompt_length=9),
        "retired-field",
        "stages.dpo.trainer",
    ),
    "a mistyped field": (lambda p: field(p, learning_rat=1), "unknown-field", "did you mean learning_rate"),
    "a value of the wrong kind": (lambda p: field(p, eval_strategy="often"), "field-value", "often"),
    "a learning rate of 0": (lambda p: field(p, learning_rate=0), "field-value", "0 is no number above 0"),
    "a learning rate of another age": (lambda p: field(p, learning_rate=0.5), "learning-rate", "0.5"),
    "a learning rate too high for whole weights": (
        lambda p: stage(p, adapter="none"),
        "learning-rate",
        "whole weights",
    ),
    "both precisions": (lambda p: field(p, bf16=True, fp16=True), "precision", "stages.sft"),
    "no preference in the loss": (lambda p: field(p, 1, beta=0), "beta", "stages.dpo.trainer.beta"),
    "rewards that weigh nothing": (
        lambda p: (online(p), stage(p, 2, rewards={"good": 0})),
        "rewards",
        "stages.rl.rewards",
    ),
    "an adapter that is scaled to nothing": (
        lambda p: stage(p, adapter={"alpha_pattern": {"q_proj": 0}}),
        "adapter-field",
        "q_proj: 0 takes",
    ),
    "an unknown adapter field": (lambda p: stage(p, adapter={"ranks": 3}), "adapter-field", "ranks"),
    "all of a 4-bit model": (
        lambda p: (p.raw.update(model={"quantization": "nf4"}), stage(p, adapter="none")),
        "adapter-field",
        "no gradient",
    ),
    "KTO with nothing to compare": (
        lambda p: stage(p, 1, method="kto", trainer={"per_device_train_batch_size": 1}),
        "batch",
        "set it to 2",
    ),
    "answers torn apart": (
        lambda p: online(p, per_device_train_batch_size=6, num_generations=4),
        "batch",
        "multiple of 4",
    ),
    "DPO beside SFT, not on it": (lambda p: stage(p, 1, start="base"), "start", "its reference"),
    "rows of the wrong kind": (lambda p: stage(p, 1, data="sft"), "row-kind", "dpo needs preference rows"),
    "a line that is no JSON": (lambda p: row(p, "sft", 3, "{oops"), "data", "sft.jsonl:4"),
    "an unknown role": (
        lambda p: row(p, "sft", 2, talk(("usr", "a"), ("assistant", "b"))),
        "row",
        "sft.jsonl:3",
    ),
    "an empty answer": (lambda p: row(p, "sft", 5, {"prompt": "x", "completion": " "}), "row", "sft.jsonl:6"),
    "no answer": (lambda p: row(p, "sft", 0, talk(("user", "a"))), "row", "sft.jsonl:1"),
    "unknown columns": (lambda p: row(p, "sft", 1, {"q": "x", "a": "y"}), "row", "set `rename: {q: prompt"),
    "chosen equal to rejected": (
        lambda p: row(p, "pairs", 4, {"prompt": "x", "chosen": "y", "rejected": "y"}),
        "row",
        "pairs.jsonl:5",
    ),
    "chosen nearly equal to rejected": (
        lambda p: row(p, "pairs", 4, {"prompt": "x", "chosen": "Yes", "rejected": "yes "}),
        "nearly-same",
        "pairs.jsonl:5",
    ),
    "copies": (lambda p: row(p, "sft", 9, p.files["sft"][1]), "rows-double", "sft.jsonl:10"),
    "a pair and its opposite": (swap, "contradiction", "decide which is better"),
    "chosen answers that are always longer": (
        lambda p: pairs(p, lambda pair: pair | {"rejected": "no"}),
        "length-bias",
        "longer",
    ),
    "ratings of one kind": (
        lambda p: (
            p.files.update(pairs=[{"prompt": w, "completion": w, "label": True} for w in WORDS]),
            stage(p, 1, method="kto"),
        ),
        "one-sided",
        "nothing to tell apart",
    ),
    "a template inside the text": (
        lambda p: row(p, "sft", 7, {"prompt": "<|start|>user\nhello<|end|>", "completion": "b"}),
        "template-in-text",
        "sft.jsonl:8",
    ),
    "lost letters": (
        lambda p: row(p, "sft", 7, {"prompt": "caf\ufffd", "completion": "b"}),
        "mojibake",
        "sft.jsonl:8",
    ),
    "answers in spaces": (
        lambda p: p.files.update(sft=[r | {"completion": f" {r['completion']}\n"} for r in p.files["sft"]]),
        "outer-space",
        "is learned too",
    ),
    "two questions in a row": (
        lambda p: row(p, "sft", 1, talk(("user", "a"), ("user", "b"), ("assistant", "c"))),
        "turns",
        "sft.jsonl:2",
    ),
    "a late system turn": (
        lambda p: row(p, "sft", 1, talk(("user", "a"), ("system", "b"), ("assistant", "c"))),
        "turns",
        "put it first",
    ),
    "an answer to nothing": (
        lambda p: row(p, "sft", 1, talk(("assistant", "c"))),
        "no-question",
        "sft.jsonl:2",
    ),
    "no chat template": (lambda p: p.template(None), "chat-template", "no chat template"),
    "no generation prompt": (lambda p: p.template(TURNS), "generation-prompt", "turn"),
    "a template that drops the system turn": (
        lambda p: (
            p.template(NO_SYSTEM + ASK),
            row(p, "sft", 0, {"messages": [SYSTEM, *talk(("user", "a"), ("assistant", "b"))["messages"]]}),
        ),
        "system-turn",
        "drops system turns",
    ),
    "no end token after answers": (
        lambda p: p.template(TURNS.replace("<|end|>", "") + ASK),
        "end-token",
        "puts no <|end|> after answers",
    ),
    "thinking after thinking that is over": (
        lambda p: (
            p.template(NO_THINKING + ASK.replace("{% endif %}", "<think></think>{% endif %}")),
            row(p, "sft", 0, {"prompt": "a", "completion": "<think>why</think>b"}),
        ),
        "thinking",
        "answers think again",
    ),
    "two begin tokens": (lambda p: p.template("<|start|>" + TURNS + ASK), "double-bos", "twice"),
    "padding with the end token": (
        lambda p: p.template(TURNS + ASK, pad_token="<|end|>"),
        "pad-is-end",
        "never learn to stop",
    ),
    "an answer cut off": (lambda p: field(p, max_length=60), "truncated", "its end"),
    "an answer lost": (lambda p: field(p, max_length=20), "truncated", "lose their whole answer"),
    "more than the model can see": (lambda p: field(p, max_length=4096), "context", "1024"),
    "a held-out question in training": (
        lambda p: row(p, "heldout", 0, {"prompt": "My LAMP broke!", "completion": "x"}),
        "overlap",
        "1 of 21 held-out questions",
    ),
    "held-out rows in training": (
        lambda p: (
            p.raw["data"].update(pairs2={"source": "pairs.jsonl", "limit": 3}),
            stage(p, 1, heldout="pairs2"),
        ),
        "overlap",
        "3 of 3 held-out rows",
    ),
    "measured on what is trained on": (
        lambda p: stage(p, 1, heldout="pairs"),
        "overlap",
        "trained on and measured on",
    ),
    "a benchmark question in training": (
        lambda p: row(p, "sft", 0, {"prompt": "What is a lamp good for in a house?", "completion": "x"}),
        "overlap",
        "tickets_choice questions",
    ),
    "a benchmark question in training, a little changed": (
        lambda p: (
            row(p, "bench", 0, {"question": "one " * 3 + " ".join(WORDS), "choices": ["a"], "answer": 0}),
            row(p, "sft", 0, {"prompt": "two " + " ".join(WORDS), "completion": "x"}),
        ),
        "overlap-words",
        "nearly copies",
    ),
    "fewer rows than a batch": (
        lambda p: field(p, per_device_train_batch_size=64),
        "few-rows",
        "fewer than one batch",
    ),
    "rescaling by a baseline that nobody published": (
        lambda p: p.raw["scoring"].update(bertscore_rescale=True),
        "bertscore",
        "bert-score has no baseline for all-minilm-l6-v2",
    ),
    "groups by a column that is not there": (
        lambda p: p.raw["scoring"].update(groups="passage"),
        "data",
        "heldout.jsonl:1: the row has no `passage`",
    ),
    "a judge that grades and does not vote": (
        lambda p: p.raw.update(judge={"prompt": "single"}),
        "judge",
        "judge.prompt: `single` grades answers one by one",
    ),
    "a judge prompt that is not there": (
        lambda p: p.raw.update(judge={"prompt": "parwise"}),
        "judge",
        "judge.prompt: parwise: no such judge prompt",
    ),
    "an endpoint asked for its logits": (
        lambda p: p.raw.update(judge={"endpoint": {"url": "http://127.0.0.1:9/v1", "model": "m"}}),
        "judge",
        "judge.method: an endpoint does not show its logits; use `method: written`",
    ),
    "data nobody uses": (lambda p: p.raw["data"].update(more={"source": "sft.jsonl"}), "unused", "data.more"),
    "two contestants that are the same": (
        lambda p: players(p, other={"stage": "sft"}),
        "same-contestant",
        "contestants.other: the same as sft",
    ),
    "the base as a model, and the base": (
        lambda p: players(p, other={"model": p.raw["base"]}),
        "same-contestant",
        "the same as base",
    ),
    "a prompt that ends with a question": (
        lambda p: players(p, shown={"prompt": [{"role": "user", "content": "and?"}]}),
        "turns",
        "contestants.shown.prompt",
    ),
    "a stage that nobody uses": (
        lambda p: p.raw.update(contestants={"base": {}, "sft": {"stage": "sft"}}),
        "unused-stage",
        "stages.dpo",
    ),
    "a reward judge that is no reward model": (
        lambda p: p.raw.update(judge={"method": "reward", "model": p.raw["base"]}),
        "reward-model",
        "judge.model",
    ),
    "rewards by what is no reward model": (
        lambda p: (online(p), p.raw["stages"][2].update(rewards={p.raw["base"]: 1})),
        "reward-model",
        "no reward model but LlamaForCausalLM",
    ),
    "a revision of what is not on the hub": (
        lambda p: p.raw.update(model={"revision": "v2"}),
        "revision",
        "has no revision v2",
    ),
    "a batch that is left out": (
        lambda p: field(p, per_device_train_batch_size=64, dataloader_drop_last=True),
        "few-rows",
        "dataloader_drop_last leaves it out",
    ),
    "no row left to train on": (lambda p: stage(p, heldout_share=0.99), "few-rows", "no row is left"),
    "an adapter of which nothing is trained": (
        lambda p: stage(p, adapter={"inference_mode": True}),
        "adapter-field",
        "leaves no weight that is trained",
    ),
    "a word for a switch of the adapter": (
        lambda p: stage(p, adapter={"use_dora": "no"}),
        "adapter-field",
        "adapter.use_dora: 'no' is text, which counts as true",
    ),
    "a word for a switch of the trainer": (
        lambda p: field(p, gradient_checkpointing="no"),
        "field-value",
        "trainer.gradient_checkpointing: 'no' is text",
    ),
    "two names of one setting": (
        lambda p: stage(p, adapter={"alpha": 16, "lora_alpha": 32}),
        "adapter-field",
        "the same as `alpha`",
    ),
    "a compiler on a CPU": (lambda p: field(p, torch_compile=True), "compile", "takes minutes"),
    "a stop string that right answers hold": (
        lambda p: p.raw["scoring"].update(generation={"stop": ["st"]}),
        "stop",
        "answers like them are cut there",
    ),
    "a guard that is trained on": (
        lambda p: p.raw["scoring"].update(guard="sft"),
        "guard",
        "what training made the model forget",
    ),
    "a metric that fails on an empty answer": (
        lambda p: (
            (p.folder / "mine.py").write_text("def last(text, reference, row): return len(text.split()[-1])"),
            p.raw["scoring"].update(metrics=["mine.py:last"]),
        ),
        "metric",
        "IndexError",
    ),
    "nothing to measure": (
        lambda p: p.raw["scoring"].update(metrics=[], benchmarks=[]),
        "no-scoring",
        "nothing is measured",
    ),
    "one task twice": (lambda p: bench(p, CHOICE, CHOICE | {"limit": 5}), "benchmark", "is there twice"),
    "more worked examples than rows": (lambda p: maths(p, 5), "benchmark", "more than the 4 rows of split"),
    "code that may not be run": (lambda p: bench(p, {"task": "humaneval"}), "benchmark", "allow_code_exec"),
    "a layer that the encoder has not": (
        lambda p: p.raw["scoring"].update(metrics=["bertscore"], bertscore_layer=7),
        "encoder",
        "has 6 layers, not 7",
    ),
    "a column that is renamed and not there": (
        lambda p: p.raw["data"]["sft"].update(rename={"promt": "prompt"}),
        "data",
        "no row has a column `promt`",
    ),
    "a folder without rows": (
        lambda p: ((p.folder / "none").mkdir(), p.raw["data"]["sft"].update(source="none")),
        "data",
        "a folder in which `datasets` finds no rows",
    ),
    "no step between evaluations": (
        lambda p: field(p, eval_strategy="steps", eval_steps=0),
        "field-value",
        "eval_steps: 0 is no number above 0",
    ),
    "settings that the optimiser passes over": (
        lambda p: field(p, optim_args="foo=bar"),
        "field-value",
        "takes nothing of 'foo=bar'",
    ),
    "settings that are none": (lambda p: field(p, optim_args="foo"), "field-value", "write name=value"),
    "an optimiser that is not installed": (lambda p: field(p, optim="galore_adamw"), "field-value", "galore"),
    "a mistyped setting of checkpointing": (
        lambda p: field(p, gradient_checkpointing_kwargs={"use_reentrantt": True}),
        "field-value",
        "takes no use_reentrantt",
    ),
    "a setting that another one must switch on": (
        lambda p: field(p, 1, label_smoothing=0.1),
        "unused-field",
        "label_smoothing counts only with loss_type: robust",
    ),
    "more than all of the longer answer": (lambda p: field(p, 1, ld_alpha=1.5), "field-value", "from 0 to 1"),
    "an order of rows that is none": (
        lambda p: field(p, train_sampling_strategy="longest"),
        "field-value",
        "'longest' is none of random",
    ),
    "conversations cut at their start": (
        lambda p: field(p, truncation_mode="keep_middle"),
        "field-value",
        "'keep_middle' is none of keep_start",
    ),
    "a rank that the adapter has not": (
        lambda p: stage(p, adapter={"type": "ia3", "r": 8}),
        "adapter-field",
        "adapter.r: changes nothing in an adapter of type ia3",
    ),
    "an adapter that begins at tokens": (
        lambda p: stage(p, adapter={"alora_invocation_tokens": [1, 2]}),
        "adapter-field",
        "begins at tokens that rows do not have",
    ),
    "a prompt of no tokens": (
        lambda p: stage(p, adapter={"type": "prompt", "num_virtual_tokens": 0}),
        "adapter-field",
        "leaves no weight that is trained",
    ),
    "a generation setting that is none": (
        lambda p: (
            stage(p, 1, method="grpo", rewards={"r/m": 1.0}, trainer={"generation_kwargs": {"topk": 1}}),
        ),
        "field-value",
        "generation takes no topk",
    ),
    "answers of an evaluation torn apart": (
        lambda p: stage(p, 1, method="rloo", rewards={"r/m": 1.0}, trainer={"num_generations_eval": 3}),
        "batch",
        "8 is no multiple of the 3 answers",
    ),
    "experts of a model without": (
        lambda p: field(p, router_aux_loss_coef=0.1),
        "adapter-field",
        "no experts to balance",
    ),
    "an initialisation that PEFT does not know": (
        lambda p: stage(p, adapter={"init_lora_weights": "pissa_niter_x"}),
        "adapter-field",
        "PEFT knows no pissa_niter_x",
    ),
    "nothing scored": (lambda p: p.raw.pop("scoring"), "no-scoring", "scoring"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str, plan: Plan):
    planted, code, message = FAULTS[name]
    planted(plan)
    found = [finding for finding in plan.check() if finding.code == code]
    assert any(message in f"{finding.place}: {finding.message}; {finding.fix}" for finding in found), found


def test_data_to_choose_by_is_used(plan: Plan):
    plan.raw["data"]["choose"] = {"source": "choose.jsonl"}
    plan.files["choose"] = [{"prompt": f"which of {n}?", "completion": f"{n}"} for n in range(8)]
    plan.raw["scoring"]["validation"] = "choose"
    assert [finding.place for finding in plan.check() if finding.code == "unused"] == []


def test_memory_is_held_against_the_named_gpu(plan: Plan):
    (note,) = [
        finding for finding in plan.check(gpu="1GB") if finding.code == "memory" and "sft" in finding.place
    ]
    assert note.severity == "error"
    assert "a 1 GB GPU has 1 GB" in note.message
    assert not [finding for finding in plan.check(gpu="h100") if finding.code == "memory"]
    with pytest.raises(DataError, match="not a GPU known here"):
        plan.check(gpu="abacus")
    (steps,) = [finding for finding in plan.check() if finding.code == "plan" and "sft" in finding.place]
    assert steps.message.startswith("20 rows, 2 epochs, batches of 4: 10 steps")
    field(plan, max_steps=6)
    (steps,) = [finding for finding in plan.check() if finding.code == "plan" and "sft" in finding.place]
    assert steps.message.startswith("20 rows, 1.2 epochs, batches of 4: 6 steps")


def test_what_a_named_gpu_has_is_no_error_for_want_of_one_here(plan: Plan):
    plan.raw["stages"][0].setdefault("trainer", {}).update(fp16=True, optim="paged_adamw_32bit")
    found = {code for code in ("no-gpu", "paged-optimizer") for each in plan.check() if each.code == code}
    assert found == {"no-gpu", "paged-optimizer"}
    assert not {each.code for each in plan.check(gpu="t4")} & found
    plan.raw["model"] = {"dtype": "float16", "device": "cpu"}
    assert [each.place for each in plan.check() if each.code == "dtype"] == ["model.dtype"]
    assert not [each for each in plan.check(gpu="t4") if each.code == "dtype"]


def test_many_bad_rows_are_counted_and_the_first_are_named(plan: Plan):
    plan.files["sft"][:9] = [{"prompt": "x", "completion": ""}] * 9
    places = [Path(finding.place).name for finding in plan.check() if finding.code == "row"]
    assert places == [*(f"sft.jsonl:{line}" for line in range(1, 6)), "data.sft"]
    plan.raw["data"]["sft"]["skip_bad_rows"] = True
    assert [f.message for f in plan.check() if f.code == "rows-skipped"] == [
        "9 rows do not fit and are left out"
    ]


def test_the_command_shows_rows_as_the_model_sees_them(plan: Plan):
    plan.check()
    (plan.folder / "r.yaml").write_text(json.dumps(plan.raw))
    shown = CliRunner().invoke(main, ["check", str(plan.folder / "r.yaml"), "--show", "1"])
    assert shown.exit_code == 0, shown.output
    assert (
        f"<|start|>user\nmy lamp broke<|end|>\n<|start|>assistant\n⟦lamp: {OUTPUTS}<|end|>⟧" in shown.output
    )
    assert "pairs.jsonl:1, rejected" in shown.output
    refuse = "{% if 'lamp' in (messages | string) %}{{ raise_exception('no lamps') }}{% endif %}"
    (plan.folder / "t.jinja").write_text(
        f"{refuse}{{% for m in messages %}}{{{{ m.content }}}}<|end|>{{% endfor %}}"
    )
    changed = ["--set", f"model.chat_template={plan.folder / 't.jinja'}"]
    shown = CliRunner().invoke(main, ["check", str(plan.folder / "r.yaml"), "--show", "2", *changed])
    assert "sft.jsonl:1: the chat template refuses this conversation: no lamps" in shown.output
    assert "sft: " in shown.output.partition("sft.jsonl:1:")[0]  # the rows that it takes are shown
    plan.files["sft"].append(plan.files["sft"][0])
    plan.check()
    assert CliRunner().invoke(main, ["check", str(plan.folder / "r.yaml")]).exit_code == 0
    assert CliRunner().invoke(main, ["check", str(plan.folder / "r.yaml"), "--strict"]).exit_code == 2


def test_several_processes_find_what_one_finds(plan: Plan, monkeypatch):
    rows = [{"prompt": f"question {i} of many", "completion": f"answer {i} is this"} for i in range(1500)]
    rows[700], rows[1400] = rows[3], {"prompt": "Question 9, of many!", "completion": "answer 9 is this"}
    rows[300] = {"prompt": "one", "completion": "TODO"}
    rows[1000] = {"prompt": "x", "completion": " "}
    plan.files["sft"] = rows
    one = plan.check()
    monkeypatch.setattr(checks.rows, "LARGE", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    assert plan.check() == one
    found = {(finding.code, finding.place.rpartition("/")[2]) for finding in one}
    assert {
        ("rows-double", "sft.jsonl:701"),
        ("rows-nearly-double", "sft.jsonl:1401"),
        ("placeholder", "sft.jsonl:301"),
        ("row", "sft.jsonl:1001"),
    } <= found


def test_rows_of_a_process_that_died_are_looked_at_again(plan: Plan, monkeypatch, caplog):
    plan.files["sft"] = [{"prompt": f"question {i} of many", "completion": "TODO"} for i in range(1500)]
    one = plan.check()
    monkeypatch.setattr(checks.rows, "LARGE", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(checks.rows, "_look_and_send", lambda *_: os._exit(9))
    assert plan.check() == one
    assert "sft.jsonl: a process that looked at its rows died" in caplog.text


NUMBERS = {
    "weight_decay": (-1, "0.1", float("nan")),
    "adam_beta1": (1, -0.1),
    "max_grad_norm": (-1,),
    "gradient_accumulation_steps": (0, 1.5),
    "label_smoothing": (0.9,),
    "max_length": (1, 12.5, True),
    "save_steps": (0, -5),
    "seed": (-1, 2**32, 0.5),
}


@pytest.mark.parametrize(("name", "value"), [(name, each) for name, some in NUMBERS.items() for each in some])
def test_numbers_of_trainers_are_held_against_their_range(plan: Plan, name: str, value: Any):
    field(plan, 1, **{name: value})
    found = list(trainer_fields._values(recipes.parse(plan.raw, plan.folder / "r.yaml").stages[1]))
    assert [finding.code for finding in found] == ["field-value"]
    assert name in f"{found[0].place}: {found[0].message}"


def test_numbers_in_their_range_are_no_fault(plan: Plan):
    field(
        plan, 1, weight_decay=0, adam_beta1=0.9, max_length=64, save_steps=0.5, seed=2**32 - 1, max_steps=-1
    )
    assert list(trainer_fields._values(recipes.parse(plan.raw, plan.folder / "r.yaml").stages[1])) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": {"stream": True}}, "parameters: `stream` cannot be set"),
        ({"parameters": {"n": 4}}, "parameters: `n` cannot be set"),
        ({"parameters": {"messages": []}}, "parameters: `messages` cannot be set"),
        ({"url": "https://h/v1/chat/completions"}, "url: give the base URL, up to and including `/v1`"),
        ({"url": "https://h/v1/responses/"}, "url: give the base URL"),
    ],
)
def test_endpoints_that_no_request_could_reach(plan: Plan, changes: dict[str, Any], message: str):
    plan.raw["contestants"] = remote(**changes)
    with pytest.raises(RecipeError, match=re.escape(message)):
        recipes.parse(plan.raw, plan.folder / "r.yaml")
    plan.raw["contestants"] = remote(parameters={"stream": False, "n": 1, "top_k": 5})
    assert recipes.parse(plan.raw, plan.folder / "r.yaml")


def test_rewards_that_name_nothing(plan: Plan):
    online(plan)
    plan.raw["stages"][2]["rewards"] = {"god": 1}
    with pytest.raises(RecipeError, match="no earlier reward stage is named `god`; did you mean `good`"):
        recipes.parse(plan.raw, plan.folder / "r.yaml")


def test_a_turn_marked_by_its_loss_is_not_learned():
    turns = talk(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))["messages"]
    turns[1]["loss"], turns[3]["loss"] = False, True
    assert convert({"messages": turns}, "auto", "1").unlearned == (1,)
    turns[3]["loss"] = False
    with pytest.raises(RowError, match="no assistant turn is to be learned"):
        convert({"messages": turns}, "auto", "1")


@pytest.mark.slow
def test_a_task_whose_template_runs_without_bounds(plan: Plan):
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}"
    task = {"task": "mine", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice"}
    task |= {"doc_to_text": loop, "doc_to_choice": ["a", "b"], "doc_to_target": 0}
    (plan.folder / "mine.yaml").write_text(json.dumps(task))
    bench(plan, {"task": "mine.yaml", "files": {"test": "bench.jsonl"}})
    (found,) = [finding for finding in plan.check() if finding.code == "benchmark"]
    assert "a template in it" in found.message
    arguments = ["bench", plan.raw["base"], str(plan.folder / "mine.yaml"), "--device", "cpu"]
    rows = f"test={plan.folder / 'bench.jsonl'}"
    done = CliRunner().invoke(main, [*arguments, "--file", rows, "--out", str(plan.folder / "out.json")])
    assert (done.exit_code, "a template in it" in done.stderr) == (2, True)
    assert not (plan.folder / "out.json").exists()
