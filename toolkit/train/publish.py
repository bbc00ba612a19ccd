"""Write a trained model to `adapters/<stage>/`: one self-contained folder, written atomically."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import yaml
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME as WEIGHTS
from peft.utils.other import get_pattern_key
from safetensors.torch import save_file

from toolkit import io
from toolkit.models.bases import HUB_IDS, fingerprint, license_of
from toolkit.models.loading import LINEAGE, adapter_weights
from toolkit.recipe import Recipe, Stage
from toolkit.train.base import Base
from toolkit.types import StageResult

SETS = ("target_modules", "exclude_modules", "target_parameters", "feedforward_modules")
"""Fields of adapter configurations that are sets of names."""


@dataclass(frozen=True)
class Learned:
    """A trained model, whole in the process that writes."""

    model: Any
    weights: dict[str, Any] | None
    """All of them by name, where each process holds a share; `None`: they are in the model."""
    initial_weights: dict[str, Any]
    """Tensors that PEFT subtracted from the base (PiSSA, OLoRA), by PEFT's names; else empty."""

    @classmethod
    def of(cls, trainer: Any, initial_weights: dict[str, Any]) -> Learned:
        """Collect the trained model; call it in every process, since each may hold a shard."""
        model = trainer.accelerator.unwrap_model(trainer.model)
        shared = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if shared else None
        return cls(model, weights, initial_weights)

    def adapter(self) -> dict[str, torch.Tensor]:
        """A copy of the adapter's tensors by PEFT's names, on the CPU; of a model none."""
        return copy_adapter(self.model, self.weights) if isinstance(self.model, PeftModel) else {}

    def differs(self, before: dict[str, Any]) -> bool:
        """Whether a weight is not what it was."""
        now = self.weights or dict(self.model.named_parameters())
        return any(not torch.equal(now[name], weight.to(now[name])) for name, weight in before.items())

    def save(self, folder: Path) -> None:
        """Write the model, or its adapter, as `from_pretrained` reads it."""
        # PEFT would ask the hub whether the vocabulary has grown
        only_adapter: dict[str, Any] = {}
        if isinstance(self.model, PeftModel):
            only_adapter = {"save_embedding_layers": False, "selected_adapters": ["default"]}
        self.model.save_pretrained(folder, state_dict=self.weights, **only_adapter)


def copy_adapter(model: Any, weights: dict[str, Any] | None = None) -> dict[str, torch.Tensor]:
    """A copy of an adapter's tensors by PEFT's names, on the CPU."""
    tensors = get_peft_model_state_dict(model, weights, save_embedding_layers=False)
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def publish(learned: Learned, base: Base, stage: Stage, folder: Path) -> None:
    """Write the adapter (or model), its tokenizer and lineage into the stage's folder.

    An adapter trained on a frozen parent is joined with it, so that the folder fits the original base; the
    bare delta stays in `delta/`.
    """
    delta = folder / "delta" if base.on_parent and isinstance(learned.model, PeftModel) else folder
    learned.save(delta)
    if isinstance(learned.model, PeftModel):
        (delta / "README.md").unlink(missing_ok=True)
        if learned.initial_weights:  # what was taken out of the base is given back
            final = _part(delta)
            initial = {name: w for name, w in learned.initial_weights.items() if name in final[0]}
            _write(delta, *join([(initial, final[1], -1.0), final]))
        if base.parent and base.on_parent:
            _write(folder, *join([_part(base.parent), _part(delta)]))
            io.write_json(delta / LINEAGE, lineage(base, stage) | {"on_top_of_parent": True})
        # Last, since PEFT looks for the base where its configuration says, and asks the hub for a short name.
        for config in {delta / "adapter_config.json", folder / "adapter_config.json"}:
            _name_base(config, base.name)
    base.tokenizer.save_pretrained(folder)
    io.write_json(folder / LINEAGE, lineage(base, stage))


def lineage(base: Base, stage: Stage) -> dict[str, Any]:
    """What the adapter was trained on, by name and by fingerprint."""
    parent = base.parent
    return {
        "stage": stage.name,
        "method": stage.method,
        "base": base.name,
        "base_fingerprint": base.fingerprint,
        "base_license": license_of(base.folder),
        "parent": parent.name if parent else None,
        "parent_fingerprint": fingerprint(parent) if parent else None,
    }


def _part(folder: Path) -> Part:
    return adapter_weights(folder), PeftConfig.from_pretrained(str(folder)), 1.0


def _write(folder: Path, weights: dict[str, Any], config: Any) -> None:
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    config.inference_mode = True
    config.save_pretrained(str(folder))


def _name_base(config: Path, name: str) -> None:
    """Name the base as the hub does, or its folder from anywhere; sort what PEFT stores as sets."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values |= {key: sorted(values[key]) for key in SETS if isinstance(values.get(key), list)}
    folder = Path(name)
    values["base_model_name_or_path"] = str(folder.resolve()) if folder.is_dir() else HUB_IDS.get(name, name)
    io.write_json(config, values)


RESULT = "stage.json"  # file of a published folder with what training gave


CARD = """---
{front}
---
# {run}/{stage}{form}

{method} of `{base}` (weights `{base_fingerprint}`), with adapter-arena.
Chain: {chain}. {whole}

**Intended use:** prompts like those of its data; it was not evaluated on others.
**Licence:** the base's ({license}), and that of the data.

{usage}
{measured}
## Training

Data: `{data}`, seed {seed}.

| training rows | value |
| --- | --- |
{training}

| held-out rows | value |
| --- | --- |
{heldout}

```yaml
{settings}
```
"""

WHOLE = "This folder holds the whole chain: load it on the original base."

LOAD = """```python
from transformers import AutoTokenizer
from {library} import {kind}

model = {kind}.from_pretrained("THIS-FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS-FOLDER")
```
"""


@dataclass(frozen=True)
class Derived:
    """A model in another form than it was published in: merged weights, GGUF files."""

    form: str
    library: str
    measured: str  # how far it is from the trained one, in Markdown
    usage: str = ""  # how to run it, in Markdown; empty: as transformers loads it


def derived_card(folder: Path, recipe: Recipe, stage: Stage, derived: Derived) -> str:
    """Card of a model made from a stage's published folder."""
    result = StageResult.model_validate(io.read_json(folder / RESULT, finite=False))
    return model_card(io.read_json(folder / LINEAGE, kind=dict), None, recipe, stage, result, derived)


def model_card(
    lineage: Mapping[str, Any],
    peft_type: str | None,
    recipe: Recipe,
    stage: Stage,
    result: StageResult,
    derived: Derived | None = None,
) -> str:
    """Markdown with YAML front matter: what it is, how to load it, how it was trained and what came of it."""
    form = derived.form if derived else (peft_type or "").lower()
    tags = [stage.method, "adapter-arena", *([form] if form else [])]
    library = derived.library if derived else "peft" if peft_type else "transformers"
    front: dict[str, Any] = {"tags": tags, "library_name": library}
    base = lineage["base"]
    if not Path(base).exists():  # a folder here means nothing on the hub
        front = {"base_model": HUB_IDS.get(base, base)} | front
    if lineage.get("base_license"):
        front["license"] = lineage["base_license"]
    training: dict[str, Any] = {"loss": result.train_loss, "seconds": result.seconds}
    training |= {} if result.selected_step is None else {"published step": result.selected_step}
    training["peak memory"] = f"{result.peak_memory_bytes / 2**30:.1f} GiB"
    settings = yaml.safe_dump(stage.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    task = "SequenceClassification" if stage.spec.reward_model else "CausalLM"
    load = LOAD.format(library=library, kind=f"Auto{'Peft' if peft_type else ''}ModelFor{task}")
    return CARD.format(
        front=yaml.safe_dump(front, sort_keys=False).strip(),
        run=recipe.name,
        stage=stage.name,
        method=stage.method.upper(),
        base=_public(base),
        base_fingerprint=lineage["base_fingerprint"],
        chain=" -> ".join(["base", *(part.name for part in recipe.chain(stage.name))]),
        whole=WHOLE if lineage["parent"] and peft_type else "",
        form=f", {derived.form}" if derived else "",
        usage=(derived and derived.usage) or load,
        measured=f"\n{derived.measured}\n" if derived else "",
        license=lineage.get("base_license") or "see its card",
        data=_public(recipe.data[stage.data].source),
        seed=recipe.seed,
        training=_figures(training),
        heldout=_figures(result.heldout),
        settings=settings.strip(),
    )


def _public(name: str) -> str:
    """A name without the folders of this machine."""
    return Path(name).name if Path(name).is_absolute() else name


def _figures(figures: Mapping[str, Any]) -> str:
    return "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in figures.items())


def rename(folder: Path, recipe: Recipe, stage: Stage) -> None:
    """Put a stage's names of today into a folder that was published under others."""
    result = StageResult.model_validate(io.read_json(folder / RESULT, finite=False) | {"name": stage.name})
    io.write_json(folder / RESULT, result)
    for file in (folder / "delta" / LINEAGE, folder / LINEAGE):
        if file.exists():
            lineage = io.read_json(file)
            lineage |= {"stage": stage.name, "parent": stage.start if lineage["parent"] else None}
            io.write_json(file, lineage)
    config = folder / "adapter_config.json"
    peft_type = io.read_json(config)["peft_type"] if config.exists() else None
    io.write_text(folder / "README.md", model_card(lineage, peft_type, recipe, stage, result))


Weights = dict[str, torch.Tensor]

Part = tuple[Weights, Any, float]
"""Tensors by PEFT's names, their `LoraConfig`, and what they count: 1, or -1 for what is taken away."""

FACTOR = re.compile(r"\.lora_(embedding_)?([AB])(\.weight)?$")

JOINED = {
    "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform",
    "layers_pattern", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights", "fan_in_fan_out",
    "task_type", "peft_type", "peft_version", "inference_mode", "base_model_name_or_path", "revision",
    "auto_mapping", "runtime_config",
}  # fmt: skip
"""Settings of LoRA that adding up its factors does justice to."""


def not_joined(config: Any, own: tuple[str, ...] = ()) -> str | None:
    """Why an adapter cannot be joined exactly, or `None`; `own`: heads that only one of the two trains."""
    if not isinstance(config, peft.LoraConfig) or config.peft_type != "LORA":
        return f"type: {str(getattr(config, 'peft_type', config).value).lower()}"
    plain = peft.LoraConfig()
    for setting in dataclasses.fields(config):
        value = getattr(config, setting.name)
        if setting.name == "modules_to_save" and set(value or ()) <= set(own):
            continue
        if setting.name not in JOINED and value != getattr(plain, setting.name, None):
            return f"{setting.name}: {value}"
    return None


def join(parts: list[Part]) -> tuple[Weights, Any]:
    """One LoRA adapter equal to the sum of all parts: ranks add up, scaling 1, missing layers are zeros."""
    ranks = [max(len(w) for name, w in weights.items() if _factor(name) == "A") for weights, _, _ in parts]
    total = sum(ranks)
    joined = {name: weight for name, weight in parts[-1][0].items() if not _factor(name)}
    shapes = {name: w.shape for weights, _, _ in parts for name, w in weights.items() if _factor(name)}
    for name, shape in shapes.items():
        is_a, start = _factor(name) == "A", 0
        made = torch.zeros(total, *shape[1:]) if is_a else torch.zeros(shape[0], total, *shape[2:])
        for (weights, config, share), rank in zip(parts, ranks, strict=True):
            if name in weights and is_a:
                made[start : start + len(weights[name])] = weights[name].float()
            elif name in weights:
                width = weights[name].shape[1]
                scaling = share * _scaling(config, name, width)
                made[:, start : start + width] = weights[name].float() * scaling
            start += rank
        joined[name] = made
    return joined, _config(parts, total)


def _factor(name: str) -> str | None:
    """`A` or `B` for a tensor that is a factor of LoRA."""
    found = FACTOR.search(name)
    return found[2] if found else None


def _scaling(config: Any, name: str, rank: int) -> float:
    """What PEFT multiplies the product of a layer's factors by."""
    layer = FACTOR.sub("", name).removeprefix("base_model.model.")
    patterns = config.alpha_pattern or {}
    alpha = patterns.get(get_pattern_key(list(patterns), layer), config.lora_alpha)
    return float(alpha) / (rank**0.5 if config.use_rslora else rank)


def _config(parts: list[Part], rank: int) -> Any:
    """The last part's configuration; the layers are named in full where the parts have different ones."""
    config = dataclasses.replace(parts[-1][1])
    chosen = [
        (c.target_modules, c.exclude_modules, c.layers_to_transform, c.layers_pattern) for _, c, _ in parts
    ]
    if any(choice != chosen[0] for choice in chosen):
        names = {FACTOR.sub("", name) for w, _, _ in parts for name in w if _factor(name)}
        config.target_modules = {name.removeprefix("base_model.model.") for name in names}
        config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    config.r = config.lora_alpha = rank
    config.rank_pattern, config.alpha_pattern = {}, {}
    config.use_rslora, config.init_lora_weights = False, True
    return config
