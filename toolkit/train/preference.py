"""Preference optimisation: DPO, KTO and ORPO over TRL's trainers, and the frozen reference.

- `dpo` (Rafailov et al. 2023, variants by TRL's `loss_type`): -log sigmoid(beta * (log-ratio of chosen -
  log-ratio of rejected)), log-ratios against the model that the stage starts from.
- `kto` (Ethayarajh et al. 2024), from single answers that are wanted or not: 1 - sigmoid of how far an
  answer's log-ratio is on its right side of the batch's KL to the reference.
- `orpo` (Hong et al. 2024), without a reference: negative log-likelihood of the chosen answer - beta * log
  sigmoid(log odds ratio of chosen to rejected).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_from_disk
from trl import DPOTrainer, KTOTrainer
from trl.experimental.orpo import ORPOTrainer

from toolkit import distributed
from toolkit.data import Preference, Rated, Row
from toolkit.data.chat import encode_answers
from toolkit.errors import DataError, RecipeError
from toolkit.models import bases
from toolkit.recipe import Stage
from toolkit.train.base import Base
from toolkit.train.fast_paths import IGNORED, install_hidden_state_cache, install_target_logprob_head
from toolkit.train.methods import configuration
from toolkit.train.sft import GroupsByLength


class ReferenceModel(torch.nn.Module):
    """A model as it is now, in the memory of the model that is trained on; without dropout."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._of = [model]  # in a list: no module of this one
        self._start = {name: w.detach().clone() for name, w in model.named_parameters() if w.requires_grad}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Forward pass with the weights from the start of the stage."""
        (model,) = self._of
        training = model.training
        model.eval()
        self._swap(model)
        try:
            return model(*args, **kwargs)
        finally:
            self._swap(model)
            model.train(training)

    def _swap(self, model: Any) -> None:
        weights = dict(model.named_parameters())
        for name, start in self._start.items():
            self._start[name], weights[name].data = weights[name].data, start


class StartIsReference:
    """Trainer mixin: the reference is the model that the stage starts from, whatever is trained."""

    def __init__(self: Any, base: Base, **kwargs: Any) -> None:
        self._start = base
        super().__init__(**kwargs)
        base.start(self.model)
        self.prepare_fast_paths()
        if base.moved and not getattr(self, "precompute_ref_logps", False) and self.beta:
            if distributed.share_weights():
                raise RecipeError(
                    "the reference is what the stage starts from, which cannot be kept beside weights shared "
                    "between processes (FSDP): train a new adapter, or in one process"
                )
            self.ref_model = ReferenceModel(self.model)

    def prepare_fast_paths(self) -> None:
        """Hand-made paths of the method, where it has any."""

    def _precompute_ref_logps(self: Any, dataset: Any, name: str, batch_size: int) -> Any:
        self._start.start(self.model)
        self.prepare_fast_paths()
        if self._start.continued:  # TRL keeps them under a hash taken before the parent's weights were there
            self._precompute_model_hash += bases.fingerprint(self._start.parent)
        before = self.ref_model
        if self._start.moved and before is None:
            self.ref_model = self.model
        try:
            return super()._precompute_ref_logps(dataset, name, batch_size)  # type: ignore[misc]
        finally:
            self.ref_model = before


def dpo_trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], trainer_args: dict[str, Any]
) -> DPOTrainer:
    """A TRL trainer; the reference is the model the stage starts from, or a `RecipeError` says why not."""
    if base.adapter is None and base.parent and distributed.share_weights():
        raise RecipeError(
            f"stages.{stage.name}.adapter: with all weights trained and shared between processes (FSDP), TRL "
            f"takes the bare base as the reference, not {stage.start}; train an adapter"
        )
    config = configuration(base, stage, trainer_args)
    folder = Path(config.output_dir) / "rows"

    def encode(rows: list[Row]) -> Dataset:
        return _on_disk(dpo_dataset(base, rows, config), folder / ("train" if rows is train else "heldout"))

    return _DPOTrainer(base, **base.trainer_inputs(config, encode, train, heldout))


class _DPOTrainer(StartIsReference, GroupsByLength, DPOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """Adds our output layer and ranking accuracy: how often the chosen answer is the likelier one.

    (Chen et al. 2024.) TRL's accuracy is relative to the start and says nothing about it.
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


def _on_disk(rows: Dataset, folder: Path) -> Dataset:
    """The same rows on disk, where TRL stores the reference's log-probabilities, shared by all processes."""
    with distributed.main_first():
        if not folder.exists():
            beside = folder.with_suffix(".part")
            rows.save_to_disk(beside)
            beside.rename(folder)
    return load_from_disk(folder)


def dpo_dataset(base: Base, rows: list[Row], config: Any) -> Dataset:
    """Columns `prompt_ids`, `chosen_ids`, `rejected_ids`, rendered and tokenised as for every method."""
    pairs = [row for row in rows if isinstance(row, Preference)]
    keep_end = config.truncation_mode == "keep_end"
    encoded = encode_pairs(base, pairs, None if keep_end else config.max_length)
    return _dataset(("prompt_ids", "chosen_ids", "rejected_ids"), encoded)


def _dataset(names: Sequence[str], rows: list[list[Any]]) -> Dataset:
    return Dataset.from_list([dict(zip(names, row, strict=True)) for row in rows])


def encode_pairs(base: Base, pairs: list[Preference], max_length: int | None) -> list[list[list[int]]]:
    """Token ids of prompt, chosen and rejected answer, of pairs `with_room` for an answer."""
    rows = [encode_answers(base.tokenizer, pair.prompt, pair.chosen, pair.rejected) for pair in pairs]
    return with_room(rows, max_length)


def with_room(rows: list[list[Any]], max_length: int | None) -> list[list[Any]]:
    """The rows whose first part, the prompt, is below `max_length` tokens; a `DataError` where none is."""
    fitting = [row for row in rows if max_length is None or len(row[0]) < max_length]
    if rows and not fitting:
        raise DataError(f"every prompt has {max_length} tokens or more; raise `trainer.max_length`")
    return fitting


def kto_trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], trainer_args: dict[str, Any]
) -> KTOTrainer:
    """A TRL trainer for rated answers; a preference counts as one wanted and one unwanted answer."""
    config = configuration(base, stage, trainer_args)

    def encode(rows: list[Row]) -> Dataset:  # KTO's batches are fixed; a pair's two answers are apart
        return kto_dataset(base, rows, config.max_length).shuffle(config.seed)

    return _KTOTrainer(base, **base.trainer_inputs(config, encode, train, heldout))


class _KTOTrainer(StartIsReference, KTOTrainer):  # type: ignore[misc]  # TRL is untyped here
    def _prepare_dataset(self, dataset: Dataset, _: Any, args: Any, *__: Any) -> Dataset:
        """Rows are tokens already; for the KL term each gets the answer of the one before, by batches."""
        if not self.calculate_KL:
            return dataset
        answers, size = dataset["completion_ids"], args.per_device_train_batch_size
        batches = [answers[start : start + size] for start in range(0, len(answers), size)]
        others = [answer for batch in batches for answer in (batch[-1], *batch[:-1])]
        return dataset.add_column("KL_completion_ids", others)

    def prepare_fast_paths(self) -> None:
        install_target_logprob_head(self.model)


def kto_dataset(base: Base, rows: list[Row], max_length: int | None) -> Dataset:
    """Columns `prompt_ids`, `completion_ids` and `label`, rendered and tokenised as for every method."""
    rated = [answer for row in rows for answer in _answers(row)]
    encoded = [[*encode_answers(base.tokenizer, row.prompt, row.completion), row.desirable] for row in rated]
    return _dataset(("prompt_ids", "completion_ids", "label"), with_room(encoded, max_length))


def _answers(row: Row) -> list[Rated]:
    if isinstance(row, Rated):
        return [row]
    if isinstance(row, Preference):
        sides = ((row.chosen, True), (row.rejected, False))
        return [Rated(id=row.id, prompt=row.prompt, completion=text, desirable=good) for text, good in sides]
    return []


def orpo_trainer(
    base: Base, stage: Stage, train: list[Row], heldout: list[Row], trainer_args: dict[str, Any]
) -> ORPOTrainer:
    """A TRL trainer ready to run on preferences."""
    config = configuration(base, stage, trainer_args)
    encode = partial(orpo_dataset, base, max_length=config.max_length)
    return _ORPOTrainer(**base.trainer_inputs(config, encode, train, heldout))


class _ORPOTrainer(ORPOTrainer):  # type: ignore[misc]  # TRL is untyped here
    """On rows that are tokens already: TRL would put a second begin token before some templates' own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._tokens = 0
        held = [(weight, weight.dtype) for weight in kwargs["model"].parameters()]
        super().__init__(*args, **kwargs)
        for weight, dtype in held:  # of a quantised base TRL's experimental trainer holds the rest in fp32
            weight.data = weight.data.to(dtype)

    def get_batch_loss_metrics(self, model: Any, batch: dict[str, Any], train_eval: str = "train") -> Any:
        if train_eval == "train":
            seen = batch["chosen_attention_mask"].sum() + batch["rejected_attention_mask"].sum()
            self._tokens += int(self.accelerator.gather(seen).sum())
        return super().get_batch_loss_metrics(model, batch, train_eval)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's other trainers log how many tokens were seen."""
        super().log(logs | {"num_tokens": self._tokens} if "loss" in logs else logs, start_time)

    def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
        return feature


def orpo_dataset(base: Base, rows: list[Row], max_length: int | None) -> Dataset:
    """For the prompt and both answers `<part>_input_ids`, `_attention_mask`, and for answers `_labels`."""
    pairs = [row for row in rows if isinstance(row, Preference)]
    return Dataset.from_list([_columns(row, max_length) for row in encode_pairs(base, pairs, max_length)])


def _columns(pair: list[list[int]], max_length: int | None) -> dict[str, list[int]]:
    prompt, chosen, rejected = pair
    row = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
    for side, answer in (("chosen", chosen), ("rejected", rejected)):
        ids = [*prompt, *answer][:max_length]
        labels = [*([IGNORED] * len(prompt)), *answer][:max_length]
        row |= {f"{side}_input_ids": ids, f"{side}_attention_mask": [1] * len(ids), f"{side}_labels": labels}
    return row
