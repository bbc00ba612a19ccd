"""What several test modules share: where the real data and the packaged model are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; tests that use it are skipped where it is absent."""
    folder = Path(os.environ.get("ADAPTER_ARENA_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data here: set ADAPTER_ARENA_DATA to its folder")
    return folder
