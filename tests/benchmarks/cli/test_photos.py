"""`restore` and `detect` on folders, broken photos, and photos of other forms."""

import json
from io import BytesIO

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageCms
from vocbench.benchmarks.cli.main import cli

from tests.support.web import Answer, server

DETECTOR = ["--detector", "tests.support.fakes:BlobDetector"]


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def album(tmp_path):
    """Two photos at two depths, and a broken one between them."""
    (tmp_path / "album" / "2024").mkdir(parents=True)
    for name in ("2024/a.png", "c.png"):
        Image.effect_noise((40, 36), 50).convert("RGB").save(tmp_path / "album" / name)
    (tmp_path / "album" / "b.png").write_text("no photo")
    return tmp_path / "album"


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_restored_with_its_tree_and_the_broken_photo_is_listed(album, tmp_path):
    done = invoke("restore", album, "--restorer", "identity", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert names(tmp_path / "out") == ["2024/a.png", "c.png"]
    assert "1 of 3 photos failed:\n" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"  {album}/b.png: not a JPEG or PNG picture")


def test_what_is_restored_already_is_skipped(album, tmp_path):
    given = ["restore", album, "--restorer", "identity", "--out", tmp_path / "out"]
    invoke(*given)
    (album / "b.png").unlink()
    before = (tmp_path / "out" / "c.png").stat().st_mtime_ns
    with pytest.raises(ValueError, match="already there; choose another --out, or continue with --skip-existing"):
        invoke(*given)
    Image.new("RGB", (33, 33), (9, 0, 0)).save(album / "d.png")
    done = invoke(*given, "--skip-existing")
    assert done.stderr.startswith("2 of 3 photos are restored already\n")
    assert (tmp_path / "out" / "d.png").is_file()
    assert (tmp_path / "out" / "c.png").stat().st_mtime_ns == before
    assert invoke(*given, "--skip-existing").exit_code == 0


@pytest.mark.parametrize("command", [["restore", "--restorer", "identity"], ["detect", *DETECTOR]])
def test_photos_of_one_name_and_two_suffixes_give_two_files(tmp_path, command):
    (tmp_path / "album").mkdir()
    for name in ("a.png", "a.webp", "b.png"):
        Image.new("RGB", (40, 36), (9, 0, 0)).save(tmp_path / "album" / name)
    done = invoke(*command, tmp_path / "album", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert names(tmp_path / "out") == ["a.png.png", "a.webp.png", "b.png"]
    assert f"{tmp_path}/album/a.webp" in done.stdout
    assert f" -> {tmp_path}/out/a.webp.png" in done.stdout


def test_of_photos_of_one_name_the_one_that_is_missing_is_restored(tmp_path):
    (tmp_path / "album").mkdir()
    for name in ("a.png", "a.webp"):
        Image.new("RGB", (40, 36), (9, 0, 0)).save(tmp_path / "album" / name)
    given = ["restore", tmp_path / "album", "--restorer", "identity", "--out", tmp_path / "out"]
    invoke(*given)
    (tmp_path / "out" / "a.webp.png").unlink()
    done = invoke(*given, "--skip-existing")
    assert done.stderr.startswith("1 of 2 photos are restored already\n")
    assert done.stdout == f"{tmp_path}/album/a.webp -> {tmp_path}/out/a.webp.png\n"


def test_detect_takes_folders_and_goes_on_after_a_broken_photo(album):
    done = invoke("detect", album, *DETECTOR, "--json")
    assert done.exit_code == 1
    assert list(json.loads(done.stdout)) == [str(album / "2024" / "a.png"), str(album / "c.png")]
    assert "1 of 3 photos failed:" in done.stderr


@pytest.mark.parametrize(("form", "suffix"), [("jpeg", ".jpg"), ("webp", ".webp")])
def test_other_formats_are_written(tmp_path, form, suffix):
    Image.new("RGB", (40, 40), (200, 10, 10)).save(tmp_path / "a.bmp")
    done = invoke("restore", tmp_path / "a.bmp", "--restorer", "identity", "--out", tmp_path / "out", "--format", form)
    assert done.stdout == f"{tmp_path}/a.bmp -> {tmp_path}/out/a{suffix}\n"
    with Image.open(tmp_path / "out" / f"a{suffix}") as made:
        assert made.format == form.upper()


def test_a_photo_of_another_colour_space_shows_the_same_colours(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile[:80] + b"XXXX" + profile[84:]  # another maker: told apart from one that is put in
    levels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png", icc_profile=profile)
    invoke("restore", tmp_path / "a.png", "--restorer", "identity", "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "a.png") as made:
        assert made.info["icc_profile"] == profile
        assert np.array_equal(np.asarray(made), levels)


def test_a_grey_photo_comes_back_grey(tmp_path):
    Image.effect_noise((70, 70), 50).save(tmp_path / "a.png")
    invoke("restore", tmp_path / "a.png", "--restorer", "dncnn", "--out", tmp_path / "out", "--batch", 1)
    with Image.open(tmp_path / "out" / "a.png") as made:
        assert made.mode == "L"


def test_the_limit_of_megapixels_is_an_option(tmp_path):
    from tests.support.commands import vocbench

    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    given = ["restore", tmp_path / "a.png", "--restorer", "identity", "--out", tmp_path / "out", "--max-megapixels"]
    done = vocbench(*given, "0.01")
    assert done.returncode == 2
    assert "a.png: 200x100 is 0.02 megapixels, above the limit of 0.01; scale it down, or raise --max-megapixels" in done.stderr
    assert invoke(*given, "0.02").exit_code == 0


def bars(path, first, second):
    """A picture of two colours side by side, without noise."""
    picture = Image.new("RGB", (90, 70), first)
    picture.paste(second, (45, 0, 90, 70))
    picture.save(path)


COMPARE = ["--compare", "--restorer", "wide=tests.support.fakes:Stretch", "--detector", "tests.support.fakes:SharpDetector"]


def test_compare_tells_what_came_and_what_went(tmp_path):
    bars(tmp_path / "dull.png", (100, 100, 100), (145, 145, 145))  # stretched, 1.6 times the contrast
    bars(tmp_path / "flat.png", (120, 120, 120), (120, 120, 120))
    done = invoke("detect", tmp_path / "*.png", *COMPARE, "--score", 0.05, "--out", tmp_path / "out")
    assert done.stdout.splitlines() == [
        f"{tmp_path}/dull.png: 1 object before, 1 object after wide: 1 came, 1 went -> {tmp_path}/out/dull.jpg",
        "  + dog          0.135  [9.0, 9.0, 58.0, 40.0]",
        "  - dog          0.085  [0.0, 50.0, 9.0, 69.0]",
        f"{tmp_path}/flat.png: 0 objects before, 0 objects after wide: no change -> {tmp_path}/out/flat.jpg",
    ]
    assert done.stderr.endswith(f"2 pictures in {tmp_path}/out\n")
    with Image.open(tmp_path / "out" / "dull.jpg") as made:
        width, height = made.size
        box = np.asarray(made.convert("RGB"))[:, width // 2 :]
    assert width == 2 * 90 + 8
    assert height > 70
    assert (np.abs(box.astype(int) - (60, 220, 190)).sum(2) < 90).any()  # what came is drawn at the right


def test_compare_writes_below_runs_and_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bars(tmp_path / "dull.png", (100, 100, 100), (145, 145, 145))
    done = invoke("detect", "dull.png", *COMPARE, "--score", 0.05, "--json")
    told = json.loads(done.stdout)["dull.png"]
    (made,) = (tmp_path / "runs").glob("*-compare/dull.jpg")
    assert told["picture"] == str(made.relative_to(tmp_path))
    assert [len(told[key]) for key in ("before", "after", "came", "went")] == [1, 1, 1, 1]
    assert told["came"] == told["after"]


def test_a_large_photo_is_compared_at_a_size_to_look_at(tmp_path):
    Image.new("RGB", (2560, 1000)).save(tmp_path / "large.png")
    invoke("detect", tmp_path / "large.png", *COMPARE, "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "large.jpg") as made:
        assert made.width == 2 * 1280 + 8


@pytest.fixture
def site(tmp_path):
    """Two photos of one grey, and nothing else, at addresses."""
    picture = BytesIO()
    Image.new("RGB", (40, 36), (90, 90, 90)).save(picture, "PNG")
    with server({path: Answer(picture.getvalue()) for path in ("/a.png", "/b?id=7")}) as address:
        yield address


def test_photos_at_addresses_are_restored_beside_files(site, album, tmp_path):
    given = f"{site}/a.png", album / "c.png", f"{site}/b?id=7", f"{site}/none.jpg"
    done = invoke("restore", *given, "--restorer", "identity", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert names(tmp_path / "out") == ["a.png", "b.png", "c.png"]
    assert f"{site}/a.png -> {tmp_path}/out/a.png\n" in done.stdout
    assert done.stderr.endswith(
        f"1 of 4 photos failed:\n  {site}/none.jpg: the server answered 404 Not Found; check the address\n"
    )


def test_a_photo_at_an_address_is_detected_and_compared(site, tmp_path):
    done = invoke("detect", f"{site}/a.png", *DETECTOR, "--json")
    assert list(json.loads(done.stdout)) == [f"{site}/a.png"]
    invoke("detect", f"{site}/a.png", *COMPARE, "--out", tmp_path / "out")
    assert names(tmp_path / "out") == ["a.jpg"]


def test_an_address_of_another_kind_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match=r"s3://bucket/a\.png: photos are read from http:// and https:// addresses"):
        invoke("detect", "s3://bucket/a.png", *DETECTOR)
