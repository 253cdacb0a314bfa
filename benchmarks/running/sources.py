"""The source of a user's own models, `package.module:factory`, by which a resumed run recognises them."""

from __future__ import annotations

from vocbench.benchmarks.settings import RunSettings, file_digest
from vocbench.pipeline.models import parse_detector, parse_restorer
from vocbench.pipeline.own import source_of
from vocbench.pipeline.specs import OWN


def own_sources(settings: RunSettings) -> dict[str, str | None]:
    """Return the SHA-256 of the file that a user's own models come from, by label; None for one that has no file of source."""
    specs = [parse_restorer(text) for text in settings.restorers] + [parse_detector(text) for text in settings.detectors]
    files = {spec.label: source_of(spec.name) for spec in specs if OWN.fullmatch(spec.name)}
    return {label: file_digest(path) if path and path.is_file() else None for label, path in files.items()}
