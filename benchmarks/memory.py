"""The peak of a process's memory, where the system tells it."""

from __future__ import annotations

import sys


def resident_peak(*, children: bool = False) -> int | None:
    """Return the most bytes that this process has held in memory so far, or with `children` the most of any that has ended.

    None where the system lacks `resource`, as Windows does.
    """
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS counts bytes, Linux kilobytes
