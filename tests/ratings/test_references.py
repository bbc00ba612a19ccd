"""The same ratings as the field's tools, from the same logs, to 0.01 points."""

import csv

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from tests.ratings.logs import simulated
from toolkit.ratings import bradley_terry, elo, style_controlled

LOG = simulated(8, 2000, seed=3)

ARENA_RANK = {
    "m0": (844.160, 819.148, 869.171),
    "m1": (902.515, 877.168, 927.863),
    "m2": (942.247, 917.234, 967.260),
    "m3": (991.696, 967.533, 1015.860),
    "m4": (1024.591, 998.896, 1050.285),
    "m5": (1054.954, 1030.712, 1079.197),
    "m6": (1088.236, 1062.418, 1114.054),
    "m7": (1151.601, 1124.696, 1178.505),
}
"""Rating and sandwich interval of LOG by arena-rank 0.1.1 (gtol 1e-12, ftol 1e-15)."""

ARENA_RANK_STYLE = {
    "m0": (843.659, 818.633, 868.685),
    "m3": (991.371, 967.165, 1015.577),
    "m7": (1151.679, 1124.738, 1178.621),
}
"""The same by its ContextualBradleyTerry (reg 0, no reweighting), with `lengths()` held equal."""
COEFFICIENT = -0.02785167
"""Of the length."""


def lengths():
    rng = np.random.default_rng(4)
    return {"length_a": rng.integers(1, 500, 2000), "length_b": rng.integers(1, 500, 2000)}


def rows(fit):
    return {row.contestant: (row.value, row.low, row.high) for row in fit.ratings}


def values(fit):
    return {row.contestant: row.value for row in fit.ratings}


def in_points(strength):
    """Log-odds by name -> points with mean 1000."""
    middle = np.mean(list(strength.values()))
    return {name: 1000 + 400 / np.log(10) * (value - middle) for name, value in strength.items()}


def test_evalica():
    evalica = pytest.importorskip("evalica")
    outcome = {"model_a": evalica.Winner.X, "model_b": evalica.Winner.Y, "tie": evalica.Winner.Draw}
    theirs = evalica.bradley_terry(
        LOG["model_a"], LOG["model_b"], LOG["winner"].map(outcome), tolerance=1e-12, limit=100_000
    )
    assert values(bradley_terry(LOG)) == pytest.approx(in_points(np.log(theirs.scores).to_dict()), abs=0.01)
    online = evalica.elo(LOG["model_a"], LOG["model_b"], LOG["winner"].map(outcome), k=4)
    assert values(elo(LOG, k=4, order="file")) == pytest.approx(online.scores.to_dict(), abs=0.01)


def intervals_like(fit, golden):
    """Values to 0.01 points; widths, but for Student's quantile and where few votes agreed by chance."""
    found = rows(fit)
    for name, (value, low, high) in golden.items():
        assert found[name][0] == pytest.approx(value, abs=0.01)
        assert found[name][2] - found[name][1] == pytest.approx(high - low, rel=0.05)


def test_arena_rank_and_its_sandwich():
    intervals_like(bradley_terry(LOG), ARENA_RANK)


def test_arena_ranks_style_control():
    fit = style_controlled(LOG.assign(**lengths()))
    intervals_like(fit, ARENA_RANK_STYLE)
    assert fit.coefficients[0].value == pytest.approx(COEFFICIENT, abs=1e-6)


def test_arena_rank_live():
    """The golden figures above, made anew where arena-rank is installed."""
    models = pytest.importorskip("arena_rank.models.bradley_terry")
    data = pytest.importorskip("arena_rank.utils.data_utils").PairDataset.from_pandas(LOG)
    theirs = models.BradleyTerry(len(data.competitors), gtol=1e-12, ftol=1e-15).compute_ratings_and_cis(data)
    found = zip(theirs["ratings"], theirs["rating_lower"], theirs["rating_upper"], strict=True)
    for name, row in zip(data.competitors, found, strict=True):
        assert ARENA_RANK[name] == pytest.approx([float(x) for x in row], abs=0.001)


def test_choix():
    """It knows no ties, so on the decided votes."""
    choix = pytest.importorskip("choix")
    decided = LOG[LOG["winner"] != "tie"]
    pairs = [
        (int(row.model_a[1:]), int(row.model_b[1:]))[:: 1 if row.winner == "model_a" else -1]
        for row in decided.itertuples()
    ]
    theirs = choix.opt_pairwise(8, pairs, tol=1e-12)
    expected = in_points({f"m{k}": value for k, value in enumerate(theirs)})
    assert values(bradley_terry(decided)) == pytest.approx(expected, abs=0.01)


def fastchat(log, gtol):
    """FastChat's formula: unique (pair, outcome) rows with their counts, base 10, L-BFGS."""
    names = sorted({*log["model_a"], *log["model_b"]})
    points = log["winner"].map({"model_a": 1.0, "model_b": 0.0}).fillna(0.5).rename("points")
    rows = pd.concat([log[["model_a", "model_b"]], points], axis=1).value_counts().reset_index()
    a, b = (rows[side].map(names.index).to_numpy() for side in ("model_a", "model_b"))
    won, times = rows["points"].to_numpy(), rows["count"].to_numpy()

    def loss(ratings):
        p = 1 / (1 + 10 ** (ratings[b] - ratings[a]))
        slope = -np.log(10) * (won - p) * times
        gradient = np.bincount(a, slope, len(names)) - np.bincount(b, slope, len(names))
        return -((won * np.log(p) + (1 - won) * np.log(1 - p)) * times).sum(), gradient

    found = minimize(
        loss, np.zeros(len(names)), jac=True, method="L-BFGS-B", options={"gtol": gtol, "ftol": 0}
    )
    return dict(zip(names, 1000 + 400 * found.x, strict=True))


def test_fastchat():
    assert values(bradley_terry(LOG)) == pytest.approx(fastchat(LOG, gtol=1e-8), abs=0.01)
    anchored = values(bradley_terry(LOG, anchor="m3", centre=1114))
    expected = fastchat(LOG, gtol=1e-8)
    shift = 1114 - expected["m3"]
    assert anchored == pytest.approx({name: value + shift for name, value in expected.items()}, abs=0.01)


@pytest.mark.parametrize("name", ["food", "simple"])
def test_the_leaderboards_that_evalica_publishes_with_their_battles(shared_data, name):
    folder = shared_data / "battles_food"
    log = pd.read_csv(folder / f"{name}.csv", dtype=str)
    log.columns = ["model_a", "model_b", "winner"]
    log["winner"] = log["winner"].map({"left": "model_a", "right": "model_b", "tie": "tie"})
    golden = {"elo": {}, "bradley_terry": {}}
    with (folder / f"{name}-golden.csv").open() as file:
        for row in csv.DictReader(file):
            golden.get(row["algorithm"], {})[row["item"]] = float(row["score"])
    assert values(elo(log, k=4, order="file")) == pytest.approx(golden["elo"], abs=0.01)
    published = in_points({item: np.log(score) for item, score in golden["bradley_terry"].items()})
    assert values(bradley_terry(log)) == pytest.approx(published, abs=0.01)


def test_llmfao_as_evalica_rates_it(shared_data):
    """4,204 crowd votes on 59 contestants, a pair as rarely as once."""
    evalica = pytest.importorskip("evalica")
    log = pd.read_csv(shared_data / "battles_llmfao" / "crowd_votes_6prompts.csv")
    log = log[["left", "right", "winner"]].set_axis(["model_a", "model_b", "winner"], axis=1)
    log["winner"] = log["winner"].map({"left": "model_a", "right": "model_b", "tie": "tie"})
    outcome = {"model_a": evalica.Winner.X, "model_b": evalica.Winner.Y, "tie": evalica.Winner.Draw}
    theirs = evalica.bradley_terry(
        log["model_a"], log["model_b"], log["winner"].map(outcome), tolerance=1e-12, limit=100_000
    )
    assert values(bradley_terry(log)) == pytest.approx(in_points(np.log(theirs.scores).to_dict()), abs=0.01)


def test_qloras_published_order(shared_data):
    """Its table 7: Elo (K = 32) averaged over random orders; GPT-4 aside, to 10 points."""
    verdicts = pd.read_csv(shared_data / "battles_qlora" / "vicuna_gpt4_verdicts.csv", dtype=str)
    verdicts = verdicts[verdicts["verdict"] != "unparsed"]
    log = verdicts[["answer_1", "answer_2", "verdict"]].set_axis(["model_a", "model_b", "winner"], axis=1)
    log["winner"] = log["winner"].map({"1": "model_a", "2": "model_b", "tie": "tie"})
    ours = values(elo(log, k=32))
    published = {
        "65b-guanaco": 1022,
        "30b-guanaco": 992,
        "vicuna-13b": 974,
        "gpt-3.5": 966,
        "13b-guanaco": 916,
        "bard": 902,
        "7b-guanaco": 879,
    }
    assert list(ours) == ["gpt-4", *published]
    assert {name: ours[name] for name in published} == pytest.approx(published, abs=10)
