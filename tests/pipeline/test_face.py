"""The public face: what a program imports, and what it gives."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import vocbench.detection
import vocbench.pipeline
from PIL import Image
from torch import nn
from vocbench.detection import VOC_CLASSES, Detections, evaluate, read_dataset
from vocbench.pipeline import detect, load_detector, load_restorer, restore
from vocbench.restorer.guard import Guarded
from vocbench.restorer.images import to_uint8, write_image
from vocbench.restorer.networks.owan_files import build
from vocbench.restorer.tiling import Tiled
from vocbench.restorer.weight_files import save_weights

from tests.support.commands import ROOT
from tests.support.fakes import BlobDetector, Brighten
from tests.support.forms import as_coco, as_voc, as_yolo, draw_objects, draw_photos
from tests.support.web import Answer, server

LAZY = """
import sys
import vocbench.detection, vocbench.pipeline
heavy = {"torch", "numpy", "ultralytics", "PIL", "pandas"} & set(sys.modules)
assert not heavy, heavy
for package in (vocbench.pipeline, vocbench.detection):
    assert set(package.__all__) <= set(dir(package))
    assert sorted(package.FACE) == sorted(package.__all__)
    for name in package.__all__:
        home = package.FACE[name] if isinstance(package.FACE[name], str) else package.FACE[name][0]
        assert getattr(package, name) is getattr(sys.modules[f"{package.__name__}.{home}"], name), name
"""


def test_importing_the_face_loads_nothing_until_a_name_is_used():
    done = subprocess.run([sys.executable, "-c", LAZY], capture_output=True, text=True, check=False, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", [vocbench.pipeline, vocbench.detection])
def test_a_name_that_the_face_lacks_is_told_as_python_does(package):
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'restored'"):
        package.restored  # noqa: B018


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_weights(tmp_path / "w.safetensors", build("owan").state_dict(), "owan", "96:72")
    return tmp_path / "w.safetensors"


def test_a_restorer_is_loaded_by_name_by_name_and_file_or_by_file(weights):
    for given in (f"owan:{weights}", weights, str(weights)):
        restorer = load_restorer(given, device="cpu", engine="torch")
        assert isinstance(restorer, Guarded)
        assert isinstance(restorer.restorer, Tiled)
        assert str(restorer.restorer.tiling) == "96:72"
        assert not restorer.training
        assert not any(parameter.requires_grad for parameter in restorer.parameters())
    assert str(load_restorer(weights, device="cpu", tile="48:32", engine="torch", batch=2, guard=False).tiling) == "48:32"
    assert isinstance(load_restorer("identity"), nn.Identity)


def test_what_cannot_be_loaded_is_told(weights, tmp_path):
    torch.save({}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: does not say which network it is for; give NAME:.*w\.pth, such as owan:"):
        load_restorer(tmp_path / "w.pth")
    with pytest.raises(ValueError, match="unknown restorer 'owam'; choose one of owan"):
        load_restorer("owam")
    with pytest.raises(ValueError, match="unknown engine 'fast'; choose one of auto"):
        load_restorer("identity", engine="fast")
    with pytest.raises(ValueError, match="`device=gpu`: expected auto, cpu, cuda or cuda:N"):
        load_detector(device="gpu")
    with pytest.raises(ValueError, match="`device=cuda:99`: PyTorch sees"):
        load_restorer("identity", device="cuda:99")


def test_a_photo_is_restored_in_its_own_form(tmp_path):
    write_image(tmp_path / "p.png", torch.full((3, 4, 5), 100 / 255))
    wanted = round(100 * 0.5 + 0.3 * 255)
    for photo in (tmp_path / "p.png", str(tmp_path / "p.png"), Image.open(tmp_path / "p.png")):
        picture = restore(photo, Brighten())
        assert isinstance(picture, Image.Image)
        assert (np.asarray(picture) == wanted).all()
        assert np.asarray(picture).shape == (4, 5, 3)
    array = restore(np.full((4, 5, 3), 100, np.uint8), Brighten())
    assert array.shape == (4, 5, 3)
    assert (array == wanted).all()
    tensor = restore(torch.full((3, 4, 5), 0.5), Brighten())
    torch.testing.assert_close(tensor, torch.full((3, 4, 5), 0.55))


class Tinted(nn.Module):
    """Gives every picture colour, as a network does to a noisy one."""

    def forward(self, images):
        return (images + torch.tensor([0.1, 0, -0.1])[:, None, None]).clamp(0, 1)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_grey_photo_of_any_form_gets_no_colour(tmp_path, mode):
    made = Image.effect_noise((20, 16), 30).convert(mode)
    made.save(tmp_path / "a.png")
    for photo in (made, tmp_path / "a.png", np.asarray(made)):
        levels = np.asarray(restore(photo, Tinted())).reshape(16, 20, -1)
        assert (levels == levels[:, :, :1]).all()
        assert np.abs(levels.mean(2) - np.asarray(made.convert("L"))).mean() < 1
    torch.testing.assert_close(restore(torch.full((3, 4, 5), 0.5), Tinted()), torch.full((3, 4, 5), 0.5))
    coloured = restore(torch.tensor([0.5, 0.5, 0.4])[:, None, None].expand(3, 4, 5), Tinted())
    torch.testing.assert_close(coloured[:, 0, 0], torch.tensor([0.6, 0.5, 0.3]))


def test_grey_comes_back_grey():
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert (restore(grey, nn.Identity()) == grey).all()
    picture = restore(Image.fromarray(grey), nn.Identity())
    assert picture.mode == "L"
    assert (np.asarray(picture) == grey).all()


def test_what_is_no_photo_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg: no such photo"):
        restore(tmp_path / "none.jpg", nn.Identity())
    with pytest.raises(ValueError, match="must have the mode RGB or L, got RGBA; convert it first"):
        restore(Image.new("RGBA", (4, 4)), nn.Identity())
    with pytest.raises(TypeError, match="a photo is a path, a picture of PIL, a uint8 array or a float tensor, got list"):
        restore([1, 2], nn.Identity())  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8, got \(4, 4, 3\) float64"):
        restore(np.zeros((4, 4, 3)), nn.Identity())


def test_detections_of_a_photo_are_those_of_the_detector_from_the_score_on(photo):
    (own,) = BlobDetector()([photo])
    found = detect(photo, BlobDetector(), score=0.0)
    assert all(torch.equal(a, b) for a, b in zip(found, own, strict=True))
    assert len(detect(photo, BlobDetector(), score=float(own.scores.max())).scores) == 1
    (bright,) = BlobDetector()([Brighten()(photo)])
    restored = detect(to_uint8(photo), BlobDetector(), restorer=Brighten(), score=0.0)
    torch.testing.assert_close(restored.boxes, bright.boxes, atol=0.1, rtol=0)


def test_a_detector_is_loaded_by_name(mobilenet_weights, photo):
    found = load_detector(device="cpu")([photo])
    assert isinstance(found[0], Detections)
    assert isinstance(detect(photo, device="cpu"), Detections)


def test_a_data_set_is_read_and_evaluated(voc_folder):
    split = read_dataset(voc_folder, "val")
    truth = {image: split.objects(image) for image in split.ids}
    perfect = {
        image: Detections(torch.tensor(one.boxes).float(), torch.ones(len(one.labels)), torch.tensor(one.labels))
        for image, one in truth.items()
    }
    assert evaluate(perfect, truth, "voc07").map == pytest.approx(1)
    assert len(VOC_CLASSES) == 20


@pytest.mark.parametrize("form", [as_voc, as_coco, as_yolo])
def test_a_data_set_of_any_form_is_read(form, tmp_path):
    photos = draw_objects(3, ["cat", "dog"])
    draw_photos(tmp_path / "photos", photos, {"cat": (200, 0, 0), "dog": (0, 0, 200)})
    data = read_dataset(form(tmp_path / "data", photos, tmp_path / "photos"), "val")
    assert sorted(data.ids) == sorted(photos)
    assert [len(data.objects(image).labels) for image in sorted(data.ids)] == [len(photos[name]) for name in sorted(photos)]


def test_a_photo_at_an_address_is_restored_and_detected(tmp_path):
    write_image(tmp_path / "a.png", torch.full((3, 20, 30), 0.2))
    with server({"/a.png": Answer((tmp_path / "a.png").read_bytes())}) as address:
        restored = restore(f"{address}/a.png", Brighten())
        found = detect(f"{address}/a.png", BlobDetector(), score=0.0)
    assert (restored.size, restored.getpixel((0, 0))) == ((30, 20), (102, 102, 102))  # 0.2 * 0.5 + 0.3 of 255
    assert len(found.boxes) == 2
