"""Ratings from votes: Elo, Bradley-Terry, and how far voters agree. With numpy; pandas where files are read.

from toolkit.ratings import bradley_terry, read_votes
for rating in bradley_terry(read_votes(Path("votes.csv"))).ratings:
    print(rating.rank, rating.contestant, rating.value, rating.low, rating.high)
"""

from toolkit.ratings.bradley_terry import BradleyTerry, bradley_terry
from toolkit.ratings.categories import by_category
from toolkit.ratings.counts import Counts, count
from toolkit.ratings.elo import Elo, History, elo, elo_history
from toolkit.ratings.files import RATED, read_votes
from toolkit.ratings.resampling import Bootstrap
from toolkit.ratings.style import Coefficient, StyleControlled, style_controlled
from toolkit.ratings.table import Table, tabulate
from toolkit.ratings.win_probability import votes_needed, win_probability

__all__ = [
    "RATED",
    "Bootstrap",
    "BradleyTerry",
    "Coefficient",
    "Counts",
    "Elo",
    "History",
    "StyleControlled",
    "Table",
    "bradley_terry",
    "by_category",
    "count",
    "elo",
    "elo_history",
    "read_votes",
    "style_controlled",
    "tabulate",
    "votes_needed",
    "win_probability",
]
