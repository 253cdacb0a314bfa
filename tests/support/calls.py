"""Functions that note how they are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def noting(calls: list[tuple[object, ...]], real: Callable[..., T]) -> Callable[..., T]:
    """Return `real` as a function that adds to `calls` the positional arguments of each call."""

    def noted(*given: object, **named: object) -> T:
        calls.append(given)
        return real(*given, **named)

    return noted
