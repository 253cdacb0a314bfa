"""The names of a run's variants."""

import pytest
from vocbench.benchmarks.variants import base, before, is_clean, label_of, on_clean, restored, restores_clean

RUN = ["clean", "distorted", "owan", "cleaner", "clean+owan", "clean+cleaner"]


def test_a_restorer_whose_label_begins_with_clean_is_no_clean_photo():
    assert restored(RUN) == ["owan", "cleaner"]
    assert [name for name in RUN if is_clean(name)] == ["clean", "clean+owan", "clean+cleaner"]
    assert [name for name in RUN if restores_clean(name)] == ["clean+owan", "clean+cleaner"]


def test_a_label_comes_back_from_either_of_its_variants():
    assert label_of("owan") == label_of(on_clean("owan")) == "owan"


@pytest.mark.parametrize(
    ("name", "origin"),
    [("clean", None), ("distorted", None), ("owan", "distorted"), ("clean+owan", "clean")],
)
def test_a_variant_is_compared_with_what_it_was_before(name, origin):
    assert before(name, RUN) == origin


def test_photos_taken_as_they_are_have_one_base():
    names = ["as-is", "owan"]
    assert base(names) == "as-is" == before("owan", names)
    assert before("as-is", names) is None
    assert restored(names) == ["owan"]
