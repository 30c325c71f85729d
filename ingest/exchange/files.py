"""Files of measurements that other tools wrote: a spectra file, or a gram file with its .pt, to checked arrays.

There is no model to prove such a file against: it is held to its own format, and to what holds for any heads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from eigenhouse.errors import EigenhouseError, shortened
from eigenhouse.ingest.sources.weight_files import json_object

DEFAULT_OPERATOR = "head_product"  # what most scripts store as the metric's singular values
OPERATORS = re.compile(r"head_product|metric(_\w+)?", re.ASCII)
WANTED = "a spectra file (num_layers, num_heads, static) or a gram file (num_layers, num_heads, gram, fro_sq)"
ATTENTION = {"entropy_nats": "mean_attention_entropy_per_head", "logit_std": "mean_logit_std_per_head"}
MOST, MOST_LAYERS = 1_000_000, 2**15  # of any size; of layers, whose numbers the warehouse holds in 16 bits
SLACK = 1e-2  # of an inner product or a vector's length: what half precision may cost those who measured


@dataclass(frozen=True, kw_only=True)
class MeasurementFile:
    """What both kinds hold. `layers` are the model's own numbers: 0, 1, … unless the file says otherwise."""

    paths: list[Path]
    layers: list[int]
    n_heads: int
    head_dim: int | None = None
    hidden_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class SpectraFile(MeasurementFile):
    operator: str
    sigma: list[np.ndarray]  # one (head, k) a layer, descending
    attention: dict[str, np.ndarray]  # column of attention_stats → (layer, head), nan where none


@dataclass(frozen=True, kw_only=True)
class GramFile(MeasurementFile):
    grams: np.ndarray  # (head, layer, layer), symmetric
    head_product_fro_sq: np.ndarray | None  # (layer, head)
    eigenvalues: np.ndarray | None = None  # (layer, head, k) by falling magnitude
    vectors: np.ndarray | None = None  # (layer, head, k, hidden) unit rows


def read(path: Path, operator: str | None = None) -> SpectraFile | GramFile:
    """Raises EigenhouseError for what is neither kind, or not what it says it is. operator: what the user says."""
    content = json_object(path)
    if operator and not OPERATORS.fullmatch(operator):
        raise EigenhouseError(f"want OPERATOR=head_product, metric or a variant metric_…, got {operator!r}")
    if "static" in content:
        return _spectra(path, content, operator)
    if "gram" not in content:
        hint = " (for a model give its folder)" if "model_type" in content else ""
        raise EigenhouseError(f"wanted {WANTED}; {path} has {', '.join(list(content)[:8]) or 'nothing'}{hint}")
    if operator not in (None, "metric"):
        raise EigenhouseError(f"want OPERATOR={operator} with a spectra file; the grams of {path} are of the metric")
    return _grams(path, content)


def _spectra(path: Path, content: dict[str, Any], operator: str | None) -> SpectraFile:
    layers, n_heads = _layers(path, content), _count(path, content, "num_heads")
    sigma = []
    for at, layer in enumerate(_objects(path, content, "static", len(layers))):
        where = f"static[{at}].metric_singvals_per_head of {path}"
        values = _numbers(where, _value(where, layer, "metric_singvals_per_head"), (n_heads, None))
        _want(values >= 0, values, where, "no negative singular value")
        falls = np.diff(values, axis=1) <= 0
        _want(falls, values[:, 1:], where, "singular values in descending order", "values of something else?")
        sigma.append(values)
    named = operator or content.get("operator") or DEFAULT_OPERATOR
    if not isinstance(named, str) or not OPERATORS.fullmatch(named):
        raise EigenhouseError(f"wanted head_product, metric or a variant metric_… as operator of {path}; got {named!r}")
    attention = _attention(path, content, len(layers), n_heads) if content.get("dynamic") else {}
    return SpectraFile(paths=[path], layers=layers, n_heads=n_heads, operator=named, sigma=sigma, attention=attention)


def _attention(path: Path, content: dict[str, Any], n_layers: int, n_heads: int) -> dict[str, np.ndarray]:
    """A null or NaN is a head without the number; one of the two keys may be missing, in all layers alike."""
    objects = _objects(path, content, "dynamic", n_layers)
    there = [column for column, key in ATTENTION.items() if any(key in layer for layer in objects)]
    if not there:
        raise EigenhouseError(f"wanted {' and '.join(ATTENTION.values())} in dynamic of {path}; got neither")
    found: dict[str, list[np.ndarray]] = {column: [] for column in there}
    for at, layer in enumerate(objects):
        for column, rows in found.items():
            where = f"dynamic[{at}].{ATTENTION[column]} of {path}"
            values = _value(where, layer, ATTENTION[column])
            if isinstance(values, list):
                values = [math.nan if value is None else value for value in values]
            numbers = _numbers(where, values, (n_heads,), nan_is_null=True)
            _want(~(numbers < -SLACK), numbers, where, "no negative entropy or spread")
            rows.append(np.maximum(numbers, 0))
    return {column: np.stack(rows) for column, rows in found.items()}


def _grams(path: Path, content: dict[str, Any]) -> GramFile:
    layers, n_heads = _layers(path, content), _count(path, content, "num_heads")
    head_dim, hidden_size = _count(path, content, "head_dim"), _count(path, content, "hidden_size")
    where = f"gram of {path}"
    grams = _numbers(where, content["gram"], (len(layers), len(layers), n_heads)).transpose(2, 0, 1)
    energies = np.diagonal(grams, axis1=1, axis2=2)
    _want(energies >= 0, energies, where, "no negative gram[l][l][h], a squared norm")
    bound = np.sqrt(energies[:, :, None] * energies[:, None, :])
    skew = grams - grams.transpose(0, 2, 1)
    _want(np.abs(skew) <= SLACK * bound, skew, where, "gram[l][m][h] = gram[m][l][h]", "differences")
    _want(np.abs(grams) <= (1 + SLACK) * bound, grams, where, "no |gram[l][m]| above √(gram[l][l] gram[m][m])")
    fro_sq = _value(path, content, "fro_sq")
    if fro_sq is not None:
        fro_sq = _numbers(f"fro_sq of {path}", fro_sq, (len(layers), n_heads))
        _want(fro_sq >= 0, fro_sq, f"fro_sq of {path}", "no negative squared norm")
    named = content.get("eigdirs_path")
    beside = _beside(path, named) if named else None
    values, vectors = _directions(beside, len(layers), n_heads, head_dim, hidden_size) if beside else (None, None)
    return GramFile(
        paths=[path, beside] if beside else [path],
        layers=layers,
        n_heads=n_heads,
        head_dim=head_dim,
        hidden_size=hidden_size,
        grams=(grams + grams.transpose(0, 2, 1)) / 2,
        head_product_fro_sq=fro_sq,
        eigenvalues=values,
        vectors=vectors,
    )


def _beside(path: Path, named: Any) -> Path:
    """The .pt where the JSON lies now: by its path from there, else by its name alone. Never elsewhere."""
    if not isinstance(named, str):
        raise EigenhouseError(f"wanted the path of a .pt as eigdirs_path of {path}; got {named!r}")
    given = PureWindowsPath(named)  # takes both kinds of slashes
    inside = not given.anchor and ".." not in given.parts
    places = [path.parent.joinpath(*given.parts)] * inside + [path.parent / given.name]
    for place in places:
        if place.is_file():
            return place
    raise EigenhouseError(f"wanted {given.name} beside {path}, as its eigdirs_path says; there is no such file")


def _directions(
    path: Path, n_layers: int, n_heads: int, head_dim: int, hidden_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (layer, head, min(2 head_dim, hidden)) and vectors (layer, head, k, hidden) float32 of a .pt."""
    import torch  # late: it takes seconds

    from eigenhouse.ingest.sources.stored import why_refused

    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever unpickling raises: the file is not what was promised
        raise EigenhouseError(f"wanted tensors in {path}; got {why_refused(error)}") from error
    values = np.stack(list(_rows_of(path, tensors, "sym_eigs", n_layers, (n_heads, 2 * head_dim))))
    layers = _rows_of(path, tensors, "eig_dirs", n_layers, (n_heads, None, hidden_size))
    vectors = np.stack([layer.astype(np.float32) for layer in layers])
    sizes = np.abs(values)
    falls = np.diff(sizes, axis=2) <= 1e-6 * sizes[:, :, :1]
    _want(falls, values[:, :, 1:], f"sym_eigs of {path}", "eigenvalues by falling magnitude")
    for at, layer in enumerate(vectors):
        products = layer @ layer.transpose(0, 2, 1)
        off = np.abs(products - np.eye(layer.shape[1], dtype=np.float32))
        _want(off <= SLACK, products, f"eig_dirs[{at}] of {path}", "orthonormal vectors", "inner products")
    return values[:, :, :hidden_size], vectors  # the metric has no more than hidden_size of them


def _rows_of(path: Path, tensors: Any, name: str, n_layers: int, shape: tuple[int | None, ...]) -> Iterator[np.ndarray]:
    """A tensor of the .pt layer by layer in float64: the vectors of a large model would take gigabytes at once."""
    tensor = tensors.get(name) if isinstance(tensors, dict) else None
    if tensor is None or not hasattr(tensor, "detach"):
        raise EigenhouseError(f"wanted the tensors eig_dirs and sym_eigs in {path}; there is no {name}")
    if tensor.shape[:1] != (n_layers,):
        raise EigenhouseError(f"wanted {n_layers} layers in {name} of {path}; got the shape {tuple(tensor.shape)}")
    for at, layer in enumerate(tensor.detach()):
        numbers = layer.double() if layer.is_floating_point() else layer  # numpy has no bfloat16
        yield _numbers(f"{name}[{at}] of {path}", numbers.numpy(), shape)


def _layers(path: Path, content: dict[str, Any]) -> list[int]:
    n_layers = _count(path, content, "num_layers")
    layers = content.get("layers", list(range(n_layers)))
    numbers = isinstance(layers, list) and all(type(layer) is int and 0 <= layer < MOST_LAYERS for layer in layers)
    if not numbers or len(layers) != n_layers or layers != sorted(set(layers)):
        came = shortened(repr(layers), 200)
        raise EigenhouseError(f"wanted num_layers={n_layers} rising layer numbers as layers of {path}; got {came}")
    return layers


def _count(path: Path, content: dict[str, Any], key: str) -> int:
    value = _value(path, content, key)
    if type(value) is not int or not 1 <= value <= MOST:
        came = shortened(repr(value), 40)
        raise EigenhouseError(f"wanted a number of 1 or more as {key} of {path}, {MOST:,} at most; got {came}")
    return value


def _value(where: Path | str, content: dict[str, Any], key: str) -> Any:
    if key not in content:
        raise EigenhouseError(f"wanted {key} in {where}; got {', '.join(list(content)[:8]) or 'nothing'}")
    return content[key]


def _objects(path: Path, content: dict[str, Any], key: str, n_layers: int) -> list[dict[str, Any]]:
    value = content[key]
    if not isinstance(value, list) or not all(isinstance(layer, dict) for layer in value):
        raise EigenhouseError(f"wanted a list with one object a layer as {key} of {path}; got something else")
    if len(value) != n_layers:
        raise EigenhouseError(f"wanted num_layers={n_layers} objects in {key} of {path}; got {len(value)}")
    return value


def _numbers(where: str, value: Any, shape: tuple[int | None, ...], nan_is_null: bool = False) -> np.ndarray:
    """Nested lists, or an array, as finite float64 of this shape; None stands for any length of one or more."""
    wanted = " × ".join("any" if size is None else str(size) for size in shape) + " numbers"
    try:
        array = np.array(value)
    except ValueError as error:  # numpy's word for lists of unequal lengths
        raise EigenhouseError(f"wanted {wanted} in {where}; got lists of unequal lengths") from error
    if array.ndim == len(shape) and array.dtype.kind not in "iuf":
        raise EigenhouseError(f"wanted {wanted} in {where}; got other values among them")
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits or not array.size:
        came = " × ".join(map(str, array.shape)) if array.ndim else type(value).__name__
        raise EigenhouseError(f"wanted {wanted} in {where}; got {came}")
    array = array.astype(np.float64)
    limit = float(np.finfo(np.float32).max)  # what the warehouse's FLOAT holds
    _want((np.abs(array) <= limit) | (nan_is_null & np.isnan(array)), array, where, "finite numbers")
    return array


def _want(holds: np.ndarray, values: np.ndarray, where: str, wanted: str, cause: str = "") -> None:
    """Refuse with the first value for which it does not hold, and its place."""
    if not holds.all():
        place = tuple(int(index) for index in np.argwhere(~holds)[0])
        hint = f" ({cause})" if cause else ""
        raise EigenhouseError(f"wanted {wanted} in {where}; got {values[place]:.6g} at {list(place)}{hint}")
