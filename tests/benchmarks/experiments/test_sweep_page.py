"""The page of a sweep in a real Chromium."""

import pytest
from vocbench.benchmarks.experiments.sweep import Degraded, summary, to_html
from vocbench.benchmarks.reporting.looks import look_places
from vocbench.benchmarks.results.schema import VariantResults

from tests.support.browser import CHROMIUM, browser
from tests.support.results import results_of

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

FOUND = {
    "noise": Degraded(unit="sigma of 255", levels=[10, 20, 40], map={"distorted": [0.7, 0.5, 0.2], "owan": [0.8, 0.7, 0.6]}),
    "jpeg": Degraded(unit="quality 1 to 100", levels=[40, 10], map={"distorted": [0.7, None], "owan": [0.7, 0.4]}),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    base = tmp_path_factory.mktemp("sweep")
    made = summary(FOUND, results_of({"clean": VariantResults(map=0.9), "distorted": VariantResults(map=0.5)}))
    (base / "sweep.html").write_text(to_html(made), encoding="utf-8")
    with browser(base / "profile") as opened:
        yield opened, base / "sweep.html"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_shows_every_level_and_fits(page, width, dark):
    page, path = page
    page.show(path, width, 844, dark)
    assert page.told == []
    assert page.run("document.documentElement.scrollWidth") <= width
    points = page.run("[...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('circle').length)")
    assert points == [9, 5]  # clean, distorted and owan at each level, but for one that has no mAP
    labels = page.run("[...document.querySelectorAll('.plot')].map(p => [...p.querySelectorAll('text')].at(-2).textContent)")
    assert labels == ["noise, sigma of 255", "jpeg, quality 1 to 100"]


def test_levels_lie_in_order_whatever_the_order_given(page):
    page, path = page
    page.show(path)
    xs = page.run("[...document.querySelectorAll('polyline')].map(l => [...l.points].map(p => p.x))")
    assert [len(line) for line in xs] == [3, 3, 3, 2, 1, 2]  # clean, distorted and owan; one level has no mAP
    assert all(line == sorted(line) for line in xs)


def test_variants_have_the_colours_of_a_report(page):
    page, path = page
    page.show(path)
    report = look_places(["clean", "distorted", "owan", "clean+owan"])
    for name in ("clean", "distorted", "owan"):
        look = page.run(f"document.querySelector('polyline[data-series={name}]').getAttribute('class')")
        assert look.startswith(f"l{report[name]} ")
