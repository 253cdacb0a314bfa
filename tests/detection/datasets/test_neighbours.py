"""What is odd in one form of data set or of detections, in the other forms and commands: read alike, or refused by name."""

import json
import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.data_check import check
from vocbench.detection.datasets.contract import DataWarning, read_objects
from vocbench.detection.datasets.files import load_json
from vocbench.detection.datasets.read import read_dataset

from tests.support.forms import as_coco, as_voc, as_yolo, draw_objects, draw_photos

CLASSES = ["dog", "Potted-Plant"]
COLOURS = {"dog": (250, 10, 10), "Potted-Plant": (10, 10, 250)}
INSTANCES = "annotations/instances_val.json"
MARK = "\ufeff"


@pytest.fixture
def photos():
    return draw_objects(4, CLASSES)


@pytest.fixture
def forms(photos, tmp_path):
    """The same photos as VOC, COCO and YOLO."""
    draw_photos(tmp_path / "drawn", photos, COLOURS)
    makers = {"voc": as_voc, "coco": as_coco, "yolo": as_yolo}
    return {name: make(tmp_path / name, photos, tmp_path / "drawn") for name, make in makers.items()}


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)


def figure(data, detections, *arguments):
    done = invoke("evaluate", "--data", data, "--split", "val", "--detections", detections, "--json", *arguments)
    return json.loads(done.stdout)["map"]


def perfect(photos, form=str):
    """Detections of every object in the dictionary form; `form` writes ids."""
    return {
        form(image): {
            "boxes": [list(box) for _, box in objects],
            "scores": [0.9] * len(objects),
            "labels": [name for name, _ in objects],
        }
        for image, objects in photos.items()
    }


def results(photos, number, category):
    """The same as COCO results; `number` and `category` write ids."""
    return [
        {"image_id": number(image), "category_id": category(name), "bbox": [x1, y1, x2 - x1, y2 - y1], "score": 0.9}
        for image, objects in photos.items()
        for name, (x1, y1, x2, y2) in objects
    ]


def changed(path, change):
    """Rewrite a JSON file by a function that edits its content."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_text_with_byte_order_marks_is_read_in_every_form(forms, photos, tmp_path, encoding):
    plain = {name: read_objects(read_dataset(folder, "val")) for name, folder in forms.items()}
    suffixes = (".json", ".xml", ".yaml", ".txt")
    for folder in forms.values():
        for path in (one for one in folder.rglob("*") if one.suffix in suffixes):
            path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    (tmp_path / "d.json").write_text(json.dumps(perfect(photos)), encoding=encoding)
    (tmp_path / "devkit").mkdir()
    for kind in CLASSES:
        rows = [(image, box) for image, objects in photos.items() for name, box in objects if name == kind]
        text = "".join(f"{image} 0.9 {x1 + 1} {y1 + 1} {x2} {y2}\r\n" for image, (x1, y1, x2, y2) in rows)
        (tmp_path / f"devkit/comp4_det_test_{kind}.txt").write_text(text, encoding=encoding)
    for name, folder in forms.items():
        found = read_objects(read_dataset(folder, "val"))
        for image in photos:
            np.testing.assert_array_equal(found[image].boxes, plain[name][image].boxes)
        for detections in ("d.json", "devkit"):
            assert figure(folder, tmp_path / detections) == 1.0


@pytest.mark.parametrize("ids", ["file", "path", "upper"])
def test_ids_with_suffixes_and_folders_are_the_photos_in_every_form(forms, photos, tmp_path, ids):
    write = {"file": "{}.jpg", "path": "C:\\shots\\{}.JPG", "upper": "images/val/{}.JPEG"}[ids].format
    (tmp_path / "d.json").write_text(json.dumps(perfect(photos, write)))
    for folder in forms.values():
        assert figure(folder, tmp_path / "d.json") == 1.0


def test_numbers_without_leading_zeros_are_the_photos_in_every_form_of_detections(tmp_path):
    photos = dict(zip(["000007", "000012"], draw_objects(2, CLASSES).values(), strict=True))
    draw_photos(tmp_path / "drawn", photos, COLOURS)
    folder = as_voc(tmp_path / "voc", photos, tmp_path / "drawn")
    (tmp_path / "dictionary.json").write_text(json.dumps(perfect(photos, lambda name: str(int(name)))))
    coco = results(photos, int, lambda name: 1 + ["dog", "Potted-Plant"].index(name))
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    (tmp_path / "names.json").write_text(json.dumps({"1": "dog", "2": "potted plant"}))
    (tmp_path / "yolo").mkdir()
    for image, objects in photos.items():
        rows = [
            f"{CLASSES.index(name)} {(x1 + x2) / 192} {(y1 + y2) / 144} {(x2 - x1) / 96} {(y2 - y1) / 72} 0.9\n"
            for name, (x1, y1, x2, y2) in objects
        ]
        (tmp_path / f"yolo/{int(image)}.txt").write_text("".join(rows))
    (tmp_path / "names.txt").write_text("dog\npottedplant\n")
    assert figure(folder, tmp_path / "dictionary.json") == 1.0
    assert figure(folder, tmp_path / "coco.json", "--categories", tmp_path / "names.json") == 1.0
    assert figure(folder, tmp_path / "yolo", "--categories", tmp_path / "names.txt") == 1.0


def test_7_and_007_are_two_photos_in_the_dictionary_form_too(tmp_path):
    photos = dict(zip(["7", "007"], draw_objects(2, CLASSES).values(), strict=True))
    draw_photos(tmp_path / "drawn", photos, COLOURS)
    (tmp_path / "d.json").write_text(json.dumps(perfect(photos)))
    for name, make in {"voc": as_voc, "coco": as_coco, "yolo": as_yolo}.items():
        assert figure(make(tmp_path / name, photos, tmp_path / "drawn"), tmp_path / "d.json") == 1.0


def test_suffixes_in_capitals_are_read_and_other_pictures_named_in_every_form(forms):
    for name, folder in forms.items():
        place = next(folder.rglob("p01.jpg"))
        Image.open(place).save(place.with_suffix(".PNG"))
        place.unlink()
        if name == "coco":
            rename(folder, "p01.PNG")
        assert read_dataset(folder, "val").photo("p01").name == "p01.PNG"
        Image.open(place.with_suffix(".PNG")).convert("RGB").save(place.with_suffix(".bmp"))
        place.with_suffix(".PNG").unlink()
        if name == "coco":
            rename(folder, "p01.bmp")
        with pytest.raises(ValueError, match=r"p01\.bmp: is a BMP picture; .* convert it to p01\.png"):
            read_dataset(folder, "val").photo("p01")


def rename(folder, name):
    changed(folder / INSTANCES, lambda content: content["images"][1].update(file_name=name))


@pytest.mark.parametrize(
    ("value", "crowd"), [(0, False), ("0", False), ("No", False), (None, False), (0.0, False), (1, True), ("True", True)]
)
def test_a_crowd_is_told_however_it_is_written(forms, value, crowd):
    changed(forms["coco"] / INSTANCES, lambda content: content["annotations"][0].update(iscrowd=value))
    assert read_dataset(forms["coco"], "val").objects("p00").difficult[0] == crowd


def test_a_flag_that_is_neither_yes_nor_no_is_named(forms, tmp_path):
    path = changed(forms["coco"] / INSTANCES, lambda content: content["annotations"][0].update(iscrowd="perhaps"))
    with pytest.raises(ValueError, match=r"annotation 0 is malformed .*iscrowd should be 0 or 1, got 'perhaps'"):
        read_dataset(path)
    own = {"p": {"width": 9, "height": 9, "objects": [{"name": "dog", "bbox": [1, 1, 5, 5], "difficult": "0"}]}}
    (tmp_path / "own.json").write_text(json.dumps(own))
    assert read_dataset(tmp_path / "own.json").objects("p").difficult.tolist() == [False]


def test_boxes_just_beyond_the_border_are_clipped_and_counted_in_every_form(forms):
    xml = forms["voc"] / "Annotations/p00.xml"
    x = xml.read_text().split("<xmin>")[1].split("<")[0]
    xml.write_text(xml.read_text().replace(f"<xmin>{x}<", "<xmin>0<", 1))
    for sizes in ({}, {"width": 96, "height": 72}):

        def beyond(content, sizes=sizes):
            content["images"][0].update(sizes)
            right = content["annotations"][0]["bbox"][0] + content["annotations"][0]["bbox"][2]
            content["annotations"][0]["bbox"][::2] = [-1, right + 1]

        if not sizes:
            whole = json.loads((forms["coco"] / INSTANCES).read_text())
        (forms["coco"] / INSTANCES).write_text(json.dumps(whole))
        changed(forms["coco"] / INSTANCES, beyond)
        assert clipped(forms["coco"])["p00"].boxes[0, 0] == 0
    labels = forms["yolo"] / "labels/val/p00.txt"
    kind, _, y, _, height = labels.read_text().splitlines()[0].split()
    labels.write_text(f"{kind} {10 / 96} {y} {22 / 96} {height}\n")
    for name in ("voc", "yolo"):
        assert clipped(forms[name])["p00"].boxes[0, 0] == 0


def clipped(folder):
    with pytest.warns(DataWarning, match="1 box clipped to the border"):
        return read_objects(read_dataset(folder, "val"))


def test_without_a_size_and_without_a_photo_there_is_no_border(forms, photos, tmp_path):
    """Evaluation needs no photos; what a size would tell is then left out."""
    (tmp_path / "d.json").write_text(json.dumps(perfect(photos)))
    xml = forms["voc"] / "Annotations/p00.xml"
    xml.write_text(xml.read_text().replace("<width>96<", "<width>0<").replace("<height>72<", "<height>0<"))
    for name in ("voc", "coco"):
        for path in forms[name].rglob("*.jpg"):
            path.unlink()
        assert read_dataset(forms[name], "val").size("p00") is None
        assert figure(forms[name], tmp_path / "d.json") == 1.0


def turn(folder):
    """Store p00's photo lying on its side, to be rotated by EXIF."""
    path, exif = next(folder.rglob("p00.jpg")), Image.Exif()
    exif[0x0112] = 6
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)


@pytest.mark.parametrize("name", ["coco", "yolo", "voc"])
def test_photos_turned_by_exif_are_told_where_no_size_says_how_they_were_seen(forms, photos, tmp_path, name):
    """The figure with `--upright` is that of the photo before it was laid on its side."""
    folder = forms[name]
    turn(folder)
    if name == "voc":
        xml = folder / "Annotations/p00.xml"
        xml.write_text(xml.read_text().replace("<width>96<", "<width>0<").replace("<height>72<", "<height>0<"))
    (tmp_path / "d.json").write_text(json.dumps(perfect(photos)))
    given = ["evaluate", "--data", folder, "--split", "val", "--detections", tmp_path / "d.json"]
    told = "EXIF rotates 1 photo whose annotation has no size; boxes are taken to count pixels as stored"
    as_stored = invoke(*given)
    assert told in as_stored.stderr
    assert "--upright" in as_stored.stderr
    upright = invoke(*given, "--upright", "--json")
    assert "EXIF" not in upright.stderr
    assert json.loads(upright.stdout)["map"] == 1.0
    data = ["--data", folder, "--split", "val", "--recipe", "clean", "--restorer", "identity"]
    run = ["run", *data, "--detector", "tests.support.fakes:BlobDetector"]
    assert told in invoke(*run, "--out", tmp_path / "stored").stderr
    done = invoke(*run, "--out", tmp_path / "upright", "--upright")
    assert (done.exit_code, "EXIF" in done.stderr) == (0, False)


def test_a_polygon_is_a_box_where_the_form_says_so_and_told_where_it_has_none(forms, tmp_path):
    labels = forms["yolo"] / "labels/val/p00.txt"
    labels.write_text(f"0 {10 / 96} {10 / 72} {40 / 96} {10 / 72} {40 / 96} {40 / 72}\n")
    np.testing.assert_allclose(read_dataset(forms["yolo"], "val").objects("p00").boxes, [[10, 10, 40, 40]])
    path = changed(forms["coco"] / INSTANCES, lambda content: content["annotations"][0].pop("bbox"))
    with pytest.raises(ValueError, match=r"instances_val\.json: annotation 0 is malformed .* it needs bbox"):
        read_dataset(path)
    xml = forms["voc"] / "Annotations/p00.xml"
    box = xml.read_text().split("<bndbox>")[1].split("</bndbox>")[0]
    xml.write_text(xml.read_text().replace(f"<bndbox>{box}</bndbox>", "<polygon><x1>3</x1></polygon>", 1))
    done = invoke("data", "check", forms["voc"], "--fix-into", tmp_path / "copy")
    assert "p00.xml: object 1 (dog) has no <bndbox>, but a <polygon>" in done.stderr
    assert "<polygon>" in (tmp_path / "copy/repairs.json").read_text()


def test_folders_without_main_and_flat_ones_are_checked_and_run(forms, tmp_path):
    voc = forms["voc"]
    (voc / "ImageSets/Main/val.txt").rename(voc / "ImageSets/val.txt")
    (voc / "ImageSets/Main").rmdir()
    (tmp_path / "flat/valid").mkdir(parents=True)
    for path in [*(voc / "JPEGImages").iterdir(), *(voc / "Annotations").iterdir()]:
        shutil.copy(path, tmp_path / "flat/valid")
    assert "4 photos, 4 annotations, 1 split: nothing broken" in invoke("data", "check", voc).stdout
    assert "4 photos, 4 annotations, 1 split: nothing broken" in invoke("data", "check", tmp_path / "flat").stdout
    for folder, split in ((voc, "val"), (tmp_path / "flat", "valid")):
        given = ["--data", folder, "--split", split, "--recipe", "clean", "--restorer", "identity"]
        out = tmp_path / f"run-{split}"
        assert invoke("run", *given, "--detector", "tests.support.fakes:BlobDetector", "--out", out).exit_code == 0
        assert json.loads((out / "results.json").read_text())["dataset"]["images"] == 4


def test_a_class_that_the_data_set_lacks_is_left_out_of_every_form_of_detections(forms, photos, tmp_path):
    boxes = [1, 1, 9, 9]
    (tmp_path / "devkit").mkdir()
    for name in (*CLASSES, "truck"):
        rows = [(image, box) for image, objects in photos.items() for kind, box in objects if kind == name]
        rows += [("p00", boxes)] if name == "truck" else []
        text = "".join(f"{image} 0.9 {x1 + 1} {y1 + 1} {x2} {y2}\n" for image, (x1, y1, x2, y2) in rows)
        (tmp_path / f"devkit/comp4_det_test_{name}.txt").write_text(text)
    numbers = {"dog": 18, "Potted-Plant": 64}
    coco = results(photos, str, numbers.__getitem__) + [{"image_id": "p00", "category_id": 8, "bbox": boxes, "score": 0.8}]
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    (tmp_path / "names.json").write_text(json.dumps({"8": "truck", "18": "dog", "64": "potted plant"}))
    for detections, more in (("devkit", []), ("coco.json", ["--categories", tmp_path / "names.json"])):
        given = ["evaluate", "--data", forms["voc"], "--split", "val", "--detections", tmp_path / detections, *more]
        done = invoke(*given)
        assert "1 box of classes that the data set does not have left out: truck (1)" in done.stderr
        assert figure(forms["voc"], tmp_path / detections, *more) == 1.0


CHECKED = {
    "capital_name": ["spelling"],
    "difficult_False": ["difficult"],
    "difficult_unspecified": ["difficult"],
    "extra_class": [],
    "namespace": ["namespace"],
    "no_main": [],
    "roboflow_flat": [],
    "size_zero": ["size"],
    "split_7_007": [],
    "split_bom": [],
    "split_space_mix": [],
    "split_spaces": [],
    "split_with_suffix": [],
    "suffix_JPEG": [],
    "utf16": ["encoding"],
    "xmin_zero": ["clipped"],
}
REFUSED = {
    "exif_upright": r"p1\.jpg: is stored as 120x90 pixels and rotated by EXIF",
    "polygon_only": r"p1\.xml: object 1 \(dog\) has no <bndbox>, but a <polygon>",
    "suffix_bmp": r"p2\.bmp: is a BMP picture",
}


@pytest.mark.parametrize("name", [*CHECKED, *REFUSED])
def test_the_check_of_data_notes_what_is_read_and_names_what_is_refused(shared, name):
    folder = shared / "cases/voc" / name
    found = check(folder / ("valid" if name == "roboflow_flat" else "VOC2099"))
    assert list(found.notes) == CHECKED.get(name, [])
    assert len(found.broken) == (name in REFUSED)
    assert re.search(REFUSED.get(name, "^$"), "".join(found.broken))


def test_an_id_that_stands_twice_in_cocos_file_is_named(forms):
    path = forms["coco"] / INSTANCES
    whole = path.read_text()
    changed(path, lambda content: content["images"].append({"id": "1000", "file_name": "p03.jpg"}))
    refused(
        path, r"the image id 1000 occurs twice, for p00\.jpg and p03\.jpg; give them different ids, also in the annotations"
    )
    path.write_text(whole)
    changed(path, lambda content: content["images"].append(content["images"][0]))
    refused(path, r"the image id 1000 occurs twice, for p00\.jpg and p00\.jpg; remove one")
    path.write_text(whole)
    changed(path, lambda content: content["categories"].append({"id": 500, "name": "cat"}))
    refused(path, r"the category id 500 occurs twice, for Potted-Plant and cat; give them different ids")


def refused(path, reason):
    with pytest.raises(ValueError, match=r"instances_val\.json: " + reason):
        read_dataset(path)
    done = invoke("data", "check", path)
    assert done.exit_code == 1
    assert "1 split: 1 broken" in done.stdout


def test_two_images_of_one_name_in_cocos_file_are_named(forms):
    path = forms["coco"] / INSTANCES
    whole = path.read_text()
    changed(path, lambda content: content["images"].append({"id": 1, "file_name": "p00.jpg"}))
    refused(path, r"two images are called p00: p00\.jpg and p00\.jpg; remove or rename one")
    path.write_text(whole)
    changed(path, lambda content: content["images"].append({"id": 1, "file_name": "p00.png"}))
    refused(path, r"two images are called p00: p00\.jpg and p00\.png; remove or rename one")
    path.write_text(whole)
    changed(path, lambda content: content["images"].append({"id": 1, "file_name": "night/p00.jpg"}))
    assert read_dataset(path).ids == ["p00", "p01", "p02", "p03", "night-p00"]


def test_a_key_that_stands_twice_in_json_is_named(tmp_path):
    (tmp_path / "d.json").write_text('{"p1": {"boxes": []}, "p2": {}, "p1": {}}')
    with pytest.raises(ValueError, match=r"d\.json: not readable JSON \('p1' occurs twice in one object; keep one\)"):
        load_json(tmp_path / "d.json")
