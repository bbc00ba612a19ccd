"""Vote logs made for tests: known strengths, known seed."""

import numpy as np
import pandas as pd


def simulated(contestants, votes, *, seed=0, ties=0.2, spread=1.0):
    """A frame of votes between `m0`, `m1` ..., evenly spread over -spread..spread in log-odds."""
    rng = np.random.default_rng(seed)
    names = np.array([f"m{k}" for k in range(contestants)])
    strength = np.linspace(-spread, spread, contestants)
    i = rng.integers(0, contestants, votes)
    j = (i + rng.integers(1, contestants, votes)) % contestants
    won = rng.random(votes) < 1 / (1 + np.exp(strength[j] - strength[i]))
    tied = rng.random(votes) < ties
    winner = np.where(tied, "tie", np.where(won, "model_a", "model_b"))
    return pd.DataFrame({"model_a": names[i], "model_b": names[j], "winner": winner})
