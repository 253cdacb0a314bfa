import json
import re
from html import unescape

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from scipy.stats import pearsonr
from vocbench.benchmarks.experiments.run import run
from vocbench.benchmarks.reporting import figures
from vocbench.benchmarks.reporting.charts import Cost, Level, curves, lines, rows, scatter, tradeoff
from vocbench.benchmarks.reporting.figures import by_photo, corners, correlation
from vocbench.benchmarks.reporting.frame import axis, logarithmic
from vocbench.benchmarks.reporting.looks import look_places
from vocbench.benchmarks.reporting.summary import caveat, comparison_rows, folded, shade, tiles
from vocbench.benchmarks.reporting.tables import percent
from vocbench.benchmarks.results.schema import Comparison, Interval, VariantResults, read_results
from vocbench.benchmarks.results.sentences import best_restored, harm, headline
from vocbench.benchmarks.settings import RunSettings
from vocbench.detection.average_precision import VOC_RULES, Evaluation, Matches, evaluate
from vocbench.detection.columns import DetectionColumns, ObjectColumns
from vocbench.detection.detections import VOC_CLASSES, Detections, Objects
from vocbench.detection.error_types import error_types

from tests.support.results import results_of
from tests.support.voc_folders import make_voc_folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    base = tmp_path_factory.mktemp("report")
    settings = RunSettings(data=str(make_voc_folder(base)), split="val", recipe="voc", do_no_harm=True,
                           restorers=("bright=tests.support.fakes:Brighten", "identity"),
                           detectors=("blob=tests.support.fakes:BlobDetector",))  # fmt: skip
    run(settings, base / "out")
    return base / "out"


def made_up(clean, distorted, restored):
    def entry(value):
        lost = clean - distorted
        recovered = (value - distorted) / lost if lost else None
        return VariantResults(
            map=value,
            recovered=recovered,
            delta_map=value - distorted,
            delta_clean=value - clean,
            delta_map_ci95=Interval(value - distorted - 0.2, value - distorted + 0.1),
            delta_clean_ci95=Interval(value - clean - 0.2, value - clean + 0.2),
        )

    return results_of({"clean": entry(clean), "distorted": entry(distorted), "owan": entry(restored), "clean+owan": entry(0.7)})


def test_the_headline_is_right_when_restoring_gained():
    assert headline(made_up(0.8, 0.2, 0.5)) == (
        "Distortion took mAP from 80.0 to 20.0; restoring with owan raised it by 30.0 points to 50.0, 50 % of what was lost "
        "(95 % interval of the change +10.0 to +40.0 points)."
    )


def test_the_headline_says_so_when_restoring_hurt():
    assert "restoring with owan lowered it by another 10.0 points to 10.0" in headline(made_up(0.8, 0.2, 0.1))
    assert "restoring with owan made no change (" in headline(made_up(0.8, 0.2, 0.2))
    assert "-20.0 to +10.0 points, not distinguishable from chance)." in headline(made_up(0.8, 0.2, 0.2))
    assert headline(made_up(0.2, 0.3, 0.4)).startswith("mAP was 20.0 on clean photos and 30.0 on distorted ones; ")


def test_the_best_restorer_is_one_that_touched_the_photos():
    """Even where it gains nothing, and one that left them as they were would be as good or better."""
    same = entries(clean=(1.0, None), distorted=(0.5, 20.0), identity=(0.5, 20.0), kept=(0.5, 25.0), worse=(0.1, 26.0))
    assert best_restored(same) == "kept"
    unmeasured = results_of(
        {name: VariantResults(map=ap, ap={"dog": ap}) for name, ap in (("as-is", 0.5), ("a", 0.5), ("b", 0.1))}
    )
    assert best_restored(unmeasured) == "a"  # without clean photos nothing tells whether it touched them
    assert best_restored(entries(clean=(1.0, None), distorted=(0.5, 20.0), identity=(0.5, 20.0))) == "identity"
    assert best_restored(entries(clean=(1.0, None), distorted=(0.5, 20.0), identity=(0.5, 20.0), w=(0.1, 26.0))) == "w"


def test_harm_to_clean_photos_is_told():
    assert harm(made_up(0.8, 0.2, 0.5)) == [
        "On clean photos owan lost 10.0 points "
        "(95 % interval of the change -30.0 to +10.0 points, not distinguishable from chance)."
    ]
    assert harm(made_up(0.7, 0.2, 0.5))[0].startswith("On clean photos owan made no change (")


def entries(**given):
    """Results of variants with some AP of dogs and PSNR; the name of one on clean photos begins with `clean_`."""
    made = {
        name.replace("clean_", "clean+"): VariantResults(map=ap, ap={"dog": ap}, psnr=psnr, ssim=0.5)
        for name, (ap, psnr) in given.items()
    }
    return results_of(made)


def test_identical_variants_are_folded_and_others_are_not():
    same = entries(clean=(0.9, None), distorted=(0.5, 20.0), identity=(0.5, 20.0), flat=(0.5, 21.0), clean_identity=(0.9, None))
    assert folded(same) == {"clean": ["clean+identity"], "distorted": ["identity"], "flat": []}
    blind = entries(clean=(0.0, None), distorted=(0.0, 20.0), owan=(0.0, 25.0), clean_owan=(0.0, 40.0))
    assert not any(folded(blind).values())


def test_the_tiles_tell_what_was_lost_and_regained():
    results = made_up(0.8, 0.2, 0.5)
    assert [(tile.label, tile.value) for tile in tiles(results)] == [
        ("Clean, mAP", "80.0"), ("Distorted, mAP", "20.0"), ("Restored by owan, mAP", "50.0"), ("Lost mAP recovered", "50 %")
    ]  # fmt: skip
    assert tiles(made_up(0.8, 0.2, 0.1))[-1].value == "none"
    assert tiles(made_up(0.8, 0.8, 0.9))[-1].value == "–"
    owan = replace(results.variants["owan"], recovered_ci95=Interval(0.25, 0.75))
    assert tiles(replace(results, variants=results.variants | {"owan": owan}))[-1].note == "95 % interval 25 to 75"


def test_of_two_restorers_the_better_one_is_named_first():
    made = entries(clean=(0.9, None), distorted=(0.1, 20.0), a=(0.5, 21.0), b=(0.3, 22.0), c=(0.5, 21.0))

    def told(second, change, low, high):
        pair = Comparison(first="a", second=second, delta_map=change, delta_map_ci95=Interval(low, high))
        return [(row.name, row.points, row.interval, row.verdict) for row in comparison_rows(replace(made, comparisons=[pair]))]

    assert told("b", -0.2, -0.3, -0.05) == [("a − b", "+20.0", "+5.0 to +30.0", "yes")]
    assert told("b", 0.1, -0.1, 0.2) == [("b − a", "+10.0", "-10.0 to +20.0", "no")]
    assert told("b", 0.1, None, None) == [("b − a", "+10.0", "–", "–")]
    assert told("b", None, None, None) == []
    assert told("c", 0.0, 0.0, 0.0) == []  # c is shown as a


def test_few_photos_are_called_a_demonstration():
    assert caveat(8) == "8 photos: a demonstration, not a benchmark."
    assert caveat(1).startswith("1 photo: ")
    assert caveat(4952) == ""


def test_the_shade_grows_with_the_change():
    assert shade(0.15) == "--tint: var(--gain); --strength: 20%"
    assert shade(-0.9) == "--tint: var(--drop); --strength: 40%"
    assert shade(0.0) == shade(None) == ""


def judged_run(base, **given):
    """A run on 12 photos with a detector that loses what is blurred."""
    detectors = given.pop("detectors", ("sharp=tests.support.fakes:KeenDetector",))
    settings = RunSettings(str(make_voc_folder(base, 12)), "val", "voc", detectors=detectors, examples=0, **given)
    return run(settings, base / "out")


def test_a_run_where_restoring_hurts_says_so(tmp_path):
    out = judged_run(tmp_path, restorers=("flat=tests.support.fakes:Flatten",))
    results = json.loads((out / "results.json").read_text())
    page = (out / "report.html").read_text()
    lost = results["variants"]["distorted"]["map"] - results["variants"]["flat"]["map"]
    assert lost > 0
    assert f"restoring with flat lowered it by another {100 * lost:.1f} points to 0.0" in page
    assert "0.0 ▼</td>" in page
    assert "0 regained, 1 lost by flat" in page
    assert '<span class="lost">lost dog</span>' in page
    assert "0.0$\\downarrow$" in (out / "table.tex").read_text()


def test_a_run_that_changed_no_photo_says_so_in_place_of_the_gallery(tmp_path):
    out = judged_run(tmp_path, restorers=("same=identity",))
    page = (out / "report.html").read_text()
    assert "<figure data-photo" not in page
    assert '<a href="#photos">Photos</a>' in page
    assert re.findall(r'id="without-photos">(.*?)<', page) == [
        "None to show: a run keeps pictures of photos in which restoring regained or lost an object with sharp "
        "(boxes of score 0.3 and above, first draw), and there is none. Left every photo as it was: same."
    ]


def test_a_second_detector_for_which_no_photo_changed_names_the_first(tmp_path):
    detectors = ("sharp=tests.support.fakes:KeenDetector", "blind=tests.support.fakes:BlobDetector")
    out = judged_run(tmp_path, restorers=("flat=tests.support.fakes:Flatten",), detectors=detectors)
    pages = {path.name: path.read_text() for path in out.glob("**/report*.html")}
    told = [re.findall(r'id="without-photos">(.*?)<', page) for page in pages.values()]
    assert sorted(told, key=len) == [[], [
        "None to show: a run keeps pictures of photos in which restoring regained or lost an object with sharp "
        "(boxes of score 0.3 and above, first draw), and none of them changed with blind."
    ]]  # fmt: skip


def test_a_label_that_begins_with_clean_is_a_restorer_as_any_other(tmp_path):
    """Two draws of each photo, of which clean photos have one."""
    out = judged_run(tmp_path, restorers=("cleaner=tests.support.fakes:Flatten",), draws=2)
    results = json.loads((out / "results.json").read_text())
    assert results["variants"]["cleaner"]["map"] < results["variants"]["distorted"]["map"]
    page = (out / "report.html").read_text()
    assert "Correlation for cleaner: " in page
    assert "<title>cleaner, " in page.split("By degradation level")[1].split("What goes wrong")[0]


def test_best_is_bold_only_where_it_beats_distorted(tmp_path):
    out = judged_run(tmp_path, restorers=("flat=tests.support.fakes:Flatten", "identity"))
    assert "**" not in (out / "table.md").read_text()
    assert "textbf" not in (out / "table.tex").read_text()
    assert not re.search(r'class="[^"]*best', (out / "report.html").read_text())


def test_under_coco_the_page_says_by_which_rule_each_part_is(tmp_path):
    out = judged_run(tmp_path, restorers=("stretch=tests.support.fakes:Stretch",), protocol="coco")
    page = (out / "report.html").read_text()
    assert "protocol coco: the mean of AP at IoU 0.50 to 0.95. It has no single curve" in page
    assert "mAP in percent under protocol coco, as in the table, of the photos in each range" in page
    assert "in points of mAP at IoU 0.5 over all points of the curve (the rule of voc10), so they do not" in page
    assert "by the rule of voc10, as coco has no single IoU" in page
    assert "data-curve=" not in page
    assert "<circle" in page


def test_the_numbers_shown_are_those_of_results(finished):
    results = json.loads((finished / "results.json").read_text())
    page = (finished / "report.html").read_text()
    assert unescape(re.findall(r'id="headline">(.*?)<', page)[0]) == headline(read_results(finished / "results.json"))
    cells = re.findall(r'data-variant="(.*?)" data-column="(.*?)" class=".*?">(.*?)( ▼)?</td>', page)
    assert len(cells) == 2 * 4  # identity is shown with what it leaves as it is
    for variant, column, text, _ in cells:
        entry = results["variants"][unescape(variant)]
        assert text == percent(entry["map"] if column == "map" else entry["ap"][column])


def test_the_file_needs_no_network(finished):
    page = (finished / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page


def test_names_are_escaped():
    name, label, title = '"><img src=x onerror=alert(1)>', "<script>alert(1)</script>", "<b>"
    charts = [
        rows([label], [(name, [0.5])], title),
        lines([Level(label, 1.0)], [(name, [0.5])], label, title),
        curves([(name, [(0.5, 0.5)])], label, label, title),
        scatter([(name, [(1.0, 1.0)])], label, label, title),
        tradeoff([Cost(name, 5.0, 0.5)], title),
    ]
    for chart in map(str, charts):
        assert "<script>" not in chart
        assert "<img" not in chart
        assert "<b>" not in chart


def test_every_series_of_many_has_its_whole_name_and_a_look_of_its_own():
    names = [f"a restorer with a long name, number {i}" for i in range(23)]
    chart = str(curves([(name, [(0.5, 1.0)]) for name in names], "recall", "precision", "many"))
    assert all(f"</svg> {name}</li>" in chart for name in names)
    looks = re.findall(r'<polyline class="(l\d d\d)"', chart)
    assert len(looks) == len(set(looks)) == 23
    shades = re.findall(r'<circle class="(s\d o\d)" cx=', str(rows(["dog"], [(name, [0.5]) for name in names], "many")))
    assert len(set(shades)) == 23


def test_numbers_of_a_chart_are_listed():
    chart = str(rows(["dog", "cat"], [("a", [0.5, None]), ("b", [0.25, 1.0])], "two"))
    assert '<th scope="row">dog</th><td>50.0</td><td>25.0</td>' in chart
    assert '<th scope="row">cat</th><td>–</td><td>100.0</td>' in chart
    falling = str(curves([("a", [(0.3, 1.0), (0.8, 0.5)])], "recall", "precision", "a curve"))
    heights = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', falling)
    assert heights[0] == ("0.0", "1.000")
    assert heights[3:5] == [("0.3", "1.000"), ("0.4", "0.500")]
    assert heights[9] == ("0.9", "0.000")
    assert str(scatter([("a", [(float(i), 0.5) for i in range(1000)])], "x", "y", "dots")).count("<td>") == 2 * 40


def test_an_axis_has_round_steps_and_zero():
    assert axis([0.3, 0.9]) == pytest.approx((0, 1, 5))
    assert axis([-1.0, 1.0]) == pytest.approx((-1, 1, 4))
    assert axis([2.0, 13.1]) == pytest.approx((0, 14, 7))
    assert axis([]) == pytest.approx((0, 1, 5))
    assert axis([-3.0]) == pytest.approx((-3, 0, 6))
    assert axis([81.0, 95.0], zero=False) == pytest.approx((80, 96, 8))
    assert axis([100.0, 100.0], zero=False) == pytest.approx((99, 100, 5))  # there is no mAP above
    assert axis([0.0, 0.0], zero=False) == pytest.approx((0, 1, 5))


def test_a_logarithmic_axis_has_ticks_around_all_values():
    assert logarithmic("ms", [31.0, 870.0]).ticks == pytest.approx([20, 50, 100, 200, 500, 1000])
    assert logarithmic("ms", [50.0]).ticks == pytest.approx([50, 100])
    assert logarithmic("ms", [20.0, 2000.0]).share(200.0) == pytest.approx(0.5)


def test_a_variant_has_one_look_wherever_it_is_shown():
    report = look_places(["clean", "distorted", "owan", "dncnn", "clean+owan", "clean+dncnn"])
    assert report == {"clean": 0, "distorted": 1, "owan": 2, "dncnn": 3, "clean+owan": 2, "clean+dncnn": 3}
    sweep = look_places(["distorted", "owan", "dncnn"])
    assert all(report[name] == place for name, place in sweep.items())
    assert look_places(["as-is", "owan", "dncnn"]) == {"as-is": 1, "owan": 2, "dncnn": 3}


def test_points_of_mean_precision_have_their_intervals():
    chart = str(tradeoff([Cost("clean", 100.0, 0.8, 0.7, 0.9), Cost("owan", 1000.0, 0.6)], "mAP against time"))
    assert "clean: 100 ms per photo, mAP 80.0 (70.0 to 90.0)" in chart
    assert "owan: 1000 ms per photo, mAP 60.0<" in chart
    assert chart.count('<line class="whisker') == 1


@pytest.mark.parametrize("rule", list(VOC_RULES))
@pytest.mark.parametrize("count", [0, 1, 5, 400, 60000])
def test_corners_of_a_curve_have_its_average_precision(rule, count):
    """Beyond a thousand corners, to a thousandth."""
    random = np.random.default_rng(count)
    right = random.random(count) < np.linspace(1, 0.2, count)
    none, objects = np.zeros(count, bool), np.zeros(count + 3, int)
    match = Matches(np.linspace(1, 0, count), np.zeros(count, int), right, none, objects)
    found = corners(match)
    x, y = np.array([(0.0, 0.0), *found]).T[:, 1:]
    assert VOC_RULES[rule](x, y) == pytest.approx(VOC_RULES[rule](*match.curve()), abs=1e-9 if count < 1000 else 1e-3)
    assert len(found) < 1100


def scene(seed):
    """Photos of dogs and cats, difficult ones among them, and what was found; the last photo is empty."""
    random = np.random.default_rng(seed)
    truth, found = {}, {}
    for i in range(8):
        corner = random.uniform(0, 60, (3, 2))
        boxes = np.concatenate([corner, corner + 25], 1)
        truth[f"i{i}"] = Objects.of(boxes, random.choice([7, 11], 3), random.random(3) < 0.3)
        moved = np.concatenate([boxes, boxes]) + random.normal(0, 3, (6, 4))
        labels = torch.from_numpy(random.choice([7, 11], 6))
        found[f"i{i}"] = Detections(torch.from_numpy(moved).float(), torch.from_numpy(random.random(6)).float(), labels)
    return truth | {"i8": Objects.of([], [])}, found


@pytest.mark.parametrize("rule", list(VOC_RULES))
@pytest.mark.parametrize("seed", range(3))
def test_the_ap_of_a_photo_is_that_of_the_photo_alone(rule, seed):
    truth, found = scene(seed)
    together = evaluate(found, truth, rule).image_maps()
    alone = [evaluate({k: found[k]} if k in found else {}, {k: truth[k]}, rule).map for k in truth]
    assert together.tolist() == pytest.approx([np.nan if one is None else one for one in alone], nan_ok=True)


def test_the_photos_of_the_scatter_are_bounded(monkeypatch):
    objects, detections = scene(0)
    found = DetectionColumns.of(detections)
    truth = ObjectColumns.of(objects).select(list(found))
    psnr = np.arange(8.0)
    assert (
        by_photo(psnr, found, truth, Evaluation("coco", None, list(truth), dict.fromkeys(VOC_CLASSES)))[:, 1].tolist()
        == evaluate(found, truth, "voc10").image_maps().tolist()
    )
    monkeypatch.setattr(figures, "SHOWN_DOTS", 3)
    thin = by_photo(psnr, found, truth, evaluate(found, truth, "voc07"))
    assert thin[:, 0].tolist() == [0, 3, 6]
    assert thin[:, 1].tolist() == evaluate(found, truth, "voc07").image_maps()[::3].tolist()


def test_the_correlation_is_pearsons():
    pairs = np.random.default_rng(0).normal(size=(20, 2))
    assert correlation(pairs) == pytest.approx(pearsonr(*pairs.T).statistic)
    assert correlation(pairs[:2]) is None
    assert correlation(np.array([[1.0, 2], [1, 3], [1, 4]])) is None


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
