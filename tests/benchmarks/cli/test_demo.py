"""`vocbench demo`: what it computes, and its page in a browser."""

import json
import socket

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from vocbench.benchmarks.cli import demo
from vocbench.benchmarks.cli.main import cli
from vocbench.pipeline.names import DEFAULT_RESTORER
from vocbench.pipeline.specs import Options

from tests.support.browser import CHROMIUM, browser

gradio = pytest.importorskip("gradio")
WIDE, SHARP = "wide=tests.support.fakes:Stretch", "tests.support.fakes:SharpDetector"


@pytest.fixture(scope="module")
def dull(tmp_path_factory):
    """A picture of two greys, whose contrast `Stretch` raises above what `SharpDetector` needs."""
    picture = Image.new("RGB", (90, 70), (100, 100, 100))
    picture.paste((145, 145, 145), (45, 0, 90, 70))
    path = tmp_path_factory.mktemp("photo") / "dull.png"
    picture.save(path)
    return path


@pytest.fixture(scope="module")
def workshop():
    from vocbench.benchmarks.cli.demo_page import Workshop

    return Workshop((WIDE, "identity"), (SHARP,), Options())


def test_an_attempt_tells_what_came_and_went(workshop, dull):
    from vocbench.benchmarks.cli.demo_page import attempt

    picture = np.asarray(Image.open(dull))
    tried = attempt(workshop, picture, WIDE, SHARP, 0.05, {})
    assert [row[:2] for row in tried.rows] == [["+", "dog"], ["-", "dog"]]
    assert tried.sentence.startswith("**1 object before, 1 object after.** Restoring took ")
    assert "(90x70 pixels)" in tried.sentence
    assert [one.shape for one in tried.pictures] == [(70, 90, 3)] * 2
    assert attempt(workshop, picture, "identity", SHARP, 0.05, {}).rows == [["", "dog", "0.08"]]
    spoilt = attempt(workshop, picture, "identity", SHARP, 0.05, {"noise": 60.0}).pictures[0]
    assert np.abs(spoilt[60:].astype(int) - picture[60:]).mean() > 20


def test_a_large_picture_is_shrunk(workshop):
    from vocbench.benchmarks.cli.demo_page import attempt

    tried = attempt(workshop, np.zeros((30, 2560, 3), np.uint8), "identity", SHARP, 0.3, {})
    assert tried.pictures[0].shape == (15, 1280, 3)


def test_without_gradio_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'needs Gradio; install it with pip install "\.\[demo\]"'):
        CliRunner().invoke(cli, ["demo"], catch_exceptions=False)


def test_an_address_at_which_nothing_can_listen_is_refused_before_anything_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}: cannot listen there .*; another program, maybe another demo"):
            CliRunner().invoke(cli, ["demo", "--port", port], catch_exceptions=False)
    with pytest.raises(OSError, match=r"none\.invalid:7861: cannot listen there .*choose another --host"):
        CliRunner().invoke(cli, ["demo", "--host", "none.invalid", "--port", "7861"], catch_exceptions=False)


def test_every_restorer_offered_is_at_hand():
    from vocbench.pipeline.models import RESTORERS
    from vocbench.pipeline.weights import WEIGHTS

    offered = demo.at_hand()
    assert offered[0] == DEFAULT_RESTORER
    assert len(set(offered)) == len(offered) > 8
    assert set(offered) <= set(RESTORERS)
    assert set(offered) & set(WEIGHTS) >= {"owan", "owan-half", "owan-2019", "dncnn", "rl-restore"}


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_restores_in_a_browser(workshop, dull, tmp_path, monkeypatch):
    from vocbench.benchmarks.cli.demo_page import serve

    page, address = serve(workshop, "127.0.0.1", 0, browser=False)
    assert address.startswith("http://127.0.0.1:")
    try:
        with browser(tmp_path / "profile") as shown:
            for width, dark in ((1200, False), (390, True)):
                shown.visit(address, width, 900, dark)
                shown.until("document.querySelector('#go') && document.querySelector('input[type=file]') !== null")
                assert shown.run("document.documentElement.scrollWidth <= innerWidth")
                shown.choose_file("input[type=file]", dull)
                shown.until("document.querySelectorAll('img[src*=\"dull\"]').length > 0")
                shown.run("document.querySelector('#go').click()")
                shown.until("document.querySelector('#sentence').innerText.includes('object')")
                assert shown.until("document.querySelectorAll('#slider img').length") == 2
                (tmp_path / f"{width}.png").write_bytes(shown.picture(whole=True))
            errors = [line for line in shown.told if json.loads(line).get("type") == "error" or '"level": "error"' in line]
            assert errors == []
    finally:
        page.close()
