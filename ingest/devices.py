"""Which device arithmetic runs on, and how a task is cut into blocks that fit there.

On the CPU every block has a thread of its own and runs single-threaded: small decompositions scale with the cores so,
and no thread waits for another one that a neighbour's work holds up. A GPU takes one block after the other.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Any, TypeVar

import psutil
import torch

from eigenhouse.errors import EigenhouseError

CPU = torch.device("cpu")
KINDS = "cpu, cuda, cuda:<n>, mps or auto"
BLOCKS_A_THREAD = 2  # so that a thread that is held up has fewer of them
Task = TypeVar("Task")
Result = TypeVar("Result")
Solution = TypeVar("Solution")  # of a batch: one tensor, or a named tuple of them
Say = Callable[[str], None]


def chosen(name: str, n_bytes: int = 0) -> torch.device:
    """The device of a name; `auto` is the GPU with the most free memory, if it has n_bytes of it, else the CPU.

    Raises EigenhouseError where this machine has none of that name.
    """
    if name == "auto":
        return _best(n_bytes)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise EigenhouseError(f"want DEVICE={KINDS}; got {name!r}") from error
    has = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not has.get(device.type, False):
        there = ", ".join(kind for kind in ("cpu", "cuda", "mps") if has[kind])
        raise EigenhouseError(
            f"want DEVICE={name}, but this machine offers {there}; no such accelerator, or torch was built without it"
        )
    return device


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on a device; an mps device shares the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def return_freed() -> None:
    """Give the system back what Python has freed: glibc keeps it in every thread's arena, a third of a pass's peak."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim:  # other C libraries keep less
        trim(0)


def _best(n_bytes: int) -> torch.device:
    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    gpus += [torch.device("mps")] if torch.backends.mps.is_available() else []
    roomy = [gpu for gpu in gpus if free_bytes(gpu) >= n_bytes]
    return max(roomy, key=free_bytes, default=CPU)


@cache
def for_geometry(name: str) -> torch.device:
    """The device for float64: the one that was asked for, unless this machine's CPU is quicker at it.

    mps has no float64, and consumer cards run it at 1/64 of float32's rate. Named cards are tried as well as `auto`.
    """
    device = chosen(name)
    if device.type == "cuda" and _seconds(device) < _seconds(CPU):
        return device
    return CPU


def _seconds(device: torch.device) -> float:
    """For the Grams and the eigenvalues of a few heads, the better of two tries."""
    rows = torch.linspace(-1, 1, 16 * 128 * 1024, dtype=torch.float64, device=device).sin().reshape(16, 128, 1024)
    tries = []
    for _ in range(3):  # the first one loads the libraries
        started = time.perf_counter()
        torch.linalg.eigvalsh(rows @ rows.mT).sum().item()
        tries.append(time.perf_counter() - started)
    return min(tries[1:])


def mapped(
    function: Callable[[Task], Result], tasks: Iterable[Task], device: torch.device, at_once: int | None = None
) -> Iterator[Result]:
    """The function of each task, in the order of the tasks; `at_once` of them under way, or as many as keep all busy.

    One at once runs in the caller's thread, with all of torch's threads.
    """
    at_once = n_threads() + 1 if at_once is None else at_once
    if device.type != "cpu" or at_once == 1 or n_threads() == 1:
        yield from map(function, tasks)
        return
    pool, waiting = _pool(), deque[Future[Result]]()
    try:
        for task in tasks:
            if len(waiting) == at_once:
                yield waiting.popleft().result()
            waiting.append(pool.submit(function, task))
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@cache
def n_threads() -> int:
    """Of the CPU, as torch counts them: OMP_NUM_THREADS, or the cores."""
    return torch.get_num_threads()


@cache
def _pool() -> ThreadPoolExecutor:
    # the setting is the calling thread's own, in OpenMP and in MKL
    return ThreadPoolExecutor(n_threads(), "arithmetic", initializer=lambda: torch.set_num_threads(1))


def in_blocks(function: Callable[..., Result], n: int, step: int, device: torch.device, say: Say) -> list[Result]:
    """function(block, device=…) of blocks of 0 … n−1, each a multiple of `step` long or a divisor of it.

    The CPU takes enough blocks for its threads, a GPU all at once. Where its memory doesn't suffice, blocks are halved
    down to one each, and then the CPU takes over, which is said.
    """
    size = n if device.type != "cpu" else _blocks_of_cpu(n)
    while True:
        size = _fitting(size, step)
        blocks = [slice(start, min(start + size, n)) for start in range(0, n, size)]
        try:
            return list(mapped(partial(function, device=device), blocks, device))
        except torch.OutOfMemoryError:
            if device.type == "cpu":
                raise
            if size > 1:
                size //= 2
            else:
                say(f"out of memory on {device}: the CPU takes over")
                device, size = CPU, _blocks_of_cpu(n)
            torch.cuda.empty_cache()


def solved(solve: Callable[[torch.Tensor], Solution], matrices: torch.Tensor, threads: int = 1) -> Solution:
    """A decomposition of each small matrix of a batch (matrix, row, column), by LAPACK on all threads.

    A GPU's solvers take one matrix after the other, at 2 to 7 ms for 256 rows, and its batched one for singular values
    (gesvda) fails where they span nine powers of ten. threads: from how many LAPACK is the quicker one.
    """
    if matrices.device.type == "cpu" or n_threads() < threads:
        return solve(matrices)
    return _in_parts(solve, matrices)


def _in_parts(solve: Callable[[torch.Tensor], Solution], matrices: torch.Tensor) -> Solution:
    parts: list[Any] = list(mapped(solve, matrices.cpu().split(_blocks_of_cpu(len(matrices))), CPU))
    if isinstance(parts[0], torch.Tensor):
        return torch.cat(parts).to(matrices.device)  # type: ignore[return-value]
    return type(parts[0])(torch.cat(part).to(matrices.device) for part in zip(*parts, strict=True))


def or_on_cpu(function: Callable[[torch.device], Result], device: torch.device, say: Say) -> Result:
    """The function on a device, or on the CPU if the device's memory doesn't suffice, which is said."""
    try:
        return function(device)
    except torch.OutOfMemoryError:
        if device.type == "cpu":
            raise
        torch.cuda.empty_cache()
    say(f"out of memory on {device}: the CPU takes over")
    return function(CPU)


def _blocks_of_cpu(n: int) -> int:
    """How long a block of n tasks is, for all threads to have some."""
    return -(-n // (BLOCKS_A_THREAD * n_threads()))


def _fitting(size: int, step: int) -> int:
    """The nearest number at or above `size` that is a multiple of `step`, or below it one that divides `step`."""
    if size >= step:
        return -(-size // step) * step
    return max(divisor for divisor in range(1, max(size, 1) + 1) if step % divisor == 0)
