"""Which classes of a data set a run counts."""

import json

import pytest
from vocbench.benchmarks.classes import count_known, parse_choice
from vocbench.detection.datasets.read import read_dataset

from tests.support.voc_folders import make_voc_folder, write_annotation


@pytest.mark.parametrize(
    ("name", "text", "choice"),
    [
        (None, "dog, cat,", ["dog", "cat"]),
        ("c.json", '["dog", "cat"]', ["dog", "cat"]),
        ("c.json", '{"hound": "dog"}', {"hound": "dog"}),
        ("c.yaml", "hound: dog\n", {"hound": "dog"}),
        ("c.txt", "dog\n\n cat \n", ["dog", "cat"]),
    ],
)
def test_a_choice_is_a_list_or_a_mapping_in_any_form(tmp_path, name, text, choice):
    if name:
        (tmp_path / name).write_text(text)
    assert json.loads(parse_choice(str(tmp_path / name) if name else text)) == choice


@pytest.mark.parametrize(("name", "text"), [("c.json", "[]"), ("c.json", "[1]"), ("c.yaml", "dog"), ("c.txt", "\n")])
def test_what_names_no_class_is_refused_by_its_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"{name}: expected class names, as a list or as a mapping"):
        parse_choice(str(tmp_path / name))


def test_yaml_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "c.yaml").write_text("a: [")
    with pytest.raises(ValueError, match=r"c\.yaml: cannot be read as YAML"):
        parse_choice(str(tmp_path / "c.yaml"))


@pytest.fixture
def dogs_and_dragons(tmp_path):
    folder = make_voc_folder(tmp_path)
    write_annotation(folder / "Annotations" / "2099_000002.xml", objects=[("dragon", (1, 1, 5, 5), 0)])
    return read_dataset(folder, "val")


def test_classes_that_any_detector_knows_count_and_the_others_lack_them(dogs_and_dragons):
    known = {"pets": ("dog", "cat"), "myths": ("dragon",)}
    data, lacking = count_known(dogs_and_dragons, None, known)
    assert list(data.classes) == ["cat", "dog", "dragon"]
    assert lacking == {"pets": ["dragon"], "myths": ["cat", "dog"]}


def test_a_class_that_no_detector_knows_is_left_out_and_refused_where_it_is_chosen(dogs_and_dragons):
    data, lacking = count_known(dogs_and_dragons, None, {"pets": ("dog",)})
    assert (list(data.classes), lacking) == (["dog"], {})
    with pytest.raises(ValueError, match=r"no detector knows the class dragon of .*; pets knows dog: choose or rename"):
        count_known(dogs_and_dragons, '["dog", "dragon"]', {"pets": ("dog",)})


def test_a_renamed_class_is_the_detectors(dogs_and_dragons):
    data, _ = count_known(dogs_and_dragons, '{"dragon": "lizard", "dog": "dog"}', {"zoo": ("lizard", "dog")})
    assert set(data.classes) == {"lizard", "dog"}
