"""From a trained model to `adapters/<stage>/`: one folder that stands on its own, whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, set_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME as WEIGHTS
from peft.utils import ModulesToSaveWrapper
from safetensors.torch import load_file

from toolkit import records
from toolkit.models.bases import fingerprint
from toolkit.models.loading import LINEAGE
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.types import StageResult

RESULT = "stage.json"
"""File in a published folder: the stage's `StageResult`."""


@dataclass(frozen=True)
class Extras:
    """What is published beside the weights."""

    result: StageResult
    card: str
    log: Path


@dataclass(frozen=True)
class Learned:
    """A trained model, whole in the process that writes."""

    model: Any
    weights: dict[str, Any] | None
    """All of them by name, where each process holds a share; `None`: they are in the model."""

    @classmethod
    def of(cls, trainer: Any) -> Learned:
        """What a trainer has trained; to be asked in every process, since each may hold a share."""
        model = trainer.accelerator.unwrap_model(trainer.model)
        shared = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        return cls(model, trainer.accelerator.get_state_dict(trainer.model_wrapped) if shared else None)

    def differs(self, before: dict[str, Any]) -> bool:
        """Whether a weight is not what it was."""
        now = self.weights or dict(self.model.named_parameters())
        return any(not torch.equal(now[name], weight.to(now[name])) for name, weight in before.items())

    def save(self, folder: Path) -> None:
        """Write the model, or its adapter, as `from_pretrained` reads it."""
        self.model.save_pretrained(folder, state_dict=self.weights)


def publish(learned: Learned, base: Base, stage: Stage, folder: Path, extras: Extras) -> None:
    """Write the stage's folder: the adapter (or model), its lineage, card, log and figures.

    An adapter trained on top of another is joined with it, so that the folder fits the original base. The
    bare delta stays in `delta/`, as the chapter's merge, train, merge again would use it.
    """
    with records.new_folder(folder) as beside:
        _weights(learned, base, stage, beside)
        base.tokenizer.save_pretrained(beside)
        records.write_json(beside / LINEAGE, lineage(base, stage))
        records.write_json(beside / RESULT, extras.result)
        records.write_text(beside / "README.md", extras.card)
        shutil.copy(extras.log, beside / "training.jsonl")


def lineage(base: Base, stage: Stage) -> dict[str, Any]:
    """What the adapter was trained on, by name and by fingerprint."""
    parent = base.parent
    return {
        "stage": stage.name,
        "method": stage.method,
        "base": base.name,
        "base_fingerprint": base.fingerprint,
        "parent": parent.name if parent else None,
        "parent_fingerprint": fingerprint(parent) if parent else None,
    }


def _weights(learned: Learned, base: Base, stage: Stage, folder: Path) -> None:
    if not isinstance(learned.model, PeftModel):
        learned.save(folder)
        return
    delta = folder / "delta" if base.parent else folder
    learned.save(delta)
    if base.parent:
        _join(learned.model, base, delta, folder)
        (delta / "README.md").unlink(missing_ok=True)
        records.write_json(delta / LINEAGE, lineage(base, stage) | {"on_top_of_parent": True})
    # Last, since PEFT looks for the base where its configuration says: a short name it would ask the hub for.
    for config in {delta / "adapter_config.json", folder / "adapter_config.json"}:
        _name_base(config, base.name)


def _join(model: PeftModel, base: Base, delta: Path, folder: Path) -> None:
    """Add the parent's delta and this one, exactly: their low-rank factors are put side by side.

    Layers that are trained whole (a reward model's output) are this stage's.
    """
    assert base.parent is not None
    model.load_adapter(str(delta), adapter_name="delta")
    model.add_adapter("parent", PeftConfig.from_pretrained(str(base.parent)))
    whole = {name: weight for name, weight in load_file(delta / WEIGHTS).items() if ".lora_" not in name}
    set_peft_model_state_dict(model, whole | load_file(base.parent / WEIGHTS), adapter_name="parent")
    # the joined adapter takes its settings from the first: it needs the layers of both
    model.peft_config["delta"].layers_to_transform = _layers_of_both(model.peft_config)
    kept = [module for module in model.modules() if isinstance(module, ModulesToSaveWrapper)]
    for module in kept:
        del module.modules_to_save["parent"]  # PEFT joins adapters of which one at most has such layers
    model.add_weighted_adapter(["delta", "parent"], [1.0, 1.0], "joined", combination_type="cat")
    for module in kept:
        module.update("joined")
        module.modules_to_save["joined"].load_state_dict(module.modules_to_save["delta"].state_dict())
    model.save_pretrained(folder, selected_adapters=["joined"])
    for file in (folder / "joined").iterdir():
        file.replace(folder / file.name)
    (folder / "joined").rmdir()


def _layers_of_both(configs: dict[str, Any]) -> list[int] | None:
    """Which layers the delta or its parent touches; `None`: all."""
    chosen: set[int] = set()
    for name in ("delta", "parent"):
        layers = getattr(configs[name], "layers_to_transform", None)
        if layers is None:
            return None
        chosen |= {layers} if isinstance(layers, int) else set(layers)
    return sorted(chosen)


def _name_base(config: Path, name: str) -> None:
    """Name the base as the recipe does, not by where it lies on this machine."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values["base_model_name_or_path"] = name
    records.write_json(config, values)
