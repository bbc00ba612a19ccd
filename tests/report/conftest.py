"""The made-up run, once with a judge and once without."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.runs import write_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that tests must not change."""
    return write_run(tmp_path_factory.mktemp("finished") / "synthetic")
