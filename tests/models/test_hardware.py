"""`auto` turned into a choice, on machines that are not here: PyTorch's answers about them are made up."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from toolkit.models import hardware
from toolkit.recipe import ModelOptions


@pytest.mark.parametrize(("native", "taken"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_without_bfloat16_of_its_own_gets_float16(
    native: bool, taken: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    def supported(including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setenv("LOCAL_RANK", "1")
    chosen = hardware.choose()
    assert (chosen.device, chosen.dtype) == (torch.device("cuda", 1), taken)
    assert hardware.choose(ModelOptions(dtype="bfloat16")).dtype == torch.bfloat16


@pytest.mark.parametrize(("fast", "taken"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_gets_bfloat16_where_it_multiplies_it(
    fast: bool, taken: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hardware, "cpu_has_fast_bf16", lambda: fast)
    assert hardware.choose(ModelOptions(device="cpu")).dtype == taken
