"""A weight of a checkpoint under the name that it would have if nothing were quantized."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from eigenhouse.ingest.sources.stored import Stored

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)


@dataclass(frozen=True)
class Weight:
    """A weight under the name it would have unquantized: stored as it is, or made of codes and what belongs to them.

    parts: role → stored tensor; the weight itself has the role 'codes' · read: gives float32 if the weight is made of
    codes, else the stored dtype · kind: the packing of codes, '' if nothing is dequantized · bits: of one code ·
    settings: the arguments of the dequantizer beside the parts · also: further tensors that belong to the weight, so
    that they are not left over · is_turned: `read` gives the transpose of what is stored · format: of the codes, mostly
    their dtype · second: a second reading and the name of its author, where the witness has no dequantizer of its own.
    """

    name: str
    shape: tuple[int, ...]
    parts: Mapping[str, Stored]
    read: Callable[[], torch.Tensor]
    kind: str = ""
    bits: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[Stored, ...] = ()
    is_turned: bool = False
    format: str = ""
    second: Callable[[], tuple[str, torch.Tensor]] | None = None

    def __post_init__(self) -> None:
        if not self.format:
            object.__setattr__(self, "format", str(self.dtype).removeprefix("torch."))

    @property
    def dtype(self) -> torch.dtype:
        return self.parts["codes"].dtype

    @property
    def is_code(self) -> bool:
        """Whether it is stored in no 16-, 32- or 64-bit float and by no known method: it must not be cast."""
        return not self.kind and self.dtype not in FLOATS

    @property
    def is_linear(self) -> bool:
        """Whether its codes lie as (outputs, inputs) even in a Conv1D, because an nn.Linear was quantized."""
        return self.kind in ("gptq", "awq", "pack-quantized", "NVFP4", "nf4", "fp4", "int8")
