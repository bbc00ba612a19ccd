"""Whether stages can start: adapters are built on the model without weights, chains are checked.

Finds what PEFT would ignore (unknown layers among known ones, missing layers), what TRL refuses only after
loading, and what could not be published correctly.
"""

import copy
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import peft
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import TrainableTokensWrapper
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from toolkit import distributed
from toolkit.errors import ModelError, RecipeError
from toolkit.models import bases
from toolkit.models.loading import HEADS, changes_base
from toolkit.recipe import Recipe, Stage
from toolkit.train.base import stage_adapter, subtracts_from_base
from toolkit.train.publish import SETS, not_joined

CONTINUE = "leave out `adapter:` to continue the parent's"

PASSED_OVER = (BaseTunerLayer, TrainableTokensWrapper)
"""Wrappings of an output layer whose own weights TRL's fused loss does not see."""

Problem = tuple[str, str, str]  # where, what, and the mend


def refuse(recipe: Recipe, stages: Iterable[Stage]) -> None:
    """Raise a `RecipeError` with a line for each problem that keeps a stage from starting."""
    shape = shape_of(recipe)
    found = [problem for stage in stages for problem in problems(recipe, stage, shape)]
    if found:
        raise RecipeError("\n".join(f"{place}: {what}; {mend}" for place, what, mend in found))


def problems(recipe: Recipe, stage: Stage, shape: Any) -> Iterator[Problem]:
    """What keeps a stage from starting or being published; `shape` of `None` skips what needs it."""
    place = f"stages.{stage.name}.adapter"
    if stage.trainer.get("sync_ref_model"):
        where = f"stages.{stage.name}.trainer.sync_ref_model"
        yield where, "the reference is what the stage starts from", "leave it out"
    if stage.trainer.get("fsdp") and max(recipe.processes, distributed.count()) == 1:
        where = f"stages.{stage.name}.trainer.fsdp"
        yield where, "there is one process, and nothing to shard", "leave it out, or set `processes`"
    routed = shape is None or hasattr(shape.config.get_text_config(), "output_router_logits")
    if stage.trainer.get("router_aux_loss_coef") and not routed:
        where = f"stages.{stage.name}.trainer.router_aux_loss_coef"
        yield where, "this model has no experts to balance", "leave it out"
    try:
        config = stage_adapter(recipe, stage)
    except RecipeError as problem:
        yield place, str(problem).removeprefix(f"{place}: "), "see PEFT's configuration class"
        return
    yield from _given(recipe, stage, config, place)
    below = stage.start != "base" and recipe.stage(stage.start).adapter != "none"
    if below and not recipe.continues(stage.name):
        yield from _joined(recipe, stage, config, shape)
    if config is None:
        if recipe.model.quantization != "none":
            what = f"all weights are to be trained, but in {recipe.model.quantization} they have no gradient"
            yield place, what, "train an adapter, or set model.quantization: none"
        return
    initial = list(_initialisation(recipe, config, place))
    yield from initial
    if shape is not None and not initial:
        yield from _fits(config, stage, shape, place)


FOREIGN = {
    **{"vera": ("alpha",), "ia3": ("r", "alpha", "dropout")},
    **dict.fromkeys(("prompt", "prefix", "adaption_prompt"), ("r", "alpha", "dropout", "target_modules")),
}
"""Type of adapter -> fields of a recipe that it does not have."""

UNREAD_FIELDS = {
    *("peft_type", "auto_mapping", "base_model_name_or_path", "revision"),
    *("use_qalora", "qalora_group_size"),
}
"""Fields of PEFT's classes that follow from the stage, or are for bases that are not loaded here."""


def _given(recipe: Recipe, stage: Stage, config: Any, place: str) -> Iterator[Problem]:
    """Values that PEFT's configuration takes as they are, whatever they mean."""
    options = recipe.adapter_of(stage.name)
    given = {} if isinstance(options, str) else options.model_dump(exclude_unset=True)
    for field in texts_for_switches(type(config), given):
        yield f"{place}.{field}", f"{given[field]!r} is text, which counts as true", "write true or false"
    if not isinstance(options, str):
        foreign = options.model_dump(exclude_defaults=True).keys() & FOREIGN.get(options.type, ())
        for field in sorted(foreign | (UNREAD_FIELDS & given.keys())):
            yield f"{place}.{field}", f"changes nothing in an adapter of type {options.type}", "leave it out"
    if given.get("alora_invocation_tokens"):
        what = "an activated LoRA begins at tokens that rows do not have"
        yield f"{place}.alora_invocation_tokens", what, "leave it out"
    for layer in [name for name, alpha in dict(given.get("alpha_pattern") or {}).items() if alpha == 0]:
        yield f"{place}.alpha_pattern", f"{layer}: 0 takes its adapter out of the model", "leave it out"
    for ours, theirs in (("alpha", "lora_alpha"), ("dropout", "lora_dropout"), ("r", "init_r")):
        if ours in given and theirs in given:
            yield f"{place}.{theirs}", f"is the same as `{ours}`, which is given too", "keep one of them"


def texts_for_switches(kind: type, given: Mapping[str, Any]) -> Iterator[str]:
    """The fields of a dataclass that are true or false and got a text, such as "no", which is true."""
    for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
        switch = r"(<class ')?(Optional\[)?bool('>|\]| \| None)?|typing\.Optional\[bool\]"
        if re.fullmatch(switch, str(field.type)) and isinstance(given.get(field.name), str):
            yield field.name


def _initialisation(recipe: Recipe, config: Any, place: str) -> Iterator[Problem]:
    """Initialisations that PEFT does not know, or that move the base."""
    for name in ("init_lora_weights", "init_ia3_weights", "init_weights"):
        if getattr(config, name, True) is False:
            yield f"{place}.{name}", "false starts from noise, not from the model", "leave it out"
    reason = changes_base(config)
    init = str(getattr(config, "init_lora_weights", ""))
    if subtracts_from_base(config) and not re.fullmatch(r"pissa(_niter_\d+)?|olora", init):
        yield f"{place}.init_lora_weights", f"PEFT knows no {init}", "write pissa, pissa_niter_16 or olora"
    elif reason and not subtracts_from_base(config):
        yield place, f"{reason} changes the base's own weights for all other adapters", "leave it out"
    elif reason and recipe.model.quantization != "none":
        yield place, f"{reason} changes weights that {recipe.model.quantization} has rounded", "leave it out"
    elif getattr(config, "init_lora_weights", True) == "eva":
        yield place, "init_lora_weights: eva wants to see data before it starts", "leave it out"


LLAMA = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}
SHAPES: dict[str, dict[str, Any]] = {
    "TinyLlama/TinyLlama-1.1B": LLAMA
    | {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_key_value_heads": 4},
    "meta-llama/Llama-2-7b": LLAMA,
    "meta-llama/Llama-3.1-8B": LLAMA
    | {"vocab_size": 128_256, "intermediate_size": 14_336, "num_key_value_heads": 8},
    "mistralai/Mistral-7B": LLAMA
    | {"vocab_size": 32_768, "intermediate_size": 14_336, "num_key_value_heads": 8},
}
"""Start of a base's name -> fields of its `LlamaConfig`, to estimate memory before it is fetched."""


def shape_of(recipe: Recipe) -> Any:
    """The model without its weights, where its configuration is here or known by name; else `None`."""
    known = next((fields for name, fields in SHAPES.items() if recipe.base.startswith(name)), None)
    try:
        config = AutoConfig.from_pretrained(bases.resolve_base(recipe.base, revision=recipe.model.revision))
    except (ModelError, OSError, ValueError):
        if known is None:
            return None
        config = LlamaConfig(**known, max_position_embeddings=2048)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None  # refused where it is loaded
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _joined(recipe: Recipe, stage: Stage, config: Any, shape: Any) -> Iterator[Problem]:
    """Whether the parent can be merged into the base, and a new adapter joined with it."""
    place = f"stages.{stage.name}.adapter"
    parent = stage_adapter(recipe, recipe.stage(stage.start))
    if config is None:
        lossless = parent.peft_type in ("LORA", "IA3", "ADALORA", "VERA")
        if not lossless or getattr(parent, "lora_bias", False):
            yield place, f"the adapter of {stage.start} cannot be merged into whole weights", CONTINUE
        return
    own = HEADS if stage.spec.reward_model else ()
    sides = ((f"the adapter of {stage.start}", parent, ()), ("this adapter", config, own))
    for whose, adapter, heads in sides:
        if reason := not_joined(adapter, heads) or _experts(adapter, shape):
            yield place, f"{whose} ({reason}) cannot be joined exactly with another one", CONTINUE
            return


def _experts(config: Any, shape: Any) -> str | None:
    """Whether PEFT makes an adapter on experts of it, which are no layers of their own, unasked."""
    if shape is None or not isinstance(config, peft.LoraConfig):
        return None
    try:
        plain = dataclasses.replace(copy.deepcopy(config), init_lora_weights=True)
        made = peft.get_peft_model(copy.deepcopy(shape), plain)
    except (ValueError, TypeError, RuntimeError):
        return None  # found in the stage it is of
    return "on experts" if _has(made, "ParamWrapper") else None


def _has(model: Any, kind: str) -> bool:
    return any(type(module).__name__ == kind for module in model.modules())


def _fits(config: Any, stage: Stage, shape: Any, place: str) -> Iterator[Problem]:
    """Whether everything that an adapter names is in the model, and PEFT can build it there."""
    model = copy.deepcopy(shape)
    if stage.spec.reward_model:
        model.config.num_labels = 1
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(model.config)
    for field, named in _unknown(config, model):
        yield f"{place}.{field}", f"{named} is not in this model", "name what the model has"
        return
    plain = copy.deepcopy(config)
    if subtracts_from_base(plain):
        plain.init_lora_weights = True
    try:
        made = peft.get_peft_model(model, plain)
    except Exception as error:  # noqa: BLE001 - PEFT is given any field
        yield place, " ".join(str(error).split())[:300], "name what this model has, or take another type"
        return
    if not any(weight.requires_grad and weight.numel() for weight in made.parameters()):
        mend = "leave inference_mode out, or train more than 0 tokens"
        yield place, "leaves no weight that is trained", mend
    head = made.get_output_embeddings()
    if not stage.spec.reward_model and stage.method != "orpo" and isinstance(head, PASSED_OVER):
        text = "what is trained on the output layer is passed over: log-probabilities are of its own weights"
        yield place, text, "train that layer whole, in modules_to_save"
    if subtracts_from_base(config) and _has(made, "Conv1D"):
        what = f"init_lora_weights: {config.init_lora_weights} is wrong in this kind of model"
        yield place, what, "leave it out"


def _unknown(config: Any, model: Any) -> Iterator[tuple[str, str]]:
    """Each name of a layer or parameter that an adapter names in vain, with the field; then numbers."""
    modules = [name for name, _ in model.named_modules() if name]
    parameters = [name for name, _ in model.named_parameters()]
    for field in (*SETS, "modules_to_save"):
        known = parameters if field == "target_parameters" else modules
        listed = getattr(config, field, None) or ()
        for name in () if isinstance(listed, str) else sorted(listed):
            own = field == "modules_to_save" and name in HEADS
            if not own and not any(f".{one}".endswith(f".{name}") for one in known):
                yield field, name
    for field in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(config, field, None) or {}:
            if not any(re.match(rf"(.*\.)?({pattern})$", name) for name in modules):
                yield field, pattern
    text = model.config.get_text_config()
    counts = {"layers_to_transform": text.num_hidden_layers, "trainable_token_indices": text.vocab_size}
    for field, count in counts.items():
        value = getattr(config, field, None) or []
        numbers = [value] if isinstance(value, int) else value
        for number in chain.from_iterable(value.values()) if isinstance(value, dict) else numbers:
            if not 0 <= number < count:
                yield field, f"number {number} (there are {count}, from 0)"
