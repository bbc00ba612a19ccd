"""The logits judge: a local model's verdict from next-token probabilities, without generating text.

The probabilities of the answer letters after the prompt are renormalised to those letters, so every reply
can be read, and how sure the judge is comes with it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from toolkit.data import chat
from toolkit.errors import DataError, JudgeError
from toolkit.generate.engine import ServedModel
from toolkit.judge.prompts import Case, JudgePrompt, render
from toolkit.judge.verdicts import NOT_FINITE, Comparison, Grading, Question
from toolkit.models import Loaded, prefix_tree
from toolkit.models.loading import context_window
from toolkit.models.supported_types import supports_custom_masks
from toolkit.types import Judgment, Message, Verdict

PROMPT_TOO_LONG = "the prompt is longer than the judge can read"

DIGITS = tuple("123456789")
"""The labels of a prompt that grades."""

Q = TypeVar("Q", Comparison, Grading)


@dataclass(frozen=True)
class LabelProbabilities:
    """What a judge's next token says."""

    shares: tuple[float, ...]
    """Probability of each label, renormalised to the labels."""
    mass: float
    """Probability that the next token is a label at all."""
    tokens: int
    """Length of the prompt."""


class LogprobJudge:
    """A local model that compares or grades by its next token; adapters on it are switched off meanwhile."""

    def __init__(self, loaded: Loaded | ServedModel, prompt: JudgePrompt, *, reference: bool = False) -> None:
        self.prompt, self.reference = prompt, reference
        single = prompt.protocol == "single"
        self.reader = NextTokenReader(
            loaded, DIGITS if single else [prompt.label(side) for side in ("a", "b")]
        )
        self.name = self.reader.name
        self.prompt_key = prompt.key("letter", reference)

    def verdicts(self, questions: Sequence[Q], known: Mapping[Q, Judgment]) -> Iterator[Any]:
        """Yield judgments pack by pack; packs are of all questions, so an interrupted run packs alike."""
        requested = {index for index, question in enumerate(questions) if question not in known}
        if not requested:
            return
        for question in questions:
            question.validate(self.prompt)
        cases = [question.case(self.reference) for question in questions]
        for index, reading in self.reader.read(self.prompt, cases, requested):
            yield self._judgment(questions[index], reading)

    def measure_noise(self, comparisons: Sequence[Comparison], known: Sequence[Verdict]) -> list[float]:
        """How far probabilities move when these verdicts are read one by one and in another number type."""
        readings = self.reader.read_alone(self.prompt, [each.case(self.reference) for each in comparisons])
        again = [self._judgment(each, found) for each, found in zip(comparisons, readings, strict=True)]
        return [
            after.probability_a - before.probability_a
            for before, after in zip(known, again, strict=True)
            if after.probability_a is not None and before.probability_a is not None
        ]

    @property
    def setup(self) -> dict[str, Any]:
        """How the model computes: number type, device, attention."""
        if isinstance(self.reader.loaded, ServedModel):
            return {**self.reader.loaded.engine.record, "reference": self.reference}
        model = self.reader.loaded.model
        return {
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": model.device.type,
            "attention": str(getattr(model.config, "_attn_implementation", None)),
            "reference": self.reference,
        }

    def _judgment(self, question: Question, reading: LabelProbabilities | str) -> Any:
        if isinstance(reading, str):
            return question.judgment(self.name, self.prompt_key, reason=reading)
        found = question.read_shares(reading.shares, self.reader.labels, reading.mass)
        return question.judgment(self.name, self.prompt_key, tokens_in=reading.tokens, **found)


class NextTokenReader:
    """Reads the probabilities of some labels as a model's next token."""

    def __init__(self, loaded: Loaded | ServedModel, labels: Sequence[str]) -> None:
        self.loaded = loaded
        self.labels = tuple(labels)
        self.control = control_tokens(loaded.tokenizer)
        self.window: int = context_window(loaded.config)
        self.name = f"{Path(loaded.name).name}@{loaded.fingerprint[:6]}"
        """With the start of its weights' fingerprint: other weights, another judge."""

    @cached_property
    def label_ids(self) -> list[int]:
        """The token of each label, as it follows a prompt; `JudgeError` where it is not one of its own."""
        text = self.text((Message(role="system", content="-"), Message(role="user", content="-")))
        before, ids = self.encode(text), []
        for label in self.labels:
            after = self.encode(text + label)
            if after[:-1] != before or after[-1] in ids:
                raise JudgeError(
                    f"{self.loaded.name}: `{label}` is not one token of its own after the prompt; "
                    "judge with `method: written`, or with another model"
                )
            ids.append(after[-1])
        return ids

    def text(self, messages: Sequence[Message]) -> str:
        """A prompt up to where the judge begins to answer, in one user turn where no system turn is taken."""
        tokenizer = self.loaded.tokenizer
        if tokenizer.chat_template is None:
            return "".join(f"{message.content}\n\n" for message in messages)
        try:
            return chat.render(tokenizer, messages)
        except DataError:
            joined = "\n\n".join(message.content for message in messages)
            return chat.render(tokenizer, (Message(role="user", content=joined),))

    def encode(self, text: str) -> list[int]:
        tokenizer: Any = self.loaded.tokenizer
        return list(tokenizer(text, add_special_tokens=tokenizer.chat_template is None)["input_ids"])

    def read(
        self, prompt: JudgePrompt, cases: Sequence[Case], requested: Set[int]
    ) -> Iterator[tuple[int, LabelProbabilities | str]]:
        """Yield (position in `cases`, reading) of the wanted ones; a text: why there is none."""
        prompts = self._prompts(prompt, cases)
        fitting = [index for index in range(len(cases)) if len(prompts[index]) < self.window]
        for index in sorted(requested - set(fitting)):
            yield index, PROMPT_TOO_LONG
        chosen = [prompts[index] for index in fitting]
        places = [place for place, index in enumerate(fitting) if index in requested]
        if isinstance(self.loaded, ServedModel):
            for place, reading in self._served([chosen[each] for each in places]):
                yield fitting[places[place]], reading
            return
        with self.loaded.using(None) as model:
            passes: Iterator[tuple[Sequence[int], torch.Tensor]]
            if chosen and supports_custom_masks(model, max(map(len, chosen))):
                passes = prefix_tree.tree_logits(model, chosen, set(places))
            else:
                passes = (([place], prefix_tree.plain_logits(model, chosen[place])) for place in places)
            for members, logits in passes:
                for member, row in zip(members, logits, strict=True):
                    if fitting[member] in requested:
                        yield fitting[member], self._reading(row, len(chosen[member]))

    def read_alone(self, prompt: JudgePrompt, cases: Sequence[Case]) -> list[LabelProbabilities | str]:
        """Readings one prompt at a time, in half precision of the other kind than the model's own."""
        prompts = self._prompts(prompt, cases)
        if isinstance(self.loaded, ServedModel):  # by the server's own rounding, of another batch
            return [reading for each in prompts for _, reading in self._served([each])]
        found: list[LabelProbabilities | str] = []
        with self.loaded.using(None) as model:
            other = torch.float16 if model.dtype == torch.bfloat16 else torch.bfloat16
            for tokens in prompts:
                if len(tokens) >= self.window:
                    found.append(PROMPT_TOO_LONG)
                    continue
                with torch.inference_mode(), torch.autocast(model.device.type, dtype=other):
                    logits = prefix_tree.plain_logits(model, tokens)
                found.append(self._reading(logits[0].float(), len(tokens)))
        return found

    def _prompts(self, prompt: JudgePrompt, cases: Sequence[Case]) -> list[list[int]]:
        return [self.encode(self.text(render(prompt, "letter", case, self.control))) for case in cases]

    def _served(self, prompts: Sequence[list[int]]) -> Iterator[tuple[int, LabelProbabilities | str]]:
        assert isinstance(self.loaded, ServedModel)
        for place, found in self.loaded.next_token_logprobs(prompts, self.label_ids):
            shares = torch.tensor(found).softmax(-1)
            reading = LabelProbabilities(
                tuple(shares.tolist()), sum(map(math.exp, found)), len(prompts[place])
            )
            yield place, reading if bool(shares.isfinite().all()) else NOT_FINITE

    def _reading(self, logits: torch.Tensor, tokens: int) -> LabelProbabilities | str:
        mass = float(logits.softmax(-1)[self.label_ids].sum())
        shares = tuple(float(share) for share in logits[self.label_ids].softmax(-1))
        return LabelProbabilities(shares, mass, tokens) if math.isfinite(sum(shares)) else NOT_FINITE


def control_tokens(tokenizer: Any) -> list[str]:
    """The tokens that a tokenizer reads as control marks when they occur in a text."""
    return [str(token) for token in tokenizer.added_tokens_decoder.values()]
