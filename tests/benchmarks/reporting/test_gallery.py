import re

import numpy as np
import pytest
import torch
from vocbench.benchmarks.reporting import gallery
from vocbench.benchmarks.reporting.gallery import Gallery, change, changes
from vocbench.benchmarks.reporting.photos import Photo, judged_picture, level_text
from vocbench.benchmarks.running.prepared import Prepared
from vocbench.benchmarks.running.unit import Seen, Variant
from vocbench.benchmarks.storage.pictures import Change
from vocbench.detection.detections import Detections, Objects
from vocbench.restorer.images import write_image

DOG, CAT = [10.0, 10.0, 50.0, 50.0], [60.0, 60.0, 90.0, 90.0]
TRUTH = Objects.of([DOG, CAT], [11, 7])


def found(*rows):
    if not rows:
        return Detections.empty()
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))


def variant(name, image, error=None):
    """One black photo as a variant has it."""
    black = torch.zeros(3, 8, 8)
    item = Prepared(image, 0, black, black, {}, 0.0)
    return Variant(name, [item], {"d": Seen([black], [error], [None], 0.0)})


def test_a_change_counts_objects_regained_and_lost():
    dog, cat, weak = (DOG, 0.9, 11), (CAT, 0.8, 7), (CAT, 0.1, 7)
    assert change("a", TRUTH, found(dog), {"owan": found(cat)}) == Change("a", 1, 1, "owan")
    assert change("a", TRUTH, found(), {"owan": found(dog, cat)}) == Change("a", 2, 0, "owan")
    assert change("a", TRUTH, found(), {"owan": found(weak)}) is None
    assert change("a", TRUTH, found(), {"owan": found(), "other": found(dog)}) == Change("a", 1, 0, "other")
    assert change("a", TRUTH, found(dog), {"owan": found(), "other": found(dog, cat)}) == Change("a", 1, 0, "other")


@pytest.mark.parametrize("seed", range(3))
def test_the_photos_kept_do_not_depend_on_the_order(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(gallery, "KEPT", 3)
    rows = {"a": [], "b": [(DOG, 0.9, 11)], "c": [(DOG, 0.9, 11), (CAT, 0.9, 7)], "d": [], "e": [(CAT, 0.9, 7)]}
    kept = Gallery(tmp_path)
    for name in np.random.default_rng(seed).permutation(list(rows)):
        variants = [variant(v, str(name)) for v in ("clean", "distorted", "owan", "clean+owan")]
        given = {"owan": {"d": [found(*rows[name])]}}
        for shot in kept.draw(variants, {v.name: given.get(v.name, {"d": [found()]}) for v in variants}, lambda image: TRUTH):
            kept.keep(shot)
    assert changes(tmp_path) == [Change("c", 2, 0, "owan"), Change("b", 1, 0, "owan"), Change("e", 1, 0, "owan")]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "change.json", "clean.jpg", "distorted.jpg", "owan.jpg"
    ]  # fmt: skip


def unit(error=None):
    """A unit of one photo, restored with or without an error."""
    return [variant("clean", "a"), variant("distorted", "a"), variant("owan", "a", error)]


@pytest.mark.parametrize(
    ("error", "restored", "kept"),
    [(None, found((DOG, 0.9, 11)), 1), (None, found(), 0), ("the restorer failed", found((DOG, 0.9, 11)), 0)],
)
def test_photos_that_did_not_change_or_failed_take_no_place(tmp_path, error, restored, kept):
    gallery = Gallery(tmp_path)
    given = {"clean": found(), "distorted": found(), "owan": restored}
    assert len(gallery.draw(unit(error), {name: {"d": [one]} for name, one in given.items()}, lambda image: TRUTH)) == kept


def test_a_gallery_of_before_variants_were_told_is_read(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "change.json").write_text('{"regained": 1, "lost": 0}')
    assert changes(tmp_path) == [Change("a", 1, 0, "")]


def labels_of(shown):
    """Each label's left edge, lower edge, height and text."""
    found = re.findall(r'<text class="tag .*?" style="--size:(.*?)" x="(.*?)" y="(.*?)">(.*?)</text>', shown)
    return [(float(x), float(y), float(size), text) for size, x, y, text in found]


def test_labels_at_the_top_edge_do_not_lie_on_each_other(tmp_path):
    write_image(tmp_path / "p.jpg", torch.zeros(3, 100, 200))
    top = [[3.0, 0.0, 60.0 + i, 40.0] for i in range(4)]
    shown = judged_picture(tmp_path / "p.jpg", found(*((box, 0.9, 11) for box in top)), Objects.of([], []), "a")
    labels = labels_of(shown)
    assert len(labels) == 4
    lines = sorted(y for _, y, _, _ in labels)
    assert all(b - a >= size for a, b, (_, _, size, _) in zip(lines, lines[1:], labels, strict=False))
    assert all(size <= y <= 100 for _, y, size, _ in labels)


def test_a_label_at_the_right_edge_stays_inside(tmp_path):
    write_image(tmp_path / "p.jpg", torch.zeros(3, 100, 200))
    shown = judged_picture(tmp_path / "p.jpg", found(([190.0, 50.0, 199.0, 90.0], 0.9, 11)), Objects.of([], []), "a")
    ((x, _, size, text),) = labels_of(shown)
    assert x + 0.6 * size * len(text) <= 200


def test_objects_that_were_found_and_difficult_ones_are_drawn_too(tmp_path):
    write_image(tmp_path / "p.jpg", torch.zeros(3, 100, 200))
    truth = Objects.of([DOG, CAT, [100.0, 10.0, 150.0, 50.0]], [11, 7, 11], [False, False, True])
    shown = judged_picture(tmp_path / "p.jpg", found((DOG, 0.9, 11)), truth, "a")
    assert shown.count('<rect class="annotated"') == 2
    assert shown.count('<rect class="missed"') == 1
    assert 'aria-label="a; cat missed; dog 0.90"' in shown


def test_boxes_are_shown_as_true_and_false_positives_and_missed(tmp_path):
    write_image(tmp_path / "p.jpg", torch.zeros(3, 100, 200))
    shown = judged_picture(tmp_path / "p.jpg", found((DOG, 0.9, 11), (DOG, 0.5, 11), (CAT, 0.1, 7)), TRUTH, "<a>")
    assert 'viewBox="0 0 200 100"' in shown
    assert shown.count('<rect class="true-positive"') == 1
    assert shown.count('<rect class="false-positive"') == 1
    assert "dog 0.90<" in shown
    assert "dog 0.50 (duplicate)" in shown
    assert "cat missed" in shown
    assert "<a>" not in shown


def test_a_link_to_a_photo_quotes_whatever_its_id_holds():
    photo = Photo(Change("a b#1%+ü", 1, 0, "owan"), "", "", 1.0, [])
    assert photo.anchor == "photo=a%20b%231%25%2B%C3%BC"


def test_levels_are_told_with_their_units():
    levels = {"blur": 1.234, "jpeg": 40.0, "corruption:fog": 3.0}
    assert level_text(levels) == "blur 1.23 (sigma in pixels); jpeg 40 (quality 1 to 100); corruption:fog 3 (severity 1 to 5)"
