import torch
from click.testing import CliRunner
from skimage import data
from torch import nn
from vocbench.benchmarks.experiments.harmlessness import COLOURS, harm, main, measure, measure_photos, pictures, summary
from vocbench.pipeline import load_restorer
from vocbench.restorer.images import from_uint8, write_image


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


def write_photos(folder):
    """A detailed photo and a flat one, and a restorer's view of them: the painter harms both."""
    detailed = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    paths = [folder / "detailed.png", folder / "flat.png"]
    write_image(paths[0], detailed)
    write_image(paths[1], torch.full((3, 64, 64), 0.5))
    return paths


def test_clean_photos_come_flattest_first_with_their_harm(tmp_path):
    flat, detailed = measure_photos(Painter(), write_photos(tmp_path))
    assert (flat.name, detailed.name) == ("flat", "detailed")
    assert flat.detail == 0 and 0.2 < detailed.detail < 0.5
    assert abs(flat.block - 128 / 255) < 1e-6 and round(flat.psnr, 1) == 22.8  # a sixteenth of one colour off by a half


def test_the_summary_of_clean_photos_names_the_worst_block_and_the_flattest(tmp_path):
    lines = summary(measure_photos(Painter(), write_photos(tmp_path)))
    assert lines[0].startswith("2 photos: ") and "block means off by 0.5" in lines[0]
    assert lines[1] == "2 flattest: 21.9 dB at least"
    assert {line.split()[0] for line in lines[2:]} == {"flat", "detailed"}


def test_a_data_set_is_measured_by_the_command(tmp_path):
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / name).mkdir(parents=True)
    write_photos(tmp_path / "JPEGImages")
    (tmp_path / "ImageSets/Main/val.txt").write_text("detailed\nflat\n")
    result = CliRunner().invoke(main, ["--restorer", "identity", "--data", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0].startswith("2 photos: 100.0 dB on average, 100.0 dB at least")
