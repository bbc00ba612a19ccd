"""What a recipe may name, one table each: data formats, training methods, judge methods.

An entry and the function that it names are all that a new one takes; metrics are in `toolkit.metric_info`.
Functions are named `package.module:function` and imported on first use, so that reading a recipe needs no
torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class DataFormat:
    """How rows of a data set are laid out; recognised by its columns."""

    columns: frozenset[str]
    row: str | None = None  # `(raw row, id) -> Row`; `None`: a conversation, see `turns`
    turns: str | None = None
    """`raw row -> (messages, positions of turns that are not learned)`, the answer last."""


_READERS = "toolkit.data.formats"

DATA_FORMATS: dict[str, DataFormat] = {
    "preference": DataFormat(frozenset({"chosen", "rejected"}), row=f"{_READERS}:preference_row"),
    "messages": DataFormat(frozenset({"messages"}), turns=f"{_READERS}:messages_turns"),
    "sharegpt": DataFormat(frozenset({"conversations"}), turns=f"{_READERS}:sharegpt_turns"),
    "unpaired": DataFormat(frozenset({"prompt", "completion", "label"}), row=f"{_READERS}:rated_row"),
    "prompt_completion": DataFormat(
        frozenset({"prompt", "completion"}), turns=f"{_READERS}:completion_turns"
    ),
    "alpaca": DataFormat(frozenset({"instruction", "output"}), turns=f"{_READERS}:alpaca_turns"),
    "text": DataFormat(frozenset({"text"}), row=f"{_READERS}:text_row"),
}
"""`format` of a data section; `auto` takes the first whose columns are there."""


@dataclass(frozen=True)
class TrainingMethod:
    """A way to train a stage."""

    trainer: str  # `(base, stage, train, heldout, trainer_args)` -> a TRL trainer
    config: str  # TRL's configuration class: the fields of a stage's `trainer`
    rows: tuple[str, ...]  # kinds of rows, by their classes in lower case
    defaults: Mapping[str, Any]  # Fields, over those of every method; a stage's own go over both
    online: bool = False
    """Whether it answers prompts while it trains, and learns from the rewards of its answers."""
    reward_model: bool = False  # whether it trains a reward model, which writes no answers
    packs: bool = False  # whether rows may be packed, with flash attention


_SFT = {
    "learning_rate": 5e-4,
    "num_train_epochs": 2,
    "train_sampling_strategy": "group_by_length",
    "max_length": 1024,
}
_PAIRS = {"max_length": 1024, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
# a batch of pairs holds twice as many sequences
_RL = {"learning_rate": 5e-5, "num_generations": 4, "max_completion_length": 256, "beta": 0.05}
_CONVERSATIONAL = ("conversation", "preference", "rated")

TRAINING_METHODS: dict[str, TrainingMethod] = {
    "text": TrainingMethod("toolkit.train.sft:trainer", "trl:SFTConfig", ("text",), _SFT, packs=True),
    "sft": TrainingMethod("toolkit.train.sft:trainer", "trl:SFTConfig", ("conversation",), _SFT, packs=True),
    "dpo": TrainingMethod(
        "toolkit.train.preference:dpo_trainer",
        "trl:DPOConfig",
        ("preference",),
        _PAIRS | {"learning_rate": 1e-4, "precompute_ref_log_probs": True},
    ),
    "orpo": TrainingMethod(
        "toolkit.train.preference:orpo_trainer",
        "trl.experimental.orpo:ORPOConfig",
        ("preference",),
        _PAIRS | {"learning_rate": 2e-4, "remove_unused_columns": False},
    ),
    "kto": TrainingMethod(
        "toolkit.train.preference:kto_trainer",
        "trl:KTOConfig",
        ("rated", "preference"),
        {"learning_rate": 1e-4, "max_length": 1024},
    ),
    "reward": TrainingMethod(
        "toolkit.train.reward:trainer",
        "trl:RewardConfig",
        ("preference",),
        _PAIRS | {"learning_rate": 2e-4},
        reward_model=True,
    ),
    "rloo": TrainingMethod("toolkit.train.rl:trainer", "trl:RLOOConfig", _CONVERSATIONAL, _RL, online=True),
    "grpo": TrainingMethod("toolkit.train.rl:trainer", "trl:GRPOConfig", _CONVERSATIONAL, _RL, online=True),
}
"""`method` of a stage."""


@dataclass(frozen=True)
class JudgeMethod:
    """A way to get a verdict."""

    build: str
    """`(judge section, model's name, what loads a local model by name, model options)` -> a `PairJudge`."""
    prompt: Literal["letter", "written"] | None
    """How its prompt ends; `None`: it has no prompt, and grades no single answers."""
    remote: bool = False  # whether the model may be behind an endpoint
    probabilities: bool = True  # whether verdicts have a probability, which the rule `average` needs
    own_model: bool = False  # whether `judge.model` is required: the recipe's base cannot judge this way
    fingerprint: str = "toolkit.judge.factory:model_fingerprint"
    """`(model's name, options)` -> hash of the model as these options load it."""


_JUDGES = "toolkit.judge.factory"

JUDGE_METHODS: dict[str, JudgeMethod] = {
    "logits": JudgeMethod(f"{_JUDGES}:build_logprob", "letter"),
    "written": JudgeMethod(f"{_JUDGES}:build_generative", "written", remote=True, probabilities=False),
    "reward": JudgeMethod(
        f"{_JUDGES}:build_reward", None, own_model=True, fingerprint=f"{_JUDGES}:reward_fingerprint"
    ),
}
"""`method` of a judge section."""
