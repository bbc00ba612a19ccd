"""The whole page: self-contained, escaped, and whole with any optional part missing."""

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from functools import partial
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from tests.report.runs import NAMES, write_run
from toolkit import io
from toolkit.errors import DataError
from toolkit.ratings import prediction_powered
from toolkit.report import write_report
from toolkit.types import Completion, Verdict, Vote

VOID = {"meta", "br", "img", "input", "link", "hr"}
HOSTILE = (
    "</p></article></main><script>alert(1)</script><img src=x onerror=alert(2)>"
    "<svg onload=alert(3)>{{ 7 * 7 }}{% raw %} \x00\x1b[31m \u202e``` ```` | [a](javascript:alert(4)) <!--"
)


class Page(HTMLParser):
    """Checks that tags nest, and keeps what a test asks about."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A run folder that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def read(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_the_page_has_every_section_and_stands_alone(copied):
    page = read(copied)
    links = [link["href"] for link in page.named("a")]
    assert {f"#{name}" for name in ("scores", "differences", "benchmarks", "votes", "examples")} <= set(links)
    assert {link.removeprefix("#") for link in links} <= set(page.ids) | {"examples.html"}
    assert len(page.ids) == len(set(page.ids))
    assert not page.named("script")
    assert not page.named("link")
    source = (copied / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", source)
    assert page.text.count("Yes. dpo is better than base-fewshot, the fair baseline, by ROUGE-L.") == 1


def test_the_page_is_usable_by_a_screen_reader(copied):
    page = read(copied)
    html, tables = (copied / "report.html").read_text(encoding="utf-8"), page.named("table")
    assert page.named("html")[0]["lang"] == "en"
    assert len(page.named("caption")) == len(tables)
    assert len(page.named("h1")) == 1
    assert all(len(page.named(landmark)) == 1 for landmark in ("header", "nav", "main", "footer"))
    assert page.named("nav")[0]["aria-label"]
    assert {part["aria-labelledby"] for part in page.named("section")} <= set(page.ids)
    assert all(cell.get("scope") in ("col", "row") for cell in page.named("th"))
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in page.named("svg"))
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(headings))
    for chart in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ET.fromstring(chart)


def test_writing_it_again_changes_nothing(copied):
    first = write_report(copied).read_bytes()
    assert write_report(copied).read_bytes() == first


def test_no_figure_is_not_a_number(copied):
    assert not re.search(r"\bnan\b|\binf\b|None", read(copied).text)


def test_markdown_has_the_same_content(copied):
    write_report(copied)
    text = (copied / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# synthetic: did it get better?\n\n**Yes. dpo is better than base-fewshot")
    assert "| dpo against base-fewshot (the fair baseline) | +0." in text
    assert re.search(r"\| ROUGE-L \(more is better\) \| 0\.\d{3} \(0\.\d{3} to", text)
    assert "\n\n\n\n" not in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def hostile_everywhere(folder: Path) -> None:
    """Put hostile text wherever a model, a data set or a voter can."""
    for name in NAMES:
        file = folder / "completions" / f"{name}.jsonl"
        rows = list(io.read(file, Completion))
        evil = [
            row.model_copy(
                update={
                    "completion": HOSTILE,
                    "reference": HOSTILE,
                    "messages": tuple(m.model_copy(update={"content": HOSTILE}) for m in row.messages),
                }
            )
            for row in rows
        ]
        io.write(file, evil)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["versions"]["evil"] = HOSTILE
    manifest["command"] = HOSTILE
    io.write_json(folder / "manifest.json", manifest)
    summary = json.loads((folder / "summary.json").read_text())
    summary["notes"]["judge"][HOSTILE] = summary["notes"]["judge"].pop("tiny judge")
    io.write_json(folder / "summary.json", summary)
    finding = {"code": "x", "severity": "error", "place": HOSTILE, "message": HOSTILE, "fix": HOSTILE}
    io.write_json(folder / "checks.json", [finding])


def test_hostile_texts_stay_texts(copied):
    hostile_everywhere(copied)
    page = read(copied)
    assert not page.named("script")
    assert not page.named("img")
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert "{{ 7 * 7 }}" in page.text
    assert "alert(1)" in page.text
    page = Page((copied / "examples.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not page.named("img")
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    for name in ("report.html", "report.md", "examples.html"):
        text = (copied / name).read_text(encoding="utf-8")
        assert not set(text) & set("\x00\x1b\u202e")


def test_hostile_texts_stay_texts_in_markdown(copied):
    from markdown_it import MarkdownIt

    hostile_everywhere(copied)
    write_report(copied)
    text = (copied / "report.md").read_text(encoding="utf-8")
    page = Page(f"<body>{MarkdownIt('commonmark').enable('table').render(text)}</body>")
    assert {tag for tag, _ in page.tags} <= set(
        "body h1 h2 h3 p ul li strong table thead tbody tr th td pre code".split()
    )


@pytest.mark.parametrize(
    "part",
    [
        "votes.jsonl",
        "verdicts.jsonl",
        "measurements",
        "completions",
        "completions/dpo.jsonl",
        "benchmarks",
        "adapters",
        "manifest.json",
        "recipe.yaml",
    ],
)
def test_any_optional_part_may_be_missing(copied, part):
    gone = copied / part
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert "dpo is better than base" in read(copied).text


def test_a_run_without_judge_has_no_section_about_it(tmp_path):
    page = read(write_run(tmp_path / "run", judge=False))
    assert "votes" not in page.ids
    assert "scores" in page.ids


def test_a_run_that_only_has_a_summary(copied):
    for path in copied.iterdir():
        if path.name != "summary.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    summary = json.loads((copied / "summary.json").read_text())
    empty = {
        "scores": [],
        "differences": [],
        "stages": [],
        "notes": {},
        "ratings": {"people": [], "judge": []},
    }
    io.write_json(copied / "summary.json", summary | empty)
    page = read(copied)
    assert "Nothing can be said" in page.text
    assert {name for name in page.ids if "-" not in name} == {"answer"}


def test_no_run_here(tmp_path):
    with pytest.raises(DataError, match=r"no summary.json here; run the recipe first"):
        write_report(tmp_path)


def test_a_summary_of_another_make_is_named_with_its_place(copied):
    summary = json.loads((copied / "summary.json").read_text())
    summary["scores"][0]["value"] = "high"
    io.write_json(copied / "summary.json", summary)
    with pytest.raises(DataError, match=r"summary\.json: scores\.0\.value: "):
        write_report(copied)


def test_findings_of_another_make_are_named_with_their_place(copied):
    io.write_json(copied / "checks.json", [{"code": "x"}])
    with pytest.raises(DataError, match=r"checks\.json: severity: Field required"):
        write_report(copied)


def test_a_recipe_of_another_version_is_read_as_far_as_it_is_known(copied):
    recipe = yaml.safe_load((copied / "recipe.yaml").read_text()) | {"from_the_future": True}
    recipe["stages"][0]["once_there_was"] = {}
    (copied / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    text = read(copied).text
    assert "from_the_future" in text
    assert "base-fewshot, the fair baseline" in text


@pytest.mark.parametrize("text", ["stages: 3", "a: [", ""])
def test_a_recipe_that_cannot_be_read_costs_only_what_it_would_add(copied, text):
    (copied / "recipe.yaml").write_text(text)
    assert "dpo is better than base" in read(copied).text


def test_peoples_votes_are_rated_when_the_report_is_written(copied):
    judged = list(io.read(copied / "votes.jsonl", Vote))
    people = [vote.model_copy(update={"kind": "person", "voter": "ann"}) for vote in judged[:120]]
    io.append(copied / "votes.jsonl", people)
    text = read(copied).text
    assert "People " in text
    assert "They say the same on 100%" in text


def test_simulated_voters_are_rated_apart(copied):
    judged = list(io.read(copied / "votes.jsonl", Vote))
    io.append(
        copied / "votes.jsonl", [vote.model_copy(update={"kind": "simulated"}) for vote in judged[:120]]
    )
    text, plain = read(copied).text, (copied / "report.md").read_text()
    assert "Simulated voters (no people) " in text
    assert "| contestant | Simulated" not in plain
    assert "People " not in text


def test_people_judge_and_both_together_stand_side_by_side(copied, monkeypatch):
    judged = list(io.read(copied / "votes.jsonl", Vote))
    examples = sorted({vote.example_id for vote in judged})[:40]
    people = [
        vote.model_copy(update={"kind": "person", "voter": f"v{i % 3}", "probability_a": None})
        for i, vote in enumerate(judged)
        if vote.example_id in examples
    ]
    io.append(copied / "votes.jsonl", people)
    assert "People + judge" not in read(copied).text  # fewer than a hundred examples
    monkeypatch.setattr("toolkit.report.load.prediction_powered", partial(prediction_powered, fewest=40))
    monkeypatch.setattr("toolkit.report.votes.judges_are_noise", lambda view: False)
    text = read(copied).text
    assert "People + judge: people's votes on 40 examples and the judge's on" in text
    assert "First place (" in text
    plain = (copied / "report.md").read_text()
    assert "| contestant | People | Judge | People + judge |" in plain
    assert "| base against base-fewshot |" in plain


def test_losses_are_shown_beside_gains(copied):
    text = read(copied).text
    assert "Largest gain" in text
    assert "Largest loss" in text
    assert "Typical" in text


def test_the_judge_is_called_what_it_is(copied):
    assert "Weak judge" in (text := read(copied).text) or "Very weak judge" in text


def test_a_jury_is_shown_with_its_judges_and_how_far_they_agree(copied):
    summary = io.read_json(copied / "summary.json")
    summary["notes"]["judge"]["other judge"] = summary["notes"]["judge"]["tiny judge"]
    summary["notes"]["jury"] = {
        "unanimous": {"value": 0.75, "low": 0.6, "high": 0.9, "n": 40},
        "pairs": [
            {
                "judges": ["other judge", "tiny judge"],
                "agreement": {"value": 0.8, "low": 0.7, "high": 0.9, "n": 40},
            }
        ],
    }
    io.write_json(copied / "summary.json", summary)
    text = read(copied).text
    for message in (
        "The jury's votes",
        "other judge. ",
        "The judge's verdicts are noise",
    ):
        assert message in text
    plain = (copied / "report.md").read_text()
    for message in ("| All judges | 75%", "| other judge and tiny judge | 80%"):
        assert message in plain


def test_every_example_stands_with_its_votes_and_the_judges_reasons_on_a_page_of_its_own(copied):
    verdicts = list(io.read(copied / "verdicts.jsonl", Verdict))
    message = [v.model_copy(update={"reason": f"because <{v.battle_id}> {v.order}"}) for v in verdicts]
    io.write(copied / "verdicts.jsonl", message)
    write_report(copied)
    page = Page((copied / "examples.html").read_text(encoding="utf-8"))
    for vote in io.read(copied / "votes.jsonl", Vote):
        for order in ("ab", "ba"):
            assert f"because <{vote.battle_id}> {order}" in page.text
    rows = page.named("details")
    assert len(rows) == len(list(io.read(copied / "completions" / "dpo.jsonl", Completion)))
    assert {"gained", "lost", "cut"} <= {tag for row in rows for tag in str(row["data-tags"]).split()}
    for answer in io.read(copied / "completions" / "sft.jsonl", Completion):
        assert answer.completion.split()[-1] in page.text


def test_win_rates_are_shown_raw_and_at_equal_length(copied):
    page = read(copied)
    cast = [v for v in io.read(copied / "votes.jsonl", Vote) if (v.model_a, v.model_b) == ("base", "sft")]
    rate = sum({"a": 0.0, "b": 1.0}.get(vote.outcome, 0.5) for vote in cast) / len(cast)
    assert re.search(rf"sft over base\s*{100 * rate:.0f}%", page.text)
    assert "at equal length" in page.text
    assert "sft over base" in (copied / "report.md").read_text()


def test_infinite_scores_are_drawn_around(copied):
    text = (copied / "summary.json").read_text()
    summary = json.loads(text)
    summary["scores"][0] |= {"value": float("inf"), "high": float("inf")}
    io.write_json(copied / "summary.json", summary)
    assert "\N{INFINITY}" in read(copied).text


@pytest.mark.slow
def test_a_report_needs_no_torch(copied):
    code = f"""
import sys
from pathlib import Path
from toolkit.ratings import prediction_powered
from toolkit.report import write_report
write_report(Path({str(copied)!r}))
heavy = {{"torch", "transformers", "datasets", "evaluate", "streamlit", "lm_eval"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
