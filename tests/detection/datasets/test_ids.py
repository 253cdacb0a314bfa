"""What may be an image's id, and which image another tool's id means."""

import pytest
from vocbench.detection.datasets.ids import MAX_LENGTH, check_id, match_ids, read_ids


@pytest.mark.parametrize("name", ["2008_000001", "a b", "été", "7", "x" * MAX_LENGTH])
def test_a_plain_file_name_is_an_id(name):
    assert check_id(name, "val.txt") == name


@pytest.mark.parametrize("name", ["", "a/b", "a\\b", "..", ".", "-rf", "a\nb", "x" * (MAX_LENGTH + 1)])
def test_what_could_lead_out_of_its_folder_is_refused(name):
    with pytest.raises(ValueError, match=r"val.txt: .* is not an image id \(a plain file name"):
        check_id(name, "val.txt")


def test_a_split_file_loses_flags_and_suffixes_but_no_known_name(tmp_path):
    path = tmp_path / "dog_train.txt"
    path.write_text("a  1\nb -1\n\nc.jpg\nd 0\n")
    assert read_ids(path, {"a", "b", "c", "d 0"}.__contains__) == ["a", "b", "c", "d 0"]


@pytest.mark.parametrize(
    ("text", "reason"), [("a\nb\na\n", "lists 'a' twice; remove one"), ("\n \n", "a split with no images")]
)
def test_an_empty_split_and_a_doubled_id_are_named(tmp_path, text, reason):
    (tmp_path / "val.txt").write_text(text)
    with pytest.raises(ValueError, match=rf"val.txt: {reason}"):
        read_ids(tmp_path / "val.txt")


def test_an_exact_id_goes_before_a_number_a_file_name_and_a_bare_one():
    images = ["7", "dog_02", "b.c"]
    numbers = {"31": "dog_02"}
    assert match_ids(["7", "007"], images, numbers) == {"7": "7", "007": None}
    assert match_ids(["007"], images, numbers) == {"007": "7"}
    assert match_ids(["31"], images, numbers) == {"31": "dog_02"}
    assert match_ids(["photos/dog_02.JPG", "b.c"], images) == {"photos/dog_02.JPG": "dog_02", "b.c": "b.c"}


def test_an_id_that_fits_two_images_fits_none():
    assert match_ids(["12"], ["0012", "012"]) == {"12": None}


def test_two_ids_of_one_image_are_refused():
    with pytest.raises(ValueError, match=r"'a/dog\.jpg' and 'b/dog\.jpg' both seem to mean image 'dog'"):
        match_ids(["a/dog.jpg", "b/dog.jpg"], ["dog"])
