"""A server that a run starts: all contestants of a base by one engine, stopped whatever happens."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.train.test_methods import recipe_of
from toolkit import io, run
from toolkit.data import load_examples
from toolkit.data.chat import prompt_ids
from toolkit.errors import ModelError
from toolkit.generate import generate_completions
from toolkit.generate.base import engine_command
from toolkit.generate.engine import Engine, ServedModel, not_served
from toolkit.judge.logprob import NextTokenReader
from toolkit.models import load_base
from toolkit.models.prefix_tree import plain_logits, prefix_length
from toolkit.recipe import Generation, ModelOptions, Recipe
from toolkit.recipe import load as load_recipe
from toolkit.train import train_stage
from toolkit.types import Completion

SERVE = f"{sys.executable} -m transformers.cli.transformers serve --log-level error"
OPTIONS = ModelOptions(device="cpu", dtype="float32")


def adapter(base: Path, folder: Path, **fields: Any) -> Path:
    """An adapter that changes what the model says."""
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", **fields)
    tuned = get_peft_model(model, config)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    tuned.save_pretrained(folder)
    return folder


def arena(folder: Path, base: Path, adapters: dict[str, Path], **generation: Any) -> Recipe:
    """The base and some adapters on four prompts."""
    recipe = recipe_of(folder, base, [])
    plain = recipe.model_dump(mode="json") | {
        "contestants": {"base": {}} | {name: {"adapter": str(each)} for name, each in adapters.items()},
        "scoring": {
            "examples": "answers",
            "metrics": ["length"],
            "generation": {"max_new_tokens": 8, "batch_size": 4} | generation,
        },
    }
    plain["data"]["answers"]["limit"] = 4
    return Recipe.model_validate(plain)


def alive(marker: str) -> list[str]:
    """Processes with this word in their command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if marker in command and int(process.name) != os.getpid():
            found.append(command)
    return found


def completions(results: Path) -> dict[str, list[str]]:
    files = (results / "t" / "completions").glob("*.jsonl")
    return {file.stem: [each.completion for each in io.read(file, Completion)] for file in files}


@pytest.mark.slow
def test_a_run_is_answered_by_one_engine_as_in_memory(tmp_path: Path, tiny_model: Path):
    adapters = {"one": adapter(tiny_model, tmp_path / "one")}
    run.run(arena(tmp_path, tiny_model, adapters, engine="transformers"), tmp_path / "here", anyway=True)
    recipe = arena(tmp_path, tiny_model, adapters, engine_command=SERVE)
    run.run(recipe, tmp_path / "served", anyway=True)
    found = completions(tmp_path / "served")
    assert found == completions(tmp_path / "here")
    assert found["base"] != found["one"]
    manifest = json.loads((tmp_path / "served" / "t" / "manifest.json").read_text())
    (record,) = manifest["engines"]
    assert record["engine"] == "transformers-serve"
    assert record["version"].startswith("5.")
    assert record["flags"][: len(SERVE.split())] == SERVE.split()
    stored = [
        line
        for file in (tmp_path / "served" / ".answers").glob("*")
        for line in file.read_text().splitlines()
    ]
    assert {json.loads(line)["settings"]["engine"] for line in stored if "settings" in json.loads(line)} == {
        "transformers-serve"
    }
    assert not alive("transformers.cli.transformers")
    skipped = run.run(recipe, tmp_path / "served", anyway=True).skipped
    assert {"answer base", "answer one"} <= set(skipped)


def test_where_one_cannot_be_served_none_is(
    tmp_path: Path, tiny_model: Path, caplog: pytest.LogCaptureFixture
):
    adapters = {
        "one": adapter(tiny_model, tmp_path / "one"),
        "two": adapter(tiny_model, tmp_path / "two", use_dora=True),
    }
    recipe = arena(tmp_path, tiny_model, adapters, engine_command="true serve")
    with caplog.at_level(logging.WARNING, logger="toolkit"):
        run.run(recipe, tmp_path / "results", anyway=True)
    lines = [record.message for record in caplog.records if "by transformers" in record.message]
    assert len(lines) == 1
    assert "two (use_dora)" in lines[0]
    assert set(completions(tmp_path / "results")) == {"base", "one", "two"}
    assert not_served(tiny_model, OPTIONS, {"one": adapters["one"]}) is None
    assert not_served(tiny_model, OPTIONS.model_copy(update={"quantization": "int8"}), {}) is not None


@pytest.mark.parametrize(
    ("field", "value"), [("bias", "all"), ("target_modules", r".*\.(lm_head|q_proj)"), ("r", 1024)]
)
def test_adapters_that_no_server_takes(tmp_path: Path, tiny_model: Path, field: str, value: object):
    plain = {"peft_type": "LORA", "r": 4, "bias": "none", "target_modules": ["q_proj"]}
    io.write_json(tmp_path / "adapter_config.json", plain)
    assert not_served(tiny_model, OPTIONS, {"one": tmp_path}) is None
    io.write_json(tmp_path / "adapter_config.json", plain | {field: value})
    assert str(not_served(tiny_model, OPTIONS, {"one": tmp_path})).startswith("one (")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ModelError])
def test_an_engine_is_stopped_whatever_happens(error: type[BaseException], tmp_path: Path, tiny_model: Path):
    server = tmp_path / "server.py"
    server.write_text(
        "import http.server, sys, subprocess\n"
        "class Health(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b'{}')\n"
        "    def log_message(self, *_): pass\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', __file__])\n"
        "port = int(sys.argv[sys.argv.index('--port') + 1])\n"
        "http.server.HTTPServer(('127.0.0.1', port), Health).serve_forever()\n"
    )
    command = [sys.executable, str(server), "serve"]
    engine = Engine(command, str(tiny_model), {}, OPTIONS, Generation(), tmp_path / "engine.log")
    with pytest.raises(error), engine:  # noqa: PT012 - what is checked lasts as long as the block
        assert len(alive(str(server))) == 2  # with a process of its own, as vLLM has
        assert engine.flags[0] == str(tiny_model)
        raise error
    assert not alive(str(server))
    assert not engine.work.exists()


def test_an_engine_that_does_not_start_is_one_line(tmp_path: Path, tiny_model: Path):
    command = [sys.executable, "-c", "raise ValueError('no kernel image')", "serve"]
    engine = Engine(command, str(tiny_model), {}, OPTIONS, Generation(), tmp_path / "engine.log")
    with (
        pytest.raises(
            ModelError, match=r"vllm did not start: ValueError: no kernel image; see .*engine\.log"
        ),
        engine,
    ):
        pass
    with pytest.raises(ModelError, match="engine_command: /no/vllm: no such command"):
        engine_command(Generation(engine_command="/no/vllm serve"))
    with pytest.raises(ModelError, match="no vllm on the PATH"):
        engine_command(Generation(engine="vllm"))
    assert engine_command(Generation()) is None


def test_flags_of_vllm(tmp_path: Path, tiny_model: Path):
    """Every adapter of the run is a module, of a rank that vLLM knows; defaults are not the model's."""
    one = adapter(tiny_model, tmp_path / "one")
    engine = Engine(["vllm", "serve"], str(tiny_model), {"one": one}, OPTIONS, Generation(), tmp_path / "log")
    engine.work, engine.port = tmp_path, 1
    flags = " ".join(engine._flags())
    assert flags.startswith(f"{tiny_model} --host 127.0.0.1 --port 1 --dtype float32")
    assert flags.endswith(f"--enable-lora --max-lora-rank 8 --lora-modules one={one}")
    assert "--generation-config vllm --enable-prefix-caching" in flags
    assert (tmp_path / "template.jinja").read_text() == engine.tokenizer.chat_template


VLLM = os.environ.get("ADAPTER_ARENA_VLLM")
"""Command of a vLLM for CPUs, such as `env VLLM_CPU_KVCACHE_SPACE=1 /opt/vllm/bin/python -m
vllm.entrypoints.openai.api_server --max-model-len 2048 --enforce-eager`."""


@pytest.mark.slow
@pytest.mark.skipif(not VLLM, reason="no vLLM: name its command in ADAPTER_ARENA_VLLM")
def test_vllm_answers_as_transformers(tmp_path: Path):
    """Two adapters, greedy in fp32; where texts differ, the two likeliest tokens were within 0.05."""
    demo = load_recipe("demo")
    sources = {name: each.model_copy(update={"limit": 48}) for name, each in demo.data.items()}
    recipe = demo.model_copy(update={"model": OPTIONS, "data": sources})
    sft = recipe.stages[0]
    short = sft.model_copy(update={"trainer": sft.trainer | {"num_train_epochs": 1}})
    adapters = {}
    for name, rank in (("one", 16), ("two", 32)):
        stage = short.model_copy(update={"name": name, "adapter": sft.adapter.model_copy(update={"r": rank})})
        train_stage(recipe.model_copy(update={"stages": (stage,)}), stage, tmp_path)
        adapters[name] = tmp_path / "adapters" / name
    examples, options = load_examples(recipe.data["heldout"])[:10], Generation(max_new_tokens=80)
    loaded = load_base(recipe.base, OPTIONS)
    same = 0
    with Engine(shlex.split(VLLM or ""), recipe.base, adapters, OPTIONS, options, tmp_path / "log") as engine:
        for name, folder in adapters.items():
            loaded.attach(name, folder)
            ask = {"contestant": name, "options": options}
            here = generate_completions(loaded, examples, adapter=name, out=tmp_path / f"{name}-here", **ask)
            there = generate_completions(ServedModel(engine, name), examples, out=tmp_path / name, **ask)
            with loaded.using(name) as model:
                for one, other in zip(here, there, strict=True):
                    same += one.completion == other.completion
                    if one.completion != other.completion:
                        assert _margin_at_fork(model, loaded.tokenizer, one, other.completion) < 0.05
        assert engine.record["version"].startswith("0.")
        reader = NextTokenReader(ServedModel(engine), ("A", "B"))
        prompts = [reader.encode(reader.text(each.messages)) for each in examples[:3]]
        for place, reading in reader._served(prompts):
            with loaded.using(None) as model:
                expected = NextTokenReader(loaded, ("A", "B"))._reading(
                    plain_logits(model, prompts[place])[0], 0
                )
            assert reading.shares == pytest.approx(expected.shares, abs=1e-3)
            assert reading.mass == pytest.approx(expected.mass, rel=1e-2)
    assert same >= 0.9 * 2 * len(examples)


def _margin_at_fork(model: Any, tokenizer: Any, one: Completion, other: str) -> float:
    """Logits between the two likeliest tokens where the other text leaves this one."""
    ours, theirs = (
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in (one.completion, other)
    )
    fork = prefix_length(ours, theirs)
    first, second = plain_logits(model, prompt_ids(tokenizer, one.messages) + ours[:fork])[0].topk(2).values
    return float(first - second)
