"""Degraded copies of data sets, and splits."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.copies import divide
from vocbench.detection.datasets.read import read_dataset
from vocbench.restorer.degradations.recipes import degrade
from vocbench.restorer.images import read_image, to_uint8


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)


def test_a_degraded_copy_has_the_runs_pictures_levels_and_objects(voc_folder, tmp_path):
    out = tmp_path / "copy"
    done = invoke("data", "degrade", "--data", voc_folder, "--split", "val", "--recipe", "voc", "--seed", 3, "--out", out)
    assert done.stdout == f"5 photos of val in {out}\n"
    original, yolo = read_dataset(voc_folder, "val"), read_dataset(out / "data.yaml", "val")
    coco = read_dataset(out / "annotations/instances_val.json")
    with open(out / "levels_val.csv") as file:
        levels = {row["image"]: row for row in csv.DictReader(file)}
    assert original.ids == yolo.ids == coco.ids == list(levels)
    for image in original.ids:
        degraded, drawn = degrade(read_image(original.photo(image)), "voc", 3, image)
        assert (to_uint8(read_image(yolo.photo(image))) == to_uint8(degraded)).all()
        assert coco.photo(image).resolve() == yolo.photo(image).resolve()
        assert {name: float(levels[image][name]) for name in drawn} == drawn
        for copy in (yolo, coco):
            np.testing.assert_allclose(copy.objects(image).boxes, original.objects(image).boxes, atol=1e-9)
            assert copy.objects(image).labels.tolist() == original.objects(image).labels.tolist()
        assert coco.objects(image).difficult.tolist() == original.objects(image).difficult.tolist()


def test_splits_join_a_copy_and_nothing_is_replaced(voc_folder, tmp_path):
    (voc_folder / "ImageSets/Main/train.txt").write_text("2099_000001\n")
    given = ["data", "degrade", "--data", voc_folder, "--limit", 1, "--recipe", "mild", "--out", tmp_path / "copy"]
    for split in ("train", "val"):
        assert invoke(*given, "--split", split).exit_code == 0
    assert read_dataset(tmp_path / "copy", "train").ids == ["2099_000001"]
    assert read_dataset(tmp_path / "copy", "val").ids == ["2099_000000"]
    with pytest.raises(ValueError, match=r"instances_val\.json: already there"):
        invoke(*given, "--split", "val")
    with pytest.raises(ValueError, match="not empty, and not an earlier copy"):
        invoke(*given[:-1], voc_folder, "--split", "val")


def test_splits_are_divided_by_ids_and_seed_alone(voc_folder, tmp_path):
    ids = [f"p{i}" for i in range(100)]
    parts = divide(ids, {"train": 0.7, "val": 0.2}, 1)
    assert [len(part) for part in parts.values()] == [70, 20]
    assert not set(parts["train"]) & set(parts["val"])
    assert parts["train"] == sorted(parts["train"], key=ids.index)
    assert set(divide(ids[::-1], {"train": 0.7, "val": 0.2}, 1)["val"]) == set(parts["val"])
    assert divide(ids, {"train": 0.7, "val": 0.2}, 2) != parts
    with pytest.raises(ValueError, match=r"sum to at most 1, got 0\.9, 0\.2"):
        divide(ids, {"a": 0.9, "b": 0.2}, 0)
    given = ["data", "split", "--data", voc_folder, "--split", "val", "--part", "fit=0.6", "--part", "held=0.4"]
    done = invoke(*given, "--out", voc_folder / "ImageSets/Main")
    assert "held.txt: 2 photos" in done.stdout
    assert len(read_dataset(voc_folder, "fit").ids) == 3
    with pytest.raises(ValueError, match=r"fit\.txt: already there"):
        invoke(*given, "--out", voc_folder / "ImageSets/Main")
    assert "expected NAME=SHARE, such as val=0.2" in invoke(*given[:-2], "--part", "held", "--out", tmp_path).output
    assert json.dumps(parts)  # plain
