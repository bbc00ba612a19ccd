"""Per-example statistics from the reference implementations (rouge-score, sacrebleu).

Only plain functions of texts, so that large sets can be shared out among processes that import nothing heavy.
"""

import multiprocessing
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import pairwise

from toolkit.errors import InputError, first_line

Row = tuple[float, ...]
Rows = list[Row]
References = Sequence[Sequence[str]]  # one or more references for each prediction
PARALLEL_FROM = 2000  # from so many texts on, starting further processes pays for itself

ROUGE = ("rouge1", "rouge2", "rougeL", "rougeLsum")

SACREBLEU_WORDS = ("zh", "ja-mecab", "ko-mecab", "flores200")
"""Tokenizers that sacrebleu has, for ROUGE and BLEU."""
JOINERS = {0x200C: None, 0x200D: None}  # invisible characters inside words
SCRIPTS = {
    "kana": {"HIRAGANA", "KATAKANA"},
    "han": {"CJK"},
    "hangul": {"HANGUL"},
    "unspaced": {"THAI", "LAO", "TIBETAN", "MYANMAR", "KHMER", "TAI", "CHAM"},
}
"""Script -> words in the Unicode names of its letters; `unspaced`: without spaces between words."""
SCRIPT = 0.3  # share of letters from which on a script decides the tokenizer
FEW_LETTERS = 0.01


def parallel_rows(
    work: Callable[[Sequence[str], References], Rows], predictions: Sequence[str], references: References
) -> Rows:
    """`work` on all texts, in fresh processes where there are many (so scripts need the `__main__` guard)."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if len(predictions) < PARALLEL_FROM or workers == 1:
        return work(predictions, references)
    size = -(-len(predictions) // (4 * workers))
    starts = range(0, len(predictions), size)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = pool.map(
            work,
            [predictions[start : start + size] for start in starts],
            [references[start : start + size] for start in starts],
        )
        return [row for part in parts for row in part]


@dataclass(frozen=True)
class WordTokenizer:
    """Tokens for ROUGE: words or characters of any script, or the words of one of sacrebleu's tokenizers."""

    name: str

    def tokenize(self, text: str) -> list[str]:
        """Lower-case tokens; punctuation is none, and marks stay with their letters."""
        if self.name in SACREBLEU_WORDS:
            return list(sacrebleu_tokenizer(self.name)(text.lower()).split())
        known = unicodedata.normalize("NFC", text.lower()).translate(JOINERS)
        words = "".join(each if unicodedata.category(each)[0] in "LMN" else " " for each in known).split()
        return words if self.name == "words" else [each for word in words for each in word]


def sacrebleu_tokenizer(name: str) -> Callable[[str], str]:
    """One of sacrebleu's tokenizers; an `InputError` where its package or model is not here."""
    from sacrebleu.metrics import BLEU

    try:
        tokenizer: Callable[[str], str] = BLEU(tokenize=name).tokenizer
    except (ImportError, RuntimeError, OSError) as error:
        extra = name.partition("-")[0]
        mend = f"pip install 'adapter-arena[{extra}]', or take `characters`"
        raise InputError(f"tokenizer {name}: {first_line(error)}; {mend}") from None
    return tokenizer


def choose_tokenizer(references: References) -> str | None:
    """The tokenizer that fits the script of most letters; `None`: the reference tools' own, for English."""
    letters = [each for refs in references for text in refs for each in text if each.isalpha()]
    total = max(1, len(letters))
    share = {name: sum(_is_of(each, name) for each in letters) / total for name in SCRIPTS}
    if share["kana"] > FEW_LETTERS and share["kana"] + share["han"] > SCRIPT:
        return "ja-mecab" if find_spec("MeCab") else "characters"
    if share["han"] > SCRIPT:
        return "zh"
    if share["hangul"] > SCRIPT:
        return "ko-mecab" if find_spec("mecab_ko") else "words"
    if share["unspaced"] > SCRIPT:
        return "characters"
    return "words" if sum(not each.isascii() for each in letters) > FEW_LETTERS * total else None


def _is_of(letter: str, *scripts: str) -> bool:
    words = unicodedata.name(letter, "").replace("-", " ").split()
    return not all(SCRIPTS[script].isdisjoint(words) for script in scripts)


def unread_by_rouge(text: str) -> bool:
    """Whether rouge-score's own tokenizer, which knows a to z and digits, drops most of a text's letters."""
    letters = [each for each in text if each.isalpha()]
    return sum(not each.isascii() for each in letters) > len(letters) / 2


def unread_by_bleu(text: str) -> bool:
    """Whether most of a text's letters are of scripts without spaces: a sentence is one word for BLEU."""
    letters = [each for each in text if each.isalpha()]
    return sum(_is_of(each, "kana", "han", "unspaced") for each in letters) > len(letters) / 2


def rouge_rows(predictions: Sequence[str], references: References, tokenizer: str | None = None) -> Rows:
    """F1 of each ROUGE type, of the reference that suits each type best."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(ROUGE, tokenizer=WordTokenizer(tokenizer) if tokenizer else None)
    scored = map(scorer.score_multi, references, predictions)
    return [tuple(float(scores[name].fmeasure) for name in ROUGE) for scores in scored]


def bleu_rows(predictions: Sequence[str], references: References, tokenizer: str | None = None) -> Rows:
    """Length, reference length, four matches and four totals of n-grams."""
    return _sacrebleu_rows("BLEU", predictions, references, **bleu_options(tokenizer))


def bleu_options(tokenizer: str | None) -> dict[str, str]:
    """What sacrebleu is given for a tokenizer; words are split by its default."""
    if tokenizer in SACREBLEU_WORDS:
        sacrebleu_tokenizer(tokenizer or "")
        return {"tokenize": tokenizer or ""}
    return {"tokenize": "char"} if tokenizer == "characters" else {}


def _sacrebleu_rows(tool: str, predictions: Sequence[str], references: References, **options: str) -> Rows:
    from sacrebleu import metrics

    # sacrebleu has no public function for the counts of single sentences; its own bootstrap uses this one.
    metric = getattr(metrics, tool)(**options)
    counts = metric._extract_corpus_statistics(list(predictions), by_rank(references))
    return [tuple(float(count) for count in row) for row in counts]


chrf_rows = partial(_sacrebleu_rows, "CHRF")
"""N-grams of the prediction, of the reference, and shared, for each of six orders."""
ter_rows = partial(_sacrebleu_rows, "TER")  # edits and reference length


def sacrebleu_signature(tool: str, references: References, **options: str) -> str:
    """What sacrebleu asks to be quoted with a figure."""
    from sacrebleu import metrics

    metric = getattr(metrics, tool)(**options)
    metric.corpus_score(["" for _ in references[:1]], by_rank(references[:1]))
    counts = {len(refs) for refs in references}
    metric.num_refs = counts.pop() if len(counts) == 1 else -1
    return str(metric.get_signature())


def by_rank(references: References) -> list[list[str | None]]:
    """First references of all texts, then second ones, as sacrebleu takes them; `None` for none."""
    most = max(map(len, references), default=0)
    return [[refs[rank] if rank < len(refs) else None for refs in references] for rank in range(most)]


def match_rows(predictions: Sequence[str], references: References) -> Rows:
    """Exact match and token F1 (the better one of several references), case and white space folded."""
    rows: Rows = []
    for text, refs in zip(predictions, references, strict=True):
        words, known = text.lower().split(), [ref.lower().split() for ref in refs]
        rows.append((float(words in known), max(token_f1(words, reference) for reference in known)))
    return rows


def shape_rows(predictions: Sequence[str], references: References) -> Rows:
    """Words, distinct-1, distinct-2 (Li et al. 2016), repeated word 4-grams (Welleck et al. 2020)."""
    rows: Rows = []
    for predicted in predictions:
        words = predicted.split()
        pairs, fours = list(pairwise(words)), list(zip(words, words[1:], words[2:], words[3:], strict=False))
        rows.append((float(len(words)), distinct(words), distinct(pairs), 1 - distinct(fours)))
    return rows


def distinct(grams: Sequence[object]) -> float:
    """Share of different ones; 1 where there are none, since nothing is repeated."""
    return len(set(grams)) / len(grams) if grams else 1.0


def token_f1(predicted: Sequence[str], reference: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words, counted with their multiplicity."""
    shared = sum((Counter(predicted) & Counter(reference)).values())
    return 2 * shared / (len(predicted) + len(reference)) if predicted or reference else 1.0
