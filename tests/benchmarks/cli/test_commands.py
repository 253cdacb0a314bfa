"""Every command's help, and the commands that work on single files."""

import io
import json
import subprocess
import sys
import tarfile
from importlib import metadata

import pytest
from click.testing import CliRunner
from vocbench.benchmarks.cli.main import COMMANDS, cli

RUN = CliRunner()


def invoke(*arguments):
    return RUN.invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


def test_help_lists_every_command():
    told = invoke("--help").output
    for name in COMMANDS:
        assert f"  {name} " in told


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    done = invoke(name, "--help")
    assert done.exit_code == 0
    assert "Usage:" in done.output


def test_help_imports_nothing_heavy():
    code = "import sys; from vocbench.benchmarks.cli.main import cli; cli(['--help'], standalone_mode=False);"
    code += "heavy = {'torch', 'numpy', 'pandas', 'torchvision', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version_is_the_packages():
    assert invoke("--version").output.split()[-1] == metadata.version("vocbench")


def test_restore_writes_pngs_and_leaves_the_photos(voc_folder, tmp_path):
    photos = sorted((voc_folder / "JPEGImages").iterdir())[:2]
    before = [path.read_bytes() for path in photos]
    done = invoke("restore", *photos, "--restorer", "tests.support.fakes:Brighten", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["2099_000000.png", "2099_000001.png"]
    assert before == [path.read_bytes() for path in photos]


def test_restore_refuses_to_overwrite_its_input(tmp_path):
    import torch
    from vocbench.restorer.images import write_image

    write_image(tmp_path / "a.png", torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match=r"a\.png: would overwrite a photo"):
        invoke("restore", tmp_path / "a.png", "--restorer", "identity", "--out", tmp_path)
    (tmp_path / "b").mkdir()
    write_image(tmp_path / "b" / "a.png", torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match=r"b/a\.png: .*/a\.png is also called a\.png; rename one of them or leave it out"):
        invoke("restore", tmp_path / "a.png", tmp_path / "b" / "a.png", "--restorer", "identity", "--out", tmp_path / "o")


def test_outputs_that_are_there_are_kept_and_no_folder_is_made_for_bad_input(voc_folder, tmp_path):
    photo, out = voc_folder / "JPEGImages" / "2099_000000.jpg", tmp_path / "out"
    (tmp_path / "text.jpg").write_text("no photo")
    for command in (["restore", "--restorer", "identity"], ["detect", "--detector", "tests.support.fakes:BlobDetector"]):
        with pytest.raises(ValueError, match=r"text\.jpg: not a JPEG or PNG picture"):
            invoke(*command, tmp_path / "text.jpg", "--out", out)
        assert not out.exists()
    assert invoke("restore", photo, "--restorer", "identity", "--out", out).exit_code == 0
    before = (out / "2099_000000.png").read_bytes()
    for command in (
        ["restore", "--restorer", "tests.support.fakes:Brighten"],
        ["detect", "--detector", "tests.support.fakes:BlobDetector"],
    ):
        with pytest.raises(ValueError, match=r"2099_000000\.png: already there; choose another --out"):
            invoke(*command, photo, "--out", out)
    assert (out / "2099_000000.png").read_bytes() == before


def test_failing_models_are_named_with_the_photo(voc_folder, tmp_path):
    photo = voc_folder / "JPEGImages" / "2099_000000.jpg"
    with pytest.raises(ValueError, match=r"the restorer 'bad' failed on .*2099_000000\.jpg: 'no such layer'"):
        invoke("restore", photo, "--restorer", "bad=tests.support.fakes:Raising", "--out", tmp_path / "out")
    with pytest.raises(ValueError, match=r"the restorer 'bad' failed on .*2099_000000\.jpg: 'no such layer'"):
        invoke(
            "detect", photo, "--restorer", "bad=tests.support.fakes:Raising", "--detector", "tests.support.fakes:BlobDetector"
        )
    with pytest.raises(ValueError, match=r"the detector 'bad' failed on .*2099_000000\.jpg: CUDA out of memory"):
        invoke("detect", photo, "--detector", "bad=tests.support.fakes:StarvedDetector")


def test_photos_are_restored_upright(tmp_path):
    from PIL import Image
    from vocbench.restorer.images import read_image

    lying = Image.new("RGB", (40, 20))
    lying.paste((255, 0, 0), (0, 0, 40, 10))  # the upper half is red
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to show
    lying.save(tmp_path / "phone.png", exif=exif)
    assert invoke("restore", tmp_path / "phone.png", "--restorer", "identity", "--out", tmp_path / "out").exit_code == 0
    shown = read_image(tmp_path / "out" / "phone.png")
    assert shown.shape == (3, 40, 20)
    assert shown[0, :, 10:].min() == 1  # the right half is red
    assert shown[0, :, :10].max() == 0
    assert read_image(tmp_path / "phone.png").shape == (3, 20, 40)


def test_a_folder_without_splits_says_what_is_missing(voc_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none: no such folder or file; expected a VOC20xx folder"):
        invoke("run", "--data", tmp_path / "none", "--detector", "tests.support.fakes:BlobDetector")
    with pytest.raises(FileNotFoundError, match=rf"has no ImageSets/Main; did you mean {voc_folder}"):
        invoke("run", "--data", voc_folder.parent, "--detector", "tests.support.fakes:BlobDetector")


def test_detect_takes_torchvisions_form(voc_folder):
    photo = voc_folder / "JPEGImages" / "2099_000000.jpg"
    names = ("MappingDetector", "BlobDetector")
    mapped, plain = (invoke("detect", photo, "--detector", f"tests.support.fakes:{name}").stdout for name in names)
    assert mapped == plain


def test_detect_says_how_to_draw(voc_folder):
    photo = voc_folder / "JPEGImages" / "2099_000000.jpg"
    done = invoke("detect", photo, "--detector", "tests.support.fakes:BlobDetector", "--json")
    assert done.stderr == "nothing was drawn; --compare draws before and after, --out FOLDER writes copies with boxes\n"
    assert list(json.loads(done.stdout)) == [str(photo)]
    assert "default: no copies" in " ".join(invoke("detect", "--help").output.split())


def test_options_that_a_restorer_ignores_are_checked_all_the_same(voc_folder, tmp_path):
    photo = voc_folder / "JPEGImages" / "2099_000000.jpg"
    arguments = ["restore", photo, "--restorer", "identity", "--out", tmp_path / "out"]
    assert "tiling 'abc' is neither 'whole' nor SIZE:STRIDE" in invoke(*arguments, "--tile", "abc").stderr
    assert "unknown engine 'warp'; choose one of auto, native" in invoke(*arguments, "--engine", "warp").stderr
    assert not (tmp_path / "out").exists()


def test_detect_prints_and_draws(voc_folder, tmp_path):
    photo = voc_folder / "JPEGImages" / "2099_000000.jpg"
    arguments = ["detect", photo, "--detector", "tests.support.fakes:BlobDetector", "--restorer", "identity"]
    told = json.loads(invoke(*arguments, "--json", "--out", tmp_path / "out").stdout)
    assert {row["class"] for row in told[str(photo)]} == {"dog", "cat"}
    assert (tmp_path / "out" / "2099_000000.png").is_file()
    assert "dog" in invoke(*arguments).output


def test_detect_restores_at_the_detectors_scale_and_tells_boxes_in_the_photos_pixels(voc_folder, tmp_path):
    from PIL import Image

    photo = voc_folder / "JPEGImages" / "2099_000000.jpg"
    arguments = ["detect", photo, "--detector", "tests.support.fakes:SmallDetector", "--restorer", "identity", "--json"]
    arguments += ["--score", 0.01, "--out"]
    (native,) = json.loads(invoke(*arguments, tmp_path / "native").stdout)[str(photo)]
    (small,) = json.loads(invoke(*arguments, tmp_path / "small", "--restore-at", "detector").stdout)[str(photo)]
    with Image.open(photo) as whole, Image.open(tmp_path / "small" / "2099_000000.png") as drawn:
        width, height = whole.size
        assert drawn.size == whole.size
    assert (native["score"], small["score"]) == pytest.approx((width / 1000, 0.04))
    assert native["box"] == small["box"] == [0, 0, width / 2, height / 2]
    arguments[arguments.index("identity")] = "tests.support.fakes:OpenGate"  # which decides on the photo as it is
    (passed,) = json.loads(invoke(*arguments, tmp_path / "passed", "--restore-at", "detector").stdout)[str(photo)]
    assert passed == native


def test_data_check_names_each_broken_file_of_the_folder(voc_folder):
    main, annotations = voc_folder / "ImageSets" / "Main", voc_folder / "Annotations"
    assert invoke("data", "check", voc_folder).output == "5 photos, 5 annotations, 1 split: nothing broken\n"
    photo = voc_folder / "JPEGImages" / "2099_000001.jpg"
    photo.write_bytes(photo.read_bytes()[:100])
    (annotations / "2099_000003.xml").write_text("<a>")
    (annotations / "2099_000004.xml").write_text(
        (annotations / "2099_000004.xml").read_text().replace("<width>90", "<width>91")
    )
    (voc_folder / "JPEGImages" / "listed_nowhere.jpg").write_text("no photo")
    (annotations / "listed_nowhere.xml").write_text("no XML")
    (main / "dog_train.txt").write_text("2099_000000 1\n2099_000009 -1\n")
    (main / "empty.txt").write_text("")
    done = invoke("data", "check", voc_folder, "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1
    assert {key: told[key] for key in ("photos", "annotations", "splits")} == {"photos": 6, "annotations": 7, "splits": 3}
    assert (told["notes"], told["turned"]) == ({}, {})
    for message in (
        "empty.txt: a split with no images",
        "2099_000009.jpg: missing photo of split 'dog_train'",
        "2099_000009.xml: no such annotation",
        "2099_000003.xml: not a readable VOC annotation",
        "listed_nowhere.xml: not a readable VOC annotation",
        "2099_000001.jpg: damaged or truncated",
        "listed_nowhere.jpg: not a JPEG or PNG picture",
        "2099_000004.jpg: is 90x70 pixels, but its annotation says 91x70",
    ):
        assert sum(message in line for line in told["broken"]) == 1, message
    assert len(told["broken"]) == 8
    assert "6 photos, 7 annotations, 3 splits: 8 broken" in invoke("data", "check", voc_folder).stdout


def test_data_check_of_a_split_reads_that_split_only(voc_folder):
    (voc_folder / "JPEGImages" / "listed_nowhere.jpg").write_text("no photo")
    assert invoke("data", "check", voc_folder, "--split", "val").exit_code == 0
    (voc_folder / "JPEGImages" / "2099_000002.jpg").unlink()
    done = invoke("data", "check", voc_folder, "--split", "val")
    assert "2099_000002.jpg: missing photo of split 'val'" in done.stderr
    assert done.stdout == "4 photos, 5 annotations, 1 split: 1 broken\n"


def test_data_check_says_what_is_missing(voc_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none: no such folder( or file)?; expected a VOC20xx folder"):
        invoke("data", "check", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"has no ImageSets/Main; did you mean .*VOC2099\?"):
        invoke("data", "check", tmp_path)
    with pytest.raises(FileNotFoundError, match="has no split 'test'; there are val"):
        invoke("data", "check", voc_folder, "--split", "test")


def test_data_fetch_without_a_network_says_what_to_do(tmp_path, monkeypatch):
    from torchvision.datasets import utils

    def refuse(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(utils, "download_url", refuse)
    with pytest.raises(OSError, match=r"voc2007 could not be fetched \(no route to host\); unpack the archives into"):
        invoke("data", "fetch", "voc2007", "--root", tmp_path / "d")


def archive(path, *names, link=None):
    """A tar of small files, and of a link to another place."""
    with tarfile.open(path, "w") as made:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            made.addfile(member, io.BytesIO(b"text"))
        if link:
            member = tarfile.TarInfo("VOCdevkit/link")
            member.type, member.linkname = tarfile.SYMTYPE, link
            made.addfile(member)


def test_data_fetch_unpacks_the_archives(tmp_path, monkeypatch):
    from torchvision.datasets import utils

    def download(url, root, filename, md5):
        archive(tmp_path / "d" / filename, f"VOCdevkit/VOC2007/{filename}.txt")

    monkeypatch.setattr(utils, "download_url", download)
    done = invoke("data", "fetch", "voc2007", "--root", tmp_path / "d")
    assert done.output == f"{tmp_path / 'd' / 'VOCdevkit' / 'VOC2007'}\n"
    names = sorted(path.name for path in (tmp_path / "d" / "VOCdevkit" / "VOC2007").iterdir())
    assert names == ["VOCtest_06-Nov-2007.tar.txt", "VOCtrainval_06-Nov-2007.tar.txt"]


@pytest.mark.parametrize(
    ("names", "link", "message"),
    [
        (["VOCdevkit/a", "../x"], None, r"'\.\./x' would be written outside .*out; this is no archive of VOC"),
        (["VOCdevkit/a", r"VOCdevkit\..\..\x"], None, "would be written outside"),
        (["C:/x"], None, "'C:/x' would be written outside"),
        (["VOCdevkit/a"], "../../x", "'VOCdevkit/link' is a link or a device; this is no archive of VOC"),
        (["VOCdevkit/a"], "a", "'VOCdevkit/link' is a link or a device"),
    ],
)
def test_an_archive_that_leaves_its_folder_is_refused_whole(tmp_path, names, link, message):
    from vocbench.benchmarks.voc_folder import unpack

    archive(tmp_path / "a.tar", *names, link=link)
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match=message):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "x").exists()


def test_unpacking_again_leaves_corrected_files_alone(tmp_path):
    from vocbench.benchmarks.voc_folder import unpack

    archive(tmp_path / "a.tar", "VOCdevkit/a.xml", "VOCdevkit/b.xml", "/VOCdevkit/c.xml")
    out = tmp_path / "out"
    (out / "VOCdevkit").mkdir(parents=True)
    (out / "VOCdevkit" / "a.xml").write_text("corrected")
    unpack(tmp_path / "a.tar", out)
    assert {path.name: path.read_text() for path in (out / "VOCdevkit").iterdir()} == {
        "a.xml": "corrected",
        "b.xml": "text",
        "c.xml": "text",
    }
    assert [path.name for path in out.iterdir()] == ["VOCdevkit"]


def test_a_link_to_a_larger_disk_is_followed(tmp_path):
    from vocbench.benchmarks.voc_folder import unpack

    archive(tmp_path / "a.tar", "./VOCdevkit/a.xml")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/VOCdevkit").symlink_to(tmp_path / "elsewhere")
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["a.xml"]


def test_quality_measures_pairs_and_patches(tmp_path):
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("in", "gt"):
        (tmp_path / name).mkdir()
    clean = random.integers(60, 190, (70, 80, 3), dtype=np.uint8)
    Image.fromarray(clean).save(tmp_path / "gt" / "a.png")
    Image.fromarray(clean + 10).save(tmp_path / "in" / "a.png")
    pairs = ["quality", "--pairs", tmp_path / "in", tmp_path / "gt", "--restorer", "identity", "--out", tmp_path / "out"]
    assert invoke(*pairs).exit_code == 0
    rows = json.loads((tmp_path / "out" / "quality.json").read_text())
    assert rows[0]["psnr"] == pytest.approx(20 * np.log10(25.5), abs=1e-4)  # an error of 10 levels everywhere
    assert rows[1]["psnr"] == rows[0]["psnr"]
    cut = invoke("quality", "--clean", tmp_path / "gt", "--recipe", "mild", "--recipe", "severe", "--restorer", "identity")
    assert "| PSNR dB / SSIM | mild | severe |" in cut.output


def test_attention_writes_figures_and_arrays(tmp_path):
    import numpy as np
    from PIL import Image
    from vocbench.restorer.networks.owan_files import build
    from vocbench.restorer.weight_files import save_weights

    for name in ("photos", "raindrops"):
        (tmp_path / name).mkdir()
        Image.effect_noise((40, 30), 60).convert("RGB").save(tmp_path / name / "a.png")
    save_weights(tmp_path / "w.safetensors", build("owan").state_dict(), "owan", "63:42")
    arguments = ["attention", "--clean", tmp_path / "photos", "--restorer", f"owan:{tmp_path}/w.safetensors", "--limit", 1,
                 "--degraded", tmp_path / "raindrops"]  # fmt: skip
    with pytest.raises(ValueError, match=r"a\.png: smaller than a patch of 128 pixels"):
        invoke(*arguments, "--out", tmp_path / "out")
    done = invoke(*arguments, "--patch", 16, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    arrays = np.load(tmp_path / "out" / "attention.npz")
    assert arrays["sets"].tolist() == ["clean", "blur", "noise", "jpeg", "motion", "raindrops"]
    assert arrays["mean"].shape == (6, 40, 8)
    np.testing.assert_allclose(arrays["mean"].sum(2), 1, atol=1e-5)
    np.testing.assert_allclose(arrays["difference"].sum(0), 0, atol=1e-6)
    assert (tmp_path / "out" / "figure8.png").is_file()


def test_the_sample_finds_its_photos():
    from vocbench.benchmarks.sample import sample_split
    from vocbench.restorer.images import read_image

    split = sample_split()
    assert len(split.ids) == 8
    for image in split.ids:
        assert (3, *reversed(split.size(image) or ())) == read_image(split.photo(image)).shape
        assert len(split.objects(image).labels)
