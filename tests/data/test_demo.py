"""The demo's data: reproducible, and what is held out never occurs in training."""

from __future__ import annotations

import json
import sys
from collections import Counter

import pytest
import yaml

from perf import demo_data as demo


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (demo.FOLDER / f"{name}.jsonl").read_text().splitlines()]


def test_the_files_are_what_the_script_writes(tmp_path):
    demo.write(tmp_path)
    for name in demo.SIZES:
        file = f"{name}.jsonl"
        assert (tmp_path / file).read_bytes() == (demo.FOLDER / file).read_bytes()


def test_there_is_enough_of_everything():
    assert len(rows("sft")) >= 190
    assert len(rows("pairs")) >= 50
    assert len(rows("pairs-heldout")) >= 16
    assert len(rows("heldout")) >= 48


@pytest.mark.parametrize("name", ["pairs", "pairs-heldout"])
def test_a_rejected_card_errs_in_one_line_and_the_commonest_mistakes_are_the_commonest_flaws(name):
    wrong: dict[str, set[str]] = {}
    for row in rows(name):
        chosen, rejected = (row[side][0]["content"].split("\n") for side in ("chosen", "rejected"))
        (line,) = [one for one, other in zip(chosen, rejected, strict=True) if one != other]
        wrong.setdefault(row["flaw"], set()).add(line.split(":")[0])
    assert wrong.keys() == set(demo.FLAWS)
    assert wrong.pop("near_problem") == {"Problem"}
    assert wrong.pop("wrong_field") <= {"Order", "Priority", "Action"}
    assert all(lines == {"Reply"} for lines in wrong.values())
    flaws = Counter(row["flaw"] for row in rows(name))
    assert {flaw for flaw, _ in flaws.most_common(3)} == {"wrong_date", "near_problem", "long_winded"}


def test_no_name_product_or_problem_is_shared():
    lexicon = yaml.safe_load(demo.LEXICON.read_text())
    names = lexicon["names"]
    assert not set(names["train"]["first"]) & set(names["heldout"]["first"])
    assert not set(names["train"]["last"]) & set(names["heldout"]["last"])
    groups = lexicon["groups"].values()

    def words(half: str) -> set[str]:
        return {
            word
            for group in groups
            for word in (
                *group[half]["products"],
                *(problem[0].lstrip("!") for problem in group[half]["problems"]),
            )
        }

    assert not words("train") & words("heldout")


def test_unseen_phrasings_share_no_phrase_and_no_reply_with_training():
    lexicon = yaml.safe_load(demo.LEXICON.read_text())

    def texts(part: object) -> set[str]:
        parts = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
        return {part} if parts is None else set().union(*map(texts, parts))

    for part in ("phrases", "replies"):
        assert not texts(lexicon[part]["train"]) & texts(lexicon[part]["heldout"])
    openings = {row["completion"][0]["content"].split("Reply: ")[1].split()[0] for row in rows("sft")}
    for row in rows("heldout"):
        reply = row["reference"].split("Reply: ")[1]
        assert (reply.split()[0] in openings) == (row["phrasing"] == "seen")
    assert Counter(row["phrasing"] for row in rows("heldout")) == {"seen": 16, "unseen": 32}


def test_the_measures_know_right_cards_and_what_is_wrong_with_others():
    sys.path.insert(0, str(demo.FOLDER))
    import card

    for row in rows("heldout"):
        assert card.card_right(row["reference"], row["reference"], row) == 1
    promises = {"wrong_date", "wrong_promise"}
    for row in rows("pairs"):
        chosen, rejected = (row[side][0]["content"] for side in ("chosen", "rejected"))
        assert card.fields_right(rejected, chosen, row) == (
            row["flaw"] not in {"near_problem", "wrong_field"}
        )
        assert card.promise_right(rejected, chosen, row) == (row["flaw"] not in promises)
        if row["flaw"] == "long_winded":
            assert card.reply_words(rejected, chosen, row) > card.reply_words(chosen, chosen, row)


def test_no_message_is_in_two_files():
    requested = [
        json.dumps(row.get("prompt") or row.get("messages"))
        for name in ("sft", "pairs", "heldout")
        for row in rows(name)
    ]
    assert len(set(requested)) == len(requested)


def test_cards_are_whole_and_rejections_differ():
    for row in rows("sft"):
        fields = [line.split(": ")[0] for line in row["completion"][0]["content"].split("\n")]
        assert tuple(fields) == demo.FIELDS
    assert all(row["chosen"] != row["rejected"] for row in rows("pairs"))
