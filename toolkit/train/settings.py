"""A stage's `trainer` fields -> TRL's configuration classes, over defaults that suit the hardware."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from transformers.integrations import get_available_reporting_integrations

from toolkit.errors import RecipeError
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.methods import config_class, config_fields, settings


def configuration(base: Base, stage: Stage, extra: dict[str, Any]) -> Any:
    """The TRL configuration of a stage: its own fields over the defaults, and `extra` below both.

    Raises:
        RecipeError: TRL does not know a field (the nearest known one is named), or refuses a value.
    """
    kind, known = config_class(stage), config_fields(stage)
    for name in stage.trainer:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean `{close[0]}`?" if close else ""
            raise RecipeError(f"stages.{stage.name}.trainer.{name}: {kind.__name__} has no such field{hint}")
    reported = report_to(stage)
    for name, (_, what, mend) in REFUSED.items():
        if stage.trainer.get(name):
            raise RecipeError(f"stages.{stage.name}.trainer.{name}: {what}; {mend}")
    try:
        return kind(**{**_precision(base), **extra, **settings(stage), "report_to": reported})
    except (TypeError, ValueError) as error:
        raise RecipeError(f"stages.{stage.name}.trainer: {str(error).splitlines()[0]}") from None


def report_to(stage: Stage) -> str | list[str]:
    """Reporting integrations of a stage; raises before loading if one is not installed."""
    asked: str | list[str] = settings(stage)["report_to"] or "none"
    for name in [asked] if isinstance(asked, str) else asked:
        if name not in ("none", "all", *get_available_reporting_integrations()):
            raise RecipeError(f"stages.{stage.name}.trainer.report_to: {name} is not installed here")
    return asked


_PACKED = (
    "packing",
    "rows are not packed here",
    "leave it out: rows of like length share a batch, so that little is padded",
)
_RENDERED = ("chat-template", "every step renders rows alike")
REFUSED = {
    **dict.fromkeys(("packing", "eval_packing", "padding_free"), _PACKED),
    "chat_template_path": (*_RENDERED, "name it as `model.chat_template`"),
    "chat_template_kwargs": (*_RENDERED, "name them as `model.chat_template_kwargs`"),
}
"""Fields without effect on rows that are tokenised here: code of the finding, what is wrong, the mend."""


def _precision(base: Base) -> dict[str, Any]:
    """Matrix products in the hardware's fast 16-bit type (autocast), everything else in fp32."""
    return {
        "use_cpu": base.hardware.device.type == "cpu",
        "bf16": base.hardware.dtype == torch.bfloat16,
        "fp16": base.hardware.dtype == torch.float16,
    }
