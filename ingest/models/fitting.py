"""In which dtype prompts are run through a model on this machine, and whether it is whole in memory then."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from eigenhouse.ingest import console, devices
from eigenhouse.ingest.models.loading import LoadedModel

CPU = torch.device("cpu")
MEMORY_SHARE = 0.7  # of the free memory that a whole model may take; the rest is for activations
SHORT = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Fit(NamedTuple):
    dtype: torch.dtype
    is_whole: bool

    @property
    def name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


def fit(loaded: LoadedModel, asked: str) -> Fit:
    """asked: auto or a dtype. auto: float32 if that fits whole, else a checkpoint's own 16 bits if they do.

    What fits in neither is streamed from the disk, layer by layer, in the dtype that was asked for, else in float32.
    """
    own = SHORT.get(loaded.checkpoint.format[0])
    tried = [torch.float32, *([own] if own else [])] if asked == "auto" else [getattr(torch, asked)]
    whole = next((dtype for dtype in tried if n_bytes(loaded.model, dtype) < room(CPU)), None)
    return Fit(whole or tried[0], whole is not None)


def n_bytes(model: nn.Module, dtype: torch.dtype) -> int:
    return dtype.itemsize * sum(parameter.numel() for parameter in model.parameters())


def room(device: torch.device) -> int:
    """Bytes that weights may take there."""
    return int(MEMORY_SHARE * devices.free_bytes(device))


def device_for(name: str, n_bytes: int) -> torch.device:
    """The device of a name, or the CPU, which is said, where that has no room for so many bytes of weights."""
    device = devices.chosen(name, int(n_bytes / MEMORY_SHARE))
    if device == CPU or n_bytes <= room(device):
        return device
    console.say(f"{device} has no room for {n_bytes / 2**30:.1f} GB of weights: prompts are run on the CPU")
    return CPU
