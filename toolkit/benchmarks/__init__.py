"""lm-eval behind one function, task files for local data, and the leaderboard of results."""
