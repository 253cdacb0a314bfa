"""The tiling of a photo: size and stride of its tiles. Imports nothing heavy; the module `tiling` applies it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Tiling:
    """Square tiles of `size` pixels, every `stride` pixels; both None for the whole photo at once."""

    size: int | None = None
    stride: int | None = None

    def __post_init__(self) -> None:
        if self.size is None and self.stride is None:
            return
        if not (self.size and self.stride and 0 < self.stride <= self.size):
            raise ValueError(f"a tiling needs 0 < stride <= size, got size {self.size}, stride {self.stride}")

    @classmethod
    def parse(cls, text: str) -> Tiling:
        """Parse `whole`, or SIZE:STRIDE in pixels, such as 63:42."""
        if text == "whole":
            return cls()
        found = re.fullmatch(r"(\d{1,5}):(\d{1,5})", text)
        if not found:
            raise ValueError(f"tiling {text!r} is neither 'whole' nor SIZE:STRIDE in pixels, such as 63:42")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return "whole" if self.size is None else f"{self.size}:{self.stride}"
