"""Ratings from votes: Elo, Bradley-Terry, and how far voters agree. With numpy; pandas where files are read.

from toolkit.ratings import bradley_terry, read_votes
for rating in bradley_terry(read_votes(Path("votes.csv"))).ratings:
    print(rating.rank, rating.contestant, rating.value, rating.low, rating.high)
"""

from typing import Any, Literal

from toolkit.ratings.bradley_terry import BradleyTerry, bradley_terry
from toolkit.ratings.decisions import Decisions, decide_anytime, win_probability
from toolkit.ratings.elo import Elo, History, elo, elo_history
from toolkit.ratings.prediction_powered import PredictionPowered, WinRate, prediction_powered
from toolkit.ratings.robustness import Firmness, first_place
from toolkit.ratings.style import Coefficient, StyleControlled, style_controlled
from toolkit.ratings.vote_files import RATED, read_votes
from toolkit.ratings.vote_table import Counts, Table, Votes, by_category, count, tabulate

__all__ = [
    "RATED",
    "Counts",
    "Decisions",
    "History",
    "Table",
    "by_category",
    "count",
    "read_votes",
    "tabulate",
]
__all__ += [
    "BradleyTerry",
    "Coefficient",
    "Elo",
    "Firmness",
    "PredictionPowered",
    "StyleControlled",
    "WinRate",
]
__all__ += ["bradley_terry", "decide_anytime", "elo", "elo_history", "first_place", "fit_ratings"]
__all__ += ["prediction_powered", "style_controlled", "win_probability"]


def fit_ratings(
    votes: Votes,
    method: Literal["bradley-terry", "elo"] = "bradley-terry",
    **options: Any,
) -> BradleyTerry | Elo:
    """Fit ratings to votes by one of the methods; `options` are those of `bradley_terry` or `elo`.

    Raises:
        RatingError: there are no votes, or an option does not fit them.
    """
    return bradley_terry(votes, **options) if method == "bradley-terry" else elo(votes, **options)
