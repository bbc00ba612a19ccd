"""Merging a trained chain into whole weights, and measuring what that changed.

Sums are made in fp32 and cast once, on saving. An adapter trained in 4 bit has learned to mend the
dequantised weights, so it is merged into those: in the original ones it would mend errors that are not there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel

from toolkit import records
from toolkit.data import Row, Text, chat
from toolkit.data.rows import answer_of, prompt_of
from toolkit.errors import DataError, ModelError
from toolkit.models import bases, hardware
from toolkit.models.loading import LINEAGE, check_lineage, context_window, load_tokenizer, load_weights
from toolkit.recipe import Recipe, Stage
from toolkit.train.stage import rows_of
from toolkit.types import Message, Record

Into = Literal["dequantized", "original"]

POSITIONS = 2000
"""Tokens that drift is measured on; their distributions are held, 200 MB at a vocabulary of 50,000."""

Predicted = list[tuple[torch.Tensor, torch.Tensor]]
"""For each text: log-probabilities (n, vocabulary) in half precision, and the tokens that came (n)."""


class Drift(Record):
    """How far a merged model is from the one that was trained, on held-out answers."""

    into: Into
    kl: float
    """Mean KL divergence, in nats, of the merged model's next-token distribution from the trained one's."""
    top1_agreement: float
    """Share of positions where both find the same token likeliest."""
    perplexity_trained: float
    perplexity_merged: float
    tokens: int


@dataclass(frozen=True)
class _Chain:
    """A trained stage with everything below it, as one adapter on its base."""

    recipe: Recipe
    adapter: Path
    base: str
    folder: Path

    def trained(self) -> Any:
        """As it was trained: the adapter beside weights that may be quantised."""
        chosen = hardware.choose(self.recipe.model)
        if chosen.device.type == "cpu":
            chosen = replace(chosen, dtype=torch.float32)
        base = load_weights(self.folder, chosen, self.recipe.model.quantization)
        return PeftModel.from_pretrained(base, str(self.adapter)).eval()

    def merged(self, into: Into, dtype: torch.dtype) -> Any:
        """One whole model, summed in fp32."""
        exact = replace(hardware.choose(self.recipe.model), dtype=torch.float32)
        if into == "dequantized":
            base = load_weights(self.folder, exact, self.recipe.model.quantization)
            base = base.dequantize(torch.float32)
        else:
            base = load_weights(self.folder, exact)
        return PeftModel.from_pretrained(base, str(self.adapter)).merge_and_unload().to(dtype).eval()


def merge(
    recipe: Recipe,
    stage: Stage,
    run: Path,
    out: Path,
    *,
    into: Into = "dequantized",
    dtype: str = "bfloat16",
) -> list[Drift]:
    """Write the base with a stage's whole chain merged in: a standard model folder, whole or not at all.

    Args:
        recipe: the run's recipe.
        stage: what to merge, with every stage below it.
        run: the run folder.
        out: folder to write.
        into: of a quantised recipe, the weights that are merged into.
        dtype: number type of the written weights.

    Returns:
        The drift of the written model, first; of a quantised recipe also that of the other choice of `into`.

    Raises:
        ModelError: the stage is not trained, or is no adapter that can be merged.
        DataError: `out` is there already.
    """
    if out.exists():
        raise DataError(f"{out}: is there already; name a new folder")
    chain = _chain(recipe, stage, run)
    tokenizer = load_tokenizer(chain.adapter)
    quantized = recipe.model.quantization != "none"
    chosen: Into = into if quantized else "original"
    others: list[Into] = [choice for choice in ("dequantized", "original") if quantized and choice != chosen]
    model = chain.trained()
    texts = _encoded(tokenizer, rows_of(recipe, stage), context_window(model.config))
    before = _predictions(model, texts)
    del model
    with records.new_folder(out) as beside:
        model = chain.merged(chosen, hardware.DTYPES[dtype])
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        drifts = [_drift(chosen, before, _predictions(model, texts))]
        del model
        for other in others:
            model = chain.merged(other, hardware.DTYPES[dtype])
            drifts.append(_drift(other, before, _predictions(model, texts)))
            del model
        records.write_text(beside / "README.md", _card(chain, stage, dtype, drifts))
    return drifts


def _chain(recipe: Recipe, stage: Stage, run: Path) -> _Chain:
    adapter = run / "adapters" / stage.name
    if stage.method == "reward":
        raise ModelError(f"stage {stage.name}: a reward model writes no text; use its folder as it is")
    if stage.adapter == "none":
        raise ModelError(f"stage {stage.name}: all weights were trained; {adapter} is a whole model already")
    if not (adapter / LINEAGE).is_file():
        raise ModelError(f"{adapter}: not trained yet; run the recipe first")
    base = str(records.read_json(adapter / LINEAGE)["base"])
    folder = bases.resolve_base(base, revision=recipe.model.revision)
    check_lineage(adapter, base, folder)
    return _Chain(recipe, adapter, base, folder)


def _encoded(tokenizer: Any, rows: tuple[list[Row], list[Row]], window: int) -> list[chat.Encoded]:
    """Held-out rows (training rows, where none are held out) as tokens, up to `POSITIONS` learned ones."""
    train, heldout = rows
    chosen, learned = [], 0
    for row in heldout or train:
        text = _tokens(tokenizer, row, window)
        if learned and learned + sum(text.completion_mask) > POSITIONS:
            break
        learned += sum(text.completion_mask)
        chosen.append(text)
    return chosen


def _tokens(tokenizer: Any, row: Row, window: int) -> chat.Encoded:
    if isinstance(row, Text):
        ids = tokenizer(row.text)["input_ids"][: min(window, POSITIONS)]
        return chat.Encoded(ids, [0, *([1] * (len(ids) - 1))], truncated=False)
    turns = (*prompt_of(row), Message(role="assistant", content=answer_of(row)))
    return chat.encode_conversation(tokenizer, turns, window)


@torch.inference_mode()
def _predictions(model: Any, texts: Sequence[chat.Encoded]) -> Predicted:
    found = []
    for text in texts:
        ids = torch.tensor([text.input_ids], device=model.device)
        wanted = torch.tensor(text.completion_mask[1:], dtype=torch.bool)
        logits = model(ids, use_cache=False).logits[0, :-1].cpu()[wanted]
        found.append((logits.float().log_softmax(-1).half(), ids[0, 1:].cpu()[wanted]))
    return found


def _drift(into: Into, before: Predicted, after: Predicted) -> Drift:
    kl, same, count = 0.0, 0, 0
    surprise = {"trained": 0.0, "merged": 0.0}
    for (old, tokens), (new, _) in zip(before, after, strict=True):
        p, q = old.float(), new.float()
        kl += float((p.exp() * (p - q)).sum())
        same += int((p.argmax(-1) == q.argmax(-1)).sum())
        count += len(tokens)
        for name, table in (("trained", p), ("merged", q)):
            surprise[name] -= float(table.gather(1, tokens[:, None]).sum())
    return Drift(
        into=into,
        kl=round(kl / count, 6),
        top1_agreement=round(same / count, 4),
        perplexity_trained=round(math.exp(surprise["trained"] / count), 4),
        perplexity_merged=round(math.exp(surprise["merged"] / count), 4),
        tokens=count,
    )


def _card(chain: _Chain, stage: Stage, dtype: str, drifts: Sequence[Drift]) -> str:
    names = {"dequantized": "dequantised base", "original": "original base"}
    rows = [
        f"| {names[drift.into]}{' (these weights)' if number == 0 else ''} | {drift.kl} "
        f"| {drift.top1_agreement:.1%} | {drift.perplexity_trained} | {drift.perplexity_merged} |"
        for number, drift in enumerate(drifts)
    ]
    stages = " -> ".join(["base", *(part.name for part in chain.recipe.chain(stage.name))])
    return "\n".join(
        [
            "---",
            *([f"base_model: {chain.base}"] if not Path(chain.base).exists() else []),
            "library_name: transformers",
            f"tags: [{stage.method}, merged, adapter-arena]",
            "---",
            f"# {chain.recipe.name}/{stage.name}, merged",
            "",
            f"`{chain.base}` with {stages} merged in, in {dtype}, with adapter-arena.",
            "",
            f"How far from the model that was trained, on {drifts[0].tokens} held-out tokens:",
            "",
            "| merged into | KL, nats | same likeliest token | perplexity, trained | perplexity, merged |",
            "| --- | ---: | ---: | ---: | ---: |",
            *rows,
            "",
        ]
    )
