"""Devices are named as users name them, and one that is absent is refused in words."""

from __future__ import annotations

import pytest
import warp as wp

from bodystream.device import describe_device, select_device
from bodystream.errors import ConfigurationError, DeviceError


def test_cpu_is_always_there() -> None:
    device = select_device("cpu")
    assert device.is_cpu
    assert describe_device(device).startswith("cpu (")


@pytest.mark.parametrize("name", ["gpu", "CUDA", "cuda:", "cuda:one", "cuda:-1", "cpu:0", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must be auto, cpu, cuda or cuda:N") as caught:
        select_device(name)
    assert repr(name) in str(caught.value)


def test_a_gpu_that_is_absent_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"'cuda:99' was asked for.*--device cpu"):
        select_device("cuda:99")


def test_cuda_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    select_device("cpu")
    monkeypatch.setattr(wp, "get_cuda_device_count", lambda: 0)
    with pytest.raises(DeviceError, match=r"has 0 usable CUDA device"):
        select_device("cuda")


def test_auto_takes_cuda_where_it_works_else_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert select_device("auto").is_cuda == wp.is_cuda_available()
    monkeypatch.setattr(wp, "is_cuda_available", lambda: False)
    assert select_device().is_cpu
