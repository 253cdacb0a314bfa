from types import SimpleNamespace

import numpy as np
import pytest
import torch
from vocbench.benchmarks import gallery
from vocbench.benchmarks.gallery import Gallery, change, changes, judged_picture
from vocbench.detection.detections import Detections, Objects
from vocbench.restorer.images import write_image

DOG, CAT = [10.0, 10.0, 50.0, 50.0], [60.0, 60.0, 90.0, 90.0]
TRUTH = Objects.of([DOG, CAT], [11, 7])


def found(*rows):
    if not rows:
        return Detections.empty()
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))


def test_a_change_counts_objects_regained_and_lost():
    dog, cat, weak = (DOG, 0.9, 11), (CAT, 0.8, 7), (CAT, 0.1, 7)
    made = change("a", TRUTH, found(dog), [found(cat)])
    assert (made.regained, made.lost) == (1, 1)
    assert change("a", TRUTH, found(), [found(dog, cat)]).regained == 2
    assert change("a", TRUTH, found(), [found(weak)]).regained == 0
    best = change("a", TRUTH, found(), [found(), found(dog)])
    assert best.regained == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_photos_kept_do_not_depend_on_the_order(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(gallery, "KEPT", 3)
    rows = {"a": [], "b": [(DOG, 0.9, 11)], "c": [(DOG, 0.9, 11), (CAT, 0.9, 7)], "d": [], "e": [(CAT, 0.9, 7)]}
    data = SimpleNamespace(objects=lambda image: TRUTH)
    kept = Gallery(tmp_path, data)  # type: ignore[arg-type]
    for name in np.random.default_rng(seed).permutation(list(rows)):
        items, images = [SimpleNamespace(image=str(name), draw=0)], [torch.zeros(3, 8, 8)]
        variants = [
            SimpleNamespace(name=v, items=items, images=images, errors=[None])
            for v in ("clean", "distorted", "owan", "clean+owan")
        ]
        given = {"owan": {"d": [found(*rows[name])]}}
        for shot in kept.draw(variants, {v.name: given.get(v.name, {"d": [found()]}) for v in variants}):
            kept.keep(shot)
    assert [(one.image, one.regained) for one in changes(tmp_path)] == [("c", 2), ("b", 1), ("e", 1)]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "change.json", "clean.jpg", "distorted.jpg", "owan.jpg"
    ]  # fmt: skip


def test_boxes_are_shown_as_right_wrong_and_missed(tmp_path):
    write_image(tmp_path / "p.jpg", torch.zeros(3, 100, 200))
    shown = judged_picture(tmp_path / "p.jpg", found((DOG, 0.9, 11), (DOG, 0.5, 11), (CAT, 0.1, 7)), TRUTH, "<a>")
    assert 'viewBox="0 0 200 100"' in shown
    assert shown.count('<rect class="right"') == 1
    assert "dog 0.90<" in shown
    assert "dog 0.50 (duplicate)" in shown
    assert "cat missed" in shown
    assert "<a>" not in shown
