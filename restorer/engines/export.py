"""Export OWAN for other runtimes with dynamic batch, height and width; each file is checked against the network on three sizes.

Dynamic sizes restore whole photos, or tiles that the caller cuts; the tiling of the weights is not part of the file.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as symbolic
from vocbench.restorer.engines.fused import fuse
from vocbench.restorer.networks.owan import Owan

CHECKED = ((63, 63), (48, 80), (101, 67))  # height and width in pixels
TOLERANCE = 1e-4
EXAMPLE = (1, 3, 64, 72)
MOST = 65536  # largest dynamic batch, height and width


class Clipped(nn.Module):
    """The network with its output clipped to [0, 1]."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image).clamp(0, 1)


class WholeBlocks(nn.Module):
    """A network at 1/`factor` of the resolution on a photo extended to whole blocks by indexing: (B, 3, H, W) to the same
    shape.

    The network extends photos by padding, but torch.export can only keep the padding's width for sides that need none.
    """

    def __init__(self, network: nn.Module, factor: int):
        super().__init__()
        self.network, self.factor = network, factor

    def _grown(self, side: int) -> Tensor:
        """Return the rows or columns of a photo that has so many, the last one repeated up to a whole block."""
        blocks = (side + self.factor - 1) // self.factor
        return torch.arange(self.factor * blocks).clamp(max=side - 1)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        grown = image.index_select(2, self._grown(height)).index_select(3, self._grown(width))
        restored = self.network(grown)
        return restored.index_select(2, torch.arange(height)).index_select(3, torch.arange(width))


Run = Callable[[np.ndarray], np.ndarray]


def _onnx(network: nn.Module, path: Path) -> None:
    axes = {2: "height", 3: "width"}
    torch.onnx.export(
        network, (torch.zeros(EXAMPLE),), str(path), dynamo=False, opset_version=17, input_names=["image"],
        output_names=["restored"], dynamic_axes={"image": {0: "batch", **axes}, "restored": {0: "batch", **axes}},
    )  # fmt: skip


def _run_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})[0]


def _openvino(network: nn.Module, path: Path) -> None:
    import openvino

    model = openvino.convert_model(network, example_input=torch.zeros(EXAMPLE), input=[-1, 3, -1, -1])
    openvino.save_model(model, str(path), compress_to_fp16=False)


def _run_openvino(path: Path) -> Run:
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: compiled(image)[0]


def _torchscript(network: nn.Module, path: Path) -> None:
    torch.jit.trace(network, torch.zeros(EXAMPLE), check_trace=False).save(str(path))


def _run_torchscript(path: Path) -> Run:
    loaded = torch.jit.load(str(path))
    return lambda image: loaded(torch.from_numpy(image)).numpy()


def _torch_export(network: nn.Module, path: Path) -> None:
    factor = max(part.factor for part in network.modules() if isinstance(part, Owan))
    sizes = {axis: torch.export.Dim(name, min=1, max=MOST) for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    example = torch.zeros(2, *EXAMPLE[1:])  # torch.export would specialise on a batch of one
    with _any_side() if factor > 1 else nullcontext():
        whole = WholeBlocks(network, factor) if factor > 1 else network
        program = torch.export.export(whole, (example,), dynamic_shapes=(sizes,))
    torch.export.save(program, str(path))


def _any_side() -> AbstractContextManager[None]:
    """Return a context in which torch.export does not specialise on sides of one block; ValueError if PyTorch is too old."""
    if not hasattr(symbolic, "backed_size_oblivious"):
        raise ValueError(f"PyTorch {torch.__version__} cannot export this network; update PyTorch, or choose another format")
    return symbolic.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]  # which install_config_module adds


def _run_torch_export(path: Path) -> Run:
    loaded = torch.export.load(str(path)).module()
    return lambda image: loaded(torch.from_numpy(image)).numpy()


# What the extra `export` brings, needed to write and to check ONNX.
NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
# name: (suffix of the file, writer, loader)
FORMATS: dict[str, tuple[str, Callable[[nn.Module, Path], None], Callable[[Path], Run]]] = {
    "onnx": (".onnx", _onnx, _run_onnx),
    "openvino": (".xml", _openvino, _run_openvino),
    "torchscript": (".pt", _torchscript, _run_torchscript),
    "torch-export": (".pt2", _torch_export, _run_torch_export),
}


def check_path(name: str, path: str | Path) -> Path:
    """Return the path if the format can be written there; ValueError or OSError otherwise.

    The suffix must be that of the format, the folder must exist, the file (and OpenVINO's .bin) must not, and the packages that
    the format needs must be installed.
    """
    path = Path(path)
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}; choose one of {', '.join(FORMATS)}")
    if path.suffix != FORMATS[name][0]:
        raise ValueError(f"{path}: a file of the format {name} ends in {FORMATS[name][0]}")
    missing = [package for package in NEEDED.get(name, ()) if find_spec(package) is None]
    if missing:
        raise ValueError(f'{name} needs {", ".join(missing)}; `pip install ".[export]"` brings it')
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}; make it first")
    for made in _files(name, path):
        if made.exists():
            raise ValueError(f"{made}: already there; choose another name")
    return path


def _files(name: str, path: Path) -> list[Path]:
    """Return the files of a format; the one to open comes last."""
    return [path.with_suffix(".bin"), path] if name == "openvino" else [path]


@torch.no_grad()
def export(network: Owan, name: str, path: str | Path) -> float:
    """Write the fused network, output clipped, as `name`; returns the largest error on three sizes.

    Raises ValueError, leaving nothing behind, where the loaded file cannot be run or is off by more than 1e-4.
    """
    path = check_path(name, path)
    _, write, load = FORMATS[name]
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, on tracing and on formats it deprecates
        part = Path(work) / path.name
        write(Clipped(fuse(copy.deepcopy(network))).eval().requires_grad_(False), part)
        try:
            error = _largest_error(network, load(part))
        except Exception as failure:  # each format's runtime has its own
            reason = " ".join(str(failure).split())[-120:]
            raise ValueError(
                f"{path}: this machine cannot run the {name} file to check it ({reason}), so it was removed"
            ) from None
        if not error <= TOLERANCE:
            raise ValueError(f"{path}: the {name} file differs from the network by {error:.1e}, so it was removed")
        for made, target in zip(_files(name, part), _files(name, path), strict=True):
            made.replace(target)
    return error


def _largest_error(network: Owan, run: Run) -> float:
    errors = []
    for height, width in CHECKED:
        y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
        image = torch.stack([x, y, 0.5 * (x + y)])[None]  # smooth, as photos are
        errors.append(float(np.abs(run(image.numpy()) - network(image).clamp(0, 1).numpy()).max()))
    return max(errors)
