"""A judge model as a voter: its battles and prompts; how its verdicts are parsed, stored and counted."""

from toolkit.judge.factory import build_judge
from toolkit.judge.verdicts import judge_battles

__all__ = ["build_judge", "judge_battles"]
