"""Words of messages, tables and pages that go with numbers. Imports nothing heavy."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural but for one: "1 photo", "2 photos"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
