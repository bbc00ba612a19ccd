"""What the chat template makes of rows: what the model sees, which tokens it learns, what is cut off."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from toolkit import io
from toolkit.data import Conversation, Preference, Row, Text, chat
from toolkit.data.formats import answer_of, prompt_of
from toolkit.errors import DataError, ModelError
from toolkit.models import bases
from toolkit.recipe import Recipe, Stage, answered_data, contestants
from toolkit.run.checks import error, from_error, info, warning
from toolkit.run.checks.rows import MAX_PLACES, Seen
from toolkit.run.shots import Choice, Reader, draw_exchanges
from toolkit.train.methods import settings
from toolkit.types import Example, Finding, Message, split_thinking

PLACE = "model.chat_template"

CHUNK = 500  # sequences that are turned into tokens at once
LONGEST = 20  # held-out prompts whose tokens are counted
SAMPLE = 50  # rows whose loss mask is looked at token by token
HELLO = Message(role="user", content="hello")
REPLY = Message(role="assistant", content="good day")
RULE = Message(role="system", content="speak softly")


def tokenizer_of(recipe: Recipe) -> tuple[Any, list[Finding]]:
    """The base's tokenizer, where it can be had without the hub."""
    from toolkit.models.loading import check_vocabulary, load_tokenizer

    if not recipe.base:
        return None, []
    try:
        folder = bases.resolve_base(recipe.base, revision=recipe.model.revision)
    except ModelError as problem:
        fix = "it will be fetched at the first run; to check it now, go online"
        if "hub cannot be reached" not in str(problem):
            fix = "name a model's folder, a GGUF file, a hub id or a packaged name"
        return None, [from_error("base-not-checked", "base", problem, fix)]
    try:
        tokenizer = load_tokenizer(folder, recipe.model.chat_template, recipe.model.chat_template_kwargs)
    except ModelError as problem:
        return None, [error("chat-template", PLACE, str(problem), "name a file or a model that is here")]
    rows = io.read_json(folder / "config.json").get("vocab_size")
    try:
        check_vocabulary(tokenizer, rows or sys.maxsize, recipe.base)
    except ModelError as problem:
        return tokenizer, [from_error("vocabulary", "base", problem)]
    return tokenizer, []


OTHER = "name another one: a file, or a model that has one"


def template(recipe: Recipe, sets: dict[str, Seen], tokenizer: Any) -> tuple[list[Finding], bool]:
    """Findings on the chat template, and whether conversations can be encoded with it at all."""
    if all(stage.method == "text" for stage in recipe.stages) and recipe.scoring is None:
        return [], False
    try:
        before = chat.render(tokenizer, [HELLO])
        chat.encode_conversation(tokenizer, [HELLO, REPLY])
    except DataError as problem:
        return [error("chat-template", PLACE, str(problem), OTHER)], False
    findings = [*_ends(recipe, tokenizer, before), *_thinking(sets, tokenizer, before)]
    if before == tokenizer.apply_chat_template([HELLO.as_dict()], tokenize=False):
        text = "it has no generation prompt: nothing marks the start of the model's turn"
        findings.append(error("generation-prompt", PLACE, text, OTHER))
    if any(turn.role == "system" for seen in sets.values() for row in seen.rows for turn in prompt_of(row)):
        text = "it drops system turns, and rows have them: the model would not see what they say"
        try:
            shown = RULE.content in chat.render(tokenizer, [RULE, HELLO])
        except DataError as problem:
            shown, text = False, f"rows have system turns: {problem}"
        findings += [] if shown else [error("system-turn", PLACE, text, OTHER)]
    ids = chat.prompt_ids(tokenizer, [HELLO])
    if tokenizer.bos_token_id is not None and ids[:2] == [tokenizer.bos_token_id] * 2:
        text = f"prompts begin with {tokenizer.bos_token} twice, which no model has seen"
        findings.append(error("double-bos", PLACE, text, OTHER))
    return findings, True


def _ends(recipe: Recipe, tokenizer: Any, before: str) -> Iterator[Finding]:
    """Whether answers end with the token that ends generation, and with the one that stages name."""
    whole = tokenizer.apply_chat_template([HELLO.as_dict(), REPLY.as_dict()], tokenize=False)
    after = whole[len(before) :]
    if tokenizer.eos_token_id is None:
        yield error("end-token", PLACE, "the tokenizer has no end token, so answers never end", OTHER)
    elif tokenizer.eos_token not in after:
        text = f"it puts no {tokenizer.eos_token} after answers: training adds it, earlier turns lack it"
        yield warning("end-token", PLACE, text, OTHER)
    if tokenizer.eos_token_id is not None and tokenizer.pad_token_id == tokenizer.eos_token_id:
        text = f"{tokenizer.pad_token} pads and ends answers; trainers that mask padding never learn to stop"
        fix = "nothing to do: here padding is masked by its place, and the end token is learned"
        yield info("pad-is-end", "base", text, fix)
    for stage in recipe.stages:
        named, place = stage.trainer.get("eos_token"), f"stages.{stage.name}.trainer.eos_token"
        if named and tokenizer.convert_tokens_to_ids(named) in (None, tokenizer.unk_token_id):
            yield error("end-token", place, f"the tokenizer has no token {named}", "leave it out")
        elif named and stage.method != "text" and named not in after:
            text = f"answers do not end with {named}: the model would learn an end that ends nothing"
            yield error("end-token", place, text, "leave it out: the template's own end token is learned")


def _thinking(sets: dict[str, Seen], tokenizer: Any, before: str) -> Iterator[Finding]:
    for seen in sets.values():
        for row, place in zip(seen.rows, seen.places, strict=True):
            if isinstance(row, Text) or "</think" not in answer_of(row):
                continue
            if before.rstrip().endswith("</think>"):
                text = "prompts end with closed thinking (enable_thinking: false), and answers think again"
                yield error("thinking", place, text, "take the thinking out, or the argument of the template")
                return
            try:
                stripped = chat.strips_thinking(tokenizer, prompt_of(row), answer_of(row))
            except DataError:
                continue
            if stripped:
                text = "the template takes thinking out of answers; it is learned all the same, as <think>"
                find = info if chat.opens_thinking(before) else warning
                yield find("thinking", place, text, "name a template that shows it, or take the thinking out")
                return


def encoded_rows(
    stage: Stage, seen: Seen, tokenizer: Any, refused: list[tuple[str, DataError]] | None = None
) -> Iterator[tuple[list[str], chat.Encoded]]:
    """Texts to be learned and the sequence they are in, uncut; rows the template refuses go into `refused`.

    A pair gives two sequences; a conversation several where the template rewrites earlier turns.
    """
    waiting: list[list[chat.Exchange]] = []
    for row, place in zip(seen.rows, seen.places, strict=True):
        if isinstance(row, Text):
            ids = [*tokenizer(row.text)["input_ids"], tokenizer.eos_token_id]
            yield [row.text], chat.Encoded(ids, [1] * len(ids), truncated=False)
        elif not stage.spec.online:
            try:
                waiting += _sequences(tokenizer, row)
            except DataError as problem:
                if refused is None:
                    raise
                refused.append((place, problem))
        if len(waiting) >= CHUNK:
            yield from _tokenised(tokenizer, waiting)
            waiting = []
    yield from _tokenised(tokenizer, waiting)


def _sequences(tokenizer: Any, row: Row) -> list[list[chat.Exchange]]:
    if isinstance(row, Conversation):
        return [chat.exchanges(tokenizer, row.messages, row.unlearned)]
    prompt, answers = prompt_of(row), [answer_of(row)]
    if isinstance(row, Preference):
        answers.append(row.rejected)
    turns = [(*prompt, Message(role="assistant", content=answer)) for answer in answers]
    return [chat.exchanges(tokenizer, each, range(len(prompt))) for each in turns]


def _tokenised(tokenizer: Any, rows: list[list[chat.Exchange]]) -> Iterator[tuple[list[str], chat.Encoded]]:
    for row, parts in zip(rows, chat.encode_exchanges(tokenizer, rows), strict=True):
        answers = [each.answer for each in row]
        for part in parts:
            runs = sum(learned for learned, _ in groupby(part.completion_mask))
            yield answers[:runs], part
            answers = answers[runs:]


Tokens = dict[str, list[tuple[list[str], chat.Encoded]]]  # stage -> its rows as `encoded_rows` gives them


def encode(recipe: Recipe, sets: dict[str, Seen], tokenizer: Any) -> tuple[Tokens, list[Finding]]:
    """Every stage's rows as tokens, and stages whose rows the template refuses."""
    tokens: Tokens = {}
    findings = []
    for stage in recipe.stages:
        if stage.data not in sets:
            continue
        refused: list[tuple[str, DataError]] = []
        tokens[stage.name] = list(encoded_rows(stage, sets[stage.data], tokenizer, refused))
        for place, problem in refused[:MAX_PLACES]:
            fix = "mend the row, or name another template"
            findings.append(error("chat-template", place, str(problem), fix))
        if len(refused) > MAX_PLACES:
            text = f"the chat template refuses {len(refused)} rows"
            findings.append(error("chat-template", f"data.{stage.data}", text, "name another template"))
    return tokens, findings


def lengths(recipe: Recipe, tokens: Tokens, tokenizer: Any, context: int | None) -> Iterator[Finding]:
    """Per stage: what is cut off, whether the answer survives, and whether just the answer is learned."""
    for stage in recipe.stages:
        place = f"stages.{stage.name}.trainer.max_length"
        limit = settings(stage).get("max_length")
        limit = limit if isinstance(limit, int) else None
        if limit and context and limit > context:
            text = f"{limit} tokens are more than the model can see, {context}"
            yield error("context", place, text, f"set it to {context} or less")
        rows = tokens.get(stage.name, [])
        yield from _cut(stage, rows, limit)
        yield from _mask(stage, rows[:SAMPLE], tokenizer)


def prompts_fit(
    recipe: Recipe, examples: Sequence[Example], tokenizer: Any, context: int | None
) -> Iterator[Finding]:
    """Whether held-out prompts leave room for answers; of many, the longest texts are looked at."""
    if recipe.scoring is None or context is None:
        return
    place, new = "scoring.generation.max_new_tokens", recipe.scoring.generation.max_new_tokens
    if new >= context:
        text = f"{new} new tokens are more than the model can see with its prompt, {context}"
        yield error("context", place, text, f"set it below {context}")
        return
    specs = [spec for spec in contestants(recipe).values() if spec.stage or spec.on_base]
    own = max((spec.prompt for spec in specs), key=_size, default=())
    longest = sorted(examples, key=lambda example: _size(example.messages))[-LONGEST:]
    try:
        most = max((len(chat.prompt_ids(tokenizer, (*own, *e.messages))) for e in longest), default=0)
    except DataError as problem:
        name = f"data.{recipe.scoring.examples}"
        yield error("chat-template", name, str(problem), "name another template, or mend the rows")
        return
    if specs and most + new > context:
        text = f"a held-out prompt of {most} tokens and {new} new ones do not fit the context of {context}"
        fix = f"set it to {max(1, context - most)} or less, or shorten the prompts"
        yield error("context", place, text, fix)


def shots_fit(
    recipe: Recipe, rows: Sequence[Row], examples: Sequence[Example], tokenizer: Any, context: int | None
) -> Iterator[Finding]:
    """Whether the worked examples that the base is shown are there, and fit its context."""
    new = recipe.scoring.generation.max_new_tokens if recipe.scoring else 0
    specs = {name: spec for name, spec in contestants(recipe).items() if spec.on_base and spec.shots}
    drawn = draw_exchanges(rows, examples, recipe.seed) if specs and rows and examples else []
    reader = Reader(tokenizer, (context or sys.maxsize) - new)
    for name, spec in specs.items():
        if drawn and isinstance(spec.shots, int):
            try:
                Choice(name, spec, answered_data(recipe) or "", drawn, examples, reader).fixed(spec.shots)
            except DataError as problem:
                place, _, text = str(problem).partition(": ")
                yield from_error("shots", place, text)


def _size(turns: Sequence[Message]) -> int:
    return sum(len(turn.content) for turn in turns)


def _cut(stage: Stage, rows: list[tuple[list[str], chat.Encoded]], limit: int | None) -> Iterator[Finding]:
    if limit is None or stage.spec.rows == ("text",) or stage.spec.online:
        return
    long = [row for _, row in rows if len(row.input_ids) > limit]
    if not long:
        return
    lost = sum(not any(row.completion_mask[:limit]) for row in long)
    longest = max(len(row.input_ids) for row in long)
    text = f"{len(long)} of {len(rows)} rows are longer than {limit} tokens (the longest has {longest}); "
    text += f"{lost} lose their whole answer, the others its end"
    find = error if lost else warning
    fix = "raise max_length, or shorten the rows"
    yield find("truncated", f"stages.{stage.name}.trainer.max_length", text, fix)


def _mask(stage: Stage, rows: list[tuple[list[str], chat.Encoded]], tokenizer: Any) -> Iterator[Finding]:
    """Whether the learned tokens are the answer, and the tokens are ones the model knows."""
    unknown = tokenizer.unk_token_id
    if unknown is not None and unknown != tokenizer.eos_token_id:
        tokens = [token for _, row in rows for token in row.input_ids]
        strange = sum(token == unknown for token in tokens)
        if strange:
            text = f"{strange} of {len(tokens)} tokens are {tokenizer.unk_token}: the tokenizer lacks them"
            fix = "look for a script or signs it was not made for"
            yield warning("unknown-tokens", f"data.{stage.data}", text, fix)
    for answers, row in rows:
        learned = [token for token, mask in zip(row.input_ids, row.completion_mask, strict=True) if mask]
        decoded = tokenizer.decode(learned, skip_special_tokens=True)
        meant = [part for answer in answers for part in split_thinking(answer) if part]
        if any("".join(part.split()) not in "".join(decoded.split()) for part in meant):
            text = f"what is learned is not the answer but {decoded[:60]!r}"
            yield error("mask", f"data.{stage.data}", text, "name another template")
            return
    if rows and stage.method != "text" and not any(any(row.completion_mask) for _, row in rows):
        yield error("mask", f"data.{stage.data}", "no token is learned", "name another template")


@dataclass(frozen=True)
class Shown:
    """One row, or one side of a pair, decoded."""

    title: str
    parts: list[tuple[str, bool]]  # Text, and whether it is learned
    tokens: int
    cut: int  # tokens lost at the end


def show(recipe: Recipe, sets: dict[str, Seen], tokenizer: Any, count: int) -> list[Shown]:
    """The first rows of every stage."""
    shown = []
    for stage in recipe.stages:
        seen, limit = sets.get(stage.data, Seen()), settings(stage).get("max_length")
        for row, place in list(zip(seen.rows, seen.places, strict=True))[:count]:
            try:
                sides = list(encoded_rows(stage, Seen([row], [place]), tokenizer))
            except DataError:  # a finding names it
                continue
            for number, (_, encoded) in enumerate(sides):
                side = f", part {number + 1}" if len(sides) > 1 else ""  # a conversation may need several
                if isinstance(row, Preference):
                    side = (", chosen", ", rejected")[number]
                ids = encoded.input_ids[:limit]
                pairs = zip(ids, encoded.completion_mask[:limit], strict=True)
                parts = [
                    (tokenizer.decode([token for token, _ in run]), bool(learned))
                    for learned, run in groupby(pairs, key=lambda pair: pair[1])
                ]
                cut = len(encoded.input_ids) - len(ids)
                shown.append(Shown(f"{stage.name}: {place}{side}", parts, len(ids), cut))
    return shown
