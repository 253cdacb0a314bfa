"""Facts about this machine for `vocbench doctor`, found without importing torch: they must appear where torch is broken too."""

from __future__ import annotations

import ctypes
import os
import runpy
import shlex
from importlib.util import find_spec
from pathlib import Path

from vocbench.benchmarks.settings import hardware, versions
from vocbench.pipeline.weights import WEIGHTS, location
from vocbench.restorer.engines import compiled
from vocbench.restorer.files import cache_folder

OPTIONAL = ("ultralytics", "openvino", "onnxruntime", "spandrel", "imagecorruptions", "ray", "gradio", "mlflow", "wandb")


def facts() -> dict[str, object]:
    """Return device, hardware, versions, cache, weights present, compiler, and which optional packages are installed."""
    gpus, built_for = cuda_gpus(), cuda_of_torch()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": "cuda" if gpus and built_for else "cpu",
        "hardware": hardware("cpu"),
        "GPUs": ", ".join(gpus) or "none",
        "PyTorch's CUDA": built_for or "none: it computes on the CPU",
        "cores": cores,
        "threads": int(os.environ.get("OMP_NUM_THREADS") or cores or 1),
        "versions": versions(),
        "cache": str(cache_folder()),
        "weights": {name: location(name).is_file() for name in WEIGHTS},
        "C++ compiler": compiler() or "none: compiled CPU layers are not available",
        "optional packages": {name: find_spec(name) is not None for name in OPTIONAL},
    }


def compiler() -> str | None:
    """Return the C++ compiler that the engine `native` would use."""
    command = compiled.compiler()
    return shlex.join(command) if command else None


def cuda_of_torch() -> str | None:
    """Return the CUDA version that the installed PyTorch was built for, None for a CPU build or without PyTorch."""
    found = find_spec("torch")
    version = Path(found.origin).with_name("version.py") if found and found.origin else None
    return runpy.run_path(str(version)).get("cuda") if version and version.is_file() else None


def cuda_gpus() -> list[str]:
    """Return the names of the GPUs that the CUDA driver sees."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return []
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    names = []
    for number in range(count.value):
        name = ctypes.create_string_buffer(128)
        driver.cuDeviceGetName(name, len(name), number)
        names.append(name.value.decode(errors="replace"))
    return names
