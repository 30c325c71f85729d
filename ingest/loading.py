"""A transformers model of a source, with Eigenhouse's window in its attention: whole, or a skeleton without weights.

Whole, the weights are those transformers' own loader puts into the modules. A skeleton has the model's modules,
buffers and shapes but no weight memory; one attention module at a time is filled from the checkpoint.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import psutil
import torch
import transformers
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from ingest import capture, gguf_config, gguf_rope
from ingest.checkpoint import Checkpoint, require_finite
from ingest.errors import EigenhouseError
from ingest.sources import Source

MEMORY_SHARE = 0.7  # of the free memory that a whole float32 model may take; the rest is for activations
_SILENCED = ("transformers", "accelerate", "huggingface_hub")


@dataclass
class LoadedModel:
    """model: the class the checkpoint was saved from; body: the part of it without an output head."""

    source: Source
    model: Any  # a PreTrainedModel; torch types every attribute of a module as a tensor or module
    is_whole: bool
    _checkpoint: Checkpoint | None = field(default=None, repr=False)

    @property
    def body(self) -> Any:
        base = getattr(self.model, "base_model", self.model)
        # some types give the name of the bare model to its encoder, which takes hidden states
        own, inner = (inspect.signature(part.forward).parameters for part in (self.model, base))
        return base if next(iter(inner), None) in own else self.model

    @property
    def config(self) -> PretrainedConfig:
        """Of the text part, where a checkpoint joins several."""
        return self.model.config.get_text_config()

    @property
    def checkpoint(self) -> Checkpoint:
        if self._checkpoint is None:
            self._checkpoint = Checkpoint(self.source, self.model)
        return self._checkpoint

    def weight(self, parameter: str) -> np.ndarray:
        """One parameter's values in float32, whether the model is whole or a skeleton; nothing is kept of them."""
        if self.is_whole:
            return self.model.get_parameter(parameter).detach().float().cpu().numpy()
        return self.checkpoint.read(parameter).numpy()

    @contextmanager
    def filled(self, path: str) -> Iterator[None]:
        """Within the block the module at `path` has its real weights, whether the model is whole or a skeleton."""
        if self.is_whole:
            yield
            return
        module = self.model.get_submodule(path)
        names = [name for name, _ in module.named_parameters()]
        persistent = module.state_dict().keys()
        buffers = {name: buffer for name, buffer in module.named_buffers() if name in persistent}
        buffers = {name: buffer for name, buffer in buffers.items() if f"{path}.{name}" in self.checkpoint}
        before = {name: buffer.clone() for name, buffer in buffers.items()}
        try:
            for name in names:
                _set_parameter(module, name, self.checkpoint.read(f"{path}.{name}"))
            for name, buffer in buffers.items():  # running statistics of a batch norm, for one
                _copy(f"{path}.{name}", self.checkpoint.read(f"{path}.{name}"), buffer)
            yield
        finally:
            for name in names:
                _set_parameter(module, name, _weightless(module.get_parameter(name)))
            for name, buffer in buffers.items():
                buffer.copy_(before[name])


def load_config(source: Source, trust_remote_code: bool) -> PretrainedConfig:
    quiet()
    with _readable(source):
        if source.kind == "gguf":
            return gguf_config.load_config(source.weight_files[0])
        return AutoConfig.from_pretrained(source.loader_path, **_where(source), trust_remote_code=trust_remote_code)


def load_model(source: Source, trust_remote_code: bool, *, whole: bool, device: str = "cpu") -> LoadedModel:
    """The model in float32 and eval mode; `whole=False` gives a skeleton on the CPU.

    Raises EigenhouseError where transformers can't build or fill it, or where a weight is missing or not finite.
    """
    config = load_config(source, trust_remote_code)
    model_class = _model_class(source, config)
    options: dict[str, Any] = {
        "attn_implementation": capture.NAME,
        "dtype": torch.float32,
        "trust_remote_code": trust_remote_code,
        "experts_implementation": "eager",  # the grouped kernels refuse a skeleton's strides, and many devices
    }
    if not whole:
        return _skeleton(source, model_class, config, options)
    if source.kind == "gguf":
        return _filled_whole(_skeleton(source, model_class, config, options), device)
    with _readable(source):
        load = partial(model_class.from_pretrained, source.loader_path, **_where(source))
        model, report = with_a_kernel(load, options | {"output_loading_info": True, "ignore_mismatched_sizes": True})
    _require_complete(source, model, report)
    for name, parameter in model.named_parameters():
        require_finite(name, parameter)
    return LoadedModel(source, model.eval().requires_grad_(False).to(device), is_whole=True)


def load_tokenizer(source: Source, trust_remote_code: bool) -> Any:
    quiet()
    try:
        return AutoTokenizer.from_pretrained(source.loader_path, **_where(source), trust_remote_code=trust_remote_code)
    except Exception as error:
        raise EigenhouseError(
            f"want a tokenizer beside the weights of {source.origin} to run prompts, got: {first_line(error)}; "
            "add its files (tokenizer.json, …) or ingest with STATIC_ONLY=1"
        ) from error


def fits_in_memory(model: nn.Module) -> bool:
    """Whether a float32 copy of the model leaves room to run it."""
    return (
        4 * sum(parameter.numel() for parameter in model.parameters())
        < MEMORY_SHARE * psutil.virtual_memory().available
    )


def quiet() -> None:
    """Progress bars and warnings are ours to show."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.ERROR)


def _where(source: Source) -> dict[str, str]:
    return {"gguf_file": source.gguf_file} if source.gguf_file else {}


def _model_class(source: Source, config: PretrainedConfig) -> Any:
    """The class the checkpoint names; a language model where it names none (GGUF), else the bare model."""
    for name in config.architectures or ():
        if hasattr(transformers, name):
            return getattr(transformers, name)
    auto_map = getattr(config, "auto_map", None) or {}
    if source.kind == "gguf" or "AutoModelForCausalLM" in auto_map:
        return AutoModelForCausalLM
    return AutoModel


def _skeleton(source: Source, model_class: Any, config: PretrainedConfig, options: dict[str, Any]) -> LoadedModel:
    with _readable(source), init_empty_weights(include_buffers=False):
        if hasattr(model_class, "from_config"):
            model = with_a_kernel(partial(model_class.from_config, config), options)
        else:
            options = {name: value for name, value in options.items() if name != "trust_remote_code"}
            model = with_a_kernel(partial(model_class._from_config, config), options)
    if source.kind == "gguf":
        gguf_rope.put_right(model, source.weight_files[0])
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        _set_parameter(model, name, _weightless(parameter))
    loaded = LoadedModel(source, model.eval(), is_whole=False)
    for name in frozen:  # position tables: attention is handed them as it is handed buffers
        if name in loaded.checkpoint:
            _set_parameter(model, name, loaded.checkpoint.read(name))
    return loaded


def _filled_whole(skeleton: LoadedModel, device: str) -> LoadedModel:
    """From our own reading of the file: transformers' loader drops some of what a GGUF tells."""
    model = skeleton.model
    for name, _ in list(model.named_parameters()):
        _set_parameter(model, name, skeleton.checkpoint.read(name))
    for name in model.state_dict().keys() - dict(model.named_parameters(remove_duplicate=False)).keys():
        _copy(name, skeleton.checkpoint.read(name), model.get_buffer(name))
    model.tie_weights()
    return LoadedModel(skeleton.source, model.eval().requires_grad_(False).to(device), is_whole=True)


def with_a_kernel(build: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Built to call the interface; with its plain kernels where a type looks them up in a table of its own."""
    try:
        return build(**options)
    except KeyError as error:
        if error.args != (capture.NAME,):
            raise
        return build(**options | {"attn_implementation": "eager"})


def _weightless(parameter: torch.Tensor) -> torch.Tensor:
    """Zeros of the parameter's shape in four bytes of memory, so that a forward pass finds every shape in place."""
    return torch.zeros(()).expand(parameter.shape)


def _set_parameter(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    *path, last = name.split(".")
    setattr(module.get_submodule(".".join(path)), last, nn.Parameter(tensor, requires_grad=False))


def _copy(name: str, stored: torch.Tensor, buffer: torch.Tensor) -> None:
    if stored.shape != buffer.shape:
        raise EigenhouseError(
            f"want {name} of shape {tuple(buffer.shape)}, got {tuple(stored.shape)} in the checkpoint; config and "
            "weights are of different models"
        )
    buffer.copy_(stored)


def _require_complete(source: Source, model: nn.Module, report: dict[str, Any]) -> None:
    """Transformers fills what a checkpoint lacks with random numbers; that may do for a pooler or output head."""
    body = getattr(model, "base_model", model)
    prefix = next((name for name, module in model.named_modules() if module is body), "")
    missing = [
        name
        for name in report["missing_keys"]
        if name.startswith(prefix) and "pooler" not in name and "lm_head" not in name
    ]
    mismatched = [str(entry[0] if isinstance(entry, tuple) else entry) for entry in report["mismatched_keys"]]
    if missing or mismatched:
        wrong = sorted(missing or mismatched)
        how = "are missing" if missing else "have another shape"
        raise EigenhouseError(
            f"want every weight of {type(model).__name__}, but in {source.origin} {len(wrong)} {how}, {wrong[0]} "
            "first; config and weights are of different models, or a file lacks"
        )


@contextmanager
def _readable(source: Source) -> Iterator[None]:
    """Turn whatever transformers raises about a checkpoint into one line."""
    try:
        yield
    except EigenhouseError:
        raise
    except MemoryError as error:
        raise EigenhouseError(
            f"out of memory while loading {source.origin}; STATIC_ONLY=1 needs one layer at a time"
        ) from error
    except Exception as error:
        raise EigenhouseError(
            f"want a model transformers {transformers.__version__} can load, got from {source.origin}: "
            f"{first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
