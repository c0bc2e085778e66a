"""A launch that is split over threads does exactly what one launch does."""

# No `from __future__ import annotations`: Warp reads the annotations of kernels.

import numpy as np
import pytest
import warp as wp

from bodystream.device import LaunchCache, RecordedLaunch, launch, launches, select_device


@wp.kernel(enable_backward=False)
def scale_and_count(
    # In:
    begin: wp.int32,
    values: wp.array(dtype=wp.float32),  # (N,)
    factor: float,
    # Out:
    scaled_out: wp.array(dtype=wp.float32),  # (N,)
    visits_out: wp.array(dtype=wp.int32),  # (N,)
):
    i = begin + wp.tid()
    scaled_out[i] = factor * values[i] + float(i)
    visits_out[i] = visits_out[i] + 1


@wp.kernel(enable_backward=False)
def add_up(
    # In:
    begin: wp.int32,
    values: wp.array(dtype=wp.int32),  # (N,)
    # Out:
    total_out: wp.array(dtype=wp.int32),  # (1,)
):
    wp.atomic_add(total_out, 0, values[begin + wp.tid()])


SIZE = 1009  # a prime, so that no number of chunks divides it


class Buffers:
    """The arrays of one launch of `scale_and_count`."""

    def __init__(self, size: int = SIZE, device: str = "cpu") -> None:
        self.host = np.random.default_rng(3).normal(size=size).astype(np.float32)
        self.values = wp.array(self.host, dtype=wp.float32, device=device)
        self.scaled = wp.zeros(size, dtype=wp.float32, device=device)
        self.visits = wp.zeros(size, dtype=wp.int32, device=device)

    @property
    def inputs(self) -> list:
        return [self.values, 2.0, self.scaled, self.visits]


@pytest.fixture(params=[1, 2, 3, 8])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """As on a machine with that many processors."""
    monkeypatch.setattr(launches, "_worker_count", lambda: request.param)
    return request.param


@pytest.fixture
def cpu() -> wp.Device:
    return select_device("cpu")


@pytest.mark.parametrize("dim", [0, 1, 2, 3, 15, 16, 17, 500, SIZE - 1, SIZE])
def test_split_launch_equals_a_single_one(workers: int, cpu: wp.Device, dim: int) -> None:
    split, single = Buffers(), Buffers()
    launch(scale_and_count, dim, split.inputs, cpu, min_chunk=8)
    if dim:
        wp.launch(scale_and_count, dim=dim, inputs=[0, *single.inputs], device=cpu)
    np.testing.assert_array_equal(split.scaled.numpy(), single.scaled.numpy())
    np.testing.assert_array_equal(split.visits.numpy(), np.arange(SIZE) < dim)
    expected = np.where(np.arange(SIZE) < dim, 2 * split.host + np.arange(SIZE, dtype=np.float32), 0)
    np.testing.assert_allclose(split.scaled.numpy(), expected, rtol=1e-6, atol=1e-6)


def test_default_size_is_the_recorded_one_and_launches_repeat(workers: int, cpu: wp.Device) -> None:
    buffers = Buffers()
    run = RecordedLaunch(scale_and_count, SIZE, buffers.inputs, cpu, min_chunk=8)
    for _ in range(5):
        run()
    assert set(buffers.visits.numpy().tolist()) == {5}


def test_short_ranges_are_not_split(cpu: wp.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pool() -> None:
        raise AssertionError("a range below two chunks was split")

    monkeypatch.setattr(launches, "_worker_count", lambda: 4)
    monkeypatch.setattr(launches, "_pool", no_pool)
    buffers = Buffers()
    run = RecordedLaunch(scale_and_count, SIZE, buffers.inputs, cpu, min_chunk=SIZE)
    run()
    assert buffers.visits.numpy().all()
    with pytest.raises(AssertionError, match="was split"):
        RecordedLaunch(scale_and_count, SIZE, buffers.inputs, cpu, min_chunk=8)()


def test_recorded_size_of_zero_can_grow(workers: int, cpu: wp.Device) -> None:
    buffers = Buffers()
    run = RecordedLaunch(scale_and_count, 0, buffers.inputs, cpu, min_chunk=8)
    run()
    assert not buffers.visits.numpy().any()
    run(SIZE)
    assert buffers.visits.numpy().all()


def test_sizes_may_take_turns(workers: int, cpu: wp.Device) -> None:
    buffers = Buffers()
    run = RecordedLaunch(scale_and_count, SIZE, buffers.inputs, cpu, min_chunk=8)
    sizes = (SIZE, SIZE, SIZE // 2, SIZE, 9, 9, SIZE)
    for size in sizes:
        run(size)
    np.testing.assert_array_equal(buffers.visits.numpy(), (np.arange(SIZE) < np.array(sizes)[:, None]).sum(axis=0))


def test_parameters_can_be_replaced_in_every_chunk(workers: int, cpu: wp.Device) -> None:
    buffers, larger = Buffers(), Buffers(2 * SIZE)
    run = RecordedLaunch(scale_and_count, SIZE, buffers.inputs, cpu, min_chunk=8)
    larger_ones = {"values": larger.values, "factor": -3.0, "scaled_out": larger.scaled, "visits_out": larger.visits}
    for name, value in larger_ones.items():
        run.set_param(name, value)
    run(2 * SIZE)
    assert not buffers.visits.numpy().any()
    expected = -3 * larger.host + np.arange(2 * SIZE, dtype=np.float32)
    np.testing.assert_allclose(larger.scaled.numpy(), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", ["begin", "speed"])
def test_a_parameter_that_the_kernel_does_not_have_is_refused(cpu: wp.Device, name: str) -> None:
    run = RecordedLaunch(scale_and_count, SIZE, Buffers().inputs, cpu)
    with pytest.raises(ValueError, match=f"no parameter '{name}' to set, but values, factor, scaled_out, visits_out"):
        run.set_param(name, 1)


def test_a_cached_launch_takes_what_changed(workers: int, cpu: wp.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kernel is recorded once; every call runs with its own inputs and number of threads."""
    cached, first, second = LaunchCache(cpu), Buffers(), Buffers(2 * SIZE)
    recorded, record = [], wp.launch

    def note(kernel: wp.Kernel, **words: object) -> object:
        recorded.append(kernel)
        return record(kernel, **words)

    monkeypatch.setattr(wp, "launch", note)
    cached(scale_and_count, SIZE, first.inputs, min_chunk=8)
    cached(scale_and_count, 2 * SIZE, second.inputs, min_chunk=8)
    cached(scale_and_count, 5, [first.values, -3.0, first.scaled, first.visits], min_chunk=8)
    cached(scale_and_count, 0, second.inputs, min_chunk=8)
    cached.prepare(scale_and_count, 3, second.inputs)()
    assert len(recorded) == workers
    np.testing.assert_array_equal(first.visits.numpy(), 1 + (np.arange(SIZE) < 5))
    np.testing.assert_array_equal(second.visits.numpy(), 1 + (np.arange(2 * SIZE) < 3))
    np.testing.assert_allclose(first.scaled.numpy()[:5], -3 * first.host[:5] + np.arange(5), rtol=1e-6, atol=1e-6)
    expected = 2 * second.host + np.arange(2 * SIZE, dtype=np.float32)
    np.testing.assert_allclose(second.scaled.numpy(), expected, rtol=1e-6, atol=1e-5)


def test_a_scattering_kernel_stays_on_one_thread(workers: int, cpu: wp.Device) -> None:
    """Atomics are plain on the CPU; with `split=False` no two threads run, so the sum is exact."""
    count = 200_000
    values = wp.full(count, 3, dtype=wp.int32, device=cpu)
    total = wp.zeros(1, dtype=wp.int32, device=cpu)
    launch(add_up, count, [values, total], cpu, split=False)
    assert total.numpy()[0] == 3 * count


def test_an_error_of_a_chunk_reaches_the_caller(cpu: wp.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "_worker_count", lambda: 3)
    run = RecordedLaunch(scale_and_count, SIZE, Buffers().inputs, cpu, min_chunk=8)
    original = run._run

    def fail_in_last(worker: int, begin: int, end: int) -> None:
        if worker == 2:
            raise RuntimeError("chunk failed")
        original(worker, begin, end)

    monkeypatch.setattr(run, "_run", fail_in_last)
    with pytest.raises(RuntimeError, match="chunk failed"):
        run()


def test_on_cuda_it_is_one_launch_that_a_graph_can_hold(workers: int) -> None:
    select_device("cpu")
    if not wp.is_cuda_available():
        pytest.skip("this machine has no CUDA device")
    device = select_device("cuda")
    buffers = Buffers(device="cuda:0")
    run = RecordedLaunch(scale_and_count, SIZE, buffers.inputs, device, min_chunk=8)
    run()  # builds the kernel, which a capture must not do
    with wp.ScopedCapture(device) as capture:
        run()
        run(SIZE // 2)
    wp.capture_launch(capture.graph)
    expected = 2 * buffers.host + np.arange(SIZE, dtype=np.float32)
    np.testing.assert_allclose(buffers.scaled.numpy(), expected, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(buffers.visits.numpy(), 2 + (np.arange(SIZE) < SIZE // 2))
