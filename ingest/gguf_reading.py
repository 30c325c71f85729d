"""GGUF files parsed once: every token of a vocabulary is a Python object to the parser, and that costs seconds a time.

transformers parses a file once each for config, tokenizer and weights, and builds the table of tensor names anew for
every module. A file doesn't change under one ingest, so its answers are kept. Import this before transformers reads.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import gguf
from transformers import modeling_gguf_pytorch_utils as gguf_models

_load = gguf_models.load_gguf_checkpoint


@lru_cache(maxsize=2)
def _load_metadata(path: str) -> dict[str, dict[str, Any]]:
    return _load(path, return_tensors=False)


def _load_once(path: Any, return_tensors: bool = False, **options: Any) -> dict[str, Any]:
    """transformers' own answer; callers change what they get, so each gets a copy."""
    if return_tensors:
        return _load(path, return_tensors=True, **options)
    return {name: dict(part) for name, part in _load_metadata(str(path)).items()}


gguf.GGUFReader = lru_cache(maxsize=2)(gguf.GGUFReader)
gguf.get_tensor_name_map = lru_cache(maxsize=8)(gguf.get_tensor_name_map)
gguf_models.load_gguf_checkpoint = _load_once
gguf_models.tqdm = partial(gguf_models.tqdm, disable=True)  # a bar of its own, which no setting turns off
