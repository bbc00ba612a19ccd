"""One base model in memory, with adapters switched on it.

loaded = load_base("smollm2-135m-instruct")
loaded.attach("sft", Path("results/demo/adapters/sft"))
with loaded.using("sft"):
    ...                      # loaded.model now answers as base + sft
with loaded.using(None):
    ...                      # the bare base
"""

import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME, WEIGHTS_NAME
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.integrations.bitsandbytes import dequantize_bnb_weight
from transformers.models.auto import modeling_auto

from toolkit import compat, io
from toolkit.errors import ModelError, first_line
from toolkit.jinja_limits import find_overrun
from toolkit.models import bases, hardware
from toolkit.recipe import ModelOptions
from toolkit.types import digest

LINEAGE = "lineage.json"
"""File in an adapter folder: what it was trained on (`base`, `base_fingerprint`, `parent`, ...)."""

HEADS = ("score", "classifier")  # output layers of classifiers, which PEFT trains whole beside an adapter


@dataclass
class Loaded:
    """A model and its tokenizer. `model` is a PEFT model once an adapter has been attached."""

    name: str
    folder: Path
    model: Any
    tokenizer: Any
    hardware: hardware.Hardware
    fingerprint: str  # `loaded_fingerprint` of its folder and options
    quantization: str = "none"
    adapters: list[str] = field(default_factory=list)
    adapter_fingerprints: dict[str, str] = field(default_factory=dict)
    """Name of an attached adapter -> `bases.content_fingerprint` of its folder."""
    folders: dict[str, Path] = field(default_factory=dict)  # name of an attached adapter -> its folder

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def attention(self) -> str:
        """The attention that was loaded."""
        return compat.attention_kernel(self.model)

    def attach(self, name: str, folder: Path) -> None:
        """Load an adapter under `name`, not yet in use; a `ModelError` where it is of another base."""
        if name in self.adapters:
            return
        check_lineage(folder, self.name, self.folder)
        self._load(name, folder)
        self.adapters.append(name)
        self.adapter_fingerprints[name] = bases.content_fingerprint(folder)
        self.folders[name] = folder

    def _load(self, name: str, folder: Path) -> None:
        """Beside the adapters that are on the model, or in their place where PEFT cannot hold both."""
        try:
            self.model = load_adapter(self.model, folder, name).eval()
        except ModelError:
            if not isinstance(self.model, PeftModel):
                raise
            self.model = None
            self.model = load_weights(self.folder, self.hardware, self.quantization)
            self.model = load_adapter(self.model, folder, name).eval()

    @contextmanager
    def using(self, name: str | None) -> Iterator[Any]:
        """Answer as base + adapter `name` (`None`: the bare base) inside the block; gives the model."""
        if not isinstance(self.model, PeftModel):
            if name is not None:
                raise ModelError(f"adapter {name} is not attached")
            yield self.model
        elif name is None:
            with self.model.disable_adapter():
                yield self.model
        else:
            if name not in self.model.peft_config:
                self._load(name, self.folders[name])
            before = self.model.active_adapter
            self.model.set_adapter(name)
            try:
                yield self.model
            finally:
                self.model.set_adapter(before)


def load_base(name: str, options: ModelOptions = ModelOptions()) -> Loaded:
    """Load a base for inference on the hardware that is there.

    Args:
        name: hub id, folder, GGUF file or packaged short name.
        options: device, dtype, attention, quantisation; `auto` chooses.

    Raises:
        ModelError: there is no such model, or it does not fit this machine.
    """
    folder = bases.resolve_base(name, revision=options.revision)
    check_causal(folder)
    chosen = hardware.choose(options)
    if "flash" in (chosen.attention or ""):  # which takes no masks: continuous batching has its own
        chosen = replace(chosen, attention=None)
    fingerprint = loaded_fingerprint(folder, options)
    tokenizer = load_tokenizer(folder, options.chat_template, options.chat_template_kwargs)
    model = load_weights(folder, chosen, options.quantization)
    check_vocabulary(tokenizer, model.get_input_embeddings().num_embeddings, name)
    return Loaded(name, folder, model.eval(), tokenizer, chosen, fingerprint, options.quantization)


def loaded_fingerprint(folder: Path, options: ModelOptions) -> str:
    """16 hex digits of a model as these options load it: contents, number type, quantisation, template."""
    template = str(template_text(options.chat_template)) if options.chat_template else ""
    variables = json.dumps(options.chat_template_kwargs, sort_keys=True)
    dtype = str(hardware.choose(options).dtype)
    return digest(bases.content_fingerprint(folder), dtype, options.quantization, template, variables)


def check_causal(folder: Path) -> None:
    """Raise a `ModelError` for models that do not continue a text, by their configuration alone."""
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder}: its config.json cannot be read: {first_line(error)}") from None
    kind = config.model_type
    if config.is_encoder_decoder:
        reason = f"an encoder-decoder model ({kind})"
    elif kind in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
        reason = f"an encoder ({kind})"
    elif type(config) not in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING:
        reason = f"no causal language model ({kind})"
    else:
        return
    raise ModelError(f"{folder}: {reason}, and does not continue texts; name a decoder-only language model")


def check_vocabulary(tokenizer: Any, rows: int, name: str) -> None:
    """Raise a `ModelError` for a tokenizer with token ids beyond the embedding's rows."""
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= rows:
        raise ModelError(
            f"{name}: its tokenizer has token ids up to {largest}, its embedding {rows} rows; use the "
            "model's own tokenizer, or resize the embedding and save the model"
        )


def load_weights(
    folder: Path,
    chosen: hardware.Hardware,
    quantization: str = "none",
    kind: Any = AutoModelForCausalLM,
    **extra: Any,
) -> Any:
    """The model in `folder` on its device, quantised (but for its head) or not; a `ModelError` if broken."""
    if kind is AutoModelForCausalLM:
        check_causal(folder)
    if chosen.device.type == "cpu":
        compat.prefer_large_blocks()
    quantized = quantization_config(quantization, chosen.dtype) if quantization != "none" else None
    options = {
        "quantization_config": quantized,
        "attn_implementation": chosen.attention,
        "use_kernels": chosen.use_kernels or None,
        "dtype": chosen.dtype,
        "device_map": {"": chosen.device},
    }
    extra |= {name: value for name, value in options.items() if value is not None}
    try:
        extra |= {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
        model, found = kind.from_pretrained(folder, **extra)
    except (ValueError, OSError, ImportError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot be loaded: {first_line(error)}") from error
    own = HEADS if kind is not AutoModelForCausalLM else ()  # of a classifier, from its adapter
    if missing := sorted(name for name in found["missing_keys"] if name.partition(".")[0] not in own):
        text = f"{len(missing)} of its weights are missing, such as {missing[0]}, and would be random"
        raise ModelError(f"{folder}: {text}; fetch it again")
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise ModelError(f"{folder}: {name} has weights that are no numbers; fetch or train it again")
    compat.keep_4bit_gradients(model)
    return model


def load_adapter(model: Any, folder: Path, name: str = "default") -> PeftModel:
    """Put the adapter in `folder` on a model by plain PEFT, under `name`.

    Raises:
        ModelError: it cannot be read, weights are missing, unknown or no numbers, or it would change the base
            for all other adapters.
    """
    weights = adapter_weights(folder)
    try:
        config = PeftConfig.from_pretrained(str(folder))
        reason = changes_base(config)
        if reason:
            raise ModelError(
                f"{folder}: {reason} changes the base's own weights; convert it by PEFT's save_pretrained("
                "path_initial_model_for_weight_conversion=...), or merge it into a whole model"
            )
        if isinstance(model, PeftModel):
            model.load_adapter(str(folder), name)
        else:
            model = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
    except (ValueError, TypeError, KeyError, RuntimeError, OSError, AttributeError) as error:
        raise ModelError(f"{folder}: not an adapter of this model: {_cause(error)}") from error
    _check_complete(model, folder, name, weights)
    return model


def load_adapter_weights(model: PeftModel, folder: Path) -> None:
    """Set an adapter's weights from `folder`; a classifier keeps its head. Errors as of `load_adapter`."""
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    weights = {key: weight for key, weight in own.items() if set(HEADS) & set(key.split("."))}
    weights |= adapter_weights(folder)
    try:
        set_peft_model_state_dict(model, weights)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{folder}: not an adapter of this model: {_cause(error)}") from error
    _check_complete(model, folder, "default", weights)


def merge_adapter(model: PeftModel, dtype: torch.dtype, quantized: Any = None) -> Any:
    """The model in `dtype` with its adapter merged; embedding and head are untied where one of them changed.

    Each layer is summed in fp32 and cast at once, so that not more than one is in fp32 beside the others.
    `quantized`, the base as it was trained on: its dequantised layers take the place of the model's.
    """
    inner = unwrapped(model)
    tied = getattr(inner.config.get_text_config(), "tie_word_embeddings", False)
    head = inner.get_output_embeddings()
    if tied and isinstance(head, torch.nn.Linear):
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    kinds = ("Params4bit", "Int8Params")
    layers = dict(quantized.named_modules()) if quantized is not None else {}
    types = {name: type(getattr(layer, "weight", None)).__name__ for name, layer in layers.items()}
    rounded = {name: layer for name, layer in layers.items() if types[name] in kinds}
    with warnings.catch_warnings(action="ignore"):  # PEFT's, that the layers are merged already
        for name, layer in list(inner.named_modules()):
            tuned = isinstance(layer, model.base_model.tuner_layer_cls)
            if not tuned and name not in rounded:
                continue
            base = layer.get_base_layer().float() if tuned else layer
            if name in rounded:
                state = getattr(rounded[name], "state", None)
                base.weight.data = dequantize_bnb_weight(rounded[name].weight, state).float()
            if tuned:
                layer.merge()
            base.to(dtype)
        merged = model.merge_and_unload().to(dtype)
    if tied:
        apart = not torch.equal(merged.get_output_embeddings().weight, merged.get_input_embeddings().weight)
        for config in (merged.config, merged.config.get_text_config()):
            config.tie_word_embeddings = not apart
        merged.tie_weights()
    return merged.requires_grad_(requires_grad=True)  # PEFT froze it


def adapter_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of an adapter folder, by PEFT's names; a `ModelError` where one is no number."""
    file = folder / SAFETENSORS_WEIGHTS_NAME
    if not file.is_file():
        pickled = (folder / WEIGHTS_NAME).is_file()
        what = f"only {WEIGHTS_NAME}, a pickle that could run code; save it as" if pickled else "no"
        raise ModelError(f"{folder}: {what} {SAFETENSORS_WEIGHTS_NAME}")
    try:
        weights = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read: {_cause(error)}") from error
    for name, weight in weights.items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise ModelError(f"{file}: {name} has weights that are no numbers; train it again")
    return weights


def changes_base(config: Any) -> str | None:
    """Which setting makes an adapter change the base's own weights, which switching it off does not undo."""
    init = getattr(config, "init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in ("gaussian", "orthogonal", "eva"):
        return f"init_lora_weights: {init}"
    for setting in ("kasa_config", "layer_replication"):
        if getattr(config, setting, None):
            return setting
    bias = getattr(config, "bias", "none")
    return f"bias: {bias}" if bias != "none" else None


def _check_complete(model: Any, folder: Path, name: str, weights: dict[str, Any]) -> None:
    expected = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False).keys()
    unknown = {key for key in weights.keys() - expected if not key.endswith("base_layer.weight")}
    for what, keys in (("missing", expected - weights.keys()), ("not of this model", unknown)):
        if keys:
            problem = f"{len(keys)} of {len(expected)} weights are {what}, such as {min(keys)}"
            raise ModelError(f"{folder}: {problem}; train or save the adapter again")


def _cause(error: Exception) -> str:
    """The last line of an error: PyTorch's first one only says that there are more."""
    return str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__


def unwrapped(model: Any) -> Any:
    """The transformers model that PEFT wrapped, or the model itself; adapter layers inside it stay."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def context_window(config: Any) -> int:
    """How many tokens a model reads; models without positions of their own read any number."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", None) or sys.maxsize)


def load_tokenizer(
    folder: Path, chat_template: str | None = None, variables: Mapping[str, Any] | None = None
) -> Any:
    """The tokenizer in `folder`, with a pad token, and with another chat template where one is named.

    `variables` are set in the template's text, so that they hold for whoever renders it, and are published.

    Raises:
        ModelError: there is no tokenizer, no such file or model to take the template from, or a template that
            takes too much time or memory.
    """
    tokenizer = _tokenizer(str(folder))
    if chat_template is not None:
        tokenizer.chat_template = template_text(chat_template)
    if overrun := find_overrun(tokenizer.chat_template):
        raise ModelError(f"{chat_template or folder}: its chat template {overrun}; name another one")
    if variables and tokenizer.chat_template is not None:
        sets = [f"{{%- set {name} = {json.dumps(value)} -%}}" for name, value in variables.items()]
        tokenizer.chat_template = "".join(sets) + tokenizer.chat_template
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.model_end_ids = _end_ids(folder)
    return tokenizer


def _end_ids(folder: Path) -> tuple[int, ...]:
    """The tokens that a model's settings say end its answers; a list in many."""
    for name in ("generation_config.json", "config.json"):
        file = folder / name
        named = io.read_json(file).get("eos_token_id") if file.is_file() else None
        if named is not None:
            return tuple(named) if isinstance(named, list) else (named,)
    return ()


def template_text(chat_template: str) -> Any:
    """A chat template by its Jinja file or its model (hub id, folder); a `ModelError` where there is none."""
    file = Path(chat_template)
    return file.read_text(encoding="utf-8") if file.is_file() else _tokenizer(chat_template).chat_template


def _tokenizer(name: str) -> Any:
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{name}: no tokenizer can be loaded: {first_line(error)}") from error


def quantization_config(kind: str, compute: torch.dtype) -> BitsAndBytesConfig:
    """Settings of bitsandbytes: `nf4` as in QLoRA (Dettmers et al. 2023), or `int8`."""
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    nf4 = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=compute, **nf4)


def check_lineage(folder: Path, base: str, base_folder: Path) -> None:
    """Refuse an adapter that was trained on other weights: it would load without an error and be wrong.

    An adapter without our lineage file is somebody else's, and is taken as it is; none is a `ModelError` too.
    """
    if not (folder / "adapter_config.json").is_file():
        raise ModelError(f"{folder}: no adapter here (no adapter_config.json)")
    file = folder / LINEAGE
    if not file.is_file():
        return
    lineage = io.read_json(file)
    if lineage.get("on_top_of_parent"):
        delta = f"the bare delta of {lineage['stage']}"
        raise ModelError(f"{folder}: {delta}; load its parent folder, which is whole")
    trained_on = lineage["base_fingerprint"]
    sampled = len(trained_on) == 16  # noqa: PLR2004 - an adapter of version 0.1
    weights = bases.sampled_fingerprint(base_folder) if sampled else bases.fingerprint(base_folder)
    if trained_on != weights:
        raise ModelError(
            f"{folder}: this adapter was trained on {lineage['base']} (weights {trained_on}), not on {base} "
            f"(weights {weights}); load it on the base it was trained on"
        )
