"""Photos to train on."""

import pytest

from tests.support.photos import write_photos


@pytest.fixture
def folder(tmp_path):
    return write_photos(tmp_path / "photos")
