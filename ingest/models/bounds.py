"""A model is built no larger than its files can fill: one that a config makes out of all proportion ends at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch import nn

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.sources.source import Source

# what a small file may be built into: an output head or a tower that isn't stored, layers that share their weights
SPARE_PARAMETERS, SPARE_VALUES = 20_000, 200_000_000
PARAMETERS_A_TENSOR = 600  # of stacked experts, where a class has them one by one
VALUES_A_BYTE = 16  # codes of one bit, stored once for two places


@contextmanager
def within(source: Source) -> Iterator[None]:
    """Within the block a module's parameters are counted. Raises EigenhouseError where they outgrow the files."""
    most = SPARE_PARAMETERS + PARAMETERS_A_TENSOR * source.n_tensors
    n_bytes = sum(path.stat().st_size for path in source.weight_files)
    most_values, register = SPARE_VALUES + VALUES_A_BYTE * n_bytes, nn.Module.register_parameter
    seen = values = 0

    def counted(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal seen, values
        register(module, name, parameter)
        seen += parameter is not None
        values += parameter.numel() if parameter is not None else 0
        if seen > most or values > most_values:
            raise _too_large(source, n_bytes)

    with patch.object(nn.Module, "register_parameter", counted):
        try:
            yield
        except RuntimeError as error:
            if "allocate memory" not in str(error) and "Storage size calculation overflowed" not in str(error):
                raise
            raise _too_large(source, n_bytes) from error


def _too_large(source: Source, n_bytes: int) -> EigenhouseError:
    return EigenhouseError(
        f"want a config of the weights beside it; that of {source.origin} sets sizes far beyond their {n_bytes:,} "
        "bytes (sizes left out, so that the class's own count, or a config of another model?)"
    )
