"""The report as people meet it: in a real Chromium, on a phone, in the dark, by keyboard, on paper."""

import json
import re

import numpy as np
import pytest
from vocbench.benchmarks.reporting.gallery import changes
from vocbench.benchmarks.reporting.tables import percent
from vocbench.benchmarks.results.sentences import headline
from vocbench.benchmarks.running.driver import run
from vocbench.benchmarks.settings import RunSettings
from vocbench.detection.average_precision import VOC_RULES

from tests.support.browser import CHROMIUM, browser
from tests.support.voc_folders import make_voc_folder

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


def make_run(base, protocol):
    restorers = ("stretch=tests.support.fakes:Stretch", "flat=tests.support.fakes:Flatten")
    detectors = ("keen=tests.support.fakes:KeenDetector", "easy=tests.support.fakes:EasyDetector")
    settings = RunSettings(data=str(make_voc_folder(base, 16)), split="val", recipe="voc", protocol=protocol, do_no_harm=True,
                           restorers=restorers, detectors=detectors)  # fmt: skip
    return run(settings, base / "out")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("page"), "voc07")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


def test_the_numbers_shown_are_those_of_results(finished, page):
    results = json.loads((finished / "results.json").read_text())
    page.show(finished / "report.html")
    assert page.run("document.getElementById('headline').textContent") == headline(results)
    cells = page.run("[...document.querySelectorAll('#table td[data-variant]')].map(c => [c.dataset.variant, "
                     "c.dataset.column, c.textContent.replace(' ▼', '')])")  # fmt: skip
    assert len(cells) == len(results["variants"]) * 2
    for variant, column, text in cells:
        entry = results["variants"][variant]
        assert text == percent(entry["map"] if column == "map" else entry["ap"][column])
    bars = page.run("[...document.querySelectorAll('.chart')[0].querySelectorAll('rect title')].map(t => t.textContent)")
    compared = [name for name in results["variants"] if not name.startswith("clean+")]
    assert bars == [f"{name}, dog: {percent(results['variants'][name]['ap']['dog'])}" for name in compared]
    assert page.told == []


CURVES = """[...document.querySelectorAll("[data-curve]")].map(figure => {
  const across = [...figure.querySelectorAll(".below")], up = [...figure.querySelectorAll(".grid")];
  const ends = list => [list[0], list.at(-1)];
  const lines = [...figure.querySelectorAll("polyline")].map(l => [l.dataset.series, [...l.points].map(p => [p.x, p.y])]);
  return {label: figure.dataset.curve, told: ends(across).map(t => t.textContent),
    x: ends(across).map(t => +t.getAttribute("x")), y: ends(up).map(l => +l.getAttribute("y1")),
    lines: Object.fromEntries(lines)};
})"""


@pytest.mark.parametrize("rule", list(VOC_RULES))
def test_average_precision_follows_from_the_curves_drawn(rule, finished, page, tmp_path):
    """Between the axes' ends; recalls are sixteenths, as there are 16 dogs."""
    out = finished if rule == "voc07" else make_run(tmp_path, rule)
    variants = json.loads((out / "results.json").read_text())["variants"]
    page.show(out / "report.html")
    shown = page.run(CURVES)
    assert [one["label"] for one in shown] == ["dog"]
    assert shown[0]["told"] == ["0", "1"]
    assert set(shown[0]["lines"]) == {"clean", "distorted", "stretch"}  # nothing is right about a grey picture
    (left, right), (bottom, top) = shown[0]["x"], shown[0]["y"]
    for name, points in shown[0]["lines"].items():
        x, y = np.array(points).T
        recall, precision = np.round(16 * (x - left) / (right - left), 2) / 16, (y - bottom) / (top - bottom)
        assert VOC_RULES[rule](recall, precision) == pytest.approx(variants[name]["ap"]["dog"], abs=1e-3)
        assert variants[name]["ap"]["dog"] > 0


def visible(page):
    return page.run("[...document.querySelectorAll('[data-photo]:not([hidden]) [data-panel]')].filter(p => !p.hidden)"
                    ".map(p => p.dataset.panel).join()")  # fmt: skip


def test_photos_open_on_the_variant_that_changed_most(finished, page):
    page.show(finished / "report.html")
    kept = changes(finished / "gallery")
    assert {one.variant for one in kept} == {"stretch", "flat"}
    assert all(one.regained + one.lost for one in kept)
    for i, one in enumerate(kept):
        assert page.run("document.getElementById('count').textContent") == f"{i + 1} of {len(kept)}"
        assert visible(page) == one.variant
        caption = page.run("document.querySelector('[data-photo]:not([hidden]) figcaption').textContent")
        assert caption == f"{one.image}: {one.regained} regained, {one.lost} lost by {one.variant}"
        page.run("document.getElementById('next').click()")
    assert page.run("document.getElementById('count').textContent") == f"1 of {len(kept)}"
    page.run("document.querySelector('[data-view=\"distorted\"]').click()")
    assert visible(page) == "distorted"


def test_each_detectors_report_judges_by_its_own_detector(finished, page):
    page.show(finished / "report-easy.html")
    text = page.run("document.querySelector('main').textContent")
    assert "sorted by objects regained and lost with the detector easy, among the photos that changed most for keen" in text
    told = re.findall(r"(2099_\d+): (\d+) regained, (\d+) lost by", text)
    kept = {one.image: (one.regained, one.lost) for one in changes(finished / "gallery")}
    counts = [(int(regained), int(lost)) for _, regained, lost in told]
    assert any(kept[image] != count for (image, *_), count in zip(told, counts, strict=True))
    assert counts == sorted(counts, key=lambda pair: (-sum(pair), -pair[0]))
    assert all(regained + lost for regained, lost in counts)
    assert page.told == []


TOO_SMALL = """[...document.querySelectorAll(".plot text, .panel text")].filter(text =>
  text.getBoundingClientRect().width > 0
  && parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getBoundingClientRect().width
  / text.ownerSVGElement.viewBox.baseVal.width < 11).length"""


@pytest.mark.parametrize("width", [390, 980])
def test_text_is_readable_on_a_phone_too(width, finished, page):
    page.show(finished / "report.html", width, 844)
    assert page.run(TOO_SMALL) == 0
    assert page.run("document.documentElement.scrollWidth") <= width
    boxes = "[...document.querySelectorAll('.scroll')].filter(b => b.querySelector('.plot') && b.clientWidth)"
    assert page.run(f"{boxes}.every(b => b.tabIndex === 0 && b.getAttribute('aria-label'))")
    assert page.run(f"{boxes}.every(b => b.scrollWidth > b.clientWidth)") == (width == 390)


CONTRAST = """(() => {
  const parse = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = colour => { const [r, g, b] = parse(colour); return .2126 * r + .7152 * g + .0722 * b; };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
  const style = (query, name) => getComputedStyle(document.querySelector(query))[name];
  return {paper: light(style("body", "backgroundColor")), text: ratio(style("body", "color"), style("body", "backgroundColor")),
    chart: ratio(style(".plot text", "fill"), style(".plot", "backgroundColor")),
    loss: ratio(style("td.loss", "color"), style("body", "backgroundColor"))};
})()"""  # noqa: E501


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_follow_the_preference(dark, finished, page):
    """Contrast of at least 4.5, as WCAG 2.2 asks (1.4.3)."""
    page.show(finished / "report.html", dark=dark)
    told = page.run(CONTRAST)
    assert (told.pop("paper") < 0.1) == dark
    assert min(told.values()) >= 4.5


def test_everything_works_by_keyboard(finished, page):
    page.show(finished / "report.html")
    page.run("document.getElementById('previous').focus()")
    page.press("Tab")
    page.press("Enter")
    assert page.run("document.getElementById('count').textContent").startswith("2 of")
    page.press("Tab")
    page.press(" ")
    assert visible(page) == "clean"
    views = page.run("document.querySelectorAll('[data-view]').length")
    page.press("Tab", views)
    assert page.run("document.activeElement.id") == "truth"
    shown = "[...document.querySelectorAll('rect.truth')].some(r => r.getClientRects().length)"
    assert page.run(shown)
    page.press(" ")
    assert not page.run(shown)
    page.run("document.querySelector('.chart summary').focus()")
    page.press("Enter")
    assert page.run("document.querySelector('.chart details').open")
    assert page.run("document.querySelector('.chart details td').getClientRects().length") == 1


def test_what_a_screen_reader_meets_has_a_name(finished, page):
    page.show(finished / "report.html")
    assert page.run("[...document.querySelectorAll('svg')].every(s => s.ariaHidden === 'true' || "
                    "(s.role === 'img' && s.getAttribute('aria-label')))")  # fmt: skip
    nodes = page.ask("Accessibility.getFullAXTree")["nodes"]
    wanted = ("button", "checkbox", "combobox", "image", "region")
    nameless = [one for one in nodes if one.get("role", {}).get("value") in wanted and not one["ignored"]
                and not one.get("name", {}).get("value")]  # fmt: skip
    assert nameless == []
    assert {one["role"]["value"] for one in nodes if "role" in one} >= {"button", "checkbox", "image", "region"}


def test_on_paper_it_is_light_whole_and_short(finished, page):
    page.show(finished / "report.html", dark=True)
    page.ask("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.run(CONTRAST)["paper"] > 0.9
    tops = page.run("[...document.querySelectorAll('[data-photo]')].map(f => [...f.querySelectorAll('.panel')]"
                    ".map(p => Math.round(p.getBoundingClientRect().top)))")  # fmt: skip
    for one in tops:
        assert one[0] == one[1] < one[2] == one[3]
    assert page.run("[...document.querySelectorAll('figure')].every(f => getComputedStyle(f).breakInside === 'avoid')")
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run("document.getElementById('settings').open")
    page.run("dispatchEvent(new Event('afterprint'))")
    assert not page.run("document.getElementById('settings').open")
    page.ask("Emulation.setEmulatedMedia", media="")
    sheets = len(re.findall(rb"/Type\s*/Page\b", page.printed()))
    assert len(tops) == 12
    assert 3 <= sheets <= 14


def test_of_many_variants_each_photo_prints_three(page, tmp_path):
    restorers = ("identity", *(f"r{i}=tests.support.fakes:{name}" for i, name in enumerate(("Stretch", "Flatten", "Brighten"))))
    settings = RunSettings(data=str(make_voc_folder(tmp_path, 4)), split="val", recipe="voc", examples=0,
                           restorers=restorers, detectors=("keen=tests.support.fakes:KeenDetector",))  # fmt: skip
    page.show(run(settings, tmp_path / "out") / "report.html")
    assert page.run("document.querySelector('[data-photo]').querySelectorAll('.panel').length") == 6
    page.ask("Emulation.setEmulatedMedia", media="print")
    printed = page.run("[...document.querySelectorAll('[data-photo]')].map(f => [f.dataset.opens, "
                       "[...f.querySelectorAll('.panel')].filter(p => p.clientWidth).map(p => p.dataset.panel)])")  # fmt: skip
    page.ask("Emulation.setEmulatedMedia", media="")
    assert printed
    assert all(panels == ["clean", "distorted", opens] for opens, panels in printed)


def test_what_restorers_chose_is_shown(finished, page):
    page.show(finished / "report.html")
    results = json.loads((finished / "results.json").read_text())
    chosen = results["chosen"]
    assert set(chosen) == {"stretch", "clean+stretch"}
    assert set(chosen["stretch"]) <= {"dark", "bright, then <b>"}
    rows = page.run("[...document.querySelectorAll('#chosen tbody tr')].map(r => [...r.cells].map(c => c.textContent))")
    expected = [[name, what, str(count), percent(count / 16)] for name, told in chosen.items() for what, count in told.items()]
    assert rows == expected
    assert f"| {' | '.join(expected[0])} |" in (finished / "table.md").read_text()


def test_peak_memory_is_shown(finished, page):
    page.show(finished / "report.html")
    peak = json.loads((finished / "results.json").read_text())["busy"]["peak_memory_bytes"]
    assert 5e7 < peak < 1e11
    assert f"largest process: {peak / 1e9:.2f} GB" in page.run("document.getElementById('memory').textContent")
