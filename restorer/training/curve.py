"""The curve of a training as a table and as a picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path


def write_curve(out: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write `curve.csv` and `curve.png`: loss and validation PSNR over the steps."""
    with open(out / "curve.csv.part", "w", newline="") as file:
        names = dict.fromkeys(name for row in rows for name in row)  # a resumed run may measure more than before
        writer = csv.DictWriter(file, list(names))
        writer.writeheader()
        writer.writerows(rows)
    (out / "curve.csv.part").replace(out / "curve.csv")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [row["step"] for row in rows]
    left.plot(steps, [row["loss"] for row in rows])
    left.set(xlabel="step", ylabel="L1 loss", yscale="log")
    for name in (key for key in rows[0] if key.startswith("psnr_")):
        right.plot(steps, [row[name] for row in rows], label=name.removeprefix("psnr_"))
    right.set(xlabel="step", ylabel="validation PSNR, dB")
    right.legend()
    figure.savefig(out / "curve.png", dpi=100)
