"""`vocbench data check` of VOC, COCO and YOLO, and the repaired copy that it writes."""

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageOps
from vocbench.benchmarks.cli.main import cli
from vocbench.detection.datasets.contract import read_objects
from vocbench.detection.datasets.read import find_splits, read_dataset

from tests.support.forms import as_coco, as_voc, as_yolo, draw_objects, draw_photos

CLASSES = ["cone", "duck"]
COLOURS = {"cone": (250, 10, 10), "duck": (10, 10, 250)}


def invoke(*arguments):
    return CliRunner().invoke(cli, ["data", "check", *map(str, arguments)], catch_exceptions=False)


def told(*arguments):
    return json.loads(invoke(*arguments, "--json").stdout)


def tree(folder):
    """SHA-256 of every file below a folder."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def photos():
    return draw_objects(6, CLASSES)


@pytest.fixture(params=[as_voc, as_coco, as_yolo])
def sound(request, photos, tmp_path):
    """One data set in each form."""
    draw_photos(tmp_path / "drawn", photos, COLOURS)
    return request.param(tmp_path / "set", photos, tmp_path / "drawn")


def turn(path, orientation):
    """Store a photo so that EXIF rotates it back."""
    exif, picture = Image.Exif(), Image.open(path).convert("RGB")
    exif[0x0112] = orientation
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270, 3: Image.Transpose.ROTATE_180}
    picture.transpose(back[orientation]).save(path, exif=exif, quality=95)


def test_a_sound_data_set_is_sound_in_each_form(sound, photos):
    found = told(sound, "--split", "val")
    assert (found["photos"], found["objects"], found["broken"]) == (6, sum(map(len, photos.values())), [])


def test_a_copy_of_a_sound_data_set_is_that_data_set(sound, tmp_path):
    before = tree(sound)
    done = invoke(sound, "--split", "val", "--fix-into", tmp_path / "copy")
    assert done.exit_code == 0
    assert "6 photos; nothing left out" in done.stdout
    assert tree(sound) == before
    first, second = read_dataset(sound, "val"), read_dataset(tmp_path / "copy", find_splits(tmp_path / "copy")[0])
    assert (first.ids, first.classes) == (second.ids, second.classes)
    for image in first.ids:
        assert first.photo(image).read_bytes() == second.photo(image).read_bytes()
        np.testing.assert_array_equal(first.objects(image).boxes, second.objects(image).boxes)
    assert told(tmp_path / "copy")["broken"] == []


def test_damaged_and_missing_photos_are_named_and_put_aside_in_each_form(sound, tmp_path):
    data = read_dataset(sound, "val")
    broken, gone = data.photo("p01"), data.photo("p02")
    broken.write_bytes(broken.read_bytes()[:200])
    gone.unlink()
    done = invoke(sound, "--split", "val", "--fix-into", tmp_path / "copy")
    assert done.exit_code == 1
    assert "p01.jpg: damaged or truncated picture" in done.stderr
    yolo = (sound / "labels").is_dir()  # where a photo that is gone leaves its labels alone
    assert ("a file of labels without its photo" if yolo else f"{gone.name}: ") in done.stderr
    annotations = "5 annotations" if yolo else "6 annotations" if (sound / "Annotations").is_dir() else "1 annotation,"
    assert f"5 photos, {annotations}" in done.stdout
    assert len(told(sound, "--split", "val")["broken"]) == (1 if yolo else 2)
    copy = read_dataset(tmp_path / "copy")
    assert copy.ids == ["p00", "p03", "p04", "p05"]
    assert [path.read_bytes() for path in (tmp_path / "copy/left-out").rglob("p01.jpg")] == [broken.read_bytes()]
    left = json.loads((tmp_path / "copy/repairs.json").read_text())["left_out"]
    assert all(any(name in json.dumps(one) for one in left) for name in ("p01", "p02"))
    assert told(tmp_path / "copy")["broken"] == []


def test_photos_that_exif_turns_are_listed_and_stored_as_they_are_annotated(sound, tmp_path):
    """Voc's annotations tell that they mean upright pixels; COCO's sizes are taken from the file, and YOLO has none."""
    data = read_dataset(sound, "val")
    upright = np.asarray(Image.open(data.photo("p00")))
    turn(data.photo("p00"), 6)
    seen = np.asarray(ImageOps.exif_transpose(Image.open(data.photo("p00"))))
    found = told(sound, "--split", "val", "--upright")
    assert list(found["turned"].values()) == [6]
    assert found["broken"] == []
    assert "1 photo rotated by EXIF" in invoke(sound, "--split", "val").stderr
    assert invoke(sound, "--split", "val", "--upright", "--fix-into", tmp_path / "copy").exit_code == 0
    copy = read_dataset(tmp_path / "copy")
    assert copy.photo("p00").name == "p00.png"
    np.testing.assert_array_equal(np.asarray(Image.open(copy.photo("p00"))), seen)
    assert np.abs(seen.astype(int) - upright).mean() < 8  # the picture itself, once more as JPEG
    assert told(tmp_path / "copy")["turned"] == {}


def test_an_annotation_in_upright_pixels_is_told_and_mended_without_being_asked(photos, tmp_path):
    draw_photos(tmp_path / "drawn", photos, COLOURS)
    voc = as_voc(tmp_path / "set", photos, tmp_path / "drawn")
    turn(voc / "JPEGImages/p00.jpg", 8)
    assert "give --upright if all photos were" in invoke(voc).stderr
    assert invoke(voc, "--fix-into", tmp_path / "copy").exit_code == 0
    with Image.open(tmp_path / "copy/JPEGImages/p00.png") as copied:
        assert copied.size == (96, 72)
    assert told(tmp_path / "copy")["broken"] == []


def spoil_voc(folder):
    """Give p00's first object a turned box and add one far outside; clip p01's; write p02 in UTF-16 without its size."""
    path = folder / "Annotations/p00.xml"
    xml = path.read_text()
    left, right = xml.split("<xmin>")[1].split("<")[0], xml.split("<xmax>")[1].split("<")[0]
    xml = xml.replace(f"<xmin>{left}<", f"<xmin>{right}<", 1).replace(f"<xmax>{right}<", f"<xmax>{left}<", 1)
    far = "<object><name>duck</name><bndbox><xmin>500</xmin><ymin>1</ymin><xmax>600</xmax><ymax>9</ymax></bndbox></object>"
    path.write_text(xml.replace("</annotation>", f"<owner>me</owner>{far}</annotation>"))
    path = folder / "Annotations/p01.xml"
    xml = path.read_text()
    path.write_text(xml.replace(f"<ymax>{xml.split('<ymax>')[1].split('<')[0]}<", "<ymax>74<", 1))
    path = folder / "Annotations/p02.xml"
    path.write_bytes(path.read_text().replace("<width>96</width><height>72</height>", "").encode("utf-16"))


def test_each_object_of_voc_is_judged_alone_and_nothing_that_a_file_says_is_lost(photos, tmp_path):
    draw_photos(tmp_path / "drawn", photos, COLOURS)
    voc = as_voc(tmp_path / "set", photos, tmp_path / "drawn")
    clean = read_objects(read_dataset(voc))
    spoil_voc(voc)
    (voc / "SegmentationClass").mkdir()
    (voc / "SegmentationClass/p00.png").write_text("a mask")
    (voc / "ImageSets/Main/cone_val.txt").write_text("p00 -1\np01  1\np09 1\np01 1\na/b 1\n")
    found = told(voc)
    assert sum("ends before it begins" in text for text in found["broken"]) == 1
    assert sum("[500.0, 1.0, 600.0, 9.0]" in text or "499" in text for text in found["broken"]) == 1
    assert {kind: len(texts) for kind, texts in found["notes"].items()} == {"clipped": 1, "size": 1, "encoding": 1}
    done = invoke(voc, "--fix-into", tmp_path / "copy")
    assert done.exit_code == 1
    copy = tmp_path / "copy"
    objects = read_objects(read_dataset(copy, "val"))
    assert all(objects[name].boxes.tolist() == clean[name].boxes.tolist() for name in clean if name != "p01")
    assert objects["p01"].boxes[0, 3] == 72
    xml = (copy / "Annotations/p00.xml").read_text()
    assert "<owner>me</owner>" in xml
    assert "500" not in xml
    assert "<xmin>500</xmin>" in (copy / "repairs.json").read_text()
    assert "<width>96</width>" in (copy / "Annotations/p02.xml").read_text()
    assert (copy / "SegmentationClass/p00.png").read_text() == "a mask"
    assert (copy / "ImageSets/Main/cone_val.txt").read_text() == "p00 -1\np01 1\n"
    assert "a/b" in (copy / "repairs.json").read_text()
    assert told(copy)["broken"] == []


def test_each_annotation_of_coco_is_judged_alone_and_nothing_else_is_lost(photos, tmp_path):
    draw_photos(tmp_path / "drawn", photos, COLOURS)
    coco = as_coco(tmp_path / "set", photos, tmp_path / "drawn")
    path = coco / "annotations/instances_val.json"
    content = json.loads(path.read_text())
    x, y, width, height = content["annotations"][0]["bbox"]
    content["annotations"][0] |= {"bbox": [x + width, y, -width, height], "attributes": {"night": True}}
    content["annotations"] += [
        {"id": 900, "image_id": 1000, "category_id": 77, "bbox": [1, 1, 5, 5]},
        {"id": 901, "image_id": 1000, "category_id": content["categories"][0]["id"], "bbox": [1, 70, 5, 3.5]},
    ]
    content["licenses"] = [{"name": "ours"}]
    path.write_text(json.dumps(content))
    found = told(coco)
    assert len(found["broken"]) == 2
    assert "annotation" in found["broken"][1] + found["broken"][0]
    assert len(found["notes"]["clipped"]) == 1
    assert invoke(coco, "--fix-into", tmp_path / "copy").exit_code == 1
    made = json.loads((tmp_path / "copy/annotations/instances_val.json").read_text())
    kept = {one["id"]: one for one in made["annotations"]}
    assert kept[0]["bbox"] == [x, y, width, height]
    assert kept[0]["attributes"] == {"night": True}
    assert kept[901]["bbox"] == [1, 70, 5, 2]
    assert made["licenses"] == [{"name": "ours"}]
    assert "'category_id': 77" in json.loads((tmp_path / "copy/repairs.json").read_text())["left_out"][0]["written"]
    assert told(tmp_path / "copy")["broken"] == []


def test_each_row_of_yolo_is_judged_alone(photos, tmp_path):
    draw_photos(tmp_path / "drawn", photos, COLOURS)
    yolo = as_yolo(tmp_path / "set", photos, tmp_path / "drawn")
    polygon = "1 0.1 0.1 0.4 0.1 0.4 1.01"
    (yolo / "labels/val/p00.txt").write_text(f"0 0.5 0.5 -0.2 0.2\n{polygon}\n7 0.5 0.5 0.1 0.1\n0 30 20 10 10\nduck 1\n")
    found = told(yolo, "--split", "val")
    assert len(found["broken"]) == 4
    assert len(found["notes"]["clipped"]) == 1
    invoke(yolo, "--split", "val", "--fix-into", tmp_path / "copy")
    rows = (tmp_path / "copy/labels/val/p00.txt").read_text().splitlines()
    assert [float(word) for word in rows[0].split()] == pytest.approx([0, 0.5, 0.5, 0.2, 0.2])
    assert rows[1] == "1 0.1 0.1 0.4 0.1 0.4 1.0"
    left = [one["written"] for one in json.loads((tmp_path / "copy/repairs.json").read_text())["left_out"]]
    assert left == ["7 0.5 0.5 0.1 0.1", "0 30 20 10 10", "duck 1"]
    assert told(tmp_path / "copy")["broken"] == []


def test_pictures_of_other_kinds_become_png(photos, tmp_path):
    draw_photos(tmp_path / "drawn", photos, COLOURS)
    voc = as_voc(tmp_path / "set", photos, tmp_path / "drawn")
    place = voc / "JPEGImages/p03.jpg"
    Image.open(place).save(place.with_suffix(".bmp"))
    place.unlink()
    assert "p03.bmp: is a BMP picture" in invoke(voc).stderr
    assert invoke(voc, "--fix-into", tmp_path / "copy").exit_code == 0
    made = np.asarray(Image.open(tmp_path / "copy/JPEGImages/p03.png"))
    np.testing.assert_array_equal(made, np.asarray(Image.open(place.with_suffix(".bmp"))))


def test_a_copy_goes_only_into_an_empty_folder_outside_the_data_set(sound, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("keep")
    with pytest.raises(ValueError, match=r"full: is not empty; choose another folder"):
        invoke(sound, "--fix-into", tmp_path / "full")
    with pytest.raises(ValueError, match="must lie outside the data set"):
        invoke(sound, "--fix-into", sound / "copy")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_the_development_data_and_its_splits_are_named_by_form(shared, tmp_path):
    """Roboflow's flat export, and a file whose sizes and ids are as people have them."""
    assert told(shared / "cases/voc/roboflow_flat/valid")["broken"] == []
    found = told(shared / "cases/voc/exif_upright/VOC2099")
    assert list(found["turned"].values()) == [6]
    assert "rotated by EXIF" in found["broken"][0]
    with pytest.raises(FileNotFoundError, match=r"has no split 'test'; there are"):
        invoke(shared / "cases/voc/coco_gt_wild/instances.json", "--split", "test")
