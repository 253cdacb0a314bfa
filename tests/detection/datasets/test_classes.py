"""One rule for the names of classes."""

import pytest
from vocbench.detection.datasets.classes import ClassIndex, class_key, listed_classes, own_classes
from vocbench.detection.detections import VOC_CLASSES


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("TV-Monitor", "tvmonitor"),
        ("tv", "tvmonitor"),
        ("potted plant", "pottedplant"),
        ("Dining_Table", "diningtable"),
        ("airplane", "aeroplane"),
        ("cat", "cat"),
    ],
)
def test_case_blanks_and_cocos_spellings_do_not_matter(name, key):
    assert class_key(name) == key


def test_an_exact_name_goes_before_one_that_is_alike():
    index = ClassIndex(["TV", "tv", "dog"])
    assert [index("TV"), index("tv"), index("DOG")] == [0, 1, 2]
    assert index("t-v") is None  # either of the two
    assert index.labels(["dog", "cow", "tv"]) == [2, -1, 1]


def test_of_a_class_given_twice_the_first_counts():
    assert ClassIndex(["a", "b", "a"])("a") == 0


def test_a_data_set_of_vocs_names_has_vocs_twenty():
    assert own_classes(["Dog", "tv"]) == VOC_CLASSES == listed_classes(["couch"])


def test_a_data_set_of_other_names_has_its_own_sorted_and_each_once():
    assert own_classes(["zebra", "Dog", "dog", "zebra"]) == ("Dog", "zebra")
    assert listed_classes(["zebra", "dog", "zebra"]) == ("dog", "zebra")
