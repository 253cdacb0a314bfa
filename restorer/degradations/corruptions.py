"""The common corruptions of Hendrycks and Dietterich (ICLR 2019) at severities 1 to 5, from the library imagecorruptions.

Some of the library's corruptions fail with today's scikit-image and NumPy; `usable` returns those that work here.
"""

from __future__ import annotations

import functools
import threading
import warnings
from types import ModuleType

import numpy as np
from numpy.random import Generator
from torch import Tensor
from vocbench.restorer.images import from_uint8, to_uint8

SEVERITIES = (1, 2, 3, 4, 5)
PREFIX = "corruption:"  # of a level's name: `corruption:fog` at level 3
_lock = threading.Lock()  # the library draws from numpy's global generator


def corrupt(image: Tensor, name: str, severity: float, generator: Generator) -> Tensor:
    """Apply a named corruption to (3, H, W) in [0, 1], at least 32 pixels a side; random parts come from `generator`.

    Raises ValueError where the library is missing, does not know the name, or fails.
    """
    imagecorruptions = _library()
    if severity not in SEVERITIES:
        raise ValueError(f"the severity of a corruption must be 1 to 5, got {severity}")
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name not in imagecorruptions.get_corruption_names("all"):
            raise ValueError(
                f"unknown corruption {name!r}; the library has {', '.join(imagecorruptions.get_corruption_names())}"
            )
        kept = np.random.get_state()
        np.random.seed(int(generator.integers(2**32)))
        try:
            if name == "impulse_noise":
                return _impulse_noise(image, int(severity), generator)
            made = imagecorruptions.corrupt(to_uint8(image), corruption_name=name, severity=int(severity))
        except Exception as error:
            raise ValueError(f"the corruption {name!r} of imagecorruptions fails here: {error}") from None
        finally:
            np.random.set_state(kept)
    return from_uint8(np.asarray(made, np.uint8))


def _impulse_noise(image: Tensor, severity: int, generator: Generator) -> Tensor:
    """Add impulse noise as the library does, whose own random numbers cannot be seeded."""
    from skimage.util import random_noise

    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    array = to_uint8(image).astype(np.float64) / 255
    return from_uint8((random_noise(array, mode="s&p", rng=generator, amount=share).clip(0, 1) * 255).astype(np.uint8))


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import imagecorruptions
    except ImportError as error:  # the library itself, or pkg_resources, which setuptools dropped in version 81
        raise ValueError(f'common corruptions need imagecorruptions: pip install ".[corruptions]" ({error})') from None
    return imagecorruptions


@functools.cache
def usable() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the common corruptions that work here, and those that fail; both empty where the library cannot be imported."""
    try:
        imagecorruptions = _library()
    except ValueError:
        return (), ()
    works, fails = [], []
    for name in imagecorruptions.get_corruption_names():
        try:
            corrupt(from_uint8(np.full((64, 64, 3), 128, np.uint8)), name, 3, np.random.default_rng(0))
            works.append(name)
        except ValueError:
            fails.append(name)
    return tuple(works), tuple(fails)
