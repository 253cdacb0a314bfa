"""Annotations and ids as people's tools write them; each read to the same box, or refused by name."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.voc_folder import check_size
from vocbench.detection.datasets.classes import ClassIndex
from vocbench.detection.datasets.contract import DataWarning, choose_classes, read_objects
from vocbench.detection.datasets.ids import match_ids
from vocbench.detection.datasets.read import read_dataset
from vocbench.detection.datasets.voc import read_annotation

from tests.support.voc_folders import write_annotation

BOX = {"boxes": [[9, 9, 40, 40]], "scores": [0.9], "labels": ["dog"]}


def folder(base, ids=("p1", "p2"), sets="ImageSets/Main", suffix=".jpg"):
    """A VOC folder with a dog in each photo, all in the split `val`."""
    for inner in ("JPEGImages", "Annotations", sets):
        (base / inner).mkdir(parents=True)
    for name in ids:
        Image.new("RGB", (90, 70), "grey").save(base / "JPEGImages" / f"{name}{suffix}")
        write_annotation(base / "Annotations" / f"{name}.xml")
    (base / sets / "val.txt").write_text("".join(f"{name}\n" for name in ids))
    return base


def evaluated(tmp_path, data, detections, *arguments):
    (tmp_path / "d.json").write_text(json.dumps(detections))
    given = ["evaluate", "--data", str(data), "--detections", str(tmp_path / "d.json"), *arguments]
    return CliRunner().invoke(cli, given, catch_exceptions=False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<width>90</width><height>70</height>", "<width>0</width><height>0</height>"),
        ("<size><width>90</width><height>70</height><depth>3</depth></size>", ""),
        ("<difficult>0<", "<difficult>Unspecified<"),
        ("<difficult>0<", "<difficult>False<"),
        ("<difficult>0<", "<difficult>No<"),
        ("<difficult>0<", "<difficult>0.0<"),
        ("<annotation>", '<annotation xmlns="http://example.org/voc">'),
        ("<annotation>", '\ufeff<?xml version="1.0" encoding="utf-8"?>\n<annotation>'),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_annotation_is_read_however_it_is_written(tmp_path, old, new, encoding):
    data = folder(tmp_path / "V")
    path = data / "Annotations/p1.xml"
    xml = path.read_text()
    assert old in xml
    path.write_bytes(xml.replace(old, new).encode(encoding))
    found = read_dataset(data).annotation("p1")
    assert found.size == (90, 70)
    assert found.boxes.tolist() == [[9, 9, 40, 40]]
    assert found.difficult.tolist() == [False]


@pytest.mark.parametrize("text", ["1", "True", "yes", "1.0"])
def test_difficult_objects_are_told_however_it_is_written(tmp_path, text):
    write_annotation(tmp_path / "a.xml", objects=[("dog", (1, 1, 5, 5), text)])
    assert read_annotation(tmp_path / "a.xml").difficult.tolist() == [True]


def test_a_document_type_in_utf16_is_refused(tmp_path):
    (tmp_path / "a.xml").write_bytes('<!DOCTYPE a [<!ENTITY x "ha">]><annotation>&x;</annotation>'.encode("utf-16"))
    with pytest.raises(ValueError, match="document type declaration"):
        read_annotation(tmp_path / "a.xml")


def test_boxes_just_beyond_the_border_are_clipped_and_counted(tmp_path):
    data = folder(tmp_path / "V")
    write_annotation(data / "Annotations/p1.xml", objects=[("dog", (0, 0, 91, 71), 0), ("dog", (1, 1, 90, 70), 0)])
    with pytest.warns(DataWarning, match="1 box clipped"):
        objects = read_objects(read_dataset(data))
    assert objects["p1"].boxes.tolist() == [[0, 0, 90, 70], [0, 0, 90, 70]]


def test_an_object_with_a_polygon_alone_is_named(tmp_path):
    (tmp_path / "a.xml").write_text("<annotation><object><name>dog</name><polygon><x1>1</x1></polygon></object></annotation>")
    with pytest.raises(ValueError, match=r"object 1 \(dog\) has no <bndbox>, but a <polygon>"):
        read_annotation(tmp_path / "a.xml")


@pytest.mark.parametrize(
    ("ids", "lines", "expected"),
    [
        (("dog", "cat", "cat 2"), "dog\ncat 2\n", ["dog", "cat 2"]),
        (("my dog 1", "my dog 2"), "my dog 1\r\nmy dog 2\r\n", ["my dog 1", "my dog 2"]),
        (("a", "b", "c"), "a  1\nb -1\nc 0\n", ["a", "b", "c"]),
        (("p1", "p2"), "p1.jpg\np2.JPG\n", ["p1", "p2"]),
        (("a (1)+[2]", "straße"), "\ufeffa (1)+[2]\r\nstraße\r\n", ["a (1)+[2]", "straße"]),
    ],
)
def test_split_lines_are_ids(tmp_path, ids, lines, expected):
    data = folder(tmp_path / "V", ids)
    (data / "ImageSets/Main/val.txt").write_text(lines, encoding="utf-8", newline="")
    assert read_dataset(data, "val").ids == expected


@pytest.mark.parametrize("line", ["-rf", "a\tb\x07", "a..b"])
def test_odd_ids_are_refused(tmp_path, line):
    data = folder(tmp_path / "V")
    (data / "ImageSets/Main/val.txt").write_text(line)
    with pytest.raises(ValueError, match="is not an image id"):
        read_dataset(data, "val")


def test_a_folder_without_main_and_a_flat_one_are_read(tmp_path):
    assert read_dataset(folder(tmp_path / "V", sets="ImageSets")).ids == ["p1", "p2"]
    flat = tmp_path / "valid"
    flat.mkdir()
    for path in [*(tmp_path / "V/JPEGImages").iterdir(), *(tmp_path / "V/Annotations").iterdir()]:
        path.rename(flat / path.name)
    data = read_dataset(flat)
    assert data.ids == ["p1", "p2"]
    assert data.photo("p1") == flat / "p1.jpg"


def test_photos_are_found_by_any_suffix_and_other_pictures_named(tmp_path):
    assert read_dataset(folder(tmp_path / "A", suffix=".JPEG")).photo("p2").name == "p2.JPEG"
    with pytest.raises(ValueError, match=r"p2\.bmp: is a BMP picture; .* convert it to p2\.png"):
        read_dataset(folder(tmp_path / "B", suffix=".bmp")).photo("p2")


def test_class_names_are_alike_by_case_blanks_and_coco_spelling():
    index = ClassIndex(["dog", "pottedplant", "tvmonitor", "traffic light", "a-b", "a_b"])
    assert index.labels(["Dog", "potted_plant", "TV", "Traffic-Light", "dragon"]) == [0, 1, 2, 3, -1]
    assert index.labels(["a-b", "a_b", "a b"]) == [4, 5, -1]


def test_a_data_set_has_its_own_classes_and_some_may_be_chosen(tmp_path):
    data = folder(tmp_path / "V")
    write_annotation(data / "Annotations/p1.xml", objects=[("dog", (10, 10, 40, 40), 0), ("traffic light", (1, 1, 9, 9), 0)])
    dataset = read_dataset(data)
    assert dataset.classes == ("dog", "traffic light")
    with pytest.warns(DataWarning, match=r"1 object of other classes left out: traffic light \(1\)"):
        assert read_objects(choose_classes(dataset, ["dog"]))["p1"].labels.tolist() == [0]
    assert choose_classes(dataset, {"traffic light": "lamp"}).objects("p1").boxes.tolist() == [[0, 0, 9, 9]]
    with pytest.raises(ValueError, match="has no class 'dragon'; it has dog, traffic light"):
        choose_classes(dataset, ["dragon"])
    done = evaluated(tmp_path, data, {"p1": BOX, "p2": BOX}, "--classes", "dog", "--json")
    assert json.loads(done.stdout)["map"] == 1.0


def test_one_set_of_photos_is_the_same_as_voc_coco_and_yolo(tmp_path):
    data = folder(tmp_path / "V")
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in ("p1", "p2"):
        (tmp_path / f"images/{name}.jpg").write_bytes((data / f"JPEGImages/{name}.jpg").read_bytes())
        (tmp_path / f"labels/{name}.txt").write_text(f"1 {24.5 / 90} {24.5 / 70} {31 / 90} {31 / 70}\n")
    (tmp_path / "data.yaml").write_text("path: .\nval: images\nnames: {0: cat, 1: Dog}\n")
    coco = {
        "images": [{"id": 70 + i, "file_name": f"p{i}.jpg"} for i in (1, 2)],
        "annotations": [{"id": i, "image_id": 70 + i, "category_id": 18, "bbox": [9, 9, 31, 31]} for i in (1, 2)],
        "categories": [{"id": 18, "name": "dog"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(coco))
    sets = [read_dataset(data), read_dataset(tmp_path / "data.yaml"), read_dataset(tmp_path / "instances.json")]
    for one in sets:
        assert one.ids == ["p1", "p2"]
        assert one.classes == sets[0].classes
        assert one.photo("p2").read_bytes() == sets[0].photo("p2").read_bytes()
        np.testing.assert_allclose(one.objects("p1").boxes, [[9, 9, 40, 40]], atol=1e-9)
        assert one.objects("p1").labels.tolist() == [11]
        assert one.size("p1") == (90, 70)
    results = [{"image_id": 71, "category_id": 18, "bbox": [9, 9, 31, 31], "score": 0.9}]
    done = evaluated(tmp_path, tmp_path / "instances.json", results)
    assert "Note: the detections name 1 of 2 photos" in done.output
    done = evaluated(tmp_path, tmp_path / "instances.json", results, "--only-named", "--json")
    assert json.loads(done.stdout)["map"] == 1.0


@pytest.mark.parametrize(
    ("given", "images", "expected"),
    [
        (["7", "007"], ["7", "007"], {"7": "7", "007": "007"}),
        (["7", "12"], ["000007", "000012"], {"7": "000007", "12": "000012"}),
        (["7"], ["07", "007"], {"7": None}),
        (["7", "007"], ["007"], {"7": None, "007": "007"}),
        (["images/a b.JPG", "2008000001"], ["a b", "2008_000001"], {"images/a b.JPG": "a b", "2008000001": "2008_000001"}),
    ],
)
def test_an_exact_id_wins_and_others_are_forgiven_where_one_image_fits(given, images, expected):
    assert match_ids(given, images) == expected


def test_two_ids_of_one_image_are_refused():
    with pytest.raises(ValueError, match=r"'a\.jpg' and 'a\.png' both seem to mean image 'a'"):
        match_ids(["a.jpg", "a.png"], ["a"])


def test_shifted_categories_are_told_with_the_remedy_and_mended_by_it(tmp_path):
    data = folder(tmp_path / "V", ("000007", "000012"))
    results = [{"image_id": i, "category_id": 11, "bbox": [9, 9, 31, 31], "score": 0.9} for i in (7, 12)]
    done = evaluated(tmp_path, data, results)
    assert "boxes fit 2 of 2 objects, but only 0 with the right class" in done.output
    assert "--categories" in done.output
    (tmp_path / "c.json").write_text(json.dumps({"11": "dog"}))
    done = evaluated(tmp_path, data, results, "--categories", str(tmp_path / "c.json"), "--json")
    assert json.loads(done.stdout)["map"] == 1.0


def test_a_class_that_the_data_set_lacks_is_left_out_with_a_note(tmp_path):
    both = {"boxes": [[9, 9, 40, 40], [1, 1, 5, 5]], "scores": [0.9, 0.8], "labels": ["dog", "truck"]}
    done = evaluated(tmp_path, folder(tmp_path / "V"), {"p1": both, "p2": BOX})
    assert "1 box of classes that the data set does not have left out: truck (1)" in done.output
    assert "mAP          100.0" in done.output


def test_the_devkits_and_yolos_text_files_are_read(tmp_path):
    data = folder(tmp_path / "V", ("my dog 1", "my dog 2"))
    for form in ("devkit", "yolo"):
        (tmp_path / form).mkdir()
    rows = "".join(f"my dog {i} 0.9 10 10 40 40\n" for i in (1, 2))
    (tmp_path / "devkit/comp4_det_test_dog.txt").write_text(rows)
    for i in (1, 2):
        (tmp_path / f"yolo/my dog {i}.txt").write_text(f"11 {24.5 / 90} {24.5 / 70} {31 / 90} {31 / 70} 0.9\n")
    for form in ("devkit", "yolo"):
        arguments = ["evaluate", "--data", str(data), "--detections", str(tmp_path / form), "--json"]
        assert json.loads(CliRunner().invoke(cli, arguments, catch_exceptions=False).stdout)["map"] == 1.0


def test_a_photo_turned_by_exif_is_named_as_such(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (70, 90)).save(tmp_path / "p.jpg", exif=exif)
    with pytest.raises(ValueError, match=r"p\.jpg: is stored as 70x90 pixels and rotated by EXIF, .* says 90x70"):
        check_size(tmp_path / "p.jpg", (70, 90), (90, 70))
