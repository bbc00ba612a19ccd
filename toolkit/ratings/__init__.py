"""Ratings from votes, with numpy only.

from toolkit.ratings import bradley_terry, read_votes
for rating in bradley_terry(read_votes(Path("votes.csv"))).ratings:
    print(rating)
"""

from toolkit.ratings.bradley_terry import BradleyTerry, bradley_terry
from toolkit.ratings.counts import Counts, count
from toolkit.ratings.elo import Elo, elo
from toolkit.ratings.files import read_votes

__all__ = ["BradleyTerry", "Counts", "Elo", "bradley_terry", "count", "elo", "read_votes"]
