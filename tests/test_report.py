import json
import re
import shutil
import subprocess
from html import unescape

import numpy as np
import pytest
import torch
from vocbench.benchmarks.charts import bars
from vocbench.benchmarks.report import harm, headline
from vocbench.benchmarks.run import run
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.tables import percent
from vocbench.detection.detections import Detections, Objects
from vocbench.detection.errors import error_types

from tests.conftest import make_voc_folder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    base = tmp_path_factory.mktemp("report")
    settings = RunSettings(data=str(make_voc_folder(base)), split="val", recipe="voc", do_no_harm=True,
                           restorers=("bright=tests.fakes:Brighten", "identity"),
                           detectors=("blob=tests.fakes:BlobDetector",))  # fmt: skip
    run(settings, base / "out")
    return base / "out"


def made_up(clean, distorted, restored):
    def entry(value):
        lost = clean - distorted
        recovered = (value - distorted) / lost if lost else None
        return {"map": value, "recovered": recovered, "delta_map": value - distorted, "delta_clean": value - clean,
                "delta_map_ci95": [value - distorted - 0.2, value - distorted + 0.1],
                "delta_clean_ci95": [value - clean - 0.2, value - clean + 0.2]}  # fmt: skip

    return {
        "variants": {"clean": entry(clean), "distorted": entry(distorted), "owan": entry(restored), "clean+owan": entry(0.7)}
    }


def test_the_headline_is_right_when_restoring_gained():
    assert headline(made_up(0.8, 0.2, 0.5)) == (
        "Distortion took mAP from 80.0 to 20.0; restoring with owan raised it by 30.0 points to 50.0, 50 % of what was lost "
        "(95 % interval of the change +10.0 to +40.0 points)."
    )


def test_the_headline_says_so_when_restoring_hurt():
    assert "restoring with owan lowered it by another 10.0 points to 10.0" in headline(made_up(0.8, 0.2, 0.1))
    assert "changed nothing" in headline(made_up(0.8, 0.2, 0.2))
    assert "-20.0 to +10.0 points, not distinguishable from chance)." in headline(made_up(0.8, 0.2, 0.2))
    assert headline(made_up(0.2, 0.3, 0.4)).startswith("mAP was 20.0 on clean photos and 30.0 on distorted ones; ")


def test_harm_to_clean_photos_is_told():
    assert harm(made_up(0.8, 0.2, 0.5)) == [
        "On clean photos owan lost 10.0 points "
        "(95 % interval of the change -30.0 to +10.0 points, not distinguishable from chance)."
    ]
    assert harm(made_up(0.7, 0.2, 0.5))[0].startswith("On clean photos owan changed nothing (")


def test_the_numbers_shown_are_those_of_results(finished):
    results = json.loads((finished / "results.json").read_text())
    page = (finished / "report.html").read_text()
    assert unescape(re.findall(r'id="headline">(.*?)<', page)[0]) == headline(results)
    cells = re.findall(r'data-variant="(.*?)" data-column="(.*?)" class=".*?">(.*?)( ▼)?</td>', page)
    assert len(cells) == 2 * 6
    for variant, column, text, _ in cells:
        entry = results["variants"][unescape(variant)]
        assert text == percent(entry["map"] if column == "map" else entry["ap"][column])


def test_the_file_needs_no_network(finished):
    page = (finished / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "default-src 'none'" in page


DRIVE = """<script>
{
const lines = [];
const curve = document.getElementById("curve");
curve.value = [...curve.options].at(-1).value;
curve.dispatchEvent(new Event("change"));
lines.push([...document.querySelectorAll("[data-curve]")].filter(f => !f.hidden).map(f => f.dataset.curve).join());
lines.push(document.getElementById("count").textContent);
document.getElementById("next").click();
lines.push(document.getElementById("count").textContent);
document.getElementById("previous").click(); document.getElementById("previous").click();
lines.push(document.getElementById("count").textContent);
const visible = () => [...document.querySelectorAll("[data-photo]:not([hidden]) [data-panel]")].filter(p => !p.hidden);
lines.push(visible().map(p => p.dataset.panel).join());
document.querySelector('[data-view="distorted"]').click();
lines.push(visible().map(p => p.dataset.panel).join());
document.body.dataset.told = lines.join(";");
}
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_works_in_a_browser(finished, tmp_path):
    page = (finished / "report.html").read_text()
    (tmp_path / "page.html").write_text(page.replace("</body>", DRIVE))
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    switches += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"]
    switches += ["--virtual-time-budget=2000", "--dump-dom"]
    switches.append(f"--user-data-dir={tmp_path}/profile")
    command = [str(CHROMIUM), *switches, (tmp_path / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert 'data-told="dog;1 of 5;2 of 5;5 of 5;identity;distorted"' in done.stdout
    assert "CONSOLE" not in done.stderr


def test_names_are_escaped():
    chart = str(bars(["<script>alert(1)</script>"], [('"><img src=x onerror=alert(1)>', [0.5])], "<b>"))
    assert "<script>" not in chart
    assert "<img" not in chart
    assert "<b>" not in chart


BOX, NEAR, FAR = [0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 30.0], [300.0, 300.0, 400.0, 400.0]


def judged(*rows, objects=((BOX, 11),)):
    boxes, scores, labels = zip(*rows, strict=True)
    truth = Objects.of([box for box, _ in objects], [label for _, label in objects])
    found = Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels))
    return error_types({"a": found}, {"a": truth})


def test_each_error_has_its_type_and_weight():
    """One object in each case; mending the one error brings AP from its value to 1."""
    assert judged((FAR, 0.9, 11), (BOX, 0.8, 11))["background"] == pytest.approx(0.5)
    assert judged((BOX, 0.9, 11), (BOX, 0.95, 11), objects=((BOX, 11),))["duplicate"] == 0
    assert judged((NEAR, 0.9, 11))["localisation"] == pytest.approx(1)
    assert judged((BOX, 0.9, 7))["class"] == pytest.approx(1)
    two = judged((BOX, 0.9, 11), objects=((BOX, 11), (FAR, 11)))
    assert two["missed"] == pytest.approx(0.5)
    assert {kind for kind, value in two.items() if value} == {"missed"}


def test_a_duplicate_above_a_second_hit_costs_precision():
    found = judged((BOX, 0.9, 11), (BOX, 0.85, 11), (FAR, 0.8, 11), objects=((BOX, 11), (FAR, 11)))
    assert found["duplicate"] == pytest.approx(1 - (0.5 + 0.5 * 2 / 3))


def test_a_perfect_detector_has_no_errors():
    assert not np.any(list(judged((BOX, 0.9, 11)).values()))
