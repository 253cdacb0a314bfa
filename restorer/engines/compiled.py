"""C++ code compiled on the user's machine, kept in a folder that only its owner may write, and checked before it is loaded.

A library's name contains a hash of the sources, the compiler and its version, the flags and the processor, so that different
machines can share a folder. Its checksum is stored beside it; a library that does not match is compiled again.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vocbench.restorer.files import cache_folder, replacing, usable, write_whole

logger = logging.getLogger(__name__)
TARGET = "-march=native" if platform.machine().lower() in ("x86_64", "amd64", "i386", "i686") else "-mcpu=native"
# Nothing that GCC before 13 answers by linking start-up code which flushes denormals to zero in the whole process
# (-ffast-math, -funsafe-math-optimizations): sums keep their order, infinities and NaN stay what they are.
FLAGS = ("-std=c++17", "-O3", TARGET, "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fPIC", "-pthread")
MINUTES = 5  # of compiling, after which something is wrong


def compiler() -> list[str] | None:
    """Return the command of the C++ compiler: `CXX`, g++ or clang++; None where there is none."""
    given = shlex.split(os.environ.get("CXX", ""))
    if given and shutil.which(given[0]):
        return given
    return next(([found] for name in ("g++", "clang++") if (found := shutil.which(name))), None)


def _output_of(command: list[str]) -> str:
    """Return what a short command prints, or nothing where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def processor() -> str:
    """Return the processor's model and instruction sets, on which compiled code depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return (
            _output_of(["sysctl", "machdep.cpu.brand_string", "hw.optional"]) or f"{platform.machine()} {platform.processor()}"
        )
    telling = ("flags", "Features", "vendor_id", "cpu family", "model", "isa", "CPU implementer", "CPU part", "CPU variant")
    return "\n".join(sorted({line for line in lines if line.startswith(telling)}))


def private_folder(folder: Path) -> Path:
    """Return a folder that only its owner may write to, created if missing, or else a temporary one of this process.

    Code is loaded from it, so nobody else may be able to put files there.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix":
            if not _owned(folder):
                raise PermissionError(0, "it is a link or belongs to another user")
            if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                folder.chmod(0o700)
        return folder
    except OSError as error:
        return _temporary(folder, error.strerror or str(error))


def _owned(folder: Path) -> bool:
    return not folder.is_symlink() and folder.stat().st_uid == os.getuid()


@functools.cache
def _temporary(folder: Path, reason: str) -> Path:
    logger.warning("%s: compiled code cannot be kept there (%s); every process compiles again", folder, reason)
    return Path(_process_folder().name)


@functools.cache
def _process_folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="vocbench-compiled-")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _key(command: list[str], sources: Sequence[Path]) -> str:
    parts = [*command, *FLAGS, _output_of([*command, "--version"]), processor()]
    parts += [text for path in sorted(sources) for text in (path.name, path.read_text())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _compile(command: list[str], source: Path, path: Path) -> None:
    """Write the shared library and then its checksum, each whole or not at all."""
    with replacing(path) as part:
        subprocess.run(
            [*command, *FLAGS, "-shared", str(source), "-o", str(part)],
            check=True, capture_output=True, text=True, timeout=60 * MINUTES, env=os.environ | {"LC_ALL": "C"},
        )  # fmt: skip
        digest = _digest(part)
    write_whole(_checksum(path), digest.encode())


def _checksum(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    """Return whether a library exists and matches its checksum."""
    try:
        return _checksum(path).read_text() == _digest(path)
    except (OSError, UnicodeDecodeError):
        return False


def _complaint(error: Exception) -> str:
    """Return the compiler's first line that names an error, or whatever else went wrong."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        return next((line for line in lines if "error" in line.lower()), lines[0] if lines else f"exit {error.returncode}")
    if isinstance(error, subprocess.TimeoutExpired):
        return f"compiling took more than {error.timeout:g} s; is this machine busy? The next start tries again"
    return " ".join(str(error).split())


def load(name: str, source: Path, includes: Sequence[Path] = ()) -> ctypes.CDLL | None:
    """Return the library compiled from `source`, or its cached file; None without a compiler or if compiling fails.

    `includes` are the files that the source includes. A failure is logged as one warning with the compiler's own message.
    """
    command = compiler()
    if command is None:
        return None
    try:
        folder = private_folder(usable(cache_folder()) / "compiled")
        path = folder / f"{name}-{_key(command, [source, *includes])}.so"
        if not _is_whole(path):
            _compile(command, source, path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("the compiled engine is not used: %s: %s", command[0], _complaint(error)[:300])
        return None
