"""Which device arithmetic runs on."""

from __future__ import annotations

import psutil
import torch

from eigenhouse.errors import EigenhouseError

KINDS = "cpu, cuda, cuda:<n>, mps or auto"


def chosen(name: str, n_bytes: int = 0) -> torch.device:
    """The device of a name; `auto` is the GPU with the most free memory, if it has n_bytes of it, else the CPU.

    Raises EigenhouseError where this machine has none of that name.
    """
    if name == "auto":
        return _best(n_bytes)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise EigenhouseError(f"want DEVICE={KINDS}; got {name!r}") from error
    has = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not has.get(device.type, False):
        there = ", ".join(kind for kind in ("cpu", "cuda", "mps") if has[kind])
        raise EigenhouseError(
            f"want DEVICE={name}, but this machine offers {there}; no such accelerator, or torch was built without it"
        )
    return device


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had on a device; an mps device shares the machine's."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _best(n_bytes: int) -> torch.device:
    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    gpus += [torch.device("mps")] if torch.backends.mps.is_available() else []
    roomy = [gpu for gpu in gpus if free_bytes(gpu) >= n_bytes]
    return max(roomy, key=free_bytes, default=torch.device("cpu"))
