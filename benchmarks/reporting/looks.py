"""The look of a variant, one in every chart, picture and page: its place among the colours.

Colours are CSS classes `s0` to `s9` (marks) and `l0` to `l9` (lines), so that light, dark and paper follow the page; lines
differ by dashes too, and from the eleventh variant on marks get paler.
"""

from __future__ import annotations

from collections.abc import Iterable

from vocbench.benchmarks.variants import AS_IS, label_of

COLOURS, DASHES, SHADES = 10, 5, 3
FIXED = ("clean", "distorted")  # have a colour in every page, whether shown there or not


def look_places(names: Iterable[str]) -> dict[str, int]:
    """Return the place of each variant's look; a restorer has one, on distorted and on clean photos."""
    labels = {name: "distorted" if name == AS_IS else label_of(name) for name in names}  # both are what restoring begins with
    places = {label: i for i, label in enumerate(dict.fromkeys([*FIXED, *labels.values()]))}
    return {name: places[label] for name, label in labels.items()}


def mark_class(place: int) -> str:
    """Return the CSS classes of the marks at this place."""
    return f"s{place % COLOURS} o{min(place // COLOURS, SHADES - 1)}"


def line_class(place: int) -> str:
    """Return the CSS classes of the line at this place: fifty differ in colour or dashes."""
    return f"l{place % COLOURS} d{(place + place // COLOURS) % DASHES}"
