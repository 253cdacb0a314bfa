"""Pictures drawn for training."""

import numpy as np
import pytest
from vocbench.restorer.training.drawn import DRAWN, draw, flat, letterboxed


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("side", [1, 7, 64])
def test_every_kind_fills_its_square_with_levels(kind, side):
    for seed in range(8):
        picture = DRAWN[kind](side, np.random.default_rng(seed))
        assert picture.shape == (side, side, 3)
        assert 0 <= picture.min() <= picture.max() <= 255


def test_a_flat_picture_has_one_colour():
    picture = flat(9, np.random.default_rng(3))
    assert (picture == picture[0, 0]).all()


def test_a_drawn_picture_is_that_of_its_seed():
    first, again, other = (draw(16, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert (first != other).any()


def test_bars_leave_the_photo_between_them_as_it_was():
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    kept = photo.copy()
    for seed in range(20):
        boxed = letterboxed(photo, np.random.default_rng(seed))
        same = (boxed == photo).all(2)
        inside = np.flatnonzero(same.all(1)) if same.all(1).any() else np.flatnonzero(same.all(0))
        assert len(inside) == 0 or (np.diff(inside) == 1).all()
    assert (photo == kept).all()
