"""Inputs made up for a model or a part of one: tokens, an image or sound, in the shapes that the part takes.

No table of architectures: the signature of `forward` names the inputs of a part, and its config gives a few likely
shapes for each, small ones first. The first that runs is right: only shapes and rotary tables are taken from such a
run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from math import prod
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from eigenhouse.ingest.capture.sites import Unreadable

FIRST_TOKEN = 5  # past the special tokens of most vocabularies
PATCHES = 4  # along each side of an image, where the model takes one of another size than its own
SIDE = 64  # pixels, where the config sets no size
SECOND = 16000  # samples of a waveform, where the config doesn't set how many make a frame
Maker = Callable[[Any, int], Iterator[torch.Tensor]]
BINS = ("num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim")


def likely_inputs(part: Any, n_positions: int) -> Iterator[dict[str, Any]]:
    """Inputs of one sample, likeliest first, for one forward pass of a part. Raises Unreadable where none is known."""
    takes = inspect.signature(part.forward).parameters
    required = [name for name, one in takes.items() if one.default is one.empty and one.kind in _NAMED]
    decoded = ["decoder_input_ids"] if takes_decoded_text(part) else []
    main = main_input(part)
    beside = [name for name in takes if name in (_BESIDE_PATCHES if main in _OF_PATCHES else _BESIDE_TEXT)]
    makers: dict[str, Maker] = MAKERS | (_OF_PATCHES | _BESIDE_PATCHES if beside and main in _OF_PATCHES else {})
    wanted = list(dict.fromkeys([main, *required, *decoded, *beside]))
    if unknown := [name for name in wanted if name not in makers]:
        raise Unreadable(f"it takes {', '.join(unknown)}, for which no probe is known")
    is_text = any(makers[name] is _tokens for name in wanted)
    for values in product(*(list(makers[name](part, n_positions)) for name in wanted)):
        inputs: dict[str, Any] = dict(zip(wanted, values, strict=True))
        if "input_ids" in inputs:
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if is_text and hasattr(part.config.get_text_config(), "use_cache"):
            inputs["use_cache"] = False
        yield inputs


def main_input(part: Any) -> str:
    """The input that a part runs on: the one its class declares if its forward takes that, else the first."""
    named = [name for name, one in inspect.signature(part.forward).parameters.items() if one.kind in _NAMED]
    declared = getattr(part, "main_input_name", "input_ids")
    return declared if declared in named or not named else named[0]


def takes_text(part: Any) -> bool:
    """Whether a part takes tokens: as its main input, or for its decoder beside sound or an image."""
    return main_input(part) == "input_ids" or takes_decoded_text(part)


def takes_decoded_text(part: Any) -> bool:
    return "decoder_input_ids" in inspect.signature(part.forward).parameters and part.config.is_encoder_decoder


def _tokens(part: Any, n_positions: int) -> Iterator[torch.Tensor]:
    ids = torch.arange(n_positions, device=next(part.parameters()).device)[None] + FIRST_TOKEN
    yield ids % getattr(part.config.get_text_config(), "vocab_size", 1)


def _images(part: Any, n_positions: int) -> Iterator[torch.Tensor]:
    """(1, channel, row, column), or (1, frame, channel, row, column) where the config sets a number of frames."""
    config = _config_of(part, "vision_config")
    n_channels = getattr(config, "num_channels", 3)
    whole, patch = (
        _pair(getattr(config, name, getattr(config, other, None)))
        for name, other in (("image_size", "crop_size"), ("patch_size", ""))
    )
    small = (PATCHES * patch[0], PATCHES * patch[1]) if patch else None
    sizes = [size for size in (small, whole) if size and (whole is None or prod(size) <= prod(whole))]
    lengths = [getattr(config, name, None) for name in ("tubelet_size", "num_frames", "frames_per_clip")]
    for size in sizes or [(SIDE, SIDE)]:
        yield _zeros(part, n_channels, *size)
        for n_frames in lengths:
            if isinstance(n_frames, int):
                yield _zeros(part, n_frames, n_channels, *size)


def _config_of(part: Any, name: str) -> Any:
    """The config of what takes images or sound: one of its own within the part's, or an encoder's, or the part's."""
    inner = (getattr(part.config, own, None) for own in (name, "encoder"))
    return next((config for config in inner if isinstance(config, PretrainedConfig)), part.config)


def _boxes(part: Any, n_positions: int) -> Iterator[torch.Tensor]:
    """The place of each token on a page, (1, position, side), as floats or as whole numbers."""
    yield _zeros(part, n_positions, 4)
    yield _zeros(part, n_positions, 4).long()


def _numbered_patches(part: Any, n_positions: int) -> Iterator[torch.Tensor]:
    """(1, patch, feature): its row, its column, and as many pixels as the first linear map takes."""
    first = next((module for module in part.modules() if isinstance(module, nn.Linear)), None)
    if first is not None:
        yield _zeros(part, n_positions, 2 + first.in_features)


def _merged(part: Any) -> int:
    """How many patches in a row, and in a column, are merged into one behind the layers."""
    names = ("spatial_merge_size", "merge_size", "merge_kernel_size", "pooling_kernel_size")
    return next((max(1, pair[0]) for name in names if (pair := _pair(getattr(part.config, name, None)))), 1)


def _grid(part: Any) -> tuple[int, int]:
    """(rows, columns) of patches of a small image that merge without rest; it is one window if a tower has windows."""
    side = -(-PATCHES // _merged(part)) * _merged(part)
    return side, side


def _patches(part: Any, n_positions: int) -> Iterator[torch.Tensor]:
    """All patches of an image as its first convolution or linear map takes them: (patch, …) or (1, patch, …).

    … is flat, or the shape that the map takes. Or the patches stand side by side as one image, or those that are merged
    form small images.
    """
    n_patches, kinds = prod(_grid(part)), (nn.modules.conv._ConvNd, nn.Linear)
    first = [next((module for module in part.modules() if isinstance(module, kind)), None) for kind in kinds]
    side = _merged(part) * (_pair(getattr(part.config, "patch_size", None)) or (1, 1))[0]
    for shape in [module.weight.shape[1:] for module in first if module is not None]:
        for patch in ((prod(shape),), shape, (side, side, prod(shape) * _merged(part) ** 2 // side**2)):
            yield _zeros(part, n_patches, *patch)[0]
            yield _zeros(part, n_patches, *patch)
        yield _zeros(part, *shape[:-1], n_patches * shape[-1])


def _of_grid(numbers: Callable[[int, int, int], Any], part: Any, n_positions: int) -> Iterator[torch.Tensor]:
    yield torch.tensor(numbers(*_grid(part), _merged(part)), device=next(part.parameters()).device)


def _sounds(part: Any, n_positions: int) -> Iterator[torch.Tensor]:
    """A spectrogram, with frames before or behind bins, if the config sets bins; a waveform (1, sample)."""
    config = _config_of(part, "audio_config")
    bins = next((getattr(config, name) for name in BINS if isinstance(getattr(config, name, None), int)), None)
    if bins:
        shrinks = prod(module.stride[0] for module in part.modules() if isinstance(module, nn.Conv1d))
        lengths = [getattr(config, "max_length", None), getattr(config, "max_source_positions", None)]
        for n_frames in (n_positions, *(n * times for n in lengths if isinstance(n, int) for times in (1, shrinks))):
            for shape in ((n_frames, bins), (bins, n_frames), (1, n_frames, bins)):
                yield _zeros(part, *shape)
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if kernels and strides:
        for n_frames in (n_positions, 2 * n_positions):
            yield _zeros(part, n_samples(n_frames, kernels, strides))
    yield _zeros(part, SECOND)


def n_samples(n_frames: int, kernels: list[int], strides: list[int]) -> int:
    """Samples of which convolutions without padding make n_frames."""
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        n_frames = (n_frames - 1) * stride + kernel
    return n_frames


def _pair(size: Any) -> tuple[int, int] | None:
    """(row, column) of a size, as configs set it: one number, two, or two by name."""
    if isinstance(size, dict):
        size = [size.get("height"), size.get("width")]
    pair = [size, size] if isinstance(size, int) else list(size or ())[-2:]
    return (pair[0], pair[1]) if len(pair) == 2 and all(isinstance(side, int) for side in pair) else None


def _zeros(part: Any, *shape: int) -> torch.Tensor:
    parameter = next(part.parameters())
    return torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype)


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_ONLY)
MAKERS: dict[str, Maker] = {
    "input_ids": _tokens, "decoder_input_ids": _tokens, "bbox": _boxes, "pixel_values": _images,
    "pixel_values_videos": _images, "input_features": _sounds, "input_values": _sounds,
    "inputs": _sounds, "flattened_patches": _numbered_patches,
}  # fmt: skip
TEXT_INPUTS = ("decoder_input_ids", "use_cache")
_BESIDE_TEXT = {"bbox"}
# an image already cut into patches: such a part also takes its numbers of rows, columns and patches to merge
_OF_PATCHES: dict[str, Maker] = {"pixel_values": _patches, "hidden_states": _patches}
_GRIDS: dict[str, Callable[[int, int, int], Any]] = {
    **dict.fromkeys(("grid_thw", "image_grid_thw"), lambda rows, columns, _: [[1, rows, columns]]),
    **dict.fromkeys(("spatial_shapes", "target_sizes"), lambda rows, columns, _: [[rows, columns]]),
    "merge_sizes": lambda _rows, _columns, merged: [merged],
    "pixel_attention_mask": lambda rows, columns, _: [[1] * rows * columns],
    "pixel_position_ids": lambda rows, columns, _: [list(product(range(columns), range(rows)))],
}
_BESIDE_PATCHES: dict[str, Maker] = {name: partial(_of_grid, numbers) for name, numbers in _GRIDS.items()}
