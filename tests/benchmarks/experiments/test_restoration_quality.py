import csv
import json

import pytest
import torch
from vocbench.benchmarks.experiments.restoration_quality import Quality, measure, read_pairs, to_markdown, write
from vocbench.restorer.images import write_image


def folder(path, names, levels=lambda name: int(name), side=4):
    """Pictures of one level each, by name."""
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(path / name, torch.full((3, side, side), levels(name.rpartition("/")[2].partition(".")[0]) / 255))
    return path


def test_pairs_have_the_same_name_at_any_depth_whatever_the_suffix(tmp_path):
    clean = folder(tmp_path / "clean", ["10.png", "9.png", "more/3.png"])
    degraded = folder(tmp_path / "in", ["9.png", "more/3.webp", "10.png"])
    pairs = read_pairs(degraded, clean)
    assert len(pairs) == 3
    for one, two in pairs:
        assert (one - two).abs().max() < 1.5 / 255  # WebP may be a level off


def test_a_picture_without_a_partner_is_refused_by_name(tmp_path):
    clean = folder(tmp_path / "clean", ["1.png", "2.png"])
    renamed = folder(tmp_path / "renamed", ["01.png", "02.png"])
    with pytest.raises(ValueError, match=r"renamed/01\.png: .*clean holds no picture '01' \(and 1 more\); pairs"):
        read_pairs(renamed, clean)
    with pytest.raises(ValueError, match=r"clean/2\.png: .*less holds no picture '2'; pairs have the same name"):
        read_pairs(folder(tmp_path / "less", ["1.png"]), clean)


def test_two_pictures_of_one_name_are_refused(tmp_path):
    twice = folder(tmp_path / "twice", ["1.png", "1.jpg"])
    with pytest.raises(ValueError, match=r"1\.png: .*twice/1\.jpg is also called 1, without its suffix; rename one"):
        read_pairs(twice, folder(tmp_path / "clean", ["1.png"]))


def test_sizes_are_told_as_width_and_height(tmp_path):
    small, large = folder(tmp_path / "a", ["1.png"]), folder(tmp_path / "b", ["1.png"], side=6)
    with pytest.raises(ValueError, match=r"a/1\.png: its size differs from its target's, 4x4 and 6x6"):
        read_pairs(small, large)


def test_an_error_of_one_level_is_48_decibel():
    pair = (torch.full((3, 8, 8), 100 / 255), torch.full((3, 8, 8), 101 / 255))
    (row,) = measure("set", [pair], {})
    assert row.psnr == pytest.approx(48.1308, abs=1e-3)  # 20 log10 255


def test_the_files_hold_every_row(tmp_path):
    rows = [Quality(set=name, restorer=restorer, psnr=value, ssim=value / 50, patches=3)
            for name, restorer, value in (("mild", "input", 20.0), ("mild", "owan", 25.5), ("severe", "input", 15.0),
                                          ("severe", "owan", 18.0))]  # fmt: skip
    write(tmp_path, rows)
    told = json.loads((tmp_path / "quality.json").read_text())
    assert told[1] == {"set": "mild", "restorer": "owan", "psnr": 25.5, "ssim": 0.51, "patches": 3}
    with open(tmp_path / "quality.csv", newline="") as file:
        assert [list(row.values()) for row in csv.DictReader(file)] == [[str(value) for value in one.values()] for one in told]
    assert to_markdown(rows).splitlines()[0] == "| PSNR dB / SSIM | mild | severe |"
    assert "| owan | 25.50 / 0.5100 | 18.00 / 0.3600 |" in (tmp_path / "quality.md").read_text()
