"""The resolved settings of a run, written before anything is computed and compared before anything is resumed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from vocbench.pipeline.names import SCALES
from vocbench.pipeline.specs import Options
from vocbench.restorer.files import write_whole

PACKAGES = ("vocbench", "torch", "torchvision", "numpy", "scipy", "scikit-image", "pillow", "opencv-python", "openvino",
            "pycocotools", "ultralytics", "imagecorruptions", "spandrel")  # fmt: skip
COMPUTING = ("restorer", "detection", "pipeline", "benchmarks/running")  # the folders whose code makes predictions

AS_THEY_ARE = "none"  # the recipe of photos that are degraded already


@dataclass(frozen=True)
class RunSettings:
    """The settings that determine the results of a run; workers and output folder do not."""

    data: str  # `sample`, or a folder or file of a data set
    split: str
    recipe: str
    restorers: tuple[str, ...]  # specifications [LABEL=]NAME[:WEIGHTS]
    detectors: tuple[str, ...]
    protocol: str = "voc07"
    seed: int = 0
    draws: int = 1  # degradations of each photo
    skip: int = 0  # photos of the split left out before the first
    limit: int | None = None  # only the first photos after those skipped
    do_no_harm: bool = False  # also restore the clean photos
    tile: str | None = None  # SIZE:STRIDE or whole; None: that of the weights
    engine: str = "auto"
    device: str = "cpu"
    batch: int = 0  # tiles per batch; 0: the fastest number on this machine
    unit: int = 8  # photos computed and stored together
    levels: str | None = None  # fixed levels as JSON, in place of the recipe's draws
    on_error: str = "stop"  # or skip
    trust_weights: bool = False
    examples: int = 6  # photos shown side by side
    guard: bool = True  # whether colour shifts by a restorer that no degradation explains are undone
    classes: str | None = None  # those evaluated, as JSON: a list, or {own name: new name}
    restore_at: str = "native"  # or `detector`: photos are restored at the size that each detector sees
    upright: bool = False  # whether annotations count pixels as people see the photos, with EXIF's turn done

    @property
    def options(self) -> Options:
        """Return how its models are executed."""
        return Options(self.tile, self.engine, self.device, self.batch, self.trust_weights, self.guard)

    @property
    def as_they_are(self) -> bool:
        """Return whether photos are taken as they are, without clean ones to compare with."""
        return self.recipe == AS_THEY_ARE and self.levels is None

    def __post_init__(self) -> None:
        self.options.check()
        if self.restore_at not in SCALES:
            raise ValueError(f"unknown `restore_at` {self.restore_at!r}; choose one of {', '.join(SCALES)}")
        if self.recipe == AS_THEY_ARE and (self.do_no_harm or self.draws > 1):
            raise ValueError(
                "`recipe=none` takes photos as they are: there are no levels to draw, and no clean photos to restore"
            )
        if self.draws < 1 or self.unit < 1:
            raise ValueError("`draws` and `unit` must be at least 1")
        if self.batch < 0:
            raise ValueError(f"`batch` must be at least 1, or 0 for the fastest, got {self.batch}")
        if self.examples < 0:
            raise ValueError(f"`examples` must be at least 0, got {self.examples}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"`limit` must be at least 1, got {self.limit}")
        if self.skip < 0:
            raise ValueError(f"`skip` must be at least 0, got {self.skip}")

    def choose(self, ids: Sequence[str]) -> list[str]:
        """Return the image ids of a split that the run uses; ValueError if `skip` leaves none."""
        if self.skip >= len(ids):
            raise ValueError(f"`skip` leaves no photo: {self.skip} of the {len(ids)} of {self.split}; give a smaller one")
        last = None if self.limit is None else self.skip + self.limit
        return list(ids[self.skip : last])


def differences(now: Mapping[str, object], then: Mapping[str, object]) -> list[str]:
    """Return one phrase for each setting in which two runs differ."""
    names = sorted(now.keys() | then.keys())
    return [f"{name}: {then.get(name)!r} before, {now.get(name)!r} now" for name in names if now.get(name) != then.get(name)]


def plain(settings: RunSettings) -> dict[str, object]:
    """Return settings as JSON holds them."""
    return json.loads(json.dumps(asdict(settings)))


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Return the commit of the source tree that runs, or None for an installed package."""
    folder = Path(__file__).resolve().parent.parent
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def code_digest() -> str:
    """Return the SHA-256 of the code that makes predictions; code that only reports on them may change before a resume."""
    root = Path(__file__).resolve().parent.parent
    files = [path for folder in COMPUTING for path in (root / folder).rglob("*") if path.suffix in (".py", ".cpp", ".h")]
    digests = sorted((path.relative_to(root).as_posix(), file_digest(path)) for path in files)
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def hardware(device: str) -> str:
    """Return the device's name as people know it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"


def file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def to_json(content: object) -> str:
    """Return records, or plain values, as indented JSON; ValueError for NaN and infinity, as JSON has none."""
    return json.dumps(msgspec.to_builtins(content), indent=2, allow_nan=False)


def json_bytes(content: object) -> bytes:
    """Return JSON as `write_json` writes it."""
    return (to_json(content) + "\n").encode()


def write_json(path: Path, content: object) -> None:
    """Write records, or plain values, as JSON, whole or not at all; ValueError for NaN and infinity."""
    write_whole(path, json_bytes(content))
