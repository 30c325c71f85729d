"""Peak memory of the static pass beside a limit that one layer's weights set, whatever the number of layers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import quantized_memory
from bench.random_checkpoint import Shape
from bench.rows.row import Pair, Row
from bench.setting import Setting

LAYERS, BASE_MB = 6, 600  # layers in float32, and the imports
LARGE_MB = 5000


def limit_mb(shape: Shape) -> float:
    return LAYERS * 4 * shape.layer_parameters / 1e6 + BASE_MB


def of_18_layers(setting: Setting) -> Pair:
    return _small(setting, 18)


def of_72_layers(setting: Setting) -> Pair:
    return _small(setting, 72)


def _small(setting: Setting, n_layers: int) -> Pair:
    shape = setting.shape("small", n_layers)
    return _peak(setting, shape, limit_mb(shape))


def of_a_large_layer(setting: Setting) -> Pair:
    return _peak(setting, setting.shape("70b", 1), LARGE_MB, "--no-weights")


def of_a_large_layer_with_weights(setting: Setting) -> Pair:
    return _peak(setting, setting.shape("70b", 1), LARGE_MB)


def _peak(setting: Setting, shape: Shape, limit: float, *options: str) -> Pair:
    found = setting.ours(str(setting.checkpoint(shape)), "--static-only", *options)
    note = f"{shape}; {', '.join(name.removeprefix('--') for name in options) or 'whole weights too'}"
    return Pair(found.peak_mb, limit, "MB", note, {"seconds": found.seconds, "stages": found.stages})


def of_fp8(setting: Setting) -> Pair:
    """What the process holds above its imports, beside the largest layer in float32."""
    with tempfile.TemporaryDirectory() as folder:
        sizes, imports, peak = quantized_memory.measured("random", Path(folder))
    return Pair(peak - imports, sizes["largest"], "MB", "three layers of Qwen3-4B in FP8 blocks; above the imports")


ROWS = (
    Row("memory_18", "peak memory, 18 layers", "6 layers in float32 + 0.6 GB", of_18_layers, at_most=1),
    Row("memory_72", "peak memory, 72 layers", "6 layers in float32 + 0.6 GB", of_72_layers, at_most=1),
    Row("memory_70b", "peak memory, a 70B-shaped layer", "5 GB", of_a_large_layer, at_most=1),
    Row("memory_70b_weights", "the same with whole weights", "5 GB", of_a_large_layer_with_weights, at_most=1,
        is_long=True),
    Row("memory_fp8", "peak memory, FP8", "its largest layer in float32", of_fp8, at_most=6, is_long=True),
)  # fmt: skip
