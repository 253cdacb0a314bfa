import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from vocbench.benchmarks.running.decoded import packed
from vocbench.benchmarks.running.prepared import Compared, draw_id, measure, prepare
from vocbench.benchmarks.settings import RunSettings
from vocbench.restorer.degradations.recipes import degrade, level_degrade
from vocbench.restorer.images import from_uint8, to_uint8, write_image

SETTINGS = RunSettings("sample", "all", "voc", ("identity",), ("d=mobilenet-ssd",), seed=3, draws=2)


@pytest.fixture
def photos(tmp_path, photo):
    write_image(tmp_path / "a.png", photo)
    return [("a", tmp_path / "a.png")]


def test_every_draw_is_degraded_from_its_own_name_and_read_once(photos):
    one, two = prepare(SETTINGS, photos)
    assert [draw_id("a", draw) for draw in (0, 1)] == ["a", "a#1"]
    for made, name in ((one, "a"), (two, "a#1")):
        degraded, levels = degrade(made.clean, "voc", 3, name)
        assert torch.equal(made.degraded, degraded)
        assert made.levels == levels
    assert two.seconds_read == 0.0
    assert two.clean is one.clean


def test_fixed_levels_take_the_place_of_the_recipes_draws(photos):
    levels = {"noise": 20.0}
    (made,) = prepare(replace(SETTINGS, draws=1, levels=json.dumps(levels)), photos)
    assert made.levels == levels
    assert torch.equal(made.degraded, level_degrade(made.clean, levels, 3, "a"))


def test_photos_that_are_degraded_already_are_their_own_clean_ones(photos):
    (made,) = prepare(replace(SETTINGS, draws=1, recipe="none"), photos)
    assert made.degraded is made.clean
    assert made.levels == {}


def test_a_picture_too_small_for_ssim_has_psnr_alone():
    clean = torch.full((3, 6, 9), 0.5).numpy()
    ((found,),) = measure([Compared(clean, [clean + np.float32(0.1)])]).values
    assert found == (pytest.approx(20, abs=1e-4), None)  # 20 log10(1 / 0.1)


def test_all_images_of_a_photo_are_measured_against_its_clean_one(photo):
    clean = packed(from_uint8(to_uint8(photo)))  # (3, H, W) uint8
    (found,) = measure([Compared(clean, [clean // 2, clean])]).values
    assert found[1] == (100.0, pytest.approx(1))
    assert found[0][0] is not None and found[0][0] < 20
