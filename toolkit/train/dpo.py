"""Direct preference optimisation: chosen answers likelier than rejected ones, against a frozen reference.

Loss: -log sigmoid(beta * (log-ratio of chosen - log-ratio of rejected)), log-ratios taken against the model
the stage starts from (Rafailov et al. 2023; TRL's `DPOTrainer`, variants by its `loss_type`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_from_disk
from trl import DPOTrainer

from toolkit import distributed
from toolkit.data import Preference, Row
from toolkit.data.chat import encode_answers
from toolkit.errors import DataError, RecipeError
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.fast_paths import install_hidden_state_cache, install_target_logprob_head
from toolkit.train.reference import StartIsReference
from toolkit.train.sampling import GroupsByLength
from toolkit.train.settings import configuration


def trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], trainer_args: dict[str, Any]
) -> DPOTrainer:
    """A TRL trainer ready to run on preferences.

    The reference is the model that the stage starts from.

    Raises:
        RecipeError: TRL would take another reference.
    """
    if base.adapter is None and base.parent and distributed.share_weights():
        raise RecipeError(
            f"stages.{stage.name}.adapter: with all weights trained and shared between processes (FSDP), TRL "
            f"takes the bare base as the reference, not {stage.start}; train an adapter"
        )
    config = configuration(base, stage, trainer_args)
    folder = Path(config.output_dir) / "rows"
    return _Trainer(
        base,
        model=base.model,
        args=config,
        train_dataset=_kept(dataset(base, train, config), folder / "train"),
        eval_dataset=_kept(dataset(base, heldout, config), folder / "heldout") if heldout else None,
        processing_class=base.tokenizer,
        peft_config=base.adapter,
    )


class _Trainer(StartIsReference, GroupsByLength, DPOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """With our output layer, and ranking accuracy.

    TRL's accuracy on held-out pairs asks whether training moved a pair the right way, which says nothing of
    the model it started from. Beside it stands how often the chosen answer is simply the likelier one
    (ranking accuracy, Chen et al. 2024).
    """

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        if self.model.training:
            return super()._compute_loss(model, inputs, return_outputs)
        log_probs: list[torch.Tensor] = []

        def forward(**batch: Any) -> Any:
            output = model(**batch)
            log_probs.append(output.log_probs.sum(dim=1))
            return output

        loss = super()._compute_loss(forward, inputs, return_outputs)
        chosen, rejected = log_probs[0].chunk(2)
        right = self.accelerator.gather((chosen > rejected).float())
        self._metrics["eval"]["ranking_accuracy"] += right.tolist()  # one a pair: batches differ in size
        return loss

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # tokens already: TRL would apply the chat template in its own way

    def prepare_fast_paths(self) -> None:
        install_hidden_state_cache(self.model)
        if not self.args.use_weighting:  # WPO asks more of each position than our layer gives
            install_target_logprob_head(self.model)


def _kept(rows: Dataset, folder: Path) -> Dataset:
    """The same rows on disk.

    TRL keeps the reference's log-probabilities beside them, for all processes and for a continued training.
    """
    with distributed.main_first():
        if not folder.exists():
            beside = folder.with_suffix(".part")
            rows.save_to_disk(beside)
            beside.rename(folder)
    return load_from_disk(folder)


def dataset(base: Base, rows: list[Row], config: Any) -> Dataset:
    """Columns `prompt_ids`, `chosen_ids`, `rejected_ids`, rendered and tokenised as for every method."""
    pairs = [row for row in rows if isinstance(row, Preference)]
    keep_end = config.truncation_mode == "keep_end"
    encoded = encode_pairs(base, pairs, None if keep_end else config.max_length)
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return Dataset.from_list([dict(zip(names, row, strict=True)) for row in encoded])


def encode_pairs(base: Base, pairs: list[Preference], max_length: int | None) -> list[list[list[int]]]:
    """Token ids of prompt, chosen and rejected answer.

    Pairs whose prompt leaves no room for an answer are left out.

    Raises:
        DataError: no pair is left.
    """
    rows = [encode_answers(base.tokenizer, pair.prompt, pair.chosen, pair.rejected) for pair in pairs]
    return with_room(rows, max_length)


def with_room(rows: list[list[Any]], max_length: int | None) -> list[list[Any]]:
    """The rows whose prompt, the first of their parts, is shorter than `max_length` tokens.

    Raises:
        DataError: there are rows, but none is left.
    """
    kept = [row for row in rows if max_length is None or len(row[0]) < max_length]
    if rows and not kept:
        raise DataError(f"every prompt has {max_length} tokens or more; raise `trainer.max_length`")
    return kept
