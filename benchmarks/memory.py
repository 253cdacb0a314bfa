"""The peak memory of a process, if the system reports it."""

from __future__ import annotations

import sys


def resident_peak(*, children: bool = False) -> int | None:
    """Return the peak resident memory of this process in bytes, or with `children` the largest of any child that has ended.

    None if the system lacks `resource`, as Windows does.
    """
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, Linux kilobytes
