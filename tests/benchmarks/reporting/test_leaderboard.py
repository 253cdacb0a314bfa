import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from vocbench.benchmarks.cli.report import leaderboard
from vocbench.benchmarks.reporting.charts import Cost, tradeoff
from vocbench.benchmarks.reporting.leaderboard import write_leaderboard
from vocbench.benchmarks.results.schema import (
    DetectorIdentity,
    Interval,
    StageSeconds,
    VariantResults,
    write_results,
)
from vocbench.benchmarks.results.standings import standings
from vocbench.benchmarks.settings import RunSettings, plain

from tests.support.browser import CHROMIUM, browser
from tests.support.results import results_of

SETTINGS = RunSettings("sample", "all", "voc", ("owan",), ("d",))


def entry(value, milliseconds, distorted=0.4):
    return VariantResults(
        map=value,
        map_ci95=Interval(value - 0.1, value + 0.1),
        delta_map=value - distorted,
        delta_map_ci95=Interval(value - distorted - 0.2, value - distorted + 0.2),
        recovered=(value - distorted) / (0.8 - distorted),
        seconds=StageSeconds(restore=milliseconds / 1000 - 0.01, detect=0.01),
    )


def make_run(folder, variants, settings=SETTINGS, detectors=("d",), photos="a" * 64, hardware="a machine", skipped=()):
    """A finished run's two files; `variants` has mAP and milliseconds by name."""
    folder.mkdir(parents=True)
    record = {
        "settings": plain(settings), "dataset": {"name": "sample", "split": "all", "images": 8, "sha256": photos},
        "weights_sha256": {}, "execution": {}, "started": "2026-01-01T00:00:00+0000", "hardware": hardware,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(record))
    shown = {"clean": (0.8, 10), "distorted": (0.4, 10)} | variants
    for i, name in enumerate(detectors):
        variants = {variant: entry(*values) for variant, values in shown.items()}
        content = results_of(variants, detector=DetectorIdentity(name=name), skipped=list(skipped))
        write_results(folder / f"results{f'-{name}' if i else ''}.json", content)
    return folder


def test_runs_are_ranked_and_what_they_share_is_listed_once(tmp_path):
    one = make_run(tmp_path / "one", {"owan": (0.7, 900), "clean+owan": (0.8, 900)})
    two = make_run(tmp_path / "two", {"median": (0.5, 50), "tv": (0.45, 60)})
    found = standings([one, two])
    assert [(row.label, row.run, row.map) for row in found] == [
        ("clean", "one", 0.8), ("owan", "one", 0.7), ("median", "two", 0.5), ("tv", "two", 0.45), ("distorted", "one", 0.4)
    ]  # fmt: skip
    assert [row.label for row in found if row.leads] == ["owan", "median", "distorted"]
    assert [row.milliseconds for row in found] == pytest.approx([10, 900, 50, 60, 10])


def test_equal_names_are_told_apart_by_run_and_detector(tmp_path):
    runs = [make_run(tmp_path / name, {"owan": (value, 900)}) for name, value in (("one", 0.7), ("two", 0.6))]
    assert [row.label for row in standings(runs)] == ["clean", "one: owan", "two: owan", "distorted"]
    both = make_run(tmp_path / "both", {"owan": (0.7, 900)}, detectors=("d", "e"))
    assert {row.label for row in standings([both])} == {f"{name}, {d}" for name in ("clean", "distorted", "owan") for d in "de"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"photos": "b" * 64}, r"two: is on other photos than .*one \(sample, 8 photos; sample, 8 photos\)"),
        ({"settings": replace(SETTINGS, recipe="mild")}, r"two: has the recipe 'mild' and .*one 'voc'"),
        ({"settings": replace(SETTINGS, seed=1)}, r"two: has the seed 1 and .*one 0"),
        ({"settings": replace(SETTINGS, protocol="voc10")}, r"has the protocol 'voc10'"),
        ({"skipped": ["bus"]}, r"two: bus counts in only one of it and .*one, as a restorer failed on it"),
    ],
)
def test_runs_on_other_ground_are_refused(tmp_path, given, reason):
    runs = [make_run(tmp_path / "one", {}), make_run(tmp_path / "two", {}, **given)]
    with pytest.raises(ValueError, match=reason):
        standings(runs)


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no run \(no run.json\)"):
        standings([tmp_path])
    (make_run(tmp_path / "one", {}) / "results.json").unlink()
    with pytest.raises(ValueError, match=r"one: is not finished \(no results.json\)"):
        standings([tmp_path / "one"])


def test_a_leaderboard_is_replaced_and_another_file_is_not(tmp_path):
    run, out = make_run(tmp_path / "one", {"owan": (0.7, 900)}), tmp_path / "page.html"
    write_leaderboard([run], out)
    write_leaderboard([run], out)
    out.write_text("mine")
    with pytest.raises(ValueError, match=r"page\.html: already there and no leaderboard"):
        write_leaderboard([run], out)
    assert out.read_text() == "mine"


def test_the_command_writes_the_page_and_tells_its_table(tmp_path):
    run, out = make_run(tmp_path / "one", {"owan": (0.7, 900)}), tmp_path / "page.html"
    told = CliRunner().invoke(leaderboard, [str(run), "--out", str(out)], catch_exceptions=False).output
    assert "| owan | one | 70.0 | 60.0 to 80.0 | +30.0 | 75 % | 900 |" in told
    assert f"wrote {out}" in told
    told = CliRunner().invoke(leaderboard, [str(run), "--out", str(out), "--json"], catch_exceptions=False).output
    assert [row["label"] for row in json.loads(told)["standings"]] == ["clean", "owan", "distorted"]


def test_names_are_escaped(tmp_path):
    write_leaderboard([make_run(tmp_path / "<b>", {"<img src=x>": (0.7, 900)}, hardware="<i>")], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert not any(tag in page for tag in ("<b>", "<img", "<i>"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_every_number_of_the_chart_is_inside_it_and_tells_something_new(tmp_path, page):
    """Where all variants have one mAP, and the slowest takes long."""
    chart = tradeoff([Cost("clean", 51, 1.0), Cost("owan", 90000, 1.0)], "mAP against time")
    (tmp_path / "page.html").write_text(f"<style>.plot text {{ font: 12px sans-serif; }}</style>{chart}")
    page.show(tmp_path / "page.html")
    edges = page.run("[...document.querySelectorAll('.plot, .plot text')].map(t => t.getBoundingClientRect().right)")
    assert len(edges) > 8
    assert max(edges) == edges[0]
    told = page.run("[...document.querySelectorAll('.plot text[text-anchor=end]')].map(t => t.textContent)")
    assert len(set(told)) == len(told) > 3


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_shows_the_points_and_fits(tmp_path, page, width, dark):
    runs = [make_run(tmp_path / "one", {"owan": (0.7, 900)}), make_run(tmp_path / "two", {"tv": (0.3, 60)}, hardware="another")]
    write_leaderboard(runs, tmp_path / "page.html")
    page.show(tmp_path / "page.html", width, 844, dark)
    assert page.told == []
    assert page.run("document.documentElement.scrollWidth") <= width
    told = page.run("[...document.querySelectorAll('.plot circle title')].map(t => t.textContent)")
    assert "owan: 900 ms per photo, mAP 70.0 (60.0 to 80.0)" in told
    assert len(told) == 4 == page.run("document.querySelectorAll('.whisker').length")
    heights = page.run("Object.fromEntries([...document.querySelectorAll('.plot circle')].map(c => "
                       "[c.textContent.split(':')[0], [+c.getAttribute('cx'), +c.getAttribute('cy')]]))")  # fmt: skip
    assert heights["clean"][1] < heights["owan"][1] < heights["distorted"][1] < heights["tv"][1]
    assert heights["clean"][0] == heights["distorted"][0] < heights["tv"][0] < heights["owan"][0]
    rows = page.run("[...document.querySelectorAll('#standings tbody tr')].map(r => r.cells[0].textContent.trim())")
    assert rows == ["clean", "owan ◆", "distorted ◆", "tv"]
    assert "different machines" in page.run("document.querySelector('main').textContent")
    assert page.run("document.getElementById('caveat').textContent") == "8 photos: a demonstration, not a benchmark."
