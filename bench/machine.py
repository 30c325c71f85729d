"""What a measurement was made on, in words that name no one's machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil
import torch


def name() -> str:
    """Processor, cores that this process may use, memory, GPU where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    memory = psutil.virtual_memory().total / 2**30
    return ", ".join([_processor(), f"{cores} cores", f"{memory:.0f} GB", *gpus])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
