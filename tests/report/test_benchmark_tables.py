"""The benchmark leaderboard: ranked by average, compared on the same questions, wary of tuned measures."""

import json
from pathlib import Path

from toolkit import io
from toolkit.report.formatting import MINUS
from toolkit.report.load import load_run
from toolkit.report.tables import benchmark_section
from toolkit.types import Score, Summary


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_contestants_are_ranked_and_noise_is_marked(finished: Path):
    found = benchmark_section(load_run(finished))
    assert texts(found.board) == [
        ["sft", "≈ 52.0", "52.0", "52.0"],
        ["dpo", "≈ 50.0", "50.0", "50.0"],
        ["base", "41.0", "41.0", "41.0"],
    ]


def test_differences_are_on_the_same_questions(finished: Path):
    table = benchmark_section(load_run(finished)).differences
    assert [row[:3] for row in texts(table)] == [
        ["cards: acc", f"sft {MINUS} base", "+0.113"],
        ["cards: acc", f"dpo {MINUS} base", "+0.088"],
    ]
    assert all(row[4] == "80" for row in texts(table))


def test_no_benchmark_no_leaderboard(finished: Path, tmp_path: Path):
    summary = Summary.model_validate(io.read_json(finished / "summary.json"))
    left = [score for score in summary.scores if "/" not in score.metric]
    io.write_json(tmp_path / "summary.json", summary.model_copy(update={"scores": tuple(left)}))
    assert benchmark_section(load_run(tmp_path)) is None


def test_a_gain_on_one_task_paid_for_on_others_is_reported(tmp_path: Path):
    scores, summary = [], {"run": "x", "contestants": ["base", "tuned"], "scores": (), "differences": ()}
    rates = {"a": (0.2, 0.9), "b": (0.9, 0.3), "c": (0.8, 0.2)}
    for place, name in enumerate(("base", "tuned")):
        for task, shares in rates.items():
            right = round(100 * shares[place])
            rows = [
                {"doc_id": i, "doc_hash": f"{i:064x}", "metrics": ["acc"], "acc": float(i < right)}
                for i in range(100)
            ]
            log = tmp_path / "benchmarks" / name / f"samples_{task}.jsonl"
            io.write_text(log, "".join(json.dumps(row) + "\n" for row in rows))
            scores.append(Score(contestant=name, metric=f"{task}/acc", value=shares[place], n=100))
    rest = {"ratings": {}, "stages": (), "skipped": (), "seconds": 1.0}
    io.write_json(tmp_path / "summary.json", Summary.model_validate(summary | rest | {"scores": scores}))
    (note,) = benchmark_section(load_run(tmp_path)).notes
    assert note.startswith("tuned gains on a/acc and loses on b/acc, c/acc against base")
