import csv

from PIL import Image
from vocbench.restorer.training.curve import write_curve


def test_a_row_that_measures_more_than_those_before_adds_a_column(tmp_path):
    rows = [{"step": 0, "loss": 0.5, "psnr_voc": 20.0}, {"step": 9, "loss": 0.25, "psnr_voc": 21.0, "task": 0.75}]
    write_curve(tmp_path, rows)
    with open(tmp_path / "curve.csv", newline="") as file:
        told = list(csv.DictReader(file))
    assert told == [
        {"step": "0", "loss": "0.5", "psnr_voc": "20.0", "task": ""},
        {"step": "9", "loss": "0.25", "psnr_voc": "21.0", "task": "0.75"},
    ]
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.size == (1000, 400)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.csv", "curve.png"]
