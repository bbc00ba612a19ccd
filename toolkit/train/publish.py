"""From a trained model to `adapters/<stage>/`: one folder that stands on its own, whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME as WEIGHTS
from safetensors.torch import save_file

from toolkit import io
from toolkit.models.bases import fingerprint
from toolkit.models.loading import LINEAGE, adapter_weights
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.card import RESULT
from toolkit.train.join import Part, join
from toolkit.types import StageResult

SETS = ("target_modules", "exclude_modules", "target_parameters", "feedforward_modules")
"""Fields of adapter configurations that are sets of names."""


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
        if not isinstance(self.model, PeftModel):
            return {}
        weights = get_peft_model_state_dict(self.model, self.weights, save_embedding_layers=False)
        return {name: weight.detach().cpu().clone() for name, weight in weights.items()}

    def differs(self, before: dict[str, Any]) -> bool:
        """Whether a weight is not what it was."""
        now = self.weights or dict(self.model.named_parameters())
        return any(not torch.equal(now[name], weight.to(now[name])) for name, weight in before.items())

    def save(self, folder: Path) -> None:
        """Write the model, or its adapter, as `from_pretrained` reads it."""
        # PEFT would ask the hub whether the vocabulary has grown
        only_adapter = {"save_embedding_layers": False} if isinstance(self.model, PeftModel) else {}
        self.model.save_pretrained(folder, state_dict=self.weights, **only_adapter)


def publish(learned: Learned, base: Base, stage: Stage, folder: Path, extras: Extras) -> None:
    """Write into the stage's folder: the adapter (or model), its lineage, card, log and figures.

    An adapter trained on top of a frozen parent is joined with it, so that the folder fits the original base.
    The bare delta stays in `delta/`, as the chapter's merge, train, merge again would use it.
    """
    _weights(learned, base, stage, folder)
    base.tokenizer.save_pretrained(folder)
    io.write_json(folder / LINEAGE, lineage(base, stage))
    io.write_json(folder / RESULT, extras.result)
    io.write_text(folder / "README.md", extras.card)
    shutil.copy(extras.log, folder / "training.jsonl")


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
    delta = folder / "delta" if base.parent_merged else folder
    learned.save(delta)
    (delta / "README.md").unlink(missing_ok=True)
    if learned.initial_weights:  # what was taken out of the base is given back
        ended = _part(delta)
        begun = {name: learned.initial_weights[name] for name in ended[0] if name in learned.initial_weights}
        _write(delta, *join([(begun, ended[1], -1.0), ended]))
    if base.parent_merged:
        _write(folder, *join([_part(base.parent), _part(delta)]))
        io.write_json(delta / LINEAGE, lineage(base, stage) | {"on_top_of_parent": True})
    # Last, since PEFT looks for the base where its configuration says: a short name it would ask the hub for.
    for config in {delta / "adapter_config.json", folder / "adapter_config.json"}:
        _name_base(config, base.name)


def _part(folder: Path | None) -> Part:
    return adapter_weights(folder), PeftConfig.from_pretrained(str(folder)), 1.0  # type: ignore[arg-type]


def _write(folder: Path, weights: dict[str, Any], config: Any) -> None:
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    config.inference_mode = True
    config.save_pretrained(str(folder))


def _name_base(config: Path, name: str) -> None:
    """Name the base as the recipe does, not by where it lies on this machine; sort what PEFT holds as sets.

    Their order differs from process to process, and the same adapter would not be the same content.
    """
    values = json.loads(config.read_text(encoding="utf-8"))
    values |= {key: sorted(values[key]) for key in SETS if isinstance(values.get(key), list)}
    values["base_model_name_or_path"] = name
    io.write_json(config, values)
