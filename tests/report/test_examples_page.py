"""The page of all examples in a browser: filters, sorting, search and links, from the file alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from toolkit.report import write_report


@pytest.mark.slow
def test_examples_are_filtered_sorted_searched_and_linked(finished: Path, tmp_path: Path):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    address = write_report(run).with_name("examples.html").as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page: Page = browser.new_page()
        page.goto(address)
        count, shown = page.locator("output"), page.locator("details.row:visible")
        expect(count).to_have_text("60 of 60")
        page.select_option("select[name=tag]", "lost")
        lost = shown.count()
        assert 0 < lost < 60
        expect(count).to_have_text(f"{lost} of 60")
        page.select_option("select[name=sort]", "loss")
        gains = [float(row.get_attribute("data-gain") or 0) for row in shown.all()]
        assert gains == sorted(gains)
        page.select_option("select[name=tag]", "")
        page.fill("input[name=text]", "number 4007")
        expect(count).to_have_text("1 of 60")
        page.goto(f"{address}#example-5")
        page.reload()
        expect(page.locator("#example-5 .answers")).to_be_visible()
        browser.close()
