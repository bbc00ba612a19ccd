"""The model a stage starts from: the base, with the adapter below the stage continued, or frozen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import peft
import torch
from datasets import Dataset
from peft.tuners.tuners_utils import BaseTunerLayer

from toolkit.data import Row
from toolkit.errors import RecipeError
from toolkit.models import bases, hardware, loading
from toolkit.models.hardware import Hardware
from toolkit.recipe import LoraOptions, Recipe, Stage


@dataclass(frozen=True)
class Base:
    """What a method trains on top of."""

    name: str
    folder: Path
    fingerprint: str  # of the weights on disk that the published adapter will fit
    model: Any
    tokenizer: Any
    hardware: Hardware
    loaded: Hardware  # the same with the number type that the weights are loaded in
    quantization: str
    adapter: Any  # PEFT's configuration of what is trained; `None`: all weights
    parent: Path | None  # folder of the adapter that the stage starts from
    continued: bool  # whether the parent's adapter is trained on; else it is frozen
    rewards: Mapping[str, Path | Callable[..., list[float]]] = field(default_factory=dict)
    """Name -> folder of a reward model that online methods learn from, or (in a trial) a function for TRL."""

    @property
    def exact(self) -> bool:
        """Whether everything is computed in fp32."""
        plain = self.quantization == "none" and self.loaded.dtype == torch.float32
        return plain or self.adapter is None

    @property
    def on_parent(self) -> bool:
        """Whether a new adapter (or all weights) is trained on top of a frozen parent."""
        return self.parent is not None and not self.continued

    @property
    def parent_beside(self) -> bool:
        """Whether the frozen parent is a second active adapter: merging would take the base in fp32."""
        return self.on_parent and not self.exact

    def load(self, **kind: Any) -> Any:
        """The model in `folder`, without any adapter, as the stage trains on it."""
        return loading.load_weights(self.folder, self.loaded, self.quantization, **kind)

    def trainer_inputs(
        self, config: Any, encode: Callable[[list[Row]], Dataset], train: list[Row], heldout: list[Row]
    ) -> dict[str, Any]:
        """The arguments that every TRL trainer takes; `encode` makes data sets of rows."""
        return {
            "model": self.model,
            "args": config,
            "train_dataset": encode(train),
            "eval_dataset": encode(heldout) if heldout else None,
            "processing_class": self.tokenizer,
            "peft_config": self.adapter,
        }

    @property
    def moved(self) -> bool:
        """Whether the model before the first step is not the one with its adapter switched off."""
        trained_on = self.adapter is None or self.continued or self.parent_beside
        return trained_on or subtracts_from_base(self.adapter)

    def start(self, model: Any) -> None:
        """Turn a model that TRL has prepared into the one the stage starts from; idempotent.

        Trained weights are held in fp32 (TRL casts adapters on a quantised base to bfloat16 and leaves other
        weights as loaded). A continued adapter gets its parent's weights; a frozen parent is active beside a
        new adapter.
        """
        cast_trained_weights_to_fp32(model)
        if self.continued and self.parent:
            loading.load_adapter_weights(model, self.parent)
        if self.parent_beside and self.parent:
            if PARENT not in model.peft_config:
                loading.load_adapter(model, self.parent, PARENT)
            activate_both(model)


def prepare_base(recipe: Recipe, stage: Stage, run: Path) -> Base:
    """Load the base of a stage; the adapter below is continued, or frozen under one of the stage's own.

    Frozen weights are held in the recipe's number type; in fp32 where all of them are trained, or something
    is taken out of them: a delta is small against the weight it is added to, and 16 bits would lose part of
    it. On a CPU without quantisation a frozen parent is merged in fp32, which computes fastest; elsewhere it
    stays an adapter beside the new one, so that no base in fp32 lies on a GPU.

    Raises:
        ModelError: the base or the parent cannot be loaded, or do not belong together.
        RecipeError: PEFT does not know a field of the adapter.
    """
    chain = recipe.chain(stage.name)[:-1]
    below = recipe.whole_below(stage.name)
    name = str(run / "adapters" / below) if below else recipe.base
    folder = bases.resolve_base(name, revision=recipe.model.revision)
    chosen = hardware.choose(recipe.model)
    parent = run / "adapters" / chain[-1].name if chain and chain[-1].adapter != "none" else None
    continued = recipe.continues(stage.name)
    fingerprint, quantization = bases.fingerprint(folder), recipe.model.quantization
    if parent:
        loading.check_lineage(parent, name, folder)
    adapter = stage_adapter(recipe, stage, parent if continued else None)
    if recipe.model.attention == "auto" and chosen.device.type == "cpu":
        chosen = replace(chosen, attention="eager")  # half the time of sdpa, whose backward is slow on a CPU
    merges = parent and not continued and chosen.device.type == "cpu"
    exact = adapter is None or merges or subtracts_from_base(adapter)
    exact = exact or stage.spec.reward_model  # whose output, one number, is rounded away in 16 bit
    loaded = replace(chosen, dtype=torch.float32) if exact and quantization == "none" else chosen
    if loaded.half_on_cpu:
        raise RecipeError("model.dtype: a CPU trains no adapter in float16; set it to auto")
    tokenizer = loading.load_tokenizer(folder, recipe.model.chat_template, recipe.model.chat_template_kwargs)
    ours = {other.name: run / "adapters" / other.name for other in recipe.stages if other.spec.reward_model}
    rewards = {name: ours.get(name) or bases.resolve_base(name) for name in stage.rewards}
    base = Base(
        name=name,
        folder=folder,
        fingerprint=fingerprint,
        model=None,
        tokenizer=tokenizer,
        hardware=chosen,
        loaded=loaded,
        quantization=quantization,
        adapter=adapter,
        parent=parent,
        continued=continued,
        rewards=rewards,
    )
    model = base.load()
    loading.check_vocabulary(tokenizer, model.config.get_text_config().vocab_size, name)
    if parent and base.on_parent and not base.parent_beside:
        model = loading.merge_adapter(loading.load_adapter(model, parent), torch.float32)
    return replace(base, model=model)


PARENT = "parent"  # name of a frozen parent's adapter beside the one that is trained, `default`


def activate_both(model: Any) -> None:
    """Have the frozen parent and the trained adapter added up in every layer; only the latter is trained."""
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.set_adapter(["default", PARENT])
    for name, weight in model.named_parameters():
        if f".{PARENT}." in f"{name}.":
            weight.requires_grad = False


def cast_trained_weights_to_fp32(model: Any) -> None:
    """Cast trained weights: small steps are lost in 16 bit, and float16's scaler refuses its gradients."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


CLASSES = {
    "lora": peft.LoraConfig,
    "ia3": peft.IA3Config,
    "adalora": peft.AdaLoraConfig,
    "vera": peft.VeraConfig,
    "adaption_prompt": peft.AdaptionPromptConfig,
    "prompt": peft.PromptTuningConfig,
    "prefix": peft.PrefixTuningConfig,
}


def stage_adapter(recipe: Recipe, stage: Stage, parent: Path | None = None) -> Any:
    """The PEFT configuration that a stage trains, or `None` when it trains all weights.

    `parent`, the folder of the adapter that is continued, has one; else it follows from the recipe.

    Raises:
        RecipeError: PEFT does not know a field.
    """
    task = "SEQ_CLS" if stage.spec.reward_model else "CAUSAL_LM"
    if parent is not None:
        config = peft.PeftConfig.from_pretrained(str(parent))
        config.inference_mode, config.task_type = False, task
        return config
    options = recipe.adapter_of(stage.name)
    if isinstance(options, str):
        return None
    try:
        return CLASSES[options.type](task_type=task, **_fields(options))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"stages.{stage.name}.adapter: {error}") from None


def subtracts_from_base(config: Any) -> bool:
    """Whether PEFT takes what the adapter begins with out of the base (PiSSA, OLoRA)."""
    return str(getattr(config, "init_lora_weights", "")).startswith(("pissa", "olora"))


def _fields(options: LoraOptions) -> dict[str, Any]:
    extra = dict(options.model_extra or {})
    targets = {"target_modules": options.target_modules}
    if options.type in ("lora", "adalora"):
        rank = {"r": options.r} if options.type == "lora" else {"init_r": options.r}
        alpha = options.alpha if options.alpha is not None else 2 * options.r
        return {**rank, "lora_alpha": alpha, "lora_dropout": options.dropout, **targets, **extra}
    if options.type == "vera":
        return {"r": options.r, "vera_dropout": options.dropout, **targets, **extra}
    if options.type == "ia3" and options.target_modules != "all-linear":  # PEFT could not load that again
        return {**targets, **extra}
    return extra  # PEFT knows the layers of IA3 for each kind of model: keys, values, the feed-forward's last
