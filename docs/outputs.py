"""What each command prints with `--json`: the record behind its JSON schema and its page in the docs.

Keys do not change without a version bump. `docs/generate.py` writes the schemas; a test holds every command's
real output against them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from toolkit.judge.pipeline import Estimate
from toolkit.report.gate import Gate
from toolkit.run.listing import ListedRun
from toolkit.types import Difference, Finding, Rating, Score, StageResult, Summary


class Plain(BaseModel):
    """Base of everything a command prints."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Output(Plain):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Share(Output):
    """A figure with its 95% interval; `null` where nothing was observed."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    """What it is taken over."""


class Drift(Output):
    """How far a merged model is from the one that was trained, on held-out answers."""

    into: Literal["dequantized", "original"]
    kl: float
    """Nats, mean over positions."""
    top1_agreement: float
    perplexity_trained: float
    perplexity_merged: float
    tokens: int


class Answer(Output):
    contestant: str | None
    """`null` when nothing was asked."""
    completions: int
    tokens: int
    cut_off: int
    """Answers that ended at the token limit."""
    refused: int
    """Questions that the server refused while it answered others."""
    file: str


class Scores(Output):
    scores: list[Score]


class Document(Output):
    """A text's own figures."""

    id: str
    perplexity: float
    bits_per_byte: float


class Perplexity(Scores):
    documents: list[Document] | None = None
    """With `--each`."""


class AgreementReport(Output):
    scores: list[Score]
    differences: list[Difference]
    p_holm: list[float]
    """P-values of the differences, in their order, corrected for their number."""
    examples_to_settle: list[int | None]
    """How many examples would show each difference at p < 0.05 four times in five; `null`: none would."""


class Place(Output):
    score: Score
    within_noise: bool
    """Whether it may be as good as the best."""


class Standing(Output):
    contestant: str
    average: float | None
    """Over the tasks that all contestants have."""
    above_chance: float | None
    """The same with 0 for guessing and 1 for all right."""
    cells: list[Place | None]
    """In the order of `tasks`."""


class Leaderboard(Output):
    tasks: list[str]
    rows: list[Standing]
    """Best average first."""
    differences: list[Difference]
    """On the same questions, where lm-eval's sample logs are there."""
    p_holm: list[float]
    notes: list[str]
    """What to be wary of."""


class WinRate(Output):
    contestant: str
    against: str
    win_rate: Share
    length_controlled: Share
    """What it would be between answers of equal length."""


class JudgeOutput(Output):
    battles: int
    votes: int
    folder: str
    """Empty where annotations were counted and nothing was written."""
    statistics: dict[str, dict[str, Any]]
    """Judge -> figure -> a share (`value`, `low`, `high`, `n`) or a count."""
    win_rates: list[WinRate]


class Coefficient(Output):
    """What one standard deviation more of a feature does to the log-odds of winning."""

    feature: str
    value: float
    low: float
    high: float


class Part(Output):
    votes: int
    ratings: list[Rating]


class Duel(Output):
    """Two contestants, the one with the higher rating first."""

    better: str
    than: str
    expected: float
    """Points to expect from their next battle, a tie being half a win."""
    confidence: float
    """Probability that the first is the stronger one."""
    votes_needed: int
    """About how many more votes on the pair would decide it; 0 when it is decided."""


class Ratings(Output):
    method: str
    votes: int
    ratings: list[Rating]
    interval: str | None = None
    prior: float | None = None
    note: str | None = None
    """Why there is a prior though none was asked for."""
    k: float | None = None
    """Of Elo."""
    coefficients: list[Coefficient] | None = None
    """With `--control`."""
    pairs: list[Duel] | None = None
    """With `--pairs`."""
    category: dict[str, Part] | None = None
    """With `--by category`."""
    voter: dict[str, Part] | None = None
    """With `--by voter`."""


class ClaimShare(Output):
    """Relabelled runs with any claim of one kind, with its 95% interval."""

    kind: str
    share: float
    low: float
    high: float
    runs: int


class Agreed(Output):
    agreement: Share
    agreement_without_ties: Share
    kappa: Share
    """Cohen's."""
    alpha: Share
    """Krippendorff's."""


class Agreement(Agreed):
    n: int
    trust: str
    """What follows, in one sentence."""
    within_reference: Agreed | None
    """Between the people themselves: nobody can agree with them better than that."""
    categories: dict[str, Agreed]


class Preferences(Output):
    votes: int
    pairs: int
    heldout: int
    dropped: dict[str, int]
    """Why -> how many battles."""
    used_votes: int
    """Behind the pairs."""
    dropped_votes: dict[str, int]
    """Why -> how many votes; with `used_votes` they are all."""
    scoring: int
    """Examples written that no training pair uses."""


class Line(Output):
    what: str
    state: Literal["ok", "note", "missing"]
    found: str
    fix: str


def output(name: str, **fields: Any) -> type[Plain]:
    """What a command prints, by key: a type, or a type and what it means."""
    pairs = {key: kind if isinstance(kind, tuple) else (kind, None) for key, kind in fields.items()}
    columns: dict[str, Any] = {key: (kind, Field(description=text)) for key, (kind, text) in pairs.items()}
    return create_model(name, __base__=Plain, **columns)


OUTPUTS: dict[str, type[BaseModel]] = {
    "init": output(
        "Init",
        file=(str, "The recipe that was written."),
        method=(str, "Of its one stage, chosen by the kind of rows."),
    ),
    "run": Summary,
    "check": output("Check", findings=(list[Finding], "The worst first; exit code 2 when one is an error.")),
    "train": output("Train", stages=list[StageResult]),
    "merge": output("Merge", folder=str, drift=list[Drift]),
    "export-model": output(
        "ExportModel",
        folder=str,
        files=list[str],
        command=(str, "Serves the model."),
        identical=(dict[str, float], "GGUF file -> share of its answers that equal the trained model's."),
        scores=list[Score],
        differences=(list[Difference], "Each GGUF file minus the trained model, on the same examples."),
    ),
    "export": output("Export", folder=str, rows=(dict[str, int], "Data set -> how many rows.")),
    "push": output("Push", repository=(str, "Its address.")),
    "report": output("Report", html=(str, "Of several comparisons, the first."), markdown=str),
    "runs": output("Runs", runs=list[ListedRun]),
    "runs rm": output("RunsRemove", removed=(dict[str, int], "Folder -> bytes that were freed.")),
    "answer": Answer,
    "perplexity": Perplexity,
    "metrics": Scores,
    "score": AgreementReport,
    "bench": Scores,
    "gate": Gate,
    "leaderboard": Leaderboard,
    "judge": JudgeOutput,
    "judge --prompt": output(
        "Grades",
        grades=(dict[str, list[Score]], "Judge -> the mean grade of every contestant, from 1 to 10."),
    ),
    "judge --estimate": output("Estimates", estimates=(list[Estimate], "One a judge.")),
    "ratings": Ratings,
    "agreement": Agreement,
    "selftest": output("SelfTest", times=int, claims=list[ClaimShare]),
    "votes export": output("Exported", votes=int, file=str),
    "votes import": output(
        "Imported",
        added=int,
        known=(int, "Rows that were there already."),
        corrected=(int, "Rows whose vote was there with another outcome."),
        run=str,
    ),
    "votes forget": output("Forgotten", voter=str, battles=int, removed=bool),
    "preferences": Preferences,
    "serve": output("Serve", url=str),
    "doctor": output("Doctor", lines=(list[Line], "Exit code 1 when one is `missing`.")),
}
"""Command -> what it prints with `--json`."""
