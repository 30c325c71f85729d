"""Forward passes of a model that doesn't fit in memory: one layer at a time is filled, and every pass goes through it.

Each pass is a thread that waits before every layer until that layer has its weights, so that no model has to be written
anew and hidden states stay where the model's own code has them. One thread runs at a time.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import nn

from eigenhouse.ingest.models.loading import LoadedModel, set_parameter


@dataclass(frozen=True)
class Job:
    """One forward pass and what is kept of it. around: a context that holds while the model's code runs."""

    run: Callable[[], None]
    n_tokens: int
    around: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass
class Stream:
    """A skeleton whose parts get their weights when they run.

    n_bytes: what the passes under way may keep of their hidden states · units: path of a module that is filled before
    it runs and emptied after · resident: parameters that stay: the modules that hold them hold lists of layers too.
    """

    loaded: LoadedModel
    dtype: torch.dtype
    device: torch.device
    n_bytes: int
    hidden_size: int
    units: dict[str, nn.Module] = field(init=False)
    resident: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.units, self.resident = _parts(self.loaded.model)

    def run(self, jobs: list[Job]) -> None:
        """All jobs in as few passes over the weights as n_bytes allows, with a few hidden states kept of each token."""
        each = KEPT_STATES * self.hidden_size * torch.float32.itemsize
        with self._prepared():
            while jobs:
                n, kept = 0, 0
                while n < len(jobs) and (n == 0 or kept + jobs[n].n_tokens * each <= self.n_bytes):
                    kept += jobs[n].n_tokens * each
                    n += 1
                self._run_together(jobs[:n])
                jobs = jobs[n:]

    def _run_together(self, jobs: list[Job]) -> None:
        passes = [_Pass(job) for job in jobs]
        hooks = [
            unit.register_forward_pre_hook(lambda _module, _args, path=path: _wait(path))
            for path, unit in self.units.items()
        ]
        try:
            for each in passes:
                each.start()
                each.go_on()
            while waiting := [each for each in passes if each.at]:
                with self._filled(waiting[0].at):
                    unit = waiting[0].at
                    while together := [each for each in passes if each.at == unit]:  # again where layers share a module
                        for each in together:
                            each.go_on()
        finally:
            for each in passes:
                each.stop()
            for hook in hooks:
                hook.remove()

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        """Nothing but what is resident has values: a part that runs unfilled gives NaN, and not some number."""
        model, buffers = self.loaded.model, dict(self.loaded.model.named_buffers())
        _give_back()
        names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
        before = {name: model.get_parameter(name) for name in names}
        for name in names:
            set_parameter(model, name, _nothing(before[name].shape, self.device))
        for name in self.resident:
            self._fill(name)
        for name, buffer in buffers.items():
            _set_buffer(model, name, buffer.to(self.device))
        try:
            yield
        finally:
            for name, parameter in before.items():
                set_parameter(model, name, parameter)
            for name, buffer in buffers.items():
                _set_buffer(model, name, buffer)

    @contextmanager
    def _filled(self, path: str) -> Iterator[None]:
        unit, model, checkpoint = self.units[path], self.loaded.model, self.loaded.checkpoint
        names = [f"{path}.{name}" for name, _ in unit.named_parameters()]
        stored = [f"{path}.{name}" for name, _ in unit.named_buffers() if f"{path}.{name}" in checkpoint]
        before = {name: model.get_buffer(name) for name in stored}
        for name in names:
            self._fill(name)
        for name in stored:  # running statistics of a batch norm, for one
            _set_buffer(model, name, checkpoint.read(name).to(self.device))
        try:
            yield
        finally:
            for name in names:
                set_parameter(model, name, _nothing(model.get_parameter(name).shape, self.device))
            for name, buffer in before.items():
                _set_buffer(model, name, buffer)
            _give_back()

    def _fill(self, name: str) -> None:
        set_parameter(self.loaded.model, name, self.loaded.checkpoint.read(name).to(self.device, self.dtype))


KEPT_STATES = 8  # of hidden size, of each token of a pass that waits: the residual, a norm's output, positions


class _Stopped(BaseException):
    """Ends a pass that nobody waits for any more."""


class _Pass(threading.Thread):
    """at: the unit that it waits for, '' where it runs or is done."""

    def __init__(self, job: Job) -> None:
        super().__init__(daemon=True)
        self.job, self.at = job, ""
        self._error: BaseException | None = None
        self._is_stopped = False
        self._may_run, self._has_halted = threading.Semaphore(0), threading.Semaphore(0)

    def run(self) -> None:
        self._may_run.acquire()
        try:
            if not self._is_stopped:
                self.job.run()
        except _Stopped:
            pass
        except BaseException as error:  # raised again by go_on, in the thread that waits for this one
            self._error = error
        self._has_halted.release()

    def go_on(self) -> None:
        """Let it run to the next unit, or to its end; raises what it raised."""
        self.at = ""
        with self.job.around():
            self._may_run.release()
            self._has_halted.acquire()
        if self._error is not None:
            raise self._error

    def halt(self, path: str) -> None:
        self.at = path
        self._has_halted.release()
        self._may_run.acquire()
        if self._is_stopped:
            raise _Stopped

    def stop(self) -> None:
        if self.is_alive():
            self._is_stopped = True
            self._may_run.release()
            self.join()


def largest_part(model: nn.Module) -> int:
    """Parameters of the largest unit of a model."""
    units, _ = _parts(model)
    return max((sum(each.numel() for each in unit.parameters()) for unit in units.values()), default=0)


def _wait(path: str) -> None:
    this = threading.current_thread()
    assert isinstance(this, _Pass), "a streamed model is run by its stream alone"
    this.halt(path)


def _parts(model: nn.Module) -> tuple[dict[str, nn.Module], list[str]]:
    """The modules that are filled when they run, by path, and the parameters that have to stay.

    A unit is an element of a list of modules, or a module that has parameters of its own and no list within it.
    """
    units: dict[str, nn.Module] = {}
    resident: list[str] = []

    def visit(module: nn.Module, path: str, is_element: bool) -> None:
        own = [f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)]
        has_list = any(isinstance(each, nn.ModuleList) for each in module.modules())
        if path and (is_element or (own and not has_list)) and _can_run(module):
            units[path] = module
            return
        resident.extend(own)
        for name, child in module.named_children():
            visit(child, f"{path}.{name}".lstrip("."), isinstance(module, nn.ModuleList))

    visit(model, "", is_element=False)
    return units, resident


def _can_run(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward


def _nothing(shape: torch.Size, device: torch.device) -> torch.Tensor:
    return torch.full((), torch.nan, device=device).expand(shape)


def _give_back() -> None:
    """Freed memory to the system: glibc keeps matrices of up to 32 MB, in pieces that the next layer doesn't fit in."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None:
        trim(0)


def _set_buffer(model: nn.Module, name: str, tensor: torch.Tensor) -> None:
    path, _, last = name.rpartition(".")
    model.get_submodule(path)._buffers[last] = tensor
