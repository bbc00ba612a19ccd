"""Judge prompts: YAML files a user can read and replace, rendered for one order of one battle.

A file has `protocol` (`pairwise` or `single`), `system`, `user` (a Jinja template of `question`, `reference`,
`answer_1`, `answer_2`, `conversation_1`, `conversation_2`, which all arrive quoted), and what is asked at the
end: `letter` of a judge whose verdict is read from its next token, `written` of one that gives reasons first.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import yaml
from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from pydantic import ValidationError

from toolkit import io
from toolkit.errors import DataError, JudgeError
from toolkit.jinja_limits import find_overrun
from toolkit.judge.parsing import LABELS
from toolkit.recipe import Endpoint, read_yaml, yaml_problem
from toolkit.types import Message, Outcome, Record, digest

PACKAGED = Path(__file__).parent / "prompts"

Order = Literal["ab", "ba"]
Method = Literal["letter", "written"]

ENVIRONMENT = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)

SHOWS_REFERENCE = re.compile(r"\{\{-?\s*reference\b")


class JudgePrompt(Record):
    """One judge prompt. Its `key` is stored with every verdict."""

    protocol: Literal["pairwise", "single"] = "pairwise"
    system: str
    user: str
    letter: str
    written: str
    labels: dict[str, Outcome] = LABELS
    """The labels that the judge writes -> what they mean; `a` is the answer shown first."""

    def label(self, outcome: Outcome) -> str:
        """What stands for this outcome; raises `JudgeError` where the prompt has no label for it."""
        for label, meaning in self.labels.items():
            if meaning == outcome:
                return label
        raise JudgeError(f"this judge prompt has no label that means `{outcome}`; add one to `labels`")

    def key(self, method: Method, reference: bool = False, endpoint: Endpoint | None = None) -> str:
        """Hash of all that shapes a verdict apart from the battle and the judge's own weights.

        `reference`: whether the judge is shown it; of an `endpoint`, address and parameters count.
        """
        parts = [self.protocol, self.system, self.user, getattr(self, method), repr(self.labels)]
        if endpoint is not None:
            parts.append(endpoint.model_dump_json(include={"url", "parameters"}))
        return digest(*parts, *(["reference"] if reference else []))

    @cached_property
    def template(self) -> Template:
        return ENVIRONMENT.from_string(self.user)


class Case(Record):
    """What a judge is shown: one question with one or two answers, in the order shown."""

    messages: tuple[Message, ...]
    reference: str | None = None
    answers: tuple[str, ...]
    histories: tuple[tuple[Message, ...], ...] = ()
    """The messages before each answer, where they are not the same."""


def load_prompt(source: str | Path) -> JudgePrompt:
    """A packaged judge prompt by name, or one of your own by its file; `DataError` where it does not fit."""
    file = Path(source) if Path(source).suffix in {".yaml", ".yml"} else PACKAGED / f"{source}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in PACKAGED.glob("*.yaml")))
        raise DataError(f"{source}: no such judge prompt: not a .yaml file, and not one of {known}")
    try:
        prompt = JudgePrompt.model_validate(read_yaml(file.read_text(encoding="utf-8-sig")))
        if overrun := find_overrun(prompt.user, [_variables(_PROBE)]):
            raise DataError(f"{file}: user: the template {overrun}")
        render(prompt, "letter", _PROBE)
    except ValidationError as error:
        raise DataError(f"{file}: {io.first_problem(error, 'prompt')}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(yaml_problem(file, error)) from None
    except TemplateError as error:
        raise DataError(f"{file}: {' '.join(str(error).split())}") from None
    return prompt


def render(
    prompt: JudgePrompt, method: Method, shown: Case, tokens: Iterable[str] = ()
) -> tuple[Message, Message]:
    """The system and user messages put to the judge; `tokens` are broken up in all that is quoted."""
    fields = _variables(shown, list(tokens))
    text = f"{prompt.template.render(fields).strip()}\n\n{getattr(prompt, method).strip()}"
    return Message(role="system", content=prompt.system.strip()), Message(role="user", content=text)


def _variables(shown: Case, tokens: Sequence[str] = ()) -> dict[str, str]:
    histories = shown.histories or (shown.messages,) * len(shown.answers)
    fields = {
        "question": quote(conversation(shown.messages), "question", tokens),
        "reference": quote(shown.reference, "reference", tokens) if shown.reference is not None else "",
    }
    for number, (history, answer) in enumerate(zip(histories, shown.answers, strict=True), start=1):
        whole = conversation((*history, Message(role="assistant", content=answer)))
        fields[f"answer_{number}"] = quote(answer, f"answer_{number}", tokens)
        fields[f"conversation_{number}"] = quote(whole, f"conversation_{number}", tokens)
    return fields


def conversation(messages: Sequence[Message]) -> str:
    """A single user turn as it is; several turns with the speaker's name before each."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in messages)


_PROBE = Case(messages=(Message(role="user", content="?"),), reference="!", answers=("!", "!"))


CONTROL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>"  # ChatML, Llama 3, Phi, GPT: <|im_end|>
    r"|<\uff5c[^\uff5c<>]{1,40}\uff5c>"  # DeepSeek, with full-width bars
    r"|</?s>|\[/?INST\]|<</?SYS>>"  # Llama 2, Mistral
    r"|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"  # Gemma
    r"|</?(?:question|reference|answer_\d|conversation_\d)\b[^>]*>"  # our own marks
)
"""What chat templates in wide use, and the marks below, are made of."""


def quote(text: str, mark: str, tokens: Iterable[str] = ()) -> str:
    """Untrusted `text` between `<mark key=...>` and `</mark key=...>`, unable to end either.

    `mark` is what it is (`question`, `answer_1` ...), `tokens` the control tokens of the judge's tokenizer.
    """
    key = digest(text)[:6]
    return f"<{mark} key={key}>\n{break_control_tokens(text, tokens).strip()}\n</{mark} key={key}>"


def break_control_tokens(text: str, tokens: Iterable[str] = ()) -> str:
    """`text` with a space after the first character of every control token, which makes it plain text."""
    text = CONTROL.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    for token in sorted(tokens, key=len, reverse=True):
        if len(token) > 1 and not token.isspace():
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
