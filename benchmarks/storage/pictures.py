"""The pictures that a run keeps while it computes: drawn in one place and written in another, so they travel as bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """The objects of a photo regained and lost by the restored variant that changed most."""

    image: str
    regained: int
    lost: int
    variant: str

    @property
    def rank(self) -> tuple[int, int, str]:
        """Sort what changed most first."""
        return -(self.regained + self.lost), -self.regained, self.image


@dataclass(frozen=True)
class Shot:
    """A photo's change and its pictures, JPEG bytes by variant."""

    made: Change
    pictures: dict[str, bytes]


@dataclass(frozen=True)
class Pictures:
    """The pictures of a unit: files of `examples/` by name, and shots for the gallery."""

    examples: dict[str, bytes]
    shots: list[Shot]
