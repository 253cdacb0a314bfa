import torch
from skimage import data
from torch import nn
from vocbench.benchmarks.experiments.harmlessness import COLOURS, harm, measure, pictures
from vocbench.pipeline import load_restorer
from vocbench.restorer.images import from_uint8


class Painter(nn.Module):
    """Leaves pictures alone but for one cyan block."""

    def forward(self, images):
        painted = images.clone()
        painted[:, 0, 32:48, 32:48] = 0
        return painted


def test_a_restorer_that_changes_nothing_harms_nothing():
    assert {(row.psnr, row.largest, row.block) for row in measure(nn.Identity())} == {(100.0, 0.0, 0.0)}


def test_a_painted_block_is_found_by_its_mean():
    worst = measure(Painter())[0]
    assert worst.largest == 1 and worst.block == 1


def test_harm_is_that_of_the_changed_pixels():
    picture = torch.full((3, 32, 32), 0.5)
    changed = picture.clone()
    changed[:, :16, :16] += 0.1  # a quarter of the pixels: a mean squared error of 0.0025, 26.02 dB
    row = harm("square", picture, changed)
    assert round(row.psnr, 2) == 26.02
    assert abs(row.largest - 0.1) < 1e-6 and abs(row.block - 0.1) < 1e-6


def test_letterboxed_photos_are_among_the_pictures_where_a_photo_is_given():
    photo = torch.rand(3, 300, 400, generator=torch.Generator().manual_seed(0))
    names = {name for name, _ in pictures(photo)}
    assert {"white", "gradient 0", "drawing 0", "letterbox 0"} <= names


def test_the_default_restorer_harms_no_flat_smooth_drawn_or_letterboxed_picture():
    photo = from_uint8(data.astronaut())
    worst, *others = measure(load_restorer(device="cpu"), photo)
    assert len(others) == 33
    assert worst.psnr > 40
    assert {row.psnr for row in (worst, *others) if row.name in COLOURS} == {100.0}  # flat ones come back to the bit
