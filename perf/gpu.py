"""Speed and memory on a GPU: training, generation, judging and perplexity, ours beside the libraries' own.

python perf/gpu.py --out build/gpu                         # every piece, each in a process of its own
python perf/gpu.py --out build/gpu --only sft-1.1b generate-1.1b
python perf/gpu.py --out build/gpu --table                 # the Markdown of what is there
python perf/gpu.py --out build/gpu --device cpu --tiny     # shows that the pieces run, not more

Rounds of all variants of a piece follow each other, and figures are medians over rounds. Every round is
kept as a file: a call continues what an earlier one left, and after `--minutes` (9) a piece begins no other
round. Models have random weights in real shapes and the packaged tokenizer: no network is used. Rows are
made up, 300 to 500 tokens long. What is not installed (vllm, lm-eval, kernels) is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "1.1b": {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22}
    | {"num_attention_heads": 32, "num_key_value_heads": 4},
    "7b": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
}
LORA = {"r": 64, "alpha": 32, "dropout": 0.0, "target_modules": "all-linear"}
CHAPTER = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "gradient_checkpointing": True}
FLASH = "kernels-community/flash-attn2"
PROMPTS, NEW_TOKENS = 128, 128

PIECES = [
    f"{what}-{size}"
    for size in ("1.1b", "7b")
    for what in ("sft", "dpo", "generate", "judge", "perplexity")
    if size == "1.1b" or what in ("sft", "dpo", "generate")
]

Variant = Callable[["Work"], dict[str, float]]


class Work:
    """What a measurement is given: its model, rows and device."""

    def __init__(self, size: str, device: str, folder: Path) -> None:
        self.tiny, self.device = size == "tiny", device
        self.base = build_base(size, device, folder)
        self.rows = 24 if self.tiny else 64
        self.prompts = 8 if self.tiny else PROMPTS
        self.new_tokens = 8 if self.tiny else NEW_TOKENS
        self.length = 128 if self.tiny else 512

    @property
    def options(self) -> Any:
        from toolkit.recipe import ModelOptions

        return ModelOptions(device=self.device, dtype="bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the rounds")
    parser.add_argument("--only", nargs="+", choices=PIECES, default=PIECES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9.0, help="of one piece")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny shape in the place of each")
    parser.add_argument("--table", action="store_true", help="print what is there, measure nothing")
    parser.add_argument("--one", nargs=2, metavar=("PIECE", "VARIANT"), help=argparse.SUPPRESS)
    requested = parser.parse_args()
    if requested.one:
        print(json.dumps(measure(*requested.one, requested)))
        return
    for piece in () if requested.table else requested.only:
        run_piece(piece, requested)
    print(table(requested.out))


def run_piece(piece: str, requested: argparse.Namespace) -> None:
    """Rounds of all variants of a piece in turn, each in a process of its own, until the time is over."""
    began = time.monotonic()
    for number in range(requested.rounds):
        for variant in variants(piece):
            file = requested.out / f"{piece}.{variant.replace('/', '_')}.{number}.json"
            if file.exists() or time.monotonic() - began > 60 * requested.minutes:
                continue
            left = max(60.0, 60 * requested.minutes - (time.monotonic() - began))
            command = [sys.executable, __file__, "--out", str(requested.out), "--device", requested.device]
            command += ["--tiny"] if requested.tiny else []
            try:
                done = subprocess.run(
                    [*command, "--one", piece, variant],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=left,
                )
                lines = done.stdout.strip().splitlines()
                found = json.loads(lines[-1]) if done.returncode == 0 and lines else {}
                error = (done.stderr.strip().splitlines() or ["no output"])[-1]
            except subprocess.TimeoutExpired:
                found, error = {}, f"not done in {left:.0f} s"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found or {"error": error[:200]}))
            print(f"{piece}: {variant}: {found or error}", file=sys.stderr)


def variants(piece: str) -> dict[str, Variant]:
    """Name -> measurement, of what is installed."""
    what = piece.partition("-")[0]
    has = {
        name: importlib.util.find_spec(name) is not None for name in ("kernels", "liger_kernel", "lm_eval")
    }
    if what in ("sft", "dpo"):
        found: dict[str, Variant] = {
            f"{whose}, {'QLoRA' if quantized else 'LoRA bf16'}": lambda work, w=whose, q=quantized: train(
                work, what, w, "nf4" if q else "none"
            )
            for quantized in (False, True)
            for whose in ("ours", "plain TRL, the chapter's settings", "TRL at its best")
        }
        if has["kernels"] and what == "sft":
            found["ours, flash attention, LoRA bf16"] = lambda work: train(work, what, "ours", "none", FLASH)
        return found
    if what == "generate":
        found = {
            "ours": generate_ours,
            "transformers generate": generate_plain,
            "generate_batch": generate_batch,
        }
        command = os.environ.get("ADAPTER_ARENA_VLLM") or ("vllm serve" if shutil.which("vllm") else "")
        return found | ({"vLLM": lambda work: generate_vllm(work, command)} if command else {})
    if what == "judge":
        return {"ours": judge_ours, "one prompt at a time": judge_plain}
    return {"ours": perplexity_ours} | ({"lm-eval": perplexity_lm_eval} if has["lm_eval"] else {})


def measure(piece: str, variant: str, requested: argparse.Namespace) -> dict[str, float]:
    """One measurement, in this process: figures by name."""
    import torch

    size = "tiny" if requested.tiny else piece.partition("-")[2]
    work = Work(size, requested.device, requested.out / "models")
    torch.manual_seed(0)
    found = variants(piece)[variant](work)
    if requested.device == "cuda" and "peak GB" not in found:
        found["peak GB"] = torch.cuda.max_memory_allocated() / 1e9
    return {name: round(value, 3) for name, value in found.items()}


def build_base(size: str, device: str, folder: Path) -> Path:
    """A model folder of a size with random weights in bf16, made once."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from toolkit.models import resolve_base

    place = folder / size
    if (place / "config.json").exists():
        return place
    tokenizer = AutoTokenizer.from_pretrained(resolve_base("smollm2-135m-instruct"))
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, **SHAPES[size])
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, None  # completions go to their limit
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    tokenizer.save_pretrained(place)
    model.save_pretrained(place)
    return place


def text(number: int, words: int) -> str:
    """Made-up words, another sequence for each number."""
    known = "lamp order late refund handle loose store parcel screen call today price card reply hall".split()
    return " ".join(known[(number * 7 + place * (3 + number % 5)) % len(known)] for place in range(words))


def rows_of(work: Work, method: str) -> list[dict[str, str]]:
    long = 20 if work.tiny else 200
    rows = [{"prompt": text(n, long // 2 + n % 50)} for n in range(work.rows)]
    if method == "sft":
        return [row | {"completion": text(n + 1, long)} for n, row in enumerate(rows)]
    return [row | {"chosen": text(n + 1, long), "rejected": text(n + 2, long)} for n, row in enumerate(rows)]


def trainer_fields(whose: str, work: Work) -> dict[str, Any]:
    """The chapter's batches, or larger ones without checkpointing where memory allows."""
    fields = {"max_length": work.length, "num_train_epochs": 1, "learning_rate": 1e-4, "logging_steps": 1000}
    fields |= {"save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    if "best" in whose:
        return fields | {"per_device_train_batch_size": 8, "gradient_checkpointing": False, "bf16": True}
    return fields | CHAPTER


def train(
    work: Work, method: str, whose: str, quantization: str, attention: str = "auto"
) -> dict[str, float]:
    """Tokens a second of a training of one epoch, by the clock of its steps, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        model = {"dtype": "bfloat16", "quantization": quantization, "attention": attention}
        build = ours_trainer if whose == "ours" else plain_trainer
        return timed(build(work, method, model, trainer_fields(whose, work), Path(folder)), work)


def ours_trainer(work: Work, method: str, model: dict[str, str], fields: Any, folder: Path) -> Any:
    from toolkit import recipe as recipes
    from toolkit.train.base import prepare_base
    from toolkit.train.memory import needs_checkpointing, this_machine
    from toolkit.train.methods import build_trainer
    from toolkit.train.stage import load_stage_rows

    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(work, method)))
    ours = {name: value for name, value in fields.items() if name != "gradient_checkpointing"}
    stage = {"name": "s", "method": method, "data": "rows", "heldout_share": 0, "adapter": LORA}
    raw = {"name": "g", "base": str(work.base), "model": model | {"device": work.device}}
    raw |= {"data": {"rows": {"source": str(file)}}, "stages": [stage | {"trainer": ours}]}
    recipe = recipes.parse(raw, folder / "recipe.yaml")
    part = recipe.stages[0]
    base = prepare_base(recipe, part, folder)
    rows, heldout = load_stage_rows(recipe, part)
    by_memory = needs_checkpointing(recipe, part, base.model, this_machine(), None)
    extra = {"output_dir": str(folder), "gradient_checkpointing": by_memory}
    trainer = build_trainer(part)(base, part, rows, heldout, extra)
    base.start(trainer.model)
    return trainer


def plain_trainer(
    work: Work, method: str, model: dict[str, str], fields: dict[str, Any], folder: Path
) -> Any:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from toolkit.models.loading import quantization_config

    extra: dict[str, Any] = {"attn_implementation": "sdpa", "device_map": {"": work.device}}
    if model["quantization"] != "none":
        extra["quantization_config"] = quantization_config(model["quantization"], torch.bfloat16)
    config, kind = (SFTConfig, SFTTrainer) if method == "sft" else (DPOConfig, DPOTrainer)
    return kind(
        model=AutoModelForCausalLM.from_pretrained(work.base, dtype=torch.bfloat16, **extra),
        args=config(output_dir=str(folder), use_cpu=work.device == "cpu", **fields),
        train_dataset=Dataset.from_list(rows_of(work, method)),
        processing_class=AutoTokenizer.from_pretrained(work.base),
        peft_config=LoraConfig(r=64, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def timed(trainer: Any, work: Work) -> dict[str, float]:
    """Train; real tokens of all rows by the seconds after the first step."""
    import torch
    from transformers import PrinterCallback, TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        seen, begun = 0, 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            synchronize(work)
            if state.global_step == 1:
                self.begun = time.perf_counter()
            self.seen = state.global_step

    clock = Clock()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(clock)
    names = [name for name in trainer.train_dataset.column_names if name.endswith("ids")]
    tokens = sum(len(ids) for name in names for ids in trainer.train_dataset[name])
    if "chosen_ids" in names:  # the prompt is read with each answer
        tokens += sum(map(len, trainer.train_dataset["prompt_ids"]))
    if work.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    synchronize(work)
    share = (clock.seen - 1) / max(1, clock.seen)
    found = {"tokens/s": tokens * share / (time.perf_counter() - clock.begun) if share else 0.0}
    return found | ({"peak GB": torch.cuda.max_memory_allocated() / 1e9} if work.device == "cuda" else {})


def synchronize(work: Work) -> None:
    import torch

    if work.device == "cuda":
        torch.cuda.synchronize()


def questions(work: Work) -> list[Any]:
    from toolkit.types import Example, Message

    return [
        Example(id=str(n), messages=(Message(role="user", content=text(n, 20 + n % 100)),))
        for n in range(work.prompts)
    ]


def generate_ours(work: Work) -> dict[str, float]:
    from toolkit.models import load_base

    return completed(work, load_base(str(work.base), work.options))


def completed(work: Work, source: Any) -> dict[str, float]:
    from toolkit.generate import generate_completions
    from toolkit.recipe import Generation

    options = Generation(max_new_tokens=work.new_tokens)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        found = generate_completions(
            source, questions(work), contestant="c", options=options, out=Path(folder) / "c.jsonl"
        )
        return {"tokens/s": sum(each.tokens for each in found) / (time.perf_counter() - began)}


def generate_vllm(work: Work, command: str) -> dict[str, float]:
    import shlex

    from toolkit.generate.engine import Engine, ServedModel
    from toolkit.recipe import Generation

    log = work.base.parent / "vllm.log"
    words = shlex.split(command)
    with Engine(words, str(work.base), {}, work.options, Generation(), log) as engine:
        return completed(work, ServedModel(engine))


def plain_model(work: Work) -> tuple[Any, list[list[int]]]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from toolkit.data.chat import prompt_ids

    model = AutoModelForCausalLM.from_pretrained(
        work.base, dtype=torch.bfloat16, device_map={"": work.device}
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(work.base)
    return model, [prompt_ids(tokenizer, each.messages) for each in questions(work)]


def generate_plain(work: Work) -> dict[str, float]:
    """`generate` on batches of 32 prompts of like length, padded on the left."""
    import torch

    model, prompts = plain_model(work)
    prompts.sort(key=len)
    began = time.perf_counter()
    for start in range(0, len(prompts), 32):
        batch = prompts[start : start + 32]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(each)) + each for each in batch], device=work.device)
        mask = torch.tensor(
            [[0] * (width - len(each)) + [1] * len(each) for each in batch], device=work.device
        )
        with torch.inference_mode():
            model.generate(ids, attention_mask=mask, max_new_tokens=work.new_tokens, do_sample=False)
    synchronize(work)
    return {"tokens/s": len(prompts) * work.new_tokens / (time.perf_counter() - began)}


def generate_batch(work: Work) -> dict[str, float]:
    """Transformers' continuous batching."""
    from transformers import GenerationConfig

    model, prompts = plain_model(work)
    config = GenerationConfig(
        max_new_tokens=work.new_tokens, do_sample=False, pad_token_id=0, eos_token_id=-1
    )
    began = time.perf_counter()
    found = model.generate_batch(inputs=prompts, generation_config=config, progress_bar=False)
    tokens = sum(len(each.generated_tokens) for each in found.values())
    return {"tokens/s": tokens / (time.perf_counter() - began)}


def judged(work: Work) -> tuple[Any, list[list[int]]]:
    """A reader of labels, and prompts that begin alike, in pairs of two orders."""
    from toolkit.judge.logprob import NextTokenReader
    from toolkit.models import load_base

    reader = NextTokenReader(load_base(str(work.base), work.options), ("A", "B"))
    system = text(0, 15 if work.tiny else 150)
    pairs = [(text(n, 12), text(n + 1, 40), text(n + 2, 40)) for n in range(work.prompts)]
    both = [f"{q}\n{one}\n{other}" for q, a, b in pairs for one, other in ((a, b), (b, a))]
    return reader, [reader.encode(f"{system}\n{each}\nVerdict:") for each in both]


def judge_ours(work: Work) -> dict[str, float]:
    from toolkit.models.prefix_tree import tree_logits

    reader, prompts = judged(work)
    began = time.perf_counter()
    for _, rows in tree_logits(reader.loaded.model, prompts, set(range(len(prompts)))):
        for row in rows:
            reader._reading(row, 0)
    return {"verdicts/s": len(prompts) / (time.perf_counter() - began)}


def judge_plain(work: Work) -> dict[str, float]:
    from toolkit.models.prefix_tree import plain_logits

    reader, prompts = judged(work)
    began = time.perf_counter()
    for prompt in prompts:
        reader._reading(plain_logits(reader.loaded.model, prompt)[0], 0)
    return {"verdicts/s": len(prompts) / (time.perf_counter() - began)}


def long_texts(work: Work) -> list[str]:
    return [text(n, 60 if work.tiny else 1500) for n in range(4 if work.tiny else 32)]


def perplexity_ours(work: Work) -> dict[str, float]:
    from toolkit.metrics.perplexity import measure_text_perplexity
    from toolkit.models import load_base

    loaded = load_base(str(work.base), work.options)
    texts, window = _texts(work), work.length
    began = time.perf_counter()
    found = measure_text_perplexity(loaded, texts, contestant="c", window=window)
    seconds = time.perf_counter() - began
    tokens = sum(len(loaded.tokenizer(each)["input_ids"]) for each in long_texts(work))
    nats = sum(row[0] for row in found[0].rows) / sum(row[1] for row in found[0].rows)
    return {"tokens/s": tokens / seconds, "nats a token": nats}


def _texts(work: Work) -> list[Any]:
    from toolkit.data.formats import Text

    return [Text(id=str(n), text=each) for n, each in enumerate(long_texts(work))]


def perplexity_lm_eval(work: Work) -> dict[str, float]:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    model, _ = plain_model(work)
    tokenizer = AutoTokenizer.from_pretrained(work.base)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, max_length=work.length)
    requests = [Instance("loglikelihood_rolling", {}, (each,), n) for n, each in enumerate(long_texts(work))]
    began = time.perf_counter()
    found = lm.loglikelihood_rolling(requests, disable_tqdm=True)
    seconds = time.perf_counter() - began
    tokens = sum(len(tokenizer(each)["input_ids"]) for each in long_texts(work))
    return {"tokens/s": tokens / seconds, "nats a token": -sum(found) / tokens}


def table(out: Path) -> str:
    """Markdown: medians over rounds, with the lowest and highest, and the machine."""
    return "\n".join([machine(), "", "| piece | variant | figure | median | range | rounds |", *lines(out)])


def lines(out: Path) -> Iterator[str]:
    yield "| --- | --- | --- | ---: | --- | ---: |"
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for file in sorted(out.glob("*.json")):
        piece, variant = file.stem.rpartition(".")[0].split(".json")[0].rsplit("b.", 1)
        found.setdefault((f"{piece}b", variant), []).append(json.loads(file.read_text()))
    for (piece, variant), rounds in found.items():
        errors = [each["error"] for each in rounds if "error" in each]
        if errors:
            yield f"| {piece} | {variant} | error | {errors[0]} | | {len(errors)} |"
        for name in dict.fromkeys(key for each in rounds for key in each if key != "error"):
            values = [each[name] for each in rounds if name in each]
            spread = f"{min(values):,.1f} to {max(values):,.1f}"
            middle = f"{statistics.median(values):,.1f}"
            yield f"| {piece} | {variant} | {name} | {middle} | {spread} | {len(values)} |"


def machine() -> str:
    import torch
    import transformers

    name = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores, no GPU"
    )
    return f"{name}, torch {torch.__version__}, transformers {transformers.__version__}"


if __name__ == "__main__":
    main()
