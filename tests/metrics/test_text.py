"""Our metrics equal the reference tools used directly, on real model outputs where they are at hand."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import evaluate
import numpy as np
import pytest
from bert_score import BERTScorer
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF, TER

from toolkit.errors import DataError, InputError, ModelError
from toolkit.metrics import measure_texts, reference_scorers
from toolkit.metrics.bertscore import BertScore
from toolkit.metrics.measurement import combine
from toolkit.metrics.text import Bleu, Chrf, Match, Rouge, Shape, Ter, TextMetric
from toolkit.models import resolve_encoder
from toolkit.types import Completion

OUTPUTS = [
    "The cat sat on the mat.",
    "A dog\nruns fast",
    "",
    "completely different words here",
    "same text again",
]
KNOWN = ["The cat is on the mat.", "The dog\nran very fast", "an answer", "nothing shared", "same text again"]


@pytest.fixture(scope="module")
def real(shared_data: Path) -> tuple[list[str], list[str]]:
    """What a real model said to 252 instructions, and what people wrote."""
    file = next((shared_data / "ref_selfinstruct").glob("*.jsonl"))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [row["outputs"]["davinci-self-instruct"] for row in rows], [row["reference"] for row in rows]


def both_kinds(real: tuple[list[str], list[str]], count: int = 60) -> list[tuple[list[str], list[str]]]:
    return [(OUTPUTS, KNOWN), (real[0][:count], real[1][:count])]


def test_rouge_is_that_of_rouge_score(real: tuple[list[str], list[str]]):
    for reply, known in both_kinds(real):
        scorer = RougeScorer(list(reference_scorers.ROUGE))
        direct = [scorer.score(ref, text) for text, ref in zip(reply, known, strict=True)]
        ours = Rouge().compute(predictions=reply, references=known)
        for name in reference_scorers.ROUGE:
            assert ours[name] == pytest.approx(np.mean([s[name].fmeasure for s in direct]), abs=1e-12)


@pytest.mark.parametrize(("metric", "tool"), [(Bleu, BLEU), (Chrf, CHRF), (Ter, TER)])
def test_corpus_metrics_are_those_of_sacrebleu(
    metric: type[TextMetric], tool: type[BLEU | CHRF | TER], real: tuple[list[str], list[str]]
):
    for reply, known in both_kinds(real, 12 if tool is TER else 60):  # TER tries every shift of every phrase
        direct = tool()
        expected = direct.corpus_score(reply, [known]).score
        (found,) = metric().compute(predictions=reply, references=known).values()
        assert found == pytest.approx(expected, abs=1e-10)
        assert metric().signature([[ref] for ref in known]) == str(direct.get_signature())


@pytest.mark.parametrize(("metric", "tool"), [(Bleu, BLEU), (Chrf, CHRF), (Ter, TER)])
def test_several_references_as_sacrebleu_takes_them(metric: type[TextMetric], tool: type[BLEU | CHRF | TER]):
    reply = ["the cat sat on the mat today", "a quick dog runs very fast"]
    references = [["the cat sat on a mat", "today the cat sat down"], ["the quick dog runs fast"]]
    streams = [[refs[0] for refs in references], [references[0][1], None]]
    (found,) = metric().compute(predictions=reply, references=references).values()
    assert found == pytest.approx(tool().corpus_score(reply, streams).score, abs=1e-10)


@given(
    st.lists(
        st.tuples(st.text("ab .", max_size=24), st.text("ab .", min_size=1, max_size=24)),
        min_size=1,
        max_size=6,
    )
)
def test_sums_of_rows_give_what_sacrebleu_gives(pairs: list[tuple[str, str]]):
    reply, known = [list(side) for side in zip(*pairs, strict=True)]
    for kind, rows, tool in (
        ("bleu", reference_scorers.bleu_rows, BLEU),
        ("chrf", reference_scorers.chrf_rows, CHRF),
        ("ter", reference_scorers.ter_rows, TER),
    ):
        table = np.array(rows(reply, [[ref] for ref in known]))
        expected = tool().corpus_score(reply, [known]).score
        assert combine(kind, table.sum(axis=0), len(reply)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.matrix
@pytest.mark.parametrize("idf", [False, True])
def test_bertscore_is_that_of_bert_score(idf: bool, real: tuple[list[str], list[str]]):
    reply, known = real[0][:12], real[1][:12]
    folder = resolve_encoder("all-minilm-l6-v2")
    full = [i for i, text in enumerate(reply) if text.strip() and known[i].strip()]
    scorer = BERTScorer(
        model_type=folder, num_layers=4, idf=idf, idf_sents=known if idf else None, nthreads=0
    )
    direct = scorer.score([reply[i] for i in full], [known[i] for i in full])
    table = BertScore(idf=idf).rows(reply, [[ref] for ref in known])
    for name, expected in zip(("precision", "recall", "f1"), direct, strict=True):
        rows = table[f"bertscore_{name}"][1]
        assert [rows[i][0] for i in full] == pytest.approx(expected.tolist(), abs=1e-6)
        assert all(rows[i][0] == 0 for i in range(len(reply)) if i not in full)


def test_bertscore_takes_the_best_of_several_references():
    table = BertScore().rows(["a small dog"], [["the stock market", "a small dog"]])
    assert table["bertscore_f1"][1][0][0] == pytest.approx(1.0, abs=1e-5)


def test_bertscore_reports_with_what_it_was_made():
    signature = BertScore(layer=5).signature([["x"]])
    assert signature is not None
    assert signature.startswith("all-minilm-l6-v2_L5_no-idf")


def test_bertscore_rescales_only_by_a_published_baseline():
    with pytest.raises(DataError, match="no baseline for layer 4 of all-minilm-l6-v2"):
        BertScore(rescale=True).rows(["a"], [["b"]])


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    """A file as bert-score's own: a line for every layer."""
    file = tmp_path / "baseline.tsv"
    lines = [f"{layer},{0.1 + layer / 100},{0.2 + layer / 100},{0.3 + layer / 100}" for layer in range(6)]
    file.write_text("\n".join(["LAYER,P,R,F", *lines]) + "\n")
    return file


def test_bertscore_rescales_as_bert_score_does(baseline: Path):
    reply, known = ["a cat sat down", ""], ["the cat sat", "a dog"]
    scorer = BERTScorer(
        model_type=resolve_encoder("all-minilm-l6-v2"),
        num_layers=3,
        lang="en",
        rescale_with_baseline=True,
        baseline_path=str(baseline),
        nthreads=0,
    )
    table = BertScore(layer=3, rescale=baseline).rows(reply, [[ref] for ref in known])
    expected = [float(part[0]) for part in scorer.score(reply[:1], known[:1])]
    found = [rows for _, rows in table.values()]
    assert [rows[0][0] for rows in found] == pytest.approx(expected, abs=1e-6)
    nothing = [-base / (1 - base) for base in (0.13, 0.23, 0.33)]
    assert [rows[1][0] for rows in found] == pytest.approx(nothing, abs=1e-6)
    with pytest.raises(DataError, match=r"baseline\.tsv holds no baseline for layer 6"):
        BertScore(layer=6, rescale=baseline).rows(reply, [[ref] for ref in known])


def test_bertscores_layers_are_those_the_encoder_has():
    assert BertScore(layer=0).signature([["x"]]).startswith("all-minilm-l6-v2_L0_no-idf")
    with pytest.raises(ModelError, match="all-minilm-l6-v2 has no layer 7"):
        BertScore(layer=7).rows(["a"], [["b"]])


def test_an_unknown_encoder_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match="no such encoder"):
        BertScore(str(tmp_path))


def test_metrics_combine_and_need_no_network():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = evaluate.combine([Rouge(), Bleu()])
        found = both.compute(predictions=OUTPUTS, references=KNOWN)
    assert set(found) == {*reference_scorers.ROUGE, "bleu"}


def test_a_prediction_without_a_reference_is_named():
    with pytest.raises(DataError, match="prediction 1 has no reference"):
        Chrf().compute(predictions=["a", "b"], references=[["x"], []])


@pytest.mark.slow
def test_large_sets_are_shared_out_and_come_back_in_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reference_scorers, "PARALLEL_FROM", 4)
    monkeypatch.setattr(reference_scorers.os, "sched_getaffinity", lambda _: {0, 1})
    references = [[ref] for ref in KNOWN]
    assert reference_scorers.parallel_rows(
        reference_scorers.rouge_rows, OUTPUTS, references
    ) == reference_scorers.rouge_rows(OUTPUTS, references)


def test_matches_fold_case_and_white_space():
    found = Match().compute(
        predictions=["The  Answer ", "three cats"], references=["the answer", "three dogs"]
    )
    assert found == {"exact_match": 0.5, "token_f1": 0.75}


def test_form_counts_words_and_repetition():
    found = Shape().compute(predictions=["a b a b a b a", ""], references=["", ""])
    assert found["length_words"] == 3.5
    assert found["distinct_2"] == pytest.approx((2 / 6 + 1) / 2)
    assert found["repetition_4"] == pytest.approx((1 - 2 / 4) / 2)


def completions(references: Sequence[str | None]) -> list[Completion]:
    return [
        Completion(
            example_id=f"e{i}",
            contestant="c",
            messages=(),
            completion="x y",
            reference=ref,
            finish="stop",
            tokens=2,
        )
        for i, ref in enumerate(references)
    ]


def test_only_length_measures_answers_without_a_reference():
    found = {m.metric: m for m in measure_texts(completions(["x y", None]), ["rouge", "length", "bleu"])}
    assert found["rouge1"].example_ids == ("e0",)
    assert found["rouge1"].per_example() == {"e0": 1.0}
    assert found["length_words"].example_ids == ("e0", "e1")
    assert found["bleu"].signature is not None
    assert found["bleu"].signature.startswith("nrefs:1|")
    assert measure_texts(completions([None]), ["rouge"]) == []


PERFECT = {
    "hi": ("बिल्ली चटाई पर बैठी है", "कुत्ता 5 घर में सोता है"),
    "ru": ("Кошка сидит на коврике", "Собака спит дома 5 часов"),
    "ja": ("猫はマットの上に座っている", "犬は家で5時間眠る"),
    "zh": ("猫坐在垫子上面看书", "狗在家里睡了五个小时"),
    "ar": ("القطة تجلس على السجادة", "الكلب ينام في البيت 5 ساعات"),
    "el": ("το βιβλίο είναι πάνω στο τραπέζι", "ένας σκύλος κοιμάται στο σπίτι 5 ώρες"),
    "ko": ("고양이가 매트 위에 앉아 있다", "개가 집에서 5시간 동안 잔다"),
    "th": ("แมวนั่งอยู่บนเสื่อในบ้าน", "สุนัขนอนหลับในบ้านห้าชั่วโมง"),
}
"""Language -> two texts with no word in common but a number."""


@pytest.mark.parametrize("language", PERFECT)
def test_right_answers_of_any_script_get_the_full_score(language: str, caplog: pytest.LogCaptureFixture):
    texts = list(PERFECT[language])
    refs = [[text] for text in texts]
    assert Rouge().compute(predictions=texts, references=refs)["rougeL"] < 1
    assert "Rouge: " in caplog.text
    right = Rouge(tokenizer="auto").compute(predictions=texts, references=refs)
    wrong = Rouge(tokenizer="auto").compute(predictions=texts[::-1], references=refs)
    assert right["rougeL"] == right["rouge2"] == 1
    assert wrong["rougeL"] < 0.5
    assert Bleu(tokenizer="auto").compute(predictions=texts, references=refs)["bleu"] == pytest.approx(100)


def test_marks_stay_with_their_letters_and_english_with_the_reference_tool():
    tokens = reference_scorers.WordTokenizer("words").tokenize
    assert tokens("Café, naïve; 3 words!") == ["café", "naïve", "3", "words"]
    assert tokens("बिल्ली है।") == ["बिल्ली", "है"]
    assert tokens("Cafe\u0301") == tokens("Café")
    assert reference_scorers.WordTokenizer("characters").tokenize("猫は 5") == ["猫", "は", "5"]
    assert reference_scorers.choose_tokenizer([["A cat sat on the mat."], ["12 3"]]) is None
    assert Rouge(tokenizer="auto").signature([["The cat"]]) is None
    assert Rouge(tokenizer="auto").signature([["кот"]]) == "rouge-score|tok:words"
    assert "tok:zh" in (Bleu(tokenizer="auto").signature([["猫坐在垫子"]]) or "")
    assert "tok:char" in (Bleu(tokenizer="char").signature([["abc"]]) or "")


@pytest.mark.parametrize(("name", "package"), [("ja-mecab", "MeCab"), ("ko-mecab", "mecab_ko")])
def test_a_tokenizer_that_is_not_installed_is_named(name: str, package: str):
    if importlib.util.find_spec(package):
        assert len(reference_scorers.WordTokenizer(name).tokenize(PERFECT[name[:2]][0])) > 3
    else:
        with pytest.raises(InputError, match=rf"tokenizer {name}: .*adapter-arena\[{name[:2]}\]"):
            Rouge(tokenizer=name).compute(predictions=["a"], references=[["a"]])


def test_bertscore_reports_how_many_texts_were_cut(caplog: pytest.LogCaptureFixture):
    metric = BertScore()
    metric.rows(["short", "word " * 600], [["short"], ["a reference"]])
    assert metric.cut == 1
    assert "1 of 4 texts are longer than the" in caplog.text
    assert (metric.signature([["short"]]) or "").endswith("|1 texts cut")
    metric.rows(["short"], [["short"]])
    assert "cut" not in (metric.signature([["short"]]) or "")
