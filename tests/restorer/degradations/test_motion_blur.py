import numpy as np
import pytest
import torch
from vocbench.restorer.degradations.motion_blur import CANVAS, motion_blur, rasterise, trajectory
from vocbench.restorer.degradations.recipes import draw_levels


@pytest.mark.parametrize("length", [10.0, 80.0])
def test_a_trajectory_has_its_length_and_constant_speed(length):
    steps = np.abs(np.diff(trajectory(length, np.random.default_rng(0))))
    assert steps.sum() == pytest.approx(length)
    assert steps.std() < 1e-9


def test_trajectories_shake():
    paths = [trajectory(60, np.random.default_rng(i)) for i in range(30)]
    reach = [np.ptp(path.real) + np.ptp(path.imag) for path in paths]
    assert min(reach) < 45 < max(reach)  # some nearly straight, some curled up


def test_a_point_at_rest_is_a_single_pixel_and_a_line_is_a_line():
    still = rasterise(np.zeros(5, complex), 9)
    assert still[4, 4] == 1
    line = rasterise(np.linspace(0, 4, 2001) + 0j, 9)
    assert line.sum() == pytest.approx(1)
    np.testing.assert_allclose(line[4, 3:6], 0.25, atol=1e-3)
    assert line[:4].sum() == 0


def test_a_camera_that_hardly_moves_shifts_nothing(photo):
    torch.testing.assert_close(motion_blur(photo, 1e-6, np.random.default_rng(0)), photo, atol=1e-5, rtol=0)


def test_the_middle_of_a_blurred_point_stays_where_it_was_on_average():
    point = torch.zeros(3, 129, 129)
    point[:, 64, 64] = 1
    rows = torch.arange(129.0)
    blurred = [motion_blur(point, 40, np.random.default_rng(i))[0] for i in range(60)]
    middles = torch.stack([torch.stack([(one.sum(1) * rows).sum(), (one.sum(0) * rows).sum()]) / one.sum() for one in blurred])
    assert (middles.mean(0) - 64).abs().max() < 3 * middles.std(0).max() / 60**0.5


def test_a_path_longer_than_the_canvas_stays_inside():
    kernel = rasterise(np.linspace(0, 300, 2001) + 0j)
    assert kernel.shape == (CANVAS, CANVAS)
    assert kernel.sum() == pytest.approx(1)


def test_motion_blur_keeps_flat_pictures_and_depends_on_the_generator_alone(photo):
    flat = torch.full((3, 20, 30), 0.4)
    torch.testing.assert_close(motion_blur(flat, 40, np.random.default_rng(0)), flat, atol=1e-6, rtol=0)
    one, two = (motion_blur(photo, 30, np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == photo.shape
    assert not torch.equal(one, motion_blur(photo, 30, np.random.default_rng(8)))


def test_mix_draws_every_number_of_types():
    generator = np.random.default_rng(0)
    drawn = [draw_levels("mix", generator) for _ in range(200)]
    assert {len(levels) for levels in drawn} == {1, 2, 3}
    assert {name for levels in drawn for name in levels} == {"motion", "noise", "jpeg"}
    for levels in drawn:
        assert 10 <= levels.get("motion", 10) <= 80
        assert 10 <= levels.get("noise", 10) <= 30
        assert 15 <= levels.get("jpeg", 15) <= 35
