"""Which photos a training finds, which it refuses, which it holds out, and how many it keeps."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from vocbench.restorer.training.photos import Recent, broken_photos, held_by_place, list_photos, part, refuse_broken


def fill(folder, *names):
    """Small photos of the given names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 16), (9, 99, 199)).save(folder / name)
    return folder


def inside(folder, paths):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_photos_of_nested_folders_are_found(tmp_path):
    fill(tmp_path, "cat/0.png", "dog/deep/1.JPG", "2.jpeg")
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "folder.png").mkdir()
    assert inside(tmp_path, list_photos([tmp_path])) == ["2.jpeg", "cat/0.png", "dog/deep/1.JPG"]


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    """macOS leaves `._NAME.png` beside each NAME.png on a foreign disk: no pictures, in spite of their names."""
    fill(tmp_path, "0.png", ".thumbnails/0.png")
    (tmp_path / "._0.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100))
    assert inside(tmp_path, list_photos([tmp_path])) == ["0.png"]


def test_a_hidden_folder_that_is_named_is_read(tmp_path):
    fill(tmp_path, ".photos/0.png")
    assert inside(tmp_path, list_photos([tmp_path / ".photos"])) == [".photos/0.png"]


def test_a_folder_inside_another_one_counts_once(tmp_path):
    fill(tmp_path, "0.png", "cat/1.png")
    assert inside(tmp_path, list_photos([tmp_path, tmp_path / "cat"])) == ["0.png", "cat/1.png"]


def test_a_folder_without_photos_is_named(tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}: holds no JPEG or PNG photo")):
        list_photos([tmp_path])
    with pytest.raises(FileNotFoundError, match="none: no such folder of clean photos"):
        list_photos([tmp_path / "none"])


def test_every_broken_photo_is_listed(tmp_path):
    fill(tmp_path, *(f"{i}.jpg" for i in range(6)))
    data = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "5.jpg").write_text("a web page")
    broken = broken_photos(list_photos([tmp_path]))
    assert [re.findall(r"(\d)\.jpg: ", told) for told in broken] == [["3"], ["5"]]
    with pytest.raises(ValueError, match=r"2 of 6 clean photos cannot be used; replace or remove them: .*3\.jpg.*; .*5\.jpg"):
        refuse_broken(broken, 6)
    refuse_broken([], 6)


def test_a_long_list_of_broken_photos_is_cut():
    with pytest.raises(ValueError, match=r"25 of 99 .*: p0; .*; p19; and 5 more$"):
        refuse_broken([f"p{i}" for i in range(25)], 99)


def test_about_one_photo_of_as_many_as_asked_is_held_out(tmp_path):
    """400 names, one of 10: 40 are expected, with a standard deviation of 6."""
    fill(tmp_path, *(f"{i:03d}.png" for i in range(400)))
    parted = part([tmp_path], 10)
    assert len(parted.held) == pytest.approx(40, abs=24)
    assert sorted(parted.train + parted.held) == list_photos([tmp_path])


def test_a_held_out_photo_stays_so_whatever_becomes_of_the_others_and_of_the_folder(tmp_path):
    names = [f"{i:02d}.png" for i in range(60)]
    fill(tmp_path / "a", *names)
    held = inside(tmp_path / "a", part([tmp_path / "a"], 5).held)
    removed, *left = held
    (tmp_path / "a" / removed).unlink()
    shutil.move(tmp_path / "a", tmp_path / "b")
    fill(tmp_path / "b", "new.png")
    again = inside(tmp_path / "b", part([tmp_path / "b"], 5).held)
    assert [name for name in again if name != "new.png"] == left
    assert inside(tmp_path / "b", part([tmp_path / "b"], 5, held).held) == left


def test_at_least_one_photo_is_held_out_and_at_least_one_is_left(tmp_path):
    fill(tmp_path, "0.png", "1.png")
    parted = part([tmp_path], 1000)
    assert (len(parted.held), len(parted.train)) == (1, 1)
    (parted.train[0]).unlink()
    assert part([tmp_path], 1000).train == part([tmp_path], 1000).held


def test_folders_without_any_of_the_held_out_photos_are_refused(tmp_path):
    fill(tmp_path, "0.png")
    with pytest.raises(ValueError, match=r"none of the 2 held-out photos of the training so far, such as cat/7\.png, lies in"):
        part([tmp_path], 5, ["cat/8.png", "cat/7.png"])


def test_version_0_1_held_out_every_so_manieth_photo(tmp_path):
    fill(tmp_path, *(f"{i}.png" for i in range(5)))
    assert held_by_place([tmp_path], 2) == ["0.png", "2.png", "4.png"]


def test_what_was_unused_for_longest_is_dropped_first():
    recent, made = Recent(30), []

    def get(key):
        def make():
            made.append(key)
            return np.zeros(10, np.uint8)

        recent.get(key, make)

    for key in "abcad":  # d drops b, which was unused for longest
        get(key)
    made.clear()
    for key in "acdb":
        get(key)
    assert made == ["b"]
    assert recent.size == 30


def test_what_is_larger_than_the_limit_is_not_kept():
    recent = Recent(5)
    assert len(recent.get("x", lambda: np.zeros(10, np.uint8))) == 10
    assert recent.size == 0
