"""The names of a run's variants: `clean`, `distorted`, each restorer's label, and `clean+LABEL` for clean photos restored.

Photos that are degraded already have no clean twin: a run on them has `as-is` in place of `clean` and `distorted`.

A label may begin with "clean" too ("cleaner"), so only this module tells the names apart.
"""

from __future__ import annotations

from collections.abc import Iterable

ON_CLEAN = "clean+"
AS_IS = "as-is"
UNRESTORED = ("clean", "distorted", AS_IS)


def on_clean(label: str) -> str:
    """Return the variant of the restorer `label` on clean photos."""
    return ON_CLEAN + label


def label_of(name: str) -> str:
    """Return the label of a restorer's variant, on distorted or on clean photos."""
    return name.removeprefix(ON_CLEAN)


def restores_clean(name: str) -> bool:
    """Return whether a variant is a restorer on clean photos."""
    return name.startswith(ON_CLEAN)


def is_clean(name: str) -> bool:
    """Return whether a variant's photos were not distorted, restored or not."""
    return name == "clean" or restores_clean(name)


def restored(names: Iterable[str]) -> list[str]:
    """Return the variants that are distorted photos, or photos as they were, restored."""
    return [name for name in names if name not in UNRESTORED and not restores_clean(name)]


def base(names: Iterable[str]) -> str:
    """Return the variant that restoring begins with: `as-is` where a run has it, else `distorted`."""
    return AS_IS if AS_IS in names else "distorted"


def before(name: str, names: Iterable[str]) -> str | None:
    """Return the variant that a restored variant's photos were before restoring; None for variants that are not restored."""
    if name in UNRESTORED:
        return None
    return "clean" if restores_clean(name) else base(names)
