"""Bases are found and checked before they are loaded; adapters are switched on one base in memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    CLIPConfig,
    ModernBertConfig,
    T5Config,
)

from toolkit import io
from toolkit.errors import ModelError
from toolkit.models import Loaded, load_base, resolve_base
from toolkit.models.bases import fingerprint
from toolkit.models.loading import LINEAGE, load_tokenizer
from toolkit.recipe import ModelOptions

PLAIN = ModelOptions(device="cpu", dtype="float32")


@pytest.fixture
def own(tiny_model: Path, tmp_path: Path) -> Path:
    """A model folder to break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "own"))


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    """An adapter that changes what the base says, with no word on what it was trained on."""
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(load_base(str(tiny_model), PLAIN).model, config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def reply(loaded: Loaded, name: str | None) -> torch.Tensor:
    with loaded.using(name) as model, torch.inference_mode():
        logits: torch.Tensor = model(input_ids=torch.tensor([[5, 6, 7]])).logits
        return logits


def test_adapters_are_switched_on_one_base_and_off_again(tiny_model: Path, adapter: Path):
    loaded = load_base(str(tiny_model), PLAIN)
    bare = reply(loaded, None)
    with pytest.raises(ModelError, match="adapter one is not attached"):
        reply(loaded, "one")
    for name in ("one", "two", "one"):  # a name that is there already is not loaded again
        loaded.attach(name, adapter)
    assert loaded.adapters == ["one", "two"]
    assert torch.equal(reply(loaded, "one"), reply(loaded, "two"))
    assert not torch.allclose(reply(loaded, "one"), bare)
    assert torch.equal(reply(loaded, None), bare)


def test_an_adapter_of_other_weights_is_refused(tiny_model: Path, adapter: Path, tmp_path: Path):
    loaded = load_base(str(tiny_model), PLAIN)
    with pytest.raises(ModelError, match="no adapter here"):
        loaded.attach("none", tmp_path)
    io.write_json(adapter / LINEAGE, {"base": "another", "base_fingerprint": "0" * 16})
    with pytest.raises(ModelError, match=r"was trained on another \(weights 0000000000000000\)"):
        loaded.attach("one", adapter)
    assert loaded.adapters == []


def test_a_fingerprint_is_of_the_weights(own: Path, tiny_model: Path):
    assert fingerprint(own) == fingerprint(tiny_model)
    file = own / "model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] += 1
    save_file(weights, file, metadata={"format": "pt"})
    assert fingerprint(own) != fingerprint(tiny_model)


@pytest.mark.parametrize(
    "content",
    [
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        b"",
        b"\x02\0\0\0\0\0\0\0[]",
        None,
    ],
)
def test_weights_that_are_not_whole_are_named(own: Path, content: bytes | None):
    file = own / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ModelError, match=r"model\.safetensors: not a whole safetensors file"):
        load_base(str(own), PLAIN)


@pytest.mark.parametrize(
    ("value", "problem"), [(None, "2 of its weights are missing"), (float("nan"), "are no numbers")]
)
def test_weights_of_a_base_that_are_missing_or_no_numbers_are_named(
    own: Path, value: float | None, problem: str
):
    file = own / "model.safetensors"
    weights = load_file(file)
    for name in [
        name for name in weights if "layers.0.self_attn.q_proj" in name or "0.mlp.down_proj" in name
    ]:
        weights[name] = weights[name].clone().fill_(value or 0.0)
        if value is None:
            del weights[name]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=problem):
        load_base(str(own), PLAIN)


def test_what_is_no_model_is_distinguished(own: Path, tmp_path: Path):
    (own / "model.safetensors").rename(own / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no safetensors weights; convert them"):
        resolve_base(str(own))
    (own / "config.json").unlink()
    with pytest.raises(ModelError, match=r"it has no config\.json"):
        resolve_base(str(own))
    (tmp_path / "x.gguf").write_bytes(b"PK")
    with pytest.raises(ModelError, match="it does not start with GGUF"):
        resolve_base(str(tmp_path / "x.gguf"))
    with pytest.raises(ModelError, match="no such GGUF file"):
        resolve_base(str(tmp_path / "y.gguf"))


def test_a_model_without_a_tokenizer_or_a_template_that_is_not_there(own: Path, tmp_path: Path):
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages[0].content }}")
    assert load_tokenizer(own, str(template)).chat_template == "{{ messages[0].content }}"
    with pytest.raises(ModelError, match=r"nowhere\.jinja: no tokenizer can be loaded"):
        load_tokenizer(own, str(tmp_path / "nowhere.jinja"))
    (own / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="own: no tokenizer can be loaded"):
        load_base(str(own), PLAIN)
    for file in own.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="own: no tokenizer can be loaded"):
        load_base(str(own), PLAIN)


@pytest.mark.parametrize("kind", ["gemma2", "bloom", "mamba", "gpt2", "gpt_neo", "xglm", "opt", "falcon"])
def test_attention_is_left_to_transformers(kind: str, own: Path):
    """Not every type has PyTorch's kernels."""
    plain_of(kind).save_pretrained(own)
    loaded = load_base(str(own), PLAIN)
    with torch.inference_mode():
        assert loaded.model(input_ids=torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, 300)


def plain_of(kind: str) -> Any:
    """A tiny random model of a type with names of its own for its sizes."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    own = {
        "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 48},
        "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
        "xglm": {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48},
        "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
        "mamba": {"state_size": 4},
    }
    config = AutoConfig.for_model(kind, **sizes | own.get(kind, {}))
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2), r"an encoder \(bert\)"),
        (ModernBertConfig(hidden_size=32, num_hidden_layers=1), r"an encoder \(modernbert\)"),
        (T5Config(d_model=32, num_layers=1), r"an encoder-decoder model \(t5\)"),
        (CLIPConfig(), r"no causal language model \(clip\)"),
    ],
    ids=["encoder", "encoder without a decoder", "encoder-decoder", "another kind"],
)
def test_a_model_that_does_not_continue_texts_is_refused_by_its_configuration(own: Path, config, reason: str):
    config.save_pretrained(own)
    with pytest.raises(ModelError, match=reason) as found:
        load_base(str(own), PLAIN)
    assert "\n" not in str(found.value)


def test_a_broken_configuration_is_one_line(own: Path):
    for text in ("{", '{"model_type": "no-such-type"}', '{"model_type": 5}', "[]"):
        (own / "config.json").write_text(text)
        with pytest.raises(ModelError) as found:
            load_base(str(own), PLAIN)
        assert "\n" not in str(found.value)


def test_a_tokenizer_larger_than_the_embedding_is_refused(own: Path):
    tokenizer = load_tokenizer(own)
    tokenizer.add_tokens([f"<new{n}>" for n in range(400)])
    tokenizer.save_pretrained(own)
    with pytest.raises(ModelError, match=r"its tokenizer has token ids up to \d+, its embedding \d+ rows"):
        load_base(str(own), PLAIN)


@pytest.mark.parametrize("inside", [{}, {"text_config": {}}])
def test_a_config_that_names_code_of_the_hub_is_refused(inside: dict, tmp_path: Path):
    named = {"attn_implementation": "kernels-community/flash-attn"}
    config = {"text_config": named} if inside else named
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"} | config))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="attn_implementation names code of the hub"):
        load_base(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"model_type": "mine", "auto_map": {"AutoConfig": "code.C"}},
            "needs code of its own, which is never",
        ),
        ({"quantization_config": {"quant_method": "magic"}}, "names no method that transformers knows"),
        ({"quantization_config": {}}, "names no method that transformers knows"),
        ({"quantization_config": ["gptq"]}, "names no method that transformers knows"),
    ],
)
def test_a_config_that_needs_code_of_its_own_is_one_line(change: dict, problem: str, own: Path):
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelError, match=problem) as raised:
        load_base(str(own), PLAIN)
    assert "\n" not in str(raised.value)


def test_code_beside_a_model_that_transformers_knows_is_not_run(own: Path):
    config = json.loads((own / "config.json").read_text())
    named = {"auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.C"}}
    (own / "config.json").write_text(json.dumps(config | named))
    (own / "code.py").write_text("raise SystemExit('run')")
    assert load_base(str(own), PLAIN).model.config.model_type == "llama"


@pytest.mark.parametrize("rest", [bytes(range(256)) * 4, b"", b"\3\0\0\0" + b"\1" * 16])
def test_a_malformed_gguf_file_is_one_line(rest: bytes, tmp_path: Path):
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF" + rest)
    with pytest.raises(ModelError, match="not a GGUF file that can be read") as raised:
        load_base(str(file))
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_gguf_file_is_the_same_model_with_and_without_the_hub(tmp_path: Path):
    code = "from toolkit.models import bases; print(bases.content_fingerprint(bases.resolve_base({name!r})))"
    command = [sys.executable, "-c", code.format(name="smollm2-135m-instruct")]
    found = set()
    for offline in "01":
        settings = {"HF_HUB_OFFLINE": offline, "ADAPTER_ARENA_CACHE": str(tmp_path / offline)}
        done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1
