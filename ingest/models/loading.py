"""A transformers model of a source that runs the attention of `capture/kernel.py`: whole, or as a skeleton.

Whole, the weights are those transformers' own loader puts into the modules. A skeleton has the model's modules,
buffers and shapes but no memory for weights; one attention module at a time is filled from the checkpoint.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
)

from eigenhouse.errors import EigenhouseError, first_line
from eigenhouse.ingest.models import account, bounds, gguf_config, gguf_rope, gguf_tokenizer
from eigenhouse.ingest.models.checkpoint import Checkpoint, require_finite
from eigenhouse.ingest.sources.source import Source

KERNEL = "eigenhouse"  # capture/kernel.py registers the attention of this name with transformers
_SILENCED = ("transformers", "accelerate", "huggingface_hub")


@dataclass
class LoadedModel:
    """model: the class the checkpoint was saved from; body: the part of it without an output head."""

    source: Source
    model: Any  # a PreTrainedModel; torch types every attribute of a module as a tensor or module
    checkpoint: Checkpoint
    is_whole: bool

    @property
    def body(self) -> Any:
        base = getattr(self.model, "base_model", self.model)
        # some types give the name of the bare model to its encoder, which takes hidden states
        own, inner = (inspect.signature(part.forward).parameters for part in (self.model, base))
        return base if next(iter(inner), None) in own else self.model

    @property
    def config(self) -> PretrainedConfig:
        """The config of the text part, if a checkpoint joins several parts."""
        return self.model.config.get_text_config()

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
                set_parameter(module, name, self.checkpoint.read(f"{path}.{name}"))
            for name, buffer in buffers.items():  # running statistics of a batch norm, for one
                buffer.copy_(self.checkpoint.read(f"{path}.{name}"))
            yield
        finally:
            for name in names:
                set_parameter(module, name, _weightless(module.get_parameter(name)))
            for name, buffer in buffers.items():
                buffer.copy_(before[name])


def load_config(source: Source, trust_remote_code: bool) -> PretrainedConfig:
    """The config without its entries on quantization: the model is built as if nothing were quantized."""
    quiet()
    with _readable(source):
        if source.kind == "gguf":
            return gguf_config.load_config(source.weight_files[0])
        config = AutoConfig.from_pretrained(source.loader_path, trust_remote_code=trust_remote_code)
    for part in (config, *vars(config).values()):
        if isinstance(part, PretrainedConfig):
            for name in ("quantization_config", "compression_config"):
                vars(part).pop(name, None)
    return config


def load_model(source: Source, trust_remote_code: bool, *, whole: bool, device: str = "cpu") -> LoadedModel:
    """The model in float32 and eval mode; `whole=False` gives a skeleton on the CPU."""
    skeleton = load_skeleton(source, trust_remote_code)
    return load_whole(skeleton, trust_remote_code, device) if whole else skeleton


def load_skeleton(source: Source, trust_remote_code: bool) -> LoadedModel:
    """The model's modules, buffers and shapes on the CPU, its checkpoint accounted for, without weight memory.

    Raises EigenhouseError where transformers can't build it, or where what is stored isn't what the model wants.
    """
    if KERNEL not in AttentionInterface():
        raise RuntimeError("want ingest.capture.kernel imported before a model is built: it registers the attention")
    config = load_config(source, trust_remote_code)
    model_class, options = _model_class(source, config), _options(trust_remote_code)
    with _readable(source), init_empty_weights(include_buffers=False), bounds.within(source):
        if hasattr(model_class, "from_config"):
            model = with_a_kernel(partial(model_class.from_config, config), options)
        else:
            options = {name: value for name, value in options.items() if name != "trust_remote_code"}
            model = with_a_kernel(partial(model_class._from_config, config), options)
    _put_right(source, model)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    for name, parameter in list(model.named_parameters(remove_duplicate=False)):
        set_parameter(model, name, _weightless(parameter))
    loaded = LoadedModel(source, model.eval(), Checkpoint(source, model), is_whole=False)
    for name in frozen:  # position tables: a model passes them to its attention as it passes buffers
        if name in loaded.checkpoint:
            set_parameter(model, name, loaded.checkpoint.read(name))
    return loaded


def load_whole(
    skeleton: LoadedModel, trust_remote_code: bool, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> LoadedModel:
    """The model of a skeleton in eval mode, with the weights that transformers' own loader puts into it.

    For codes, GGUFs and files that its loader can't read, it is passed the weights that the checkpoint's reader made.
    Raises EigenhouseError where transformers can't fill it, or where a weight is missing or not finite.
    """
    source, checkpoint = skeleton.source, skeleton.checkpoint
    config = load_config(source, trust_remote_code)
    model_class = _model_class(source, config)
    with _readable(source):
        if checkpoint.is_plain:
            load = partial(model_class.from_pretrained, source.loader_path)
        else:
            load = partial(
                type(skeleton.model).from_pretrained, None, config=config, state_dict=checkpoint.state_dict(dtype)
            )
        options = _options(trust_remote_code) | {"output_loading_info": True, "ignore_mismatched_sizes": True}
        options |= {"dtype": dtype}
        model, report = with_a_kernel(load, options)
    pairs = [entry if isinstance(entry, tuple) else (entry,) for entry in report["mismatched_keys"]]
    mismatched = {str(name): f"is {shapes}" for name, *shapes in pairs}
    account.want_whole(model, report["missing_keys"], mismatched, source.origin)
    _put_right(source, model)
    for name, parameter in model.named_parameters():
        require_finite(name, parameter)
    model.eval().requires_grad_(False).to(device)
    return LoadedModel(source, model, checkpoint, is_whole=True)


def _put_right(source: Source, model: Any) -> None:
    if source.kind == "gguf":
        gguf_rope.put_right(model, source.weight_files[0])


def _options(trust_remote_code: bool) -> dict[str, Any]:
    return {
        "attn_implementation": KERNEL,
        "dtype": torch.float32,
        "trust_remote_code": trust_remote_code,
        "experts_implementation": "eager",  # the grouped kernels refuse a skeleton's strides, and many devices
    }


def load_tokenizer(source: Source, trust_remote_code: bool) -> Any:
    quiet()
    options = _where(source) | {"trust_remote_code": trust_remote_code}
    try:
        with gguf_tokenizer.quickly_read() if source.gguf_file else nullcontext():
            return AutoTokenizer.from_pretrained(source.loader_path, **options)
    except Exception as error:
        raise EigenhouseError(
            f"want a tokenizer beside the weights of {source.origin} to run prompts, got: {first_line(error)}; "
            "add its files (tokenizer.json, …) or ingest with STATIC_ONLY=1"
        ) from error


def quiet() -> None:
    """Silence the progress bars and warnings of libraries: Eigenhouse shows its own."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.ERROR)


def _where(source: Source) -> dict[str, str]:
    return {"gguf_file": source.gguf_file} if source.gguf_file else {}


def _model_class(source: Source, config: PretrainedConfig) -> Any:
    """The class the checkpoint names; a language model where it names none (GGUF), else the bare model."""
    for name in config.architectures or ():
        named = getattr(transformers, name, None)
        if isinstance(named, type) and issubclass(named, transformers.PreTrainedModel):
            return named
    auto_map = getattr(config, "auto_map", None) or {}
    if source.kind == "gguf" or "AutoModelForCausalLM" in auto_map:
        return AutoModelForCausalLM
    return AutoModel


def with_a_kernel(build: Callable[..., Any], options: dict[str, Any]) -> Any:
    """A model built with the attention `KERNEL`; with its eager one where a type looks up kernels in its own table."""
    try:
        return build(**options)
    except KeyError as error:
        if error.args != (KERNEL,):
            raise
        return build(**options | {"attn_implementation": "eager"})


def _weightless(parameter: torch.Tensor) -> torch.Tensor:
    """Zeros of the parameter's shape in four bytes of memory, so that a forward pass finds every shape in place."""
    return torch.zeros(()).expand(parameter.shape)


class NoProducts(TorchFunctionMode):
    """Within the block a linear map by a weight that is not there gives its zeros without a product."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is nn.functional.linear and not kwargs and args[1].dim() == 2 and args[1].stride() == (0, 0):
            zeros = args[0].new_zeros(*args[0].shape[:-1], len(args[1]))
            return zeros if len(args) < 3 or args[2] is None else zeros + args[2]
        return func(*args, **kwargs or {})


def set_parameter(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    *path, last = name.split(".")
    setattr(module.get_submodule(".".join(path)), last, nn.Parameter(tensor, requires_grad=False))


@contextmanager
def _readable(source: Source) -> Iterator[None]:
    """Turn whatever transformers raises about a checkpoint into one line."""
    try:
        yield
    except EigenhouseError:
        raise
    except MemoryError as error:
        raise EigenhouseError(
            f"out of memory while loading {source.origin}; prompts alone need all of it: STATIC_ONLY=1"
        ) from error
    except Exception as error:
        is_told = isinstance(error, (OSError, ValueError, StrictDataclassError))
        kind = "" if is_told else f"{type(error).__name__}: "  # a KeyError's message is the key alone
        raise EigenhouseError(
            f"want a model transformers {transformers.__version__} can load, got from {source.origin}: "
            f"{kind}{first_line(error)}"
        ) from error
