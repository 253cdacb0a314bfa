"""A network run by OpenVINO on the CPU, one image at a time, in float32: its default bfloat16 has errors of up to 0.08 here.

Tiles have one fixed shape. Photos restored whole share one model with dynamic sides; the number of prepared steps that OpenVINO
keeps is limited, as it would keep those of every size it has seen. Images are computed one at a time, because a batch of four
tiles takes 2.8 GB. The compiled model is kept by the process, not by the module, so that copies, pickles and loaded weights
work; a forked process, in which OpenVINO's threads are missing, runs the network itself. So does every process where a
compiled model does not give what the network gives: on CPUs without AVX2, OpenVINO 2026.4 fails on bicubic enlarging or returns
an empty picture.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import threading
import warnings
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from vocbench.restorer.engines.compiled import private_folder
from vocbench.restorer.engines.fused import fuse
from vocbench.restorer.engines.native import asks_for_gradients, check_batch, plain, refuse_tracing
from vocbench.restorer.engines.probes import error_on, probes
from vocbench.restorer.files import usable
from vocbench.restorer.networks.owan import Owan

logger = logging.getLogger(__name__)
STEPS = 500  # prepared for sizes already seen, some 0.1 MB each; a size takes some 30
EXAMPLE = 64  # pixels a side, of the image on which a network of free sides is traced
ERROR = 0.01  # of 1, the most that a pixel may differ from the network's: rounding stays below 1e-4
KEPT = 2  # compiled models that a process keeps, some hundred MB each


class _Process:
    """The state of OpenVINO in this process: an infer request for each compiled model, used by one thread at a time."""

    lock: ClassVar = threading.Lock()
    requests: ClassVar[dict[tuple[str, int | None, int], Any]] = {}
    began: ClassVar[int | None] = None  # the process that first compiled a model
    warned: ClassVar[bool] = False


def _lost_in_a_fork() -> bool:
    """Return whether OpenVINO was used before this process was forked off; it is logged once."""
    lost = _Process.began is not None and _Process.began != os.getpid()
    if lost and not _Process.warned:
        _Process.warned = True
        logger.warning(
            "OpenVINO does not survive a fork; this process runs the network in plain PyTorch (or start it by spawn)"
        )
    return lost


def _digest(network: nn.Module) -> str:
    whole = hashlib.sha1(usedforsecurity=False)
    for tensor in (*network.parameters(), *network.buffers()):
        whole.update(tensor.detach().float().cpu().numpy().tobytes())
    return whole.hexdigest()


def _compile(network: nn.Module, size: int | None, threads: int, cache: Path) -> Any:
    import openvino

    shape = [1, 3, size or -1, size or -1]
    example = torch.zeros(1, 3, size or EXAMPLE, size or EXAMPLE)
    # The copy and the tracing change neither the program's random numbers nor its warnings.
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's tracing, on which OpenVINO relies
        own = copy.deepcopy(network).float().eval()
        model = openvino.convert_model(fuse(own) if isinstance(own, Owan) else own, example_input=example, input=shape)
    core = openvino.Core()
    core.set_property({"CACHE_DIR": str(private_folder(usable(cache) / "openvino"))})
    options = {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False, "CPU_RUNTIME_CACHE_CAPACITY": STEPS,
    }  # fmt: skip
    return core.compile_model(model, "CPU", options).create_infer_request()


def _infer(request: Any, images: Tensor) -> Tensor:
    """Return what a model makes of float32 images (B, 3, H, W), computed one at a time."""
    parts = [request.infer({0: image[None]}, share_inputs=True)[0].copy() for image in images.contiguous().numpy()]
    return torch.from_numpy(np.concatenate(parts))


def _fault(request: Any, network: nn.Module, size: int | None) -> str | None:
    """Return what is wrong with a model's result on two photos, one of them degraded, and None if nothing is."""
    photos = probes(size or EXAMPLE)[-2:]
    try:  # against single precision, as compiled: a network in half precision may round by more
        error = error_on(photos, partial(_infer, request), copy.deepcopy(network).float())
    except (RuntimeError, ValueError) as failure:
        return " ".join(str(failure).split())[-120:]
    return None if error <= ERROR else f"off by {error:.3f}"


def _request(network: nn.Module, size: int | None, cache: Path) -> Any | None:
    """Return the infer request of these weights, compiled where this process has none; for the holder of the lock.

    None if it does not compute what the network does, which is logged.
    """
    key = (_digest(network), size, torch.get_num_threads())
    if key not in _Process.requests:
        _Process.began = os.getpid()
        made = _compile(network, size, key[2], cache)
        fault = _fault(made, network, size)
        if fault:
            logger.warning(
                "OpenVINO is not right on this CPU (%s); the network runs in plain PyTorch, several times slower", fault
            )
            made = None
        while len(_Process.requests) >= KEPT:
            del _Process.requests[next(iter(_Process.requests))]
        _Process.requests[key] = made
    return _Process.requests[key]


class OpenVinoEngine(nn.Module):
    """A network under OpenVINO for tiles of `size` pixels, or where it is None for images of any size; parameters stay its own.

    Other sizes, gradients, parameters on another device and a forked process are for the network itself, and everything is
    where OpenVINO computes something else.
    """

    engine = "openvino"
    any_number = True  # of tiles at a time: each is computed alone

    def __init__(self, network: nn.Module, size: int | None, cache: Path):
        super().__init__()
        self.network, self.size, self.cache = network, size, cache

    def _applies(self, images: Tensor) -> bool:
        parameters = list(self.network.parameters())
        return not (
            (self.size is not None and images.shape[2:] != (self.size, self.size))
            or any(one.device.type != "cpu" for one in parameters)
            or asks_for_gradients(images, parameters)
            or torch.compiler.is_compiling()
            or _lost_in_a_fork()
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) floats on any device to the same shape, type and device."""
        refuse_tracing("openvino")
        check_batch(images)
        if not self._applies(images):
            return plain(self.network, images)
        if not len(images):
            return images.clone()
        with _Process.lock:
            request = _request(self.network, self.size, self.cache)
            if request is not None:
                return _infer(request, images.detach().to("cpu", torch.float32)).to(images)
        return plain(self.network, images)
