from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from vocbench.benchmarks.experiments.ceilings import RECIPES, degraded, main, spread, tiles
from vocbench.restorer.images import read_image, write_image
from vocbench.restorer.networks.owan import UNMEASURED, Owan
from vocbench.restorer.networks.owan_files import load_owan
from vocbench.restorer.networks.owan_subpixel import SubpixelOwan
from vocbench.restorer.weight_files import open_weights, save_weights


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        write_image(folder / f"{number}.png", torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(number)))
    return folder


def test_photos_are_taken_at_equal_distances():
    paths = [Path(name) for name in "abcdefgh"]
    assert spread(paths, 4) == paths[::2]
    assert spread(paths[:2], 4) == paths[:2]


def test_each_photo_comes_clean_and_by_each_recipe(photos):
    path = photos / "0.png"
    made = list(degraded([path]))
    assert len(made) == len(RECIPES)
    assert torch.equal(made[0][0], read_image(path))
    assert all(not torch.equal(one, made[0]) for one in made[1:])


def test_the_weights_are_written_with_ceilings_and_what_they_say_about_themselves(photos, tmp_path):
    network, given, out = SubpixelOwan(2), tmp_path / "given.safetensors", tmp_path / "made.safetensors"
    save_weights(given, network.state_dict(), "owan-half", "whole", hours=3)
    done = CliRunner().invoke(main, [str(given), "--clean", str(photos), "--photos", "2", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("2 photos: ")
    assert open_weights(out).facts == open_weights(given).facts
    made = load_owan(out)
    assert 0 < made.ceilings.max() < network.ceilings.max()
    assert torch.equal(made.tail.weight, network.tail.weight)


def test_weights_that_do_not_name_their_network_are_refused(photos, tmp_path):
    torch.save(SubpixelOwan(2).state_dict(), tmp_path / "w.pth")
    done = CliRunner().invoke(main, [str(tmp_path / "w.pth"), "--clean", str(photos), "--out", str(tmp_path / "x.safetensors")])
    assert done.exit_code == 1
    assert "w.pth: does not name its network; give a .safetensors file that `vocbench train` wrote" in done.output


def test_of_a_network_for_tiles_tiles_are_measured(photos, tmp_path):
    path, out = tmp_path / "full.safetensors", tmp_path / "made.safetensors"
    save_weights(path, Owan().state_dict(), "owan", "16:8")
    done = CliRunner().invoke(main, [str(path), "--clean", str(photos), "--photos", "1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert 0 < load_owan(out).ceilings.max() < UNMEASURED


def test_a_tile_is_as_large_as_asked_for_and_lies_inside():
    images = [torch.arange(20.0 * 30).reshape(1, 1, 20, 30), torch.rand(1, 1, 5, 30)]
    first, second = tiles(images, 8)
    assert first.shape == (1, 1, 8, 8)
    top, left = divmod(int(first[0, 0, 0, 0]), 30)
    assert torch.equal(first, images[0][..., top : top + 8, left : left + 8])
    assert second.shape == (1, 1, 5, 8)
    assert [one.shape for one in tiles(images, None)] == [image.shape for image in images]
