import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from vocbench.restorer import files
from vocbench.restorer.files import cache_folder, find_photos, photos_by_place, replacing, result_places, write_whole
from vocbench.restorer.weight_files import save_weights


def places(*given, **more):
    return [str(photo.place) for photo in find_photos(given, **more)]


@pytest.fixture
def album(tmp_path):
    for name in (
        "album/b.PNG",
        "album/2024/a.jpg",
        "album/2024/notes.txt",
        "album/.hidden/c.jpg",
        "album/.d.jpg",
        "album/out/e.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "album"


def test_a_folder_gives_its_photos_at_their_places(album):
    assert places(album, leave_out=album / "out") == ["2024/a.jpg", "b.PNG"]
    assert places(album, leave_out=album) == ["2024/a.jpg", "b.PNG", "out/e.png"]


def test_patterns_are_expanded_and_a_photo_counts_once(album):
    assert places(str(album / "**" / "*.jpg"), album / "2024" / "a.jpg") == ["a.jpg"]


def test_photos_are_named_by_their_place_without_suffix_and_two_of_one_name_are_refused(album):
    photos = find_photos([album], leave_out=album / "out")
    assert {name: photo.source for name, photo in photos_by_place(photos).items()} == {
        "2024/a": album / "2024/a.jpg",
        "b": album / "b.PNG",
    }
    (album / "b.webp").touch()
    with pytest.raises(ValueError, match=r"album/b\.webp: .*album/b\.PNG is also called b, without its suffix; rename one"):
        photos_by_place(find_photos([album]))


def result_names(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    made = result_places(find_photos([root]), ".png")
    assert list(made) == [root / name for name in sorted(names)]
    return [place.as_posix() for place in made.values()]


def test_a_result_has_the_place_of_its_photo_and_its_own_suffix(tmp_path):
    assert result_names(tmp_path, "2024/a.jpg", "a.tif", "b.PNG") == ["2024/a.png", "a.png", "b.png"]


def test_results_that_would_share_a_name_keep_the_suffixes_of_their_photos(tmp_path):
    assert result_names(tmp_path, "a.jpg", "a.png", "b.jpg") == ["a.jpg.png", "a.png.png", "b.png"]


def test_a_photo_called_as_such_a_result_keeps_its_suffix_too(tmp_path):
    assert result_names(tmp_path, "a.jpg", "a.jpg.webp", "a.tif") == ["a.jpg.png", "a.jpg.webp.png", "a.tif.png"]


def test_photos_of_one_place_are_refused(album):
    (album / "b.PNG").rename(album / "a.jpg")
    with pytest.raises(ValueError, match=r"album/a\.jpg: .*2024/a\.jpg is also called a\.jpg; rename one of them or leave it"):
        result_places(find_photos([album / "2024/a.jpg", album / "a.jpg"]), ".png")


def test_what_is_not_there_is_named(album, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg: no such photo"):
        find_photos([tmp_path / "none.jpg"])
    with pytest.raises(FileNotFoundError, match=r"no such photo or folder; did you mean '.*album/2024/a\.jpg'\?"):
        find_photos([album / "2024" / "a.jgp"])
    with pytest.raises(FileNotFoundError, match=r"\*\.tif: nothing matches this pattern"):
        find_photos([str(album / "*.tif")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: this folder holds no photos \(\.jpg"):
        find_photos([tmp_path / "empty"])


def test_a_tilde_in_the_cache_is_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VOCBENCH_CACHE", "~/kept")
    assert cache_folder() == tmp_path / "kept"


@pytest.mark.skipif(sys.platform == "win32", reason="users have names there")
def test_a_user_without_home_and_name_has_a_passing_cache(tmp_path):
    code = "import pwd\ndef none(*a): raise KeyError\npwd.getpwuid = pwd.getpwnam = none\n"
    code += "from vocbench.restorer.files import cache_folder\nprint(cache_folder())"
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "there is no home directory to keep weights in; set VOCBENCH_CACHE" in done.stderr
    given = path | {"VOCBENCH_CACHE": "~/x"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=given, check=False, cwd=tmp_path)
    assert "OSError: VOCBENCH_CACHE=~/x: this user has no home directory; give a full path" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_files_have_the_permissions_that_the_umask_leaves(tmp_path, mask, mode):
    """Weights too: safetensors writes to a file of its own, which its owner alone may read, and renames it."""
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "a.txt", b"text")
        save_weights(tmp_path / "a.safetensors", {"weight": torch.ones(3)}, "owan", "whole")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == mode


def test_a_file_and_its_folder_are_on_the_disk_when_it_is_in_place(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, "_to_disk", lambda path: synced.append((Path(path).name, (tmp_path / "a").exists())))
    write_whole(tmp_path / "a", b"x")
    (first, before), (second, after) = synced
    assert first.startswith(".a.")
    assert not before
    assert (second, after) == (tmp_path.name, True)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyError), replacing(tmp_path / "a") as part:
        part.write_bytes(b"new")
        raise KeyError
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


def test_addresses_are_photos_with_the_name_of_their_last_part(album):
    found = find_photos(["https://a.org/b/c.jpg?x=1", str(album / "b.PNG"), "https://a.org/b/c.jpg?x=1"])
    assert [(one.source, str(one.place)) for one in found] == [
        ("https://a.org/b/c.jpg?x=1", "c.jpg"),
        (album / "b.PNG", "b.PNG"),
    ]
    with pytest.raises(ValueError, match=r"ftp://a\.org/c\.jpg: photos are read from http"):
        find_photos(["ftp://a.org/c.jpg"])
