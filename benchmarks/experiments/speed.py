"""Time a restorer under every available engine, beside what a user would take instead, all in one process and alternating.

A photo of scikit-image is restored with the same tiles each time. Checking, cutting, blending and the guard are included, so
that a row is the cost of a program's call of the library; that call itself, `restore(photo)`, is a row too. In each round every
candidate runs once, so that other load on the machine affects them alike; the first round is warm-up and not counted. Wall time
is what a user waits; processor time is summed over all threads, and other load changes it less. Peak memory is measured in a
process of its own for each candidate.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.nn.functional import interpolate
from vocbench.benchmarks.memory import resident_peak
from vocbench.benchmarks.settings import hardware, versions
from vocbench.pipeline.chain import restore_images
from vocbench.pipeline.models import load_restorer
from vocbench.pipeline.photos import restore
from vocbench.restorer.engines import select
from vocbench.restorer.engines.openvino_engine import OpenVinoEngine
from vocbench.restorer.engines.placement import Placement
from vocbench.restorer.guard import Guarded
from vocbench.restorer.images import from_uint8
from vocbench.restorer.networks.owan_files import load_owan
from vocbench.restorer.tiling import Tiled, Tiling

BASE = "plain"  # the plain network, eager; ratios and errors are against it
LIBRARY = "library"  # a program's call `restore(photo)`, with the engine that the defaults choose
Call = Callable[[Tensor], Tensor]  # a photo (3, H, W) to the restored one


def sample_photo(width: int, height: int) -> Tensor:
    """Return scikit-image's portrait of an astronaut, scaled to (3, height, width) in [0, 1]."""
    from skimage.data import astronaut

    photo = from_uint8(astronaut())
    scaled = interpolate(photo[None], (height, width), mode="bicubic", align_corners=False, antialias=True)
    return scaled[0].clamp(0, 1)


class _Contiguous(nn.Module):
    """The network as its authors run it: eager, channels first."""

    any_number = True  # of tiles: no padding tiles are computed

    def __init__(self, network: nn.Module, device: str):
        super().__init__()
        self.device, self.network = torch.device(device), network.to(device)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.to(self.device)).to(images.device)


def _eager(network: nn.Module, placement: Placement) -> nn.Module:
    return _Contiguous(network, placement.device)


def _compiled(network: nn.Module, placement: Placement) -> nn.Module:
    return _Contiguous(torch.compile(network), placement.device)  # type: ignore[arg-type]


class _AsItIs(nn.Module):
    """A network of a class that the engines do not recognise, so that they run it unchanged."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)


def _side(placement: Placement) -> int:
    if placement.tiling.size is None:
        raise ValueError("it takes tiles of one size, and these weights take whole photos")
    return placement.tiling.size


def _openvino_unfused(network: nn.Module, placement: Placement) -> nn.Module:
    return OpenVinoEngine(_AsItIs(network), placement.tiling.size, placement.cache)


class _OnnxRuntime(nn.Module):
    any_number = True  # tile by tile

    def __init__(self, network: nn.Module, size: int):
        super().__init__()
        import io

        import onnxruntime

        buffer = io.BytesIO()
        torch.onnx.export(network, (torch.zeros(1, 3, size, size),), buffer, dynamo=False, opset_version=17)  # type: ignore[arg-type]
        self.session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def forward(self, images: Tensor) -> Tensor:
        restored = [self.session.run(None, {self.name: tile[None]})[0] for tile in images.numpy()]
        return torch.from_numpy(np.concatenate(restored))


def _onnxruntime_unfused(network: nn.Module, placement: Placement) -> nn.Module:
    return _OnnxRuntime(network, _side(placement))


# What is measured beside the engines: what a user would take instead.
PEERS: dict[str, select.Builder] = {
    BASE: _eager,
    "channels-last": select.torch_engine,
    "torch.compile": _compiled,
    "onnxruntime (unfused)": _onnxruntime_unfused,
    "openvino (unfused)": _openvino_unfused,
}
BUILDERS = PEERS | {name: builder for name, builder in select.ENGINES.items() if name not in ("auto", "torch")}
CPU_ONLY = ("native", "openvino", "onnxruntime (unfused)", "openvino (unfused)")


def default_batch(weights: Path, tiling: Tiling, device: str) -> int:
    """Return the default number of tiles per batch for a restorer with these weights."""
    return select.fastest_batch(load_owan(weights), Placement(device, tiling))


@dataclass(frozen=True)
class Measured:
    name: str
    seconds: list[float]  # per photo, one of each round
    processor: list[float]  # seconds of processor time, of all threads, in the same rounds
    error: float  # largest difference from the plain float32 network
    memory: int | None  # bytes at the peak: of a process that does nothing else, or on the GPU


@dataclass(frozen=True)
class Case:
    """The settings that every candidate runs with."""

    restorer: str  # NAME[:WEIGHTS]
    weights: Path
    tiling: Tiling
    size: tuple[int, int]  # of the photo, width and height in pixels
    device: str
    batch: int  # tiles at a time
    cache: Path

    def build(self, name: str) -> Call:
        """Return the named candidate as a function that restores a photo, with the guard, as by default."""
        if name == LIBRARY:
            model = load_restorer(self.restorer, device=self.device, tile=str(self.tiling), batch=self.batch)
            return lambda photo: restore(photo, model)
        placement = Placement(self.device, self.tiling, self.batch, self.cache)
        engine = BUILDERS[name](load_owan(self.weights), placement)
        guarded = Guarded(Tiled(engine, self.tiling, self.batch)).eval().requires_grad_(False)
        return lambda photo: restore_images(guarded, [photo])[0]


def _restore_alone(case: Case, name: str, parent: Connection) -> None:
    """Restore the photo once in this process and send its peak memory in bytes."""
    case.build(name)(sample_photo(*case.size))
    parent.send(torch.cuda.max_memory_allocated(case.device) if case.device.startswith("cuda") else resident_peak())


def peak_memory(case: Case, name: str) -> int | None:
    """Return the peak memory in bytes of a fresh process that restores the photo once with the named candidate.

    None if it fails, or if the system does not report peak memory.
    """
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_restore_alone, args=(case, name, there))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        return None
    finally:
        process.join()


def candidates(wanted: tuple[str, ...], device: str) -> list[str]:
    """Return the names to measure, the base first; `wanted` empty means all that suit the device."""
    known = [*BUILDERS, LIBRARY]
    for name in wanted:
        if name not in known:
            raise ValueError(f"unknown engine {name!r}; choose from {', '.join(known)}")
    chosen = [name for name in known if name == BASE or not wanted or name in wanted]
    return [name for name in chosen if device == "cpu" or name not in CPU_ONLY]


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _timed(call: Call, photo: Tensor, device: str) -> tuple[Tensor, float, float]:
    """Return the restored photo, the seconds that it took, and the seconds of processor time."""
    _synchronise(device)
    begun, spent = time.perf_counter(), time.process_time()
    restored = call(photo)
    _synchronise(device)
    return restored, time.perf_counter() - begun, time.process_time() - spent


def measure(
    case: Case,
    wanted: tuple[str, ...],
    rounds: int,
    say: Callable[[str], None] = lambda text: None,
    step: Callable[[str], None] = lambda name: None,
) -> list[Measured]:
    """Return the seconds of every candidate on one photo, alternating; `say` is called for those that cannot run here.

    `step` is called with a candidate's name after its warm-up and after each of its rounds.
    """
    photo = sample_photo(*case.size)
    ready, errors, base = {}, {}, None
    for name in candidates(wanted, case.device):
        try:
            call = case.build(name)
            restored = _timed(call, photo, case.device)[0]  # warm-up
        except Exception as error:  # a peer that is not installed or does not take the network
            say(f"{name}: left out ({' '.join(str(error).split())[:120]})")
            continue
        step(name)
        base = restored if base is None else base
        ready[name], errors[name] = call, (restored - base).abs().max().item()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ready}
    for _ in range(rounds):
        for name, call in ready.items():
            taken[name].append(_timed(call, photo, case.device)[1:])
            step(name)
    found = []
    for name in ready:
        seconds, processor = zip(*taken[name], strict=True)
        found.append(Measured(name, list(seconds), list(processor), errors[name], peak_memory(case, name)))
    return found


class EngineSpeed(Struct, frozen=True, kw_only=True):
    """The measurements of one engine."""

    engine: str
    milliseconds: float  # of a photo, the median of the rounds
    spread: tuple[float, float]  # the fewest and the most milliseconds
    processor_milliseconds: float  # of all threads, the median of the rounds
    photos_per_second: float
    ratio: float  # how many times as fast as the plain network
    max_error: float  # against the plain network's pixels in [0, 1]
    peak_memory_bytes: int | None


class SpeedResults(Struct, frozen=True, kw_only=True):
    """The content of speed.json: engines, the fastest first, and the conditions of the measurement."""

    photo: tuple[int, int]  # width and height in pixels
    tiling: str
    batch: int
    device: str
    hardware: str
    threads: int
    rounds: int
    versions: dict[str, str]
    rows: list[EngineSpeed]


def table(measured: list[Measured], case: Case) -> SpeedResults:
    """Return everything measured, with what it was measured on."""
    base = statistics.median(next(one.seconds for one in measured if one.name == BASE))
    rows = []
    for one in sorted(measured, key=lambda one: statistics.median(one.seconds)):
        median = statistics.median(one.seconds)
        rows.append(
            EngineSpeed(
                engine=one.name,
                milliseconds=1e3 * median,
                spread=(1e3 * min(one.seconds), 1e3 * max(one.seconds)),
                processor_milliseconds=1e3 * statistics.median(one.processor),
                photos_per_second=1 / median,
                ratio=base / median,
                max_error=one.error,
                peak_memory_bytes=one.memory,
            )
        )
    return SpeedResults(
        photo=case.size,
        tiling=str(case.tiling),
        batch=case.batch,
        device=case.device,
        hardware=hardware(case.device),
        threads=torch.get_num_threads(),
        rounds=len(measured[0].seconds),
        versions=versions(),
        rows=rows,
    )


def to_markdown(content: SpeedResults) -> str:
    width, height = content.photo
    lines = [
        f"One photo of {width}x{height}, {'whole' if content.tiling == 'whole' else 'in tiles of ' + content.tiling}, at most "
        f"{content.batch} at a time, float32, {content.hardware}, {content.threads} threads, "
        f"PyTorch {content.versions.get('torch')}, median of {content.rounds} alternating rounds.",
        "",
        "| engine | ms per photo | min to max | ms of processor time | photos/s | times faster than plain | max error "
        "| peak memory, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in content.rows:
        low, high = row.spread
        memory = "–" if row.peak_memory_bytes is None else f"{row.peak_memory_bytes / 1e6:.0f}"
        lines.append(
            f"| {row.engine} | {row.milliseconds:.0f} | {low:.0f} to {high:.0f} | {row.processor_milliseconds:.0f} "
            f"| {row.photos_per_second:.2f} | {row.ratio:.2f} | {row.max_error:.1e} | {memory} |"
        )
    return "\n".join(lines) + "\n"
