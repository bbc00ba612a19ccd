"""The logits judge on a tiny random model: the same verdicts packed or plain, whole or resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.judge.example_battles import battle
from toolkit.errors import JudgeError
from toolkit.judge import judge_battles
from toolkit.judge.aggregation import aggregate_votes
from toolkit.judge.logprob import LogprobJudge, NextTokenReader
from toolkit.judge.prompts import JudgePrompt, load_prompt
from toolkit.judge.verdicts import NOT_FINITE, Comparison
from toolkit.models import Loaded


def field(count: int = 6) -> list:
    return [battle(i // 2, f"answer {i} " * (i + 1), "other words " * (7 - i)) for i in range(count)]


def test_the_probability_is_that_of_the_label_tokens(tiny: Loaded, short: JudgePrompt, tmp_path: Path):
    judge = LogprobJudge(tiny, short)
    verdicts = judge_battles(judge, field(), store=tmp_path / "kept")
    from toolkit.judge.prompts import render

    for index, verdict in enumerate(verdicts):
        battles = field()[index // 2]
        text = judge.reader.text(
            render(short, "letter", Comparison(battles, verdict.order).case(), judge.reader.control)
        )
        ids = torch.tensor([tiny.tokenizer.encode(text, add_special_tokens=False)])
        with torch.inference_mode():
            logits = tiny.model(ids).logits[0, -1]
        pair = logits[tiny.tokenizer.convert_tokens_to_ids(["A", "B"])].softmax(-1)
        shown_a = pair[0] if verdict.order == "ab" else pair[1]
        assert verdict.probability_a == pytest.approx(float(shown_a), abs=1e-5)
        assert verdict.outcome == ("a" if shown_a > 0.5 else "b")
        assert verdict.tokens_in == ids.shape[1]


def test_reading_alone_in_another_number_type_shows_what_rounding_moves(
    tiny: Loaded, short: JudgePrompt, tmp_path: Path
):
    judge = LogprobJudge(tiny, short)
    battles = field()
    verdicts = judge_battles(judge, battles, store=tmp_path / "kept")
    requested = [Comparison(each, order) for each in battles for order in ("ab", "ba")]
    moved = judge.measure_noise(requested, verdicts)
    assert len(moved) == len(requested)
    assert 0 < max(map(abs, moved)) < 0.05
    assert judge.setup["dtype"] == "float32"
    (again,) = judge_battles(judge, battles, store=tmp_path / "other")[:1]
    assert again.probability_a == verdicts[0].probability_a, "asking alike repeats the same number"


def test_a_model_that_takes_no_mask_of_ours_reads_one_prompt_at_a_time(
    tiny: Loaded, short: JudgePrompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one = judge_battles(LogprobJudge(tiny, short), field(), store=tmp_path / "packed.jsonl")
    monkeypatch.setattr("toolkit.judge.logprob.supports_custom_masks", lambda *_: False)
    monkeypatch.delattr("toolkit.models.prefix_tree.PrefixTree")
    other = judge_battles(LogprobJudge(tiny, short), field(), store=tmp_path / "plain.jsonl")
    assert [v.probability_a for v in one] == pytest.approx([v.probability_a for v in other], abs=1e-5)


def test_an_interrupted_run_ends_with_the_same_bytes(tiny: Loaded, short: JudgePrompt, tmp_path: Path):
    judge_battles(LogprobJudge(tiny, short), field(), store=tmp_path / "whole")
    (whole,) = (tmp_path / "whole").iterdir()
    broken = tmp_path / "broken" / whole.name
    broken.parent.mkdir()
    lines = whole.read_text().splitlines(keepends=True)
    broken.write_text("".join(lines[:6]) + lines[6][:20])
    judge_battles(LogprobJudge(tiny, short), field(), store=broken.parent)
    assert sorted(broken.read_text().splitlines()) == sorted(whole.read_text().splitlines())


def test_what_does_not_fit_the_window_is_unreadable_not_cut(tiny: Loaded, short: JudgePrompt, tmp_path: Path):
    judge = LogprobJudge(tiny, short)
    verdicts = judge_battles(judge, [battle(0, "x" * 2000), battle(1)], store=tmp_path / "kept")
    assert [verdict.outcome is None for verdict in verdicts] == [True, True, False, False]
    assert "longer than the judge can read" in str(verdicts[0].reason)


@pytest.mark.parametrize("trees", [True, False])
def test_an_overflow_is_no_tie(
    tiny: Loaded, short: JudgePrompt, tmp_path: Path, trees: bool, monkeypatch: pytest.MonkeyPatch
):
    judge = LogprobJudge(tiny, short)
    monkeypatch.setattr("toolkit.judge.logprob.supports_custom_masks", lambda *_: trees)
    head = tiny.model.get_output_embeddings()
    overflow = head.register_forward_hook(lambda _module, _inputs, logits: logits * float("inf"))
    try:
        verdicts = judge_battles(judge, [battle()], store=tmp_path / "kept")
    finally:
        overflow.remove()
    assert [(verdict.outcome, verdict.reason) for verdict in verdicts] == [(None, NOT_FINITE)] * 2
    assert aggregate_votes([battle()], verdicts) == []


def test_labels_must_be_single_tokens(tiny: Loaded):
    assert NextTokenReader(tiny, ("1", "2")).label_ids == tiny.tokenizer.convert_tokens_to_ids(["1", "2"])
    with pytest.raises(JudgeError, match="`AB` is not one token"):
        _ = NextTokenReader(tiny, ("AB", "B")).label_ids


def test_a_prompt_that_does_not_show_the_battle_is_refused(tiny: Loaded, short: JudgePrompt, tmp_path: Path):
    own_turns = battle(3).model_copy(update={"messages_b": battle(4).messages})
    for prompt, battles, message in [
        (load_prompt("single"), battle(), "a single prompt cannot compare two answers"),
        (load_prompt("pairwise-reference"), battle(5), "example 5 has no reference answer"),
        (short, own_turns, "example 3: the contestants' earlier turns differ.*use `multi-turn`"),
    ]:
        with pytest.raises(JudgeError, match=message):
            judge_battles(LogprobJudge(tiny, prompt), [battles], store=tmp_path / "kept")
    assert not (tmp_path / "verdicts.jsonl").exists()
