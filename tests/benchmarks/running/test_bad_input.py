"""What a run says of bad input: models that fail, files that are broken, options that do not fit; one line that names it."""

import pytest
from PIL import Image

from tests.support.commands import complaints, run
from tests.support.voc_folders import write_annotation


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        ("NotANumber", "the restorer returned NaN or infinite pixels"),
        ("Smaller", "the restorer returned (3, 70, 89) for an image of (3, 70, 90); it must keep the size"),
        ("Raising", "'no such layer'"),
        ("Hungry", "CUDA out of memory"),
    ],
)
def test_whatever_a_restorer_does_wrong_is_told_with_the_photo(voc_folder, tmp_path, fake, reason):
    done = run(voc_folder, tmp_path / "out", "--restorer", f"bad=tests.support.fakes:{fake}")
    assert done.returncode == 2
    assert "the restorer 'bad' failed on 2099_00000" in done.stderr
    assert reason in done.stderr
    assert len(complaints(done)) == 1


def test_a_detector_that_fails_is_told_with_the_photo(voc_folder, tmp_path):
    done = run(voc_folder, tmp_path / "out", "--detector", "bad=tests.support.fakes:RaisingDetector")
    assert done.returncode == 2
    assert "the detector 'bad' failed on 2099_00000" in done.stderr
    assert "'no such layer'" in done.stderr
    assert len(complaints(done)) == 1


def spoil_truncate(folder):
    path = folder / "JPEGImages" / "2099_000002.jpg"
    path.write_bytes(path.read_bytes()[:200])


def spoil_middle(folder):
    """A picture with a sound beginning and end."""
    path = folder / "JPEGImages" / "2099_000002.jpg"
    Image.effect_noise((90, 70), 50).save(path, "PNG")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 8] = bytes(8)
    path.write_bytes(data)


def spoil_encoding(folder):
    (folder / "Annotations" / "2099_000002.xml").write_text('<?xml version="1.0" encoding="klingon"?><annotation/>')


def spoil_text(folder):
    (folder / "JPEGImages" / "2099_000002.jpg").write_text("no photo")


def spoil_xml(folder):
    (folder / "Annotations" / "2099_000002.xml").write_text("<annotation>")


def spoil_box(folder):
    write_annotation(folder / "Annotations" / "2099_000002.xml", objects=[("dog", (1, 1, 500, 5), 0)])


def spoil_size(folder):
    write_annotation(folder / "Annotations" / "2099_000002.xml", size=(500, 400), objects=[("dog", (1, 1, 400, 300), 0)])


def spoil_photo(folder):
    (folder / "JPEGImages" / "2099_000002.jpg").unlink()


def spoil_split(folder):
    (folder / "ImageSets" / "Main" / "val.txt").write_text("")


def spoil_huge(folder):
    Image.new("L", (9000, 6000)).save(folder / "JPEGImages" / "2099_000002.jpg", quality=5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_truncate, r"2099_000002.jpg: damaged or truncated picture"),
        (spoil_middle, r"2099_000002.jpg: damaged or truncated picture"),
        (spoil_encoding, r"2099_000002.xml: not a readable VOC annotation (unknown encoding"),
        (spoil_text, r"2099_000002.jpg: not a JPEG or PNG picture"),
        (spoil_xml, r"2099_000002.xml: not a readable VOC annotation"),
        (spoil_box, r"2099_000002.xml: the box [0, 0, 500, 5] of a dog is not inside"),
        (spoil_size, r"2099_000002.jpg: is 90x70 pixels, but its annotation says 500x400; one of them is wrong"),
        (spoil_photo, r"2099_000002.jpg: missing photo"),
        (spoil_split, r"val.txt: a split with no images"),
        (spoil_huge, r"2099_000002.jpg: 9000x6000 is 54 megapixels, above the limit of 50"),
    ],
)
def test_bad_input_ends_in_one_line_that_names_the_file(voc_folder, tmp_path, spoil, message):
    spoil(voc_folder)
    before = {path: path.read_bytes() for path in voc_folder.rglob("*") if path.is_file()}
    done = run(voc_folder, tmp_path / "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(complaints(done)) == 1
    assert not (tmp_path / "out").exists()
    assert before == {path: path.read_bytes() for path in voc_folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--restorer", "owam"], "unknown restorer 'owam'; did you mean 'owan'? Choose one of"),
        (["--recipe", "fog"], "unknown recipe 'fog'; choose one of"),
        (["--split", "test"], "has no split 'test'; there are val"),
        (["--detector", "rcnn"], "unknown detector 'rcnn'"),
        (["--limit", "0"], "'--limit': 0 is not in the range x>=1"),
        (["--skip", "-1"], "'--skip': -1 is not in the range x>=0"),
        (["--skip", "5"], "--skip leaves no photo: 5 of the 5 of val; give a smaller one"),
        (["--draws", "0"], "'--draws': 0 is not in the range x>=1"),
        (["--examples", "-1"], "'--examples': -1 is not in the range x>=0"),
        (["--workers", "-1"], "'--workers': -1 is not in the range x>=0"),
        (["--batch", "-1"], "'--batch': -1 is not in the range x>=0"),
        (["--device", "cuda:77"], "--device cuda:77"),
        (["--device", "mps"], "mps: expected auto, cpu, cuda or cuda:N"),
        (["--restorer", "owan:none.pth"], "none.pth: no such weights file"),
        (["--restorer", "bright=identity"], "two restorers are called 'bright'"),
        (["--restorer", "blob=identity"], "a restorer and a detector are both called 'blob'; name them with LABEL=NAME"),
        (["--tile", "abc"], "tiling 'abc' is neither 'whole' nor SIZE:STRIDE"),
        (["--engine", "warp"], "unknown engine 'warp'; choose one of auto"),
    ],
)
def test_bad_options_end_in_one_line(voc_folder, tmp_path, arguments, message):
    done = run(voc_folder, tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_refused(voc_folder, tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "other.safetensors")
    done = run(voc_folder, tmp_path / "out", "--restorer", f"owan:{tmp_path}/other.safetensors")
    assert done.returncode == 2
    assert "other.safetensors: not weights of owan: " in done.stderr


def test_a_folder_that_cannot_be_written_to_is_named(voc_folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run(voc_folder, tmp_path / "file" / "out")
    assert done.returncode == 2
    assert "cannot be written to" in done.stderr
