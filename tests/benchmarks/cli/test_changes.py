"""`vocbench compare-detections`: what came and went, told and shown, and never judged."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.results.changes import by_class, compare_detections, headline

from tests.detection.test_changes import made
from tests.support.browser import CHROMIUM, browser

DOG, FAR = [10, 10, 40, 40], [50, 20, 80, 60]


def invoke(*arguments):
    return CliRunner().invoke(cli, ["compare-detections", *map(str, arguments)], catch_exceptions=False)


def entry(*boxes):
    """Detections of one photo from (box, score, class)."""
    kinds = zip(*boxes, strict=True) if boxes else ([], [], [])
    return dict(zip(("boxes", "scores", "labels"), map(list, kinds), strict=True))


@pytest.fixture
def case(tmp_path):
    """Three photos and two files: a cat comes and a dog goes in a.jpg, b.jpg stays, c.jpg is named after alone."""
    (tmp_path / "photos/inner").mkdir(parents=True)
    for name in ("a", "b", "inner/c"):
        Image.fromarray(np.full((70, 90, 3), 120, np.uint8)).save(tmp_path / f"photos/{name}.jpg")
    before = {"a": entry((DOG, 0.9, "dog"), (DOG, 0.2, "cat")), "b.jpg": entry((FAR, 0.8, "<b>cone</b>"))}
    after = {"a": entry((FAR, 0.7, "cat")), "b": entry((FAR, 0.5, "<b>cone</b>")), "inner/c": entry((DOG, 0.6, "dog"))}
    for name, content in (("before", before), ("after", after)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_photos_that_changed_most_come_first_and_classes_are_counted_by_hand():
    before = {"p": made((0, 0, 10, 10, 0.9, 0)), "q": made((0, 0, 10, 10, 0.9, 1))}
    after = {"p": made((0, 0, 10, 10, 0.8, 0)), "q": made((50, 0, 60, 10, 0.9, 1), (0, 50, 9, 60, 0.4, 0))}
    compared = compare_detections(before, after)
    assert [(one.image, one.count) for one in compared] == [("q", 3), ("p", 0)]
    rows = [(one.name, one.kept, one.came, one.went) for one in by_class(compared, ["cone", "duck"])]
    assert rows == [("duck", 0, 1, 1), ("cone", 1, 1, 0)]
    assert headline(compared) == "2 detections before, 3 after: 2 came, 1 went, 1 in both, on 2 photos, of which 1 changed."


def test_what_came_and_went_between_two_files_is_told_and_not_judged(case):
    out = case / "out"
    done = invoke(case / "before.json", case / "after.json", "--photos", case / "photos", "--out", out)
    assert "2 detections before, 3 after: 2 came, 1 went, 1 in both, on 3 photos, of which 2 changed." in done.stdout
    assert "Without ground truth nobody can tell which of these are right" in done.stdout
    told = json.loads((out / "changes.json").read_text())
    assert [one["class"] for one in told["a"]["came"] + told["a"]["went"]] == ["cat", "dog"]
    assert told["inner/c"]["came"] == [{"class": "dog", "score": 0.6, "box": [10, 10, 40, 40]}]
    assert [len(told["b"][kind]) for kind in ("came", "went", "both")] == [0, 0, 1]
    page = (out / "index.html").read_text()
    assert "nobody can tell" in page
    assert page.count("data-photo ") == 2
    assert "<b>cone</b>" not in page
    with pytest.raises(ValueError, match=r"index\.html: already there; choose another --out"):
        invoke(case / "before.json", case / "after.json", "--out", out)


def test_without_photos_the_page_has_its_tables(case):
    done = invoke(case / "before.json", case / "before.json", "--out", case / "out")
    assert "2 detections before, 2 after: 0 came, 0 went" in done.stdout
    assert "data-photo " not in (case / "out/index.html").read_text()


def test_yolos_text_files_take_the_photos_sizes_and_categories(case):
    (case / "predict").mkdir()
    (case / "predict/a.txt").write_text(f"1 {25 / 90} {25 / 70} {30 / 90} {30 / 70} 0.9\n")
    (case / "names.txt").write_text("cone\ndog\n")
    done = invoke(
        case / "predict", case / "before.json", "--photos", case / "photos", "--categories", case / "names.txt",
        "--out", case / "out",
    )  # fmt: skip
    assert "1 detection before, 2 after: 1 came, 0 went, 1 in both" in done.stdout


def test_two_folders_of_photos_are_detected_and_compared(case):
    (case / "restored/inner").mkdir(parents=True)
    Image.fromarray(np.full((70, 90, 3), 250, np.uint8)).save(case / "restored/a.png")
    Image.fromarray(np.full((70, 90, 3), 120, np.uint8)).save(case / "restored/inner/c.png")
    given = [case / "photos", case / "restored", "--detector", "tests.support.fakes:BlobDetector"]
    done = invoke(*given, "--out", case / "out")
    assert "notice: 2 photos are in both folders, of 3 and 2" in done.stderr
    assert "on 2 photos" in done.stdout
    told = json.loads((case / "out/changes.json").read_text())
    assert told["inner/c"]["came"] == told["inner/c"]["went"] == []
    assert "--photos is for detections in files" in invoke(*given, "--photos", case / "photos", "--out", case / "o2").output


def test_what_does_not_fit_together_is_refused(case):
    with pytest.raises(FileNotFoundError, match=r"none\.json: no such file or folder"):
        invoke(case / "none.json", case / "after.json", "--out", case / "out")
    done = invoke(case / "photos", case / "after.json", "--out", case / "out")
    assert "should both be detections, or both folders of photos" in done.output
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(case / "photos/a.png")
    with pytest.raises(ValueError, match=r"photos/a\.(jpg|png) is also called a, without its suffix; rename one of them"):
        invoke(case / "before.json", case / "after.json", "--photos", case / "photos", "--out", case / "out")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_shows_each_photo_before_and_after(case):
    invoke(case / "before.json", case / "after.json", "--photos", case / "photos", "--out", case / "out")
    with browser(case / "profile") as page:
        page.show(case / "out/index.html", 360)
        assert page.run("document.documentElement.scrollWidth") <= 360
        assert page.run("document.querySelectorAll('[data-photo]:not([hidden]) [data-panel]:not([hidden])').length") == 2
        told = page.run("document.querySelector('[data-photo]:not([hidden]) [data-changes]').innerText")
        assert told == "after: came cat; went dog."
        page.run("document.getElementById('next').click()")
        assert page.run("document.querySelector('[data-photo]:not([hidden])').id") == "photo=inner%2Fc"
        assert page.told == []
