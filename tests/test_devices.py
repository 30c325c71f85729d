"""Where arithmetic runs: the device of a name, blocks that fit it, and what happens when memory runs out."""

import threading

import pytest
import torch

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest import devices

CUDA = torch.device("cuda")


@pytest.fixture
def threads(monkeypatch):
    """Three threads, whatever the machine has."""
    devices._pool.cache_clear()
    monkeypatch.setattr(devices, "n_threads", lambda: 3)
    yield
    devices._pool.cache_clear()


@pytest.mark.parametrize(
    ("free", "n_bytes", "want"),
    [([5, 9, 7], 0, "cuda:1"), ([5, 9, 7], 9, "cuda:1"), ([5, 9, 7], 10, "cpu"), ([], 0, "cpu")],
)
def test_auto_is_the_roomiest_gpu(monkeypatch, free, n_bytes, want):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device.index], 99))
    assert str(devices.chosen("auto", n_bytes)) == want


@pytest.mark.parametrize(("seconds", "want"), [({"cuda": 1, "cpu": 2}, "cuda"), ({"cuda": 2, "cpu": 1}, "cpu")])
def test_geometry_goes_where_float64_is_quicker(monkeypatch, seconds, want):
    devices.for_geometry.cache_clear()
    monkeypatch.setattr(devices, "chosen", torch.device)
    monkeypatch.setattr(devices, "_seconds", lambda device: seconds[device.type])
    assert devices.for_geometry("cuda").type == want
    assert devices.for_geometry("mps") == devices.CPU  # it has no float64
    devices.for_geometry.cache_clear()


def test_tasks_keep_their_order_and_few_are_under_way(threads):
    """Each in a thread of the pool whose BLAS is single-threaded; no task is taken before it is needed."""
    taken, under_way, most = [], set(), []

    def tasks():
        for number in range(17):
            taken.append(number)
            yield number

    def run(number):
        under_way.add(number)
        most.append(len(under_way))
        assert torch.get_num_threads() == 1
        under_way.discard(number)
        return number, threading.current_thread().name

    results = devices.mapped(run, tasks(), devices.CPU)
    first = next(results)
    assert first[0] == 0 and "arithmetic" in first[1] and len(taken) <= 5
    assert [number for number, _ in results] == list(range(1, 17))
    assert max(most) <= 4
    [here] = devices.mapped(lambda _: threading.current_thread(), [0], devices.CPU, at_once=1)
    assert here is threading.current_thread()


def test_an_error_comes_out_of_its_thread(threads):
    def fail(number):
        if number == 5:
            raise EigenhouseError("five")
        return number

    with pytest.raises(EigenhouseError, match="five"):
        list(devices.mapped(fail, range(40), devices.CPU))


@pytest.mark.parametrize(("n", "step"), [(32, 4), (32, 1), (7, 7), (12, 12), (30, 6), (1, 1), (3, 3), (64, 8)])
def test_blocks_cover_all_heads_and_split_no_group_unevenly(threads, n, step):
    blocks = devices.in_blocks(lambda block, device: block, n, step, devices.CPU, print)
    assert [i for block in blocks for i in range(n)[block]] == list(range(n))
    for block in blocks:
        size = block.stop - block.start
        assert size % step == 0 or (step % size == 0 and block.start // step == (block.stop - 1) // step)


def test_out_of_memory_halves_blocks_and_then_takes_the_cpu():
    """A device with room for three heads at a time, and one with none; what was tried is what the sizes say."""
    tried, said = [], []

    def with_room_for(n_heads):
        def run(block, device):
            tried.append((block.stop - block.start, device.type))
            if device.type == "cuda" and block.stop - block.start > n_heads:
                raise torch.OutOfMemoryError
            return device.type

        return run

    assert devices.in_blocks(with_room_for(3), 12, 4, CUDA, said.append) == ["cuda"] * 6
    assert tried[:3] == [(12, "cuda"), (8, "cuda"), (4, "cuda")] and not said
    assert set(devices.in_blocks(with_room_for(0), 12, 4, CUDA, said.append)) == {"cpu"}
    assert said == ["out of memory on cuda: the CPU takes over"]
    with pytest.raises(torch.OutOfMemoryError):
        devices.in_blocks(lambda block, device: with_room_for(0)(block, CUDA), 1, 1, devices.CPU, said.append)


def test_a_batch_is_solved_in_parts(threads):
    """Of more blocks than threads, the last one shorter; one tensor or a named tuple, in the batch's order."""
    matrices = torch.randn(11, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    matrices = matrices + matrices.mT
    assert (devices._in_parts(torch.linalg.eigvalsh, matrices) == torch.linalg.eigvalsh(matrices)).all()
    got, want = devices._in_parts(torch.linalg.svd, matrices), torch.linalg.svd(matrices)
    assert [*map(torch.equal, got, want)] == [True] * 3 and (got.S == want.S).all()


def test_one_task_moves_to_the_cpu_when_memory_runs_out():
    said = []

    def run(device):
        if device.type == "cuda":
            raise torch.OutOfMemoryError
        return 7

    assert devices.or_on_cpu(run, CUDA, said.append) == 7 and len(said) == 1
