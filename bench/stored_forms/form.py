"""A stored form: how one tiny model's weights are written to disk, and what an ingest of them must come to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench.stored_forms.models import CONV1D, LINEAR, State, Store, build, save_config, stored_state
from bench.tiny_text import save_tokenizer

RIGHT, REFUSED = ("right",), ("refused",)
EITHER = ("right", "refused")
# of a weight (outputs, inputs) in float64: what is stored of it, by name in its module, and the values that stands for
Codec = Callable[[torch.Tensor], tuple[State, torch.Tensor]]
Beside = Callable[[str], State]  # what else is stored in a module, by the module's path
Rotation = Callable[[Any], tuple[torch.Tensor, float]]


@dataclass(frozen=True)
class Form:
    """store writes a folder and returns the exact values that it stands for, by the names of `stored_state`.

    family: heading of the page · expected: verdicts that are accepted, the same whole and with STATIC_ONLY · tolerance:
    largest difference of σ from those before storing, relative to the largest σ · file: the file that is ingested, ''
    for the folder · skipped: modules that `skipped_modules` must name · rotation: gives for a config the angle of each
    pair of features per token and the factor on q and k, if a rotated operator is compared too · is_biased: the
    operator with biases is compared too.
    """

    name: str
    family: str
    store: Store
    expected: tuple[str, ...] = RIGHT
    tolerance: float = 0.05
    model: str = "llama"
    file: str = ""
    skipped: tuple[str, ...] = ()
    rotation: Rotation | None = None
    is_biased: bool = False


FORMS: dict[str, Form] = {}


def add(name: str, family: str, store: Store, **fields: Any) -> None:
    assert name not in FORMS, name
    FORMS[name] = Form(name, family, store, **fields)


def store_form(name: str, folder: Path) -> State:
    """Write one form to a folder that need not exist; returns the exact weights, float64."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(folder)
    return {key: value.double() for key, value in FORMS[name].store(build(FORMS[name].model), folder).items()}


def linears(codec: Codec, quantization: dict | None, **how: Any) -> Store:
    """A storer of every projection by one codec, all else in `rest`."""
    return partial(_store_linears, codec, quantization, **how)


def _store_linears(
    codec: Codec,
    quantization: dict | None,
    model: Any,
    folder: Path,
    *,
    rest: torch.dtype = torch.bfloat16,
    beside: Beside | None = None,
    changed: Callable[[State], State] | None = None,
    files: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    kept: str = "$^",
) -> State:
    """beside: more tensors of a module · changed: of all tensors, before they are written · files: JSON beside ·
    config: more entries of config.json · kept: names, as a pattern, that stay plain.
    """
    tensors: State = {}
    exact: State = {}
    for name, weight in stored_state(model).items():
        module = name.rpartition(".")[0]
        if re.search(kept, name) or not (LINEAR.search(name) or CONV1D.search(name)):
            tensors[name] = weight.to(rest)
            exact[name] = tensors[name].double()
            continue
        turned = bool(CONV1D.search(name)) and model.config.model_type == "gpt2"
        stored, values = codec((weight.T if turned else weight).double())
        tensors |= {f"{module}.{key}": value.contiguous() for key, value in stored.items()}
        tensors |= beside(module) if beside else {}
        exact[name] = values.T if turned else values
    write(model, folder, changed(tensors) if changed else tensors, quantization, files, config)
    return exact


def write(
    model: Any,
    folder: Path,
    tensors: State,
    quantization: dict | None = None,
    files: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> None:
    save_config(model, folder, quantization, config)
    save_file(
        {name: value.contiguous().clone() for name, value in tensors.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    for name, content in (files or {}).items():
        (folder / name).write_text(json.dumps(content, indent=2))
