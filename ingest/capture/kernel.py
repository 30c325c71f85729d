"""The attention kernel that a model runs in place of its own, and the listeners that it shows queries and keys to.

Importing this module registers the kernel with transformers under `loading.KERNEL`. A model that was loaded with it
calls `attention_function`, which sees queries and keys after projection, bias, q/k-norm and RoPE, before key heads are
repeated for their group. Whoever wants to look sets a listener with `listening`, which may hand the attention's output
back if it worked that out; without one the function is plain exact attention. Modules that compute scores past
transformers' attention interface are watched through `tracing.py`, which calls the same listener.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface

from eigenhouse.ingest.capture import tracing
from eigenhouse.ingest.capture.attention import AttentionCall, attend
from eigenhouse.ingest.capture.masks import lazy_mask
from eigenhouse.ingest.models.loading import KERNEL

Listener = Callable[[AttentionCall], object]


class Output(NamedTuple):
    """What a listener hands back that has computed the attention itself: (batch, head, query, feature)."""

    output: torch.Tensor


class _Listeners(threading.local):
    """Those of this thread: forward passes of several threads may take turns."""

    def __init__(self) -> None:
        self.all: list[Listener] = []


_listeners = _Listeners()


@contextmanager
def listening(listener: Listener, traced_batch: int = 0) -> Iterator[None]:
    """Call `listener` at every attention of the block; the innermost block alone listens.

    Differential attention passes the same q and k twice, with other values: the second call is not reported.
    traced_batch: the number of texts in a forward pass; 0 if modules that bypass the interface are not traced.
    """
    last: AttentionCall | None = None

    def hear(call: AttentionCall) -> object:
        nonlocal last
        is_repeated = last is not None and call.query is last.query and call.key is last.key
        last = call
        return None if is_repeated else listener(call)

    _listeners.all.append(hear)
    try:
        with tracing.tracing(hear, traced_batch) if traced_batch else nullcontext():
            yield
    finally:
        _listeners.all.pop()


def attention_function(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The registered kernel: query (batch, head, position, feature), key and value with their own head count.

    Returns the attention output (batch, position, head, feature), as the model's eager kernel does.
    """
    call = AttentionCall(
        module=module,
        query=query,
        key=key,
        value=value,
        mask=attention_mask,
        scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        softcap=kwargs.get("softcap"),
        sinks=kwargs.get("s_aux"),
        position_bias=kwargs.get("position_bias"),
        window=kwargs.get("sliding_window"),
    )
    with tracing.paused():
        heard = _listeners.all[-1](call) if _listeners.all else None
        output = heard.output if isinstance(heard, Output) else attend(call)
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(KERNEL, attention_function)
AttentionMaskInterface.register(KERNEL, lazy_mask)


@contextmanager
def own_kernel(model: nn.Module) -> Iterator[None]:
    """Within the block the model runs its own eager attention in place of our kernel."""
    configs = {id(config): config for module in model.modules() if (config := getattr(module, "config", None))}
    ours = [config for config in configs.values() if getattr(config, "_attn_implementation", None) == KERNEL]
    # set_attn_implementation would go by what it reads in the model's source
    for config in ours:
        config._attn_implementation_internal = "eager"
    try:
        yield
    finally:
        for config in ours:
            config._attn_implementation_internal = KERNEL
