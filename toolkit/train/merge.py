"""Merge a trained chain into full weights and measure the drift.

Sums are made in fp32 on the CPU, one layer after the other, and cast once. An adapter trained on a 4-bit base
is merged into the dequantised weights, whose rounding errors it has learned to correct.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig

from toolkit import io
from toolkit.errors import DataError, ModelError
from toolkit.models import bases, hardware, loading
from toolkit.models.loading import LINEAGE, load_adapter, load_tokenizer, load_weights
from toolkit.progress import log_progress
from toolkit.recipe import Recipe, Stage
from toolkit.train.publish import Derived, derived_card
from toolkit.train.stage import load_stage_rows
from toolkit.train.verify import TrainedLogits
from toolkit.types import Record

logger = logging.getLogger(__name__)

Into = Literal["dequantized", "original"]

NAMES: dict[Into, str] = {"dequantized": "dequantised base", "original": "original base"}


class Drift(Record):
    """How far a written model is from the one that was trained, on the rows whose logits training kept."""

    into: Into
    kl: float
    """Mean KL divergence, in nats, of the merged model's next-token distribution from the trained one's."""
    top1_agreement: float
    """Share of positions where both find the same token likeliest."""
    perplexity_trained: float
    perplexity_merged: float
    tokens: int


def merge(
    recipe: Recipe, stage: Stage, run: Path, out: Path, *, into: Into = "dequantized", dtype: str = "bfloat16"
) -> list[Drift]:
    """Write the base with a stage's whole chain merged in: a standard model folder, whole or not at all.

    Of a quantised recipe, `into` are the weights that are merged into; `dtype` is of the written ones.

    Returns:
        The drift of the written model, first; of a quantised recipe also that of the other choice of `into`.

    Raises:
        ModelError: the stage is not trained, or is no adapter that can be merged.
        DataError: `out` is there already.
    """
    if out.exists():
        raise DataError(f"{out}: is there already; name a new folder")
    adapter = run / "adapters" / stage.name
    if stage.spec.reward_model:
        raise ModelError(f"stage {stage.name}: a reward model writes no text; use its folder as it is")
    if stage.adapter == "none":
        raise ModelError(f"stage {stage.name}: all weights were trained; {adapter} is a whole model already")
    if not (adapter / LINEAGE).is_file():
        raise ModelError(f"{adapter}: not trained yet; run the recipe first")
    base = str(io.read_json(adapter / LINEAGE)["base"])
    folder = bases.resolve_base(base, revision=recipe.model.revision)
    loading.check_lineage(adapter, base, folder)
    tokenizer, quantized = load_tokenizer(adapter), recipe.model.quantization != "none"
    chosen: Into = into if quantized else "original"
    others: list[Into] = [choice for choice in ("dequantized", "original") if quantized and choice != chosen]
    steps, written = count(1), replace(hardware.choose(recipe.model), dtype=hardware.DTYPES[dtype])

    def step(note: str) -> None:
        log_progress(logger, f"merge {stage.name}: step", next(steps), 4 + 2 * len(others), note)

    step("reading what was trained")
    expected = TrainedLogits.read(adapter) or _recompute(recipe, stage, folder, adapter)
    with io.new_folder(out) as beside:
        step(f"merging into the {NAMES[chosen]} in fp32")
        model = _merged(recipe, folder, adapter, chosen, written.dtype)
        step("writing")
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        del model
        step("measuring what was written")
        drifts = [_drift(chosen, expected, load_weights(beside, written).eval())]
        for other in others:
            step(f"merging into the {NAMES[other]}, to compare")
            model = _merged(recipe, folder, adapter, other, written.dtype)
            step("measuring it")
            drifts.append(_drift(other, expected, model.to(written.device)))
            del model
        derived = Derived("merged", "transformers", _measured(dtype, drifts))
        io.write_text(beside / "README.md", derived_card(adapter, recipe, stage, derived))
    return drifts


def _recompute(recipe: Recipe, stage: Stage, folder: Path, adapter: Path) -> TrainedLogits:
    """What a model of version 0.1, which kept no logits, makes of a few rows."""
    train, heldout = load_stage_rows(recipe, stage)
    chosen = hardware.choose(recipe.model)
    if chosen.device.type == "cpu":
        chosen = replace(chosen, dtype=torch.float32)
    model = load_adapter(load_weights(folder, chosen, recipe.model.quantization), adapter).eval()
    return TrainedLogits.of(model, load_tokenizer(adapter), [*heldout, *train])


def _merged(recipe: Recipe, folder: Path, adapter: Path, into: Into, dtype: torch.dtype) -> Any:
    """One whole model on the CPU: the weights as their file holds them, each layer summed in fp32."""
    cpu = replace(hardware.choose(recipe.model), device=torch.device("cpu"), attention=None)
    stored = AutoConfig.from_pretrained(folder).dtype or torch.float32
    model = load_adapter(load_weights(folder, replace(cpu, dtype=stored)), adapter)
    quantized = load_weights(folder, cpu, recipe.model.quantization) if into == "dequantized" else None
    return loading.merge_adapter(model, dtype, quantized).eval()


def _drift(into: Into, expected: TrainedLogits, model: Any) -> Drift:
    rows = list(zip(expected.ids, expected.positions, strict=True))
    tokens = torch.tensor([ids[place + 1] for ids, places in rows for place in places])[:, None]
    p, q = (torch.cat(each).log_softmax(-1) for each in (expected.logits, expected.again(model)))
    return Drift(
        into=into,
        kl=round(float((p.exp() * (p - q)).sum(-1).mean()), 6),
        top1_agreement=round(float((p.argmax(-1) == q.argmax(-1)).float().mean()), 4),
        perplexity_trained=round(float(torch.exp(-p.gather(1, tokens).mean())), 4),
        perplexity_merged=round(float(torch.exp(-q.gather(1, tokens).mean())), 4),
        tokens=len(tokens),
    )


MEASURED = """Weights in {dtype}. How far from the model that was trained, on {tokens} held-out tokens:

| merged into | KL, nats | same likeliest token | perplexity, trained | perplexity, merged |
| --- | ---: | ---: | ---: | ---: |
{rows}
"""


def _measured(dtype: str, drifts: Sequence[Drift]) -> str:
    rows = [
        f"| {NAMES[drift.into]}{' (these weights)' if number == 0 else ''} | {drift.kl} "
        f"| {drift.top1_agreement:.1%} | {drift.perplexity_trained} | {drift.perplexity_merged} |"
        for number, drift in enumerate(drifts)
    ]
    return MEASURED.format(dtype=dtype, tokens=drifts[0].tokens, rows="\n".join(rows))
