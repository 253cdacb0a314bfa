"""What strangers may put into files, and what comes of it: an error, or harmless text."""

import os
import pickle
import shutil

import pytest
import torch
from click.testing import CliRunner
from vocbench.benchmarks.cli.main import cli
from vocbench.pipeline.models import build_detector, build_restorer, parse_detector, parse_restorer

from tests.support.commands import run, vocbench

INJECTION = '"><img src=x onerror=alert(1)>'


class Harm:
    """Unpickled, it makes a folder."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def pickles(folder, mark):
    """Files that run code when they are loaded in the easy way: torch's two formats, and a bare pickle."""
    torch.save({"state_dict": Harm(mark)}, folder / "new.pth")
    torch.save({"state_dict": Harm(mark)}, folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "bare.pth").write_bytes(pickle.dumps(Harm(mark)))
    return [folder / f"{name}.pth" for name in ("new", "old", "bare")]


@pytest.mark.parametrize("name", ["owan", "owan-no-attention", "owan-fixed-attention", "dncnn", "rl-restore", "spandrel"])
def test_no_restorers_weights_run_code(name, tmp_path):
    if name == "spandrel":
        pytest.importorskip("spandrel")
    for file in pickles(tmp_path, tmp_path / "harmed"):
        with pytest.raises(ValueError, match=rf"{file.stem}\.pth"):
            build_restorer(parse_restorer(f"{name}:{file}"))
        assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("name", ["mobilenet-ssd", "ssd300-voc"])
def test_no_detectors_weights_run_code(name, tmp_path):
    for file in pickles(tmp_path, tmp_path / "harmed"):
        with pytest.raises(ValueError, match=rf"{file.stem}\.pth"):
            build_detector(parse_detector(f"{name}:{file}"))
        assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("name", ["model.pt", "model.PT"])
def test_no_ultralytics_pickle_runs_code(name, tmp_path):
    shutil.copy(pickles(tmp_path, tmp_path / "harmed")[0], tmp_path / name)
    with pytest.raises(ValueError, match=name):
        build_detector(parse_detector(str(tmp_path / name)))
    assert not (tmp_path / "harmed").exists()


def test_no_ultralytics_yaml_runs_code(tmp_path):
    harm = f"__import__('os').mkdir('{tmp_path / 'harmed'}') or torch.nn.SiLU()"
    (tmp_path / "model.yaml").write_text(
        f'nc: 20\nactivation: "{harm}"\nbackbone: [[-1, 1, Conv, [8, 3, 2]]]\nhead: [[[0], 1, Detect, [nc]]]\n'
    )
    with pytest.raises(ValueError, match=r"model\.yaml"):
        build_detector(parse_detector(str(tmp_path / "model.yaml")))
    assert not (tmp_path / "harmed").exists()


def test_a_training_checkpoint_runs_no_code(tmp_path):
    out = tmp_path / "out"
    arguments = ["train", "owan", "--clean", tmp_path / "photos", "--recipe", "voc=1", "--steps", 2, "--batch", 1,
                 "--patch", 16, "--validate", 1, "--task-weight", 0, "--out", out]  # fmt: skip
    from skimage import data

    (tmp_path / "photos").mkdir()
    torch.manual_seed(0)
    from vocbench.restorer.images import from_uint8, write_image

    write_image(tmp_path / "photos" / "a.png", from_uint8(data.astronaut()))
    given = [*map(str, arguments)]
    done = CliRunner().invoke(cli, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    shutil.copy(pickles(tmp_path, tmp_path / "harmed")[0], out / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"checkpoint\.pt"):
        CliRunner().invoke(cli, [*given, "--resume"], catch_exceptions=False)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("label", [INJECTION, "<b>", "../up", "a b", ""])
def test_labels_hold_no_markup_and_no_paths(voc_folder, tmp_path, label):
    done = run(voc_folder, tmp_path / "out", "--restorer", f"{label}=identity")
    assert done.returncode == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("line", ["../../etc/passwd", "/etc/passwd", "..", "a/b", "a\\b", "a\0b", "-x", "a\x07b"])
def test_ids_of_a_split_stay_in_the_folder(voc_folder, tmp_path, line):
    (voc_folder / "ImageSets" / "Main" / "val.txt").write_text(f"{line}\n")
    done = run(voc_folder, tmp_path / "out")
    assert done.returncode == 2
    assert "val.txt" in done.stderr


def test_ids_of_a_store_stay_in_their_folders(voc_folder, tmp_path):
    """A part that a stranger wrote names an image that the data does not have: refused, whatever it is called."""
    from vocbench.benchmarks.storage.row import Row
    from vocbench.benchmarks.storage.store import Store

    assert run(voc_folder, tmp_path / "out").returncode == 0
    store = Store(tmp_path / "out" / "store")
    rows = next(store.tables()).to_pylist()
    store.files.remove(store.parts()[0])
    store.write(0, [Row(**row | {"image": "../../escape"}) for row in rows])
    done = vocbench("report", tmp_path / "out")
    assert done.returncode == 2
    assert "holds predictions of '../../escape', which is not among the run's photos" in done.stderr
    assert not list(tmp_path.rglob("escape*"))


def test_a_bomb_of_entities_and_an_outside_entity_are_refused(voc_folder, tmp_path):
    for text in (
        '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><annotation>&c;</annotation>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
    ):
        (voc_folder / "Annotations" / "2099_000002.xml").write_text(text)
        done = run(voc_folder, tmp_path / "out")
        assert done.returncode == 2
        assert "2099_000002.xml" in done.stderr
        assert "root:" not in done.stderr


def test_a_picture_that_decompresses_to_gigabytes_is_refused(voc_folder, tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    (voc_folder / "JPEGImages" / "2099_000002.jpg").write_bytes(bomb)
    done = run(voc_folder, tmp_path / "out")
    assert done.returncode == 2
    assert "2099_000002.jpg: 60000x60000 is 3600 megapixels, above the limit of 50" in done.stderr


def test_a_run_writes_nowhere_but_into_its_folder(voc_folder, tmp_path):
    before = set(tmp_path.rglob("*"))
    assert run(voc_folder, tmp_path / "out").returncode == 0
    assert all(path.is_relative_to(tmp_path / "out") for path in set(tmp_path.rglob("*")) - before)
