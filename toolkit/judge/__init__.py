"""A judge model as a voter: its battles and prompts; how its verdicts are parsed, stored and counted."""

from typing import TYPE_CHECKING, Any

from toolkit.judge.aggregation import (
    aggregate_votes,
    disagreement,
    judge_statistics,
    majority_votes,
    validate_vote_count,
)
from toolkit.judge.battles import build_battles
from toolkit.judge.factory import build_judge, judge_name, prompt_key, validate_judges
from toolkit.judge.prompts import JudgePrompt, load_prompt
from toolkit.judge.verdicts import PairJudge, import_old_verdicts, judge_battles, load_verdicts

if TYPE_CHECKING:
    from toolkit.judge.logprob import LogprobJudge

__all__ = [
    "JudgePrompt",
    "LogprobJudge",
    "PairJudge",
    "aggregate_votes",
    "build_battles",
    "build_judge",
    "disagreement",
    "import_old_verdicts",
    "judge_battles",
    "judge_name",
    "judge_statistics",
    "load_prompt",
    "load_verdicts",
    "majority_votes",
    "prompt_key",
    "validate_judges",
    "validate_vote_count",
]


def __getattr__(name: str) -> Any:
    """Import on first use: counting votes must not wait for torch."""
    if name != "LogprobJudge":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from toolkit.judge.logprob import LogprobJudge

    return LogprobJudge
