"""A judge model as a voter: which battles, what it is asked, how its verdicts are read, kept and counted."""

from typing import TYPE_CHECKING, Any

from toolkit.judge.asking import JudgePrompt, load_prompt
from toolkit.judge.counting import jury, require_votes, votes
from toolkit.judge.judging import PairJudge, judge_battles, load_verdicts, take_former_verdicts
from toolkit.judge.opening import check_votes, judge_name, open_judge, prompt_key
from toolkit.judge.pairing import battles
from toolkit.judge.statistics import disagreement, statistics

if TYPE_CHECKING:
    from toolkit.judge.logits import LogitsJudge

__all__ = [
    "JudgePrompt",
    "LogitsJudge",
    "PairJudge",
    "battles",
    "check_votes",
    "disagreement",
    "judge_battles",
    "judge_name",
    "jury",
    "load_prompt",
    "load_verdicts",
    "open_judge",
    "prompt_key",
    "require_votes",
    "statistics",
    "take_former_verdicts",
    "votes",
]


def __getattr__(name: str) -> Any:
    """Import on first use: counting votes must not wait for torch."""
    if name != "LogitsJudge":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from toolkit.judge.logits import LogitsJudge

    return LogitsJudge
