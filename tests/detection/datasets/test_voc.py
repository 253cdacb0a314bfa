import json

import numpy as np
import pytest
from vocbench.detection.datasets.read import read_dataset
from vocbench.detection.datasets.voc import read_annotation, read_voc

from tests.support.voc_folders import write_annotation


def test_boxes_count_from_zero_and_are_continuous(voc_folder):
    split = read_voc(voc_folder, "val")
    objects = split.objects(split.ids[0])
    assert objects.boxes.tolist() == [[9, 9, 40, 40], [49, 19, 80, 60]]
    assert objects.labels.tolist() == [11, 7]
    assert objects.difficult.tolist() == [False, True]
    assert split.size(split.ids[0]) == (90, 70)
    assert split.name == "VOC2099"


def test_a_real_annotation_is_read(shared):
    found = read_annotation(shared / "data/VOCdevkit/VOC2007/Annotations/000001.xml")
    assert found.size == (353, 500)
    assert found.boxes.tolist() == [[47, 239, 195, 371], [7, 11, 352, 498]]


@pytest.mark.parametrize("text", ["", "<difficult/>", "<difficult></difficult>", "<difficult>0</difficult>"])
def test_missing_or_empty_difficult_means_no(tmp_path, text):
    write_annotation(tmp_path / "a.xml")
    xml = (tmp_path / "a.xml").read_text().replace("<difficult>0</difficult>", text)
    (tmp_path / "a.xml").write_text(xml)
    assert not read_annotation(tmp_path / "a.xml").difficult[0]


def test_a_photo_without_objects_is_read(tmp_path):
    write_annotation(tmp_path / "a.xml", objects=())
    assert read_annotation(tmp_path / "a.xml").boxes.shape == (0, 4)


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><annotation>&y;</annotation>'


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<annotation><size>", "not a readable VOC annotation"),
        ("", "not a readable VOC annotation"),
        (BOMB, "document type declaration"),
        ("<html/>", "not a VOC annotation .its root is <html>"),
        ("<annotation><size><width/><height>2</height></size></annotation>", "<width> should be a number, got ''"),
        ("<annotation><size><width>nan</width><height>2</height></size></annotation>", "should be a number, got 'nan'"),
    ],
)
def test_a_malformed_annotation_is_named(tmp_path, xml, message):
    (tmp_path / "a.xml").write_text(xml)
    with pytest.raises(ValueError, match=message) as caught:
        read_annotation(tmp_path / "a.xml")
    assert "a.xml" in str(caught.value)


@pytest.mark.parametrize("box", [(-5, 1, 5, 5), (1, 1, 99, 5), (1, 1, 5, 79), (95, 1, 97, 5)])
def test_a_box_outside_the_picture_is_named(tmp_path, box):
    write_annotation(tmp_path / "a.xml", objects=[("dog", box, 0)])
    with pytest.raises(ValueError, match=r"a\.xml: the box .* of a dog is not inside the 90x70 picture"):
        read_annotation(tmp_path / "a.xml")


def test_a_turned_box_is_named(tmp_path):
    write_annotation(tmp_path / "a.xml", objects=[("dog", (9, 1, 5, 5), 0)])
    with pytest.raises(ValueError, match=r"a\.xml: the box \[9, 1, 5, 5\] of a dog ends before it begins"):
        read_annotation(tmp_path / "a.xml")


@pytest.mark.parametrize("line", ["../../etc/passwd", "/etc/passwd", "a/b", "..", "a\\b"])
def test_ids_that_leave_the_folder_are_refused(voc_folder, line):
    (voc_folder / "ImageSets/Main/bad.txt").write_text(f"{line}\n")
    with pytest.raises(ValueError, match="is not an image id"):
        read_voc(voc_folder, "bad")
    with pytest.raises(ValueError, match="is not the name of a split"):
        read_voc(voc_folder, "../val")


def test_empty_missing_and_doubled_splits_are_told(voc_folder):
    (voc_folder / "ImageSets/Main/empty.txt").write_text("\n")
    (voc_folder / "ImageSets/Main/twice.txt").write_text("a\na\n")
    with pytest.raises(ValueError, match=r"empty\.txt: a split with no images"):
        read_voc(voc_folder, "empty")
    with pytest.raises(ValueError, match="lists 'a' twice"):
        read_voc(voc_folder, "twice")
    with pytest.raises(FileNotFoundError, match="has no split 'test'; there are empty, twice, val"):
        read_voc(voc_folder, "test")
    with pytest.raises(FileNotFoundError, match=r"did you mean .*VOC2099"):
        read_voc(voc_folder.parent, "val")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_voc(voc_folder / "none", "val")


def test_a_missing_photo_is_named(voc_folder):
    split = read_voc(voc_folder, "val")
    (voc_folder / "JPEGImages" / f"{split.ids[1]}.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{split.ids[1]}\.jpg: missing photo of split 'val'"):
        split.photo(split.ids[1])


def test_annotations_come_from_json_too(tmp_path):
    entry = {"split": "test", "width": 90, "height": 70, "objects": [{"name": "dog", "bbox": [10, 10, 40, 40], "difficult": 1}]}
    (tmp_path / "a.json").write_text(json.dumps({"x": entry, "y": entry | {"split": "train"}}))
    found = read_dataset(tmp_path / "a.json", "test")
    assert found.ids == ["x"]
    assert np.array_equal(found.objects("x").boxes, [[9, 9, 40, 40]])
    assert found.objects("x").difficult.tolist() == [True]
    with pytest.raises(ValueError, match="no images of split 'val'"):
        read_dataset(tmp_path / "a.json", "val")


@pytest.mark.parametrize("text", ["[1]", "{", '{"x": {"width": 1}}', '{"x": 3}', "[" * 10000])
def test_malformed_json_is_named(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        read_dataset(tmp_path / "a.json")
