"""A user's own restorers and detectors: `package.module:factory` or `FILE.py:factory`, imported and called."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn
from vocbench.pipeline.chain import reason
from vocbench.pipeline.specs import Spec


def source_of(name: str) -> Path | None:
    """Return the file that `package.module:factory` or `FILE.py:factory` comes from; None where there is none of source."""
    place = name.rpartition(":")[0]
    if place.endswith(".py"):
        return Path(place)
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        return None
    return Path(found.origin) if found and found.origin else None


def made_by_factory(spec: Spec, device: str, kind: str) -> nn.Module:
    """Return the model built by the factory of a specification, in evaluation mode; ValueError, naming it, if that fails.

    The factory gets `device` and `weights`, the file after the second colon, if it has arguments of these names.
    """
    try:
        factory = _imported(spec.name)
    except Exception as error:  # whatever a module of the user's does when it is imported
        where = "" if ".py:" in spec.name else "; is it on PYTHONPATH?"
        raise ValueError(f"the {kind} {spec.name!r} could not be imported ({reason(error)}){where}") from None
    given = _arguments(factory, {"device": device, "weights": spec.weights}, f"the {kind} {spec.name!r}")
    try:
        model = factory(**given)
    except Exception as error:
        how = f"with {' and '.join(given)}" if given else "without arguments"
        called = f"called {how}, it raised {type(error).__name__}"
        raise ValueError(f"the {kind} {spec.name!r} could not be built: {called} ({reason(error)})") from None
    if isinstance(model, nn.Module):
        model.eval()  # in training mode, batch norms would make results depend on the order of the photos
    if not callable(model):
        raise ValueError(f"the {kind} {spec.name!r} returned {type(model).__name__}; expected a callable that takes images")
    return model


def _arguments(factory: Callable[..., Any], offered: dict[str, str | None], who: str) -> dict[str, str]:
    """Return the offered arguments that the factory accepts; ValueError for weights that it does not accept."""
    try:
        known = set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # written in C
        known = set()
    if offered["weights"] and "weights" not in known:
        raise ValueError(f"{who} takes no weights: give the factory an argument `weights`, or leave the file out")
    return {name: value for name, value in offered.items() if value is not None and name in known}


def _imported(name: str) -> Callable[..., Any]:
    place, _, attribute = name.rpartition(":")
    return getattr(_module_of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place), attribute)


def _module_of_file(path: Path) -> ModuleType:
    """Return the module of a file, imported once; it may import modules in its folder."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    name = f"vocbench_own_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, as dataclasses look themselves up there
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that the user's modules never hide installed packages
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
