"""Where nobody is better the rules claim next to nothing, and a rule that claims too much is caught."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from tests.docs.pages import ROOT
from toolkit.cli import main
from toolkit.report import headline
from toolkit.report.selftest import run_selftest

RUN = ROOT / "results" / "demo-example"


def test_relabelled_runs_claim_little():
    done = CliRunner().invoke(main, ["selftest", str(RUN), "--times", "40", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    kinds = [row["kind"] for row in found["claims"]]
    assert kinds[0] == "scores, dpo against base-fewshot"
    assert kinds[-1] == "judge's votes"
    assert all(row["share"] <= 0.15 for row in found["claims"])


def test_a_rule_that_claims_too_much_is_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        headline, "conclude", lambda row, p, sign: "better" if row.p_value < 0.2 else "unclear"
    )
    found = run_selftest(RUN, times=20)
    assert max(row.share for row in found if row.kind.startswith("scores")) > 0.3


def test_a_folder_without_a_run_is_refused(tmp_path):
    done = CliRunner().invoke(main, ["selftest", str(tmp_path)])
    assert (done.exit_code, "no summary.json here" in done.stderr) == (2, True)
