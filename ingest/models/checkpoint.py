"""Weights read tensor by tensor under the names of the model's parameters, never a whole checkpoint at once.

transformers knows how files name, fuse and permute tensors, so it is asked. Before the first tensor is read, all of
them are accounted for: which parameter each fills, in which shape, and what fills none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import Any

import torch
from torch import nn
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key
from transformers.pytorch_utils import Conv1D

from eigenhouse.errors import EigenhouseError
from eigenhouse.ingest.models import account, gguf_facts, gguf_reading, gguf_witness
from eigenhouse.ingest.models.codes import weights_of
from eigenhouse.ingest.models.methods import declared
from eigenhouse.ingest.models.weights import Weight
from eigenhouse.ingest.models.witness import Testimony, testify
from eigenhouse.ingest.sources.source import Source
from eigenhouse.ingest.sources.stored import Stored, stored_tensors

GGUF_FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Placed:
    """What fills a parameter: the weights that it is made of, mostly one.

    shape: None if it is known only after reading.
    """

    weights: tuple[Weight, ...]
    read: Callable[[], torch.Tensor]
    shape: tuple[int, ...] | None


class Checkpoint:
    """Reads single parameters of `model` (a skeleton will do) out of `source`.

    left_aside: what is stored, fills no parameter and can't change attention: module → reason. Raises EigenhouseError
    where a weight is missing, has another shape, is in codes that can't be read, or fills no parameter and may change
    attention.
    """

    def __init__(self, source: Source, model: Any) -> None:
        self._source, self.model = source, model
        self.left_aside: dict[str, str] = {}
        self._no_tensors: dict[str, str] = {}
        self._method = declared(source)
        placed, left = self._place_gguf() if source.kind == "gguf" else self._place_torch()
        tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
        for name, twin in (*tied.items(), *((twin, name) for name, twin in tied.items())):
            if twin in placed:  # a tensor that has several names is stored once
                placed.setdefault(name, placed[twin])
        self._placed = placed
        self._learned = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        self._account(left)

    def __contains__(self, parameter: str) -> bool:
        return parameter in self._placed

    def read(self, parameter: str) -> torch.Tensor:
        """One parameter in float32, dequantized, its rows as transformers' modules want them.

        Raises EigenhouseError where the checkpoint has no tensor of that name, or values that aren't finite.
        """
        if parameter not in self:
            raise EigenhouseError(f"want a tensor for {parameter}, but {self._source.origin} has none under that name")
        tensor = self._placed[parameter].read().float()
        self._want_shapes({parameter: tuple(tensor.shape)})
        if parameter in self._learned:  # what bounds activations may well be infinite
            require_finite(parameter, tensor)
        return tensor

    def weights(self, within: str = "") -> Iterator[Weight]:
        """The stored weights that fill the parameters of a module, each once; of the whole model without one."""
        prefix = f"{within}." if within else ""
        groups = (placed.weights for name, placed in self._placed.items() if name.startswith(prefix))
        own: dict[str, Weight] = {}
        for weight in (weight for weights in groups for weight in weights):
            own.setdefault(weight.parts["codes"].stored or weight.name, weight)  # once, though under several names
        yield from own.values()

    def testimony(self, *modules: str) -> Testimony | None:
        """The witness's result for the first of the modules with quantized weights; None if none has any."""
        heard = (testify(self.weights(module), self._method) for module in modules)
        return next((testimony for testimony in heard if testimony), None)

    @cached_property
    def is_plain(self) -> bool:
        """Whether transformers reads the files to the same values: no codes, no wrappers' names, only tensors."""
        is_renamed = any(weight.name != weight.parts["codes"].stored for weight in self.weights())
        is_other = self._source.kind == "gguf" or self._method.name or self._no_tensors
        return not (is_other or is_renamed or self.is_quantized)

    @cached_property
    def is_quantized(self) -> bool:
        return any(weight.kind for weight in self.weights())

    def state_dict(self, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """All weights that fill a parameter, under the names they would be stored by if nothing were quantized.

        dtype: of what is dequantized; it is converted weight by weight, so that it is never all there in float32.
        """
        return {weight.name: weight.read().to(dtype) if weight.kind else weight.read() for weight in self.weights()}

    @cached_property
    def n_parameters(self) -> int:
        """Values of the model's parameters that are filled, once for those that share them, codes as their weights."""
        tied: dict[str, str] = getattr(self.model, "all_tied_weights_keys", None) or {}
        own = {
            id(parameter): parameter.numel()  # a module with two names has its parameters under both
            for name, parameter in self.model.named_parameters(remove_duplicate=False)
            if name in self and tied.get(name) not in self._placed
        }
        return sum(own.values())

    @cached_property
    def format(self) -> tuple[str, str | None]:
        """(dtype, quantization): those of the most values among the matrices; a quantization names its bits."""
        dtypes, kinds = Counter[str](), Counter[str]()
        for weight in self.weights():
            if len(weight.shape) > 1:
                dtypes[weight.format] += prod(weight.shape)
                kinds[self._quantization(weight)] += prod(weight.shape)
        kinds.pop("", None)
        quantization = _most(kinds)
        if quantization and self._source.kind == "gguf":  # such as Q4_K_M, which is several types
            quantization = gguf_facts.file_type(self._source.weight_files[0])
        return _most(dtypes) or "float32", quantization

    def _quantization(self, weight: Weight) -> str:
        if not weight.kind:
            return ""
        method = self._method.name if self._method.name not in ("", weight.kind.lower()) else ""
        return f"{method} {weight.kind} {weight.bits}-bit".strip()

    def _account(self, left: dict[str, Weight]) -> None:
        """Compare all shapes, refuse what is missing or may not be left aside, and note what is left aside and why."""
        origin, wanted = self._source.origin, self.model.state_dict()
        self.left_aside |= account.unexpected(self.model, left, origin)
        for parameter, placed in self._placed.items():
            for weight in placed.weights:
                account.want_values(parameter, weight, wanted[parameter], origin)
        self._want_shapes({name: placed.shape for name, placed in self._placed.items() if placed.shape is not None})
        account.want_whole(self.model, wanted.keys() - self._placed.keys(), {}, origin)

    def _want_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        wanted = self._wanted
        differ = {
            name: f"is {list(shape)}, not {list(wanted[name])}"
            for name, shape in shapes.items()
            if shape != wanted.get(name, shape)
        }
        account.want_whole(self.model, (), differ, self._source.origin)

    @cached_property
    def _wanted(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(value.shape) for name, value in self.model.state_dict().items()}

    def _place_torch(self) -> tuple[dict[str, Placed], dict[str, Weight]]:
        """Parameter → what fills it; and, by the names that they would have, the weights that fill none."""
        tensors, self._no_tensors = stored_tensors(self._source)
        self.left_aside |= {
            name: f"it stands among the weights and is no tensor: {kind}" for name, kind in self._no_tensors.items()
        }
        model, parameters = self.model, self.model.state_dict()
        transforms = get_model_conversion_mapping(model)
        renamings = [transform for transform in transforms if isinstance(transform, WeightRenaming)]
        converters = [transform for transform in transforms if isinstance(transform, WeightConverter)]
        prefix = getattr(model, "base_model_prefix", None)
        placed: dict[str, Placed] = {}
        left: dict[str, Weight] = {}
        parts: dict[str, list[tuple[str, Weight]]] = {}  # of one parameter: the pattern it goes by, the weight
        weights = weights_of(tensors, self._method)
        for stored in sorted(weights, key=dot_natural_key):
            weight = weights[stored]
            name, converted_by = rename_source_key(stored, renamings, converters, prefix, parameters)
            if converted_by is not None:
                parts.setdefault(name, []).append((converted_by, weight))
            elif name in parameters:
                weight = _as_module_has_it(model, name, weight)
                placed[name] = Placed((weight,), weight.read, weight.shape)
            else:
                left[name] = weight
        by_source = {pattern: converter for converter in converters for pattern in converter.source_patterns}
        for name, sources in parts.items():
            converter = by_source[sources[0][0]]
            members = tuple(weight for _, weight in sources)
            targets = [name.replace(converter.target_patterns[0], target) for target in converter.target_patterns]
            if not any(target in parameters for target in targets):
                left |= {weight.name: weight for weight in members}
            for target in targets:
                if target in parameters:
                    read = partial(_converted, target, name, converter, sources, model)
                    placed.setdefault(target, Placed(members, read, _shape_of(read)))
        return placed, left

    def _place_gguf(self) -> tuple[dict[str, Placed], dict[str, Weight]]:
        """`_place_torch` for a GGUF; its reader itself refuses what is missing or may not be left aside."""
        path = self._source.weight_files[0]
        self.left_aside |= gguf_facts.left_aside(path)
        placed = {}
        for parameter, reading in gguf_reading.readers(path, self.model).items():
            stored = Stored(parameter, torch.float32, reading.shape, reading.read, path, "+".join(reading.stored))
            is_plain = reading.type_name in GGUF_FLOATS or not reading.stored
            kind, second = "" if is_plain else reading.type_name, None
            if kind and gguf_witness.has_witness(reading):
                second = partial(gguf_witness.second_reading, path, reading)
            form = GGUF_FLOATS.get(reading.type_name, reading.type_name)
            weight = Weight(parameter, reading.shape, {"codes": stored}, reading.read, kind, format=form, second=second)
            placed[parameter] = Placed((weight,), reading.read, reading.shape)
        return placed, {}


def _most(counts: Counter[str]) -> str | None:
    return max(sorted(counts), key=lambda name: counts[name], default=None)


def _as_module_has_it(model: Any, parameter: str, weight: Weight) -> Weight:
    """The weight as its module stores it.

    Quantizers store an nn.Linear, whose weight is the transpose of a Conv1D's.
    """
    path, _, own = parameter.rpartition(".")
    if not (weight.kind and own == "weight" and isinstance(model.get_submodule(path), Conv1D)):
        return weight
    if not weight.is_linear:
        raise EigenhouseError(
            f"want {parameter} in codes that say which way round they lie; {weight.kind} of a Conv1D don't"
        )
    return replace(weight, shape=weight.shape[::-1], read=lambda: weight.read().T.contiguous(), is_turned=True)


def require_finite(name: str, tensor: torch.Tensor) -> None:
    # least and largest are nan where any is, and found in one pass: isfinite takes five times as long as dequantizing
    if tensor.numel() and not bool(torch.stack(torch.aminmax(tensor)).isfinite().all()):
        n_bad = int((~torch.isfinite(tensor)).sum())
        raise EigenhouseError(
            f"want finite weights, got {n_bad} NaN or infinite value(s) in {name}; "
            "the checkpoint is damaged, or its training diverged"
        )


def _converted(
    parameter: str,
    name: str,
    converter: WeightConverter,
    sources: list[tuple[str, Weight]],
    model: nn.Module,
    is_meta: bool = False,
) -> torch.Tensor:
    """A parameter that transformers makes of several tensors (stacked experts), or several of one, by its own rules.

    is_meta: the tensors have no values, because only the shape is wanted.
    """
    conversion = deepcopy(converter)
    for pattern, weight in sources:
        read = partial(torch.empty, weight.shape, device="meta") if is_meta else weight.read
        conversion.add_tensor(name, weight.name, pattern, read)
    made = conversion.convert(name, model=model, config=model.config)
    return made[parameter][0] if isinstance(made[parameter], list) else made[parameter]


def _shape_of(read: partial[torch.Tensor]) -> tuple[int, ...] | None:
    try:
        return tuple(read(is_meta=True).shape)
    except Exception:  # a rule that looks at values: the shape is compared when it is read
        return None
