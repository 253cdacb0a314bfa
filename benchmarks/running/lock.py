"""One run at a time writes into a folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocbench.benchmarks.storage.run_folder import RunFolder


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Lock the folder for this run; a second run into it is refused. The lock ends with the process.

    If no run is begun, the folder is left as it was.
    """
    try:
        import fcntl
    except ModuleNotFoundError:
        raise OSError("runs lock their folder by fcntl, which this system lacks; use Linux, macOS or WSL") from None
    folder = RunFolder(out)
    try:
        fresh = not out.exists()
        out.mkdir(parents=True, exist_ok=True)
        made = not folder.lock.exists()
        handle = open(folder.lock, "a")  # noqa: SIM115 - held by the with below
    except OSError as error:
        raise OSError(f"{out}: cannot be written to ({error.strerror}); choose another `out`") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"{out}: another run is writing here; wait for it or choose another `out`") from None
        try:
            yield
        finally:
            if made and not folder.record.exists():
                folder.lock.unlink(missing_ok=True)
                if fresh and not any(out.iterdir()):
                    out.rmdir()
