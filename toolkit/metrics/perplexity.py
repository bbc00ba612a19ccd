"""Perplexity: of reference answers given their prompts, or of whole texts.

exp of the mean negative log-likelihood per token. Bits per byte divide the same nats by the text's UTF-8
bytes, so that models with different tokenizers can be compared (Gao et al. 2020).
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolkit import io
from toolkit.data import Text, load_examples
from toolkit.data.chat import answer_ids, prompt_ids, with_prompt
from toolkit.data.readers import RawRow, raw_rows
from toolkit.errors import DataError
from toolkit.metrics.measurement import Measurement
from toolkit.models import Loaded
from toolkit.models.loading import context_window
from toolkit.models.logprobs import Span, sum_nll
from toolkit.recipe import DataSource
from toolkit.types import Example, Message

MAX_WINDOW = 2048  # window for models that do not say how long their context is


def measure_perplexity(
    loaded: Loaded,
    examples: Sequence[Example],
    *,
    contestant: str,
    adapter: str | None = None,
    prompt: Sequence[Message] = (),
) -> list[Measurement]:
    """Perplexity and bits per byte of the examples' references, their end tokens included.

    Examples without a reference are left out; `prompt` is put before every example's messages.

    Raises:
        DataError: an example does not fit the model's context.
    """
    known = {example.id: example for example in examples if example.reference is not None}
    room = context_window(loaded.model.config)
    spans = {}
    for example in known.values():
        conversation = with_prompt(prompt, example.messages)
        answer = answer_ids(loaded.tokenizer, conversation, example.reference or "")
        ids = [*prompt_ids(loaded.tokenizer, conversation), *answer]
        if len(ids) - 1 > room:  # the last token is only predicted
            size = f"example {example.id}: question and reference of {len(ids)} tokens"
            raise DataError(f"{size} do not fit the model's context of {room}; shorten them")
        spans[example.id] = [Span(ids, len(answer))]
    sizes = {name: len((example.reference or "").encode()) for name, example in known.items()}
    return _build_measurement(loaded, adapter, spans, sizes, contestant)


def measure_text_perplexity(
    loaded: Loaded,
    texts: Sequence[Text],
    *,
    contestant: str,
    adapter: str | None = None,
    window: int | None = None,
    stride: int | None = None,
) -> list[Measurement]:
    """Perplexity and bits per byte of whole texts, every token predicted, the first from a start token.

    With a stride of the whole window each token is predicted once from what its own window holds before it,
    which is lm-eval's rolling log-likelihood. A smaller stride gives tokens more context and takes longer.
    Left out: the model's whole context, and a whole window.

    Raises:
        DataError: the stride is longer than the window, or the window than the model's context.
    """
    room = context_window(loaded.model.config)
    length = window or (room if room < sys.maxsize else MAX_WINDOW)
    if length > room:
        raise DataError(f"window {length}: the model's context is {room} tokens; take no more")
    stride, start = stride or length, start_token(loaded.tokenizer)
    if not 1 <= stride <= length:
        raise DataError(f"stride {stride}: it must be from 1 to the window's length, {length}")
    spans = {}
    for text in texts:
        ids = loaded.tokenizer(text.text, add_special_tokens=False, verbose=False)["input_ids"]
        if ids:
            spans[text.id] = windows(ids, start, length, stride)
    sizes = {text.id: len(text.text.encode()) for text in texts if text.id in spans}
    return _build_measurement(loaded, adapter, spans, sizes, contestant)


def windows(ids: Sequence[int], start: int, length: int, stride: int) -> list[Span]:
    """Overlapping or adjoining spans that together score every token of `ids` once."""
    first = ids[:length]
    spans = [Span([start, *first], len(first))]
    for begin in range(length, len(ids), stride):
        end = min(begin + stride, len(ids))
        spans.append(Span(ids[max(0, end - length - 1) : end], end - begin))
    return spans


def start_token(tokenizer: Any) -> int:
    """What the first token is predicted from, as lm-eval has it: the start token, else the end token."""
    token = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if token is None:
        raise DataError("this tokenizer has no start or end token to predict a text's first token from")
    return int(token)


def _build_measurement(
    loaded: Loaded, adapter: str | None, spans: dict[str, list[Span]], sizes: dict[str, int], contestant: str
) -> list[Measurement]:
    """Both metrics from each text's spans and its bytes; none without texts."""
    if not spans:
        return []
    with loaded.using(adapter) as model:
        every = [span for parts in spans.values() for span in parts]
        each = iter(sum_nll(model, every, f"{contestant}: perplexity"))
    total = {name: sum(next(each) for _ in parts) for name, parts in spans.items()}
    tokens = {name: float(sum(span.scored for span in parts)) for name, parts in spans.items()}
    ids = tuple(spans)
    rows = tuple((total[name], tokens[name]) for name in ids)
    bits = tuple((total[name] / math.log(2), float(sizes[name])) for name in ids)
    both = {"contestant": contestant, "example_ids": ids}
    return [
        Measurement(metric="perplexity", kind="exp_ratio", rows=rows, **both),
        Measurement(metric="bits_per_byte", kind="ratio", rows=bits, **both),
    ]


def load_documents(source: DataSource) -> tuple[list[Text], list[Example]]:
    """The texts in a source, or its examples with references; one of the two lists is empty.

    A `.txt` file is one text. Rows are texts when the first has `text` and no answer.

    Raises:
        DataError: the data cannot be had, a row does not fit, two texts have the same id, or there is
            nothing to measure.
    """
    path = Path(source.source)
    if path.suffix == ".txt" and path.is_file():
        with io.readable(path):
            return [Text(id=path.name, text=path.read_text(encoding="utf-8"))], []
    rows = list(raw_rows(source))
    if rows and "text" in rows[0][1] and not {"messages", "reference", "completion"} & rows[0][1].keys():
        return _texts(rows[: source.limit]), []
    known = [example for example in load_examples(source) if example.reference is not None]
    if not known:
        raise DataError(f"{source.source}: no texts and no reference answers to measure perplexity on")
    return [], known


def _texts(rows: Sequence[RawRow]) -> list[Text]:
    found: dict[str, Text] = {}
    for number, (place, row) in enumerate(rows):
        if not isinstance(row.get("text"), str):
            raise DataError(f"{place}: `text` is missing or not a text")
        text = Text(id=str(row.get("id", number)), text=row["text"])
        if text.id in found:
            raise DataError(f"{place}: the id {text.id!r} is taken by another text; ids must differ")
        found[text.id] = text
    return list(found.values())
