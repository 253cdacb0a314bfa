"""The report as people meet it: in a real Chromium, on a phone, in the dark, by keyboard, on paper."""

import json
import re

import numpy as np
import pytest
from vocbench.benchmarks.experiments.run import run
from vocbench.benchmarks.reporting.gallery import changes
from vocbench.benchmarks.reporting.tables import percent
from vocbench.benchmarks.results.schema import read_results
from vocbench.benchmarks.results.sentences import headline
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
    assert page.run("document.getElementById('headline').textContent") == headline(read_results(finished / "results.json"))
    cells = page.run("[...document.querySelectorAll('td[data-variant]')].map(c => [c.dataset.variant, "
                     "c.dataset.column, c.textContent.replace(' ▼', '')])")  # fmt: skip
    assert len(cells) == len(results["variants"]) * 2
    for variant, column, text in cells:
        entry = results["variants"][variant]
        assert text == percent(entry["map"] if column == "map" else entry["ap"][column])
    marks = page.run("[...document.querySelectorAll('.chart')[0].querySelectorAll('circle title')].map(t => t.textContent)")
    compared = [name for name in results["variants"] if not name.startswith("clean+")]
    assert marks == [f"{name}, dog: {percent(results['variants'][name]['ap']['dog'])}" for name in compared]
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


def count(page):
    return page.run("document.getElementById('count').textContent")


SHOWN = "document.querySelector('[data-photo]:not([hidden])')"


def test_the_top_tells_what_the_run_is_and_that_its_photos_are_few(finished, page):
    results = json.loads((finished / "results.json").read_text())
    page.show(finished / "report.html")
    assert page.run("document.querySelector('h1').textContent") == "out"
    facts = page.run("document.querySelector('.facts').textContent")
    assert re.match(r"20\d\d-\d\d-\d\d · vocbench \S+ · VOC2099 val, 16 photos · detector keen$", facts)
    values = page.run("[...document.querySelectorAll('.tile strong')].map(t => t.textContent)")
    assert values[:3] == [percent(results["variants"][name]["map"]) for name in ("clean", "distorted", "stretch")]
    assert page.run("document.getElementById('caveat').textContent") == "16 photos: a demonstration, not a benchmark."


def test_every_link_of_the_contents_leads_to_a_heading(finished, page):
    page.show(finished / "report.html")
    links = page.run("[...document.querySelectorAll('.contents a')].map(a => a.getAttribute('href'))")
    assert len(links) == 13
    assert all(page.run(f"document.querySelectorAll('{link}').length") == 1 for link in links)
    order = page.run("[...document.querySelectorAll('h2')].map(h => '#' + h.id)")
    assert links == ["#top", *order]
    assert order[0] == "#photos"


def test_photos_open_on_the_variant_that_changed_most(finished, page):
    page.show(finished / "report.html")
    kept = changes(finished / "gallery")
    assert {one.variant for one in kept} == {"stretch", "flat"}
    assert all(one.regained + one.lost for one in kept)
    for i, one in enumerate(kept):
        assert count(page) == f"{i + 1} of {len(kept)}"
        assert visible(page) == f"distorted,{one.variant}"
        assert page.run(f"{SHOWN}.querySelector('figcaption').firstChild.textContent") == one.image
        told = page.run(f"[...{SHOWN}.querySelectorAll('[data-changes]:not([hidden])')].map(t => t.textContent)")
        assert told == [f"{one.variant}: {'regained dog' if one.regained else 'lost dog'}."]
        page.run("document.getElementById('next').click()")
    assert count(page) == f"1 of {len(kept)}"


def test_photos_are_seen_by_a_slider_and_side_by_side(finished, page):
    page.show(finished / "report.html")
    boxes = (
        f"[...{SHOWN}.querySelectorAll('.panel:not([hidden])')].map(p => [p.getBoundingClientRect().left, "
        "getComputedStyle(p).clipPath])"
    )
    (left, clip), (other, cut) = page.run(boxes)
    assert left == other
    assert clip == "none"
    assert cut == "inset(0px 0px 0px 50%)"
    page.run("document.getElementById('cut').focus()")
    page.press("ArrowRight")
    assert page.run(boxes)[1][1] == "inset(0px 0px 0px 51%)"
    assert count(page).startswith("1 of")
    page.run("document.querySelector('button[data-mode=beside]').click()")
    (left, clip), (other, cut) = page.run(boxes)
    assert left < other
    assert clip == cut == "none"
    page.run("(b => { b.value = 'clean'; b.dispatchEvent(new Event('change')); })(document.getElementById('before'))")
    assert visible(page).startswith("clean,")


def test_thumbnails_and_addresses_lead_to_photos(finished, page):
    page.show(finished / "report.html")
    links = page.run("[...document.querySelectorAll('[data-thumbnail]')].map(a => a.getAttribute('href'))")
    assert links == [f"#photo={one.image}" for one in changes(finished / "gallery")]
    page.run("document.querySelectorAll('[data-thumbnail]')[2].click()")
    assert count(page).startswith("3 of")
    assert page.run("location.hash") == links[2]
    assert page.run("document.querySelector('[data-thumbnail][aria-current]').getAttribute('href')") == links[2]
    page.run(f"location.hash = '{links[4]}'; addressed()")
    assert count(page).startswith("5 of")
    assert page.told == []


def test_a_photo_of_any_name_has_a_working_link(page, tmp_path):
    folder, odd = make_voc_folder(tmp_path, 4), "a b#1%2+ü"
    for path in folder.rglob("2099_000001.*"):
        path.rename(path.with_stem(odd))
    listing = folder / "ImageSets" / "Main" / "val.txt"
    listing.write_text(listing.read_text().replace("2099_000001", odd))
    settings = RunSettings(data=str(folder), split="val", recipe="voc", examples=0,
                           restorers=("flat=tests.support.fakes:Flatten", "stretch=tests.support.fakes:Stretch"),
                           detectors=("keen=tests.support.fakes:KeenDetector",))  # fmt: skip
    page.show(run(settings, tmp_path / "out") / "report.html")
    place = page.run(f"[...document.querySelectorAll('[data-thumbnail]')].findIndex(a => a.title === '{odd}')")
    assert place >= 0
    page.run(f"document.querySelectorAll('[data-thumbnail]')[{place}].click()")
    assert page.run(f"{SHOWN}.querySelector('figcaption').firstChild.textContent") == odd
    address = page.run("location.hash")
    page.run("document.getElementById('next').click()")
    page.run(f"location.hash = '{address}'; addressed()")
    assert page.run(f"{SHOWN}.querySelector('figcaption').firstChild.textContent") == odd
    assert page.told == []


def test_the_curve_opens_on_the_class_that_changed_most(finished, page):
    page.show(finished / "report.html")
    assert page.run("document.querySelectorAll('[data-curve]:not([hidden])').length") == 1
    opened = page.run("document.querySelector('[data-curve]:not([hidden])').dataset.curve")
    assert opened == page.run("document.getElementById('curve').value") == "dog"


def test_the_confusion_matrix_counts_every_object(finished, page):
    page.show(finished / "report.html")
    assert page.run(
        "[...document.querySelectorAll('.matrix')[0].querySelectorAll('tbody tr')].map(r => r.cells[0].textContent)"
    ) == ["dog", "no object"]
    for place in range(4):
        row = page.run(f"[...document.querySelectorAll('.matrix')[{place}].rows[1].cells].slice(1).map(c => +c.textContent)")
        assert sum(row) == 16


def test_each_detectors_report_judges_by_its_own_detector(finished, page):
    page.show(finished / "report-easy.html")
    text = page.run("document.querySelector('main').textContent")
    assert "Sorted by both with the detector easy, among the photos that changed most for keen" in text
    alts = page.run("[...document.querySelectorAll('[data-thumbnail] img')].map(i => i.alt)")
    told = [found for alt in alts for found in re.findall(r"^(2099_\d+), (\d+) regained, (\d+) lost by", alt)]
    assert len(told) == len(alts) > 1
    kept = {one.image: (one.regained, one.lost) for one in changes(finished / "gallery")}
    counts = [(int(regained), int(lost)) for _, regained, lost in told]
    assert any(kept[image] != pair for (image, *_), pair in zip(told, counts, strict=True))
    assert counts == sorted(counts, key=lambda pair: (-sum(pair), -pair[0]))
    assert all(regained + lost for regained, lost in counts)
    assert page.told == []


TOO_SMALL = """[...document.querySelectorAll(".plot text, .panel text")].filter(text =>
  text.getBoundingClientRect().width > 0
  && parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getBoundingClientRect().width
  / text.ownerSVGElement.viewBox.baseVal.width < 11).length"""


@pytest.mark.parametrize("width", [390, 980, 1400])
@pytest.mark.parametrize("mode", ["slider", "beside"])
def test_text_is_readable_on_a_phone_too(mode, width, finished, page):
    page.show(finished / "report.html", width, 844)
    page.run(f"document.querySelector('button[data-mode={mode}]').click()")
    assert page.run(TOO_SMALL) == 0
    assert page.run("document.documentElement.scrollWidth") <= width
    boxes = "[...document.querySelectorAll('.scroll')].filter(b => b.querySelector('.plot') && b.clientWidth)"
    assert page.run(f"{boxes}.every(b => b.tabIndex === 0 && b.getAttribute('aria-label'))")
    assert page.run(f"{boxes}.every(b => b.scrollWidth <= b.clientWidth)")


def test_a_long_name_wraps_and_its_table_fits_a_wide_window(page, tmp_path):
    long = "a-restorer-with-a-name-as-long-as-this-and-longer"
    settings = RunSettings(data=str(make_voc_folder(tmp_path, 3)), split="val", recipe="voc", restorers=(f"{long}=identity",),
                           detectors=("keen=tests.support.fakes:KeenDetector",), examples=0)  # fmt: skip
    page.show(run(settings, tmp_path / "out") / "report.html", 1280, 900)
    assert long in page.run("document.querySelector('#table tbody tr:nth-child(2) th').textContent")
    box = page.run("(b => [b.scrollWidth, b.clientWidth])(document.getElementById('table').parentNode)")
    assert box[0] <= box[1]


CONTRAST = """(() => {
  const mixed = colour => colour.startsWith("color(") ? "rgb(" + colour.match(/[\\d.]+/g).slice(0, 3).map(v => 255 * v) + ")" : colour;
  const parse = colour => colour.match(/[\\d.]+/g).slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  const light = colour => { const [r, g, b] = parse(colour); return .2126 * r + .7152 * g + .0722 * b; };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
  const style = (query, name) => getComputedStyle(document.querySelector(query))[name];
  return {paper: light(style("body", "backgroundColor")), text: ratio(style("body", "color"), style("body", "backgroundColor")),
    chart: ratio(style(".plot text", "fill"), style(".plot", "backgroundColor")),
    dim: ratio(style(".facts", "color"), style("body", "backgroundColor")), note: ratio(style(".tile-note", "color"), style(".tile", "backgroundColor")),
    loss: ratio(style(".lost", "color"), style("body", "backgroundColor")),
    shades: Math.min(...[...document.querySelectorAll("td.shaded")].map(cell => ratio(getComputedStyle(cell).color, mixed(getComputedStyle(cell).backgroundColor))))};
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
    assert count(page).startswith("2 of")
    page.press("ArrowRight")
    assert count(page).startswith("3 of")
    page.press("ArrowLeft", 2)
    assert count(page).startswith("1 of")
    page.press("Tab", 2)
    page.press(" ")
    assert page.run("document.getElementById('gallery').dataset.mode") == "beside"
    page.press("Tab")
    assert page.run("document.activeElement.id") == "before"
    page.press("ArrowDown")
    assert visible(page).split(",")[0] != "distorted"
    assert count(page).startswith("1 of")
    page.press("Tab", 2)
    assert page.run("document.activeElement.id") == "annotated"
    shown = "[...document.querySelectorAll('rect.annotated')].some(r => r.getClientRects().length)"
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
    wanted = ("button", "checkbox", "combobox", "image", "link", "navigation", "region", "slider", "table")
    nameless = [one for one in nodes if one.get("role", {}).get("value") in wanted and not one["ignored"]
                and not one.get("name", {}).get("value")]  # fmt: skip
    assert nameless == []
    assert {one["role"]["value"] for one in nodes if "role" in one} >= {"button", "checkbox", "image", "region", "slider"}


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
    assert page.run("document.querySelector('[data-photo]').querySelectorAll('.panel').length") == 5  # identity is folded
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
    rows = page.run("[...document.querySelectorAll('#choices tbody tr')].map(r => [...r.cells].map(c => c.textContent))")
    expected = [[name, what, str(count), percent(count / 16)] for name, told in chosen.items() for what, count in told.items()]
    assert rows == expected
    assert f"| {' | '.join(expected[0])} |" in (finished / "table.md").read_text()


def test_peak_memory_is_shown(finished, page):
    page.show(finished / "report.html")
    peak = json.loads((finished / "results.json").read_text())["busy"]["peak_memory_bytes"]
    assert 5e7 < peak < 1e11
    assert f"largest process: {peak / 1e9:.2f} GB" in page.run("document.getElementById('memory').textContent")
