"""The names of a run's variants: `clean`, `distorted`, each restorer's label, and `clean+LABEL` for clean photos restored.

A label may begin with "clean" all the same ("cleaner"), so names are told apart here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable

ON_CLEAN = "clean+"


def on_clean(label: str) -> str:
    """The variant of the restorer `label` on clean photos."""
    return ON_CLEAN + label


def label_of(name: str) -> str:
    """The label of a restorer's variant, on distorted or on clean photos."""
    return name.removeprefix(ON_CLEAN)


def restores_clean(name: str) -> bool:
    """Whether a variant is a restorer on clean photos."""
    return name.startswith(ON_CLEAN)


def is_clean(name: str) -> bool:
    """Whether a variant's photos were not distorted, restored or not."""
    return name == "clean" or restores_clean(name)


def restored(names: Iterable[str]) -> list[str]:
    """The variants that are distorted photos restored."""
    return [name for name in names if name != "distorted" and not is_clean(name)]
