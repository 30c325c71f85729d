"""gguf's own reader on a plain array, for transformers to read a tokenizer by.

It makes several slices of the file for every token, and a slice of a memory map costs three times one of an array.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gguf
import numpy as np


class _PlainReader(gguf.GGUFReader):
    """The same fields from the same bytes, which stay mapped."""

    data: np.ndarray

    def _get(self, *args: Any, **kwargs: Any) -> Any:
        self.data = self.data.view(np.ndarray) if isinstance(self.data, np.memmap) else self.data
        return super()._get(*args, **kwargs)


@contextmanager
def quickly_read() -> Iterator[None]:
    """Within the block transformers, which imports the reader when it needs one, finds this one."""
    before, gguf.GGUFReader = gguf.GGUFReader, _PlainReader
    try:
        yield
    finally:
        gguf.GGUFReader = before
