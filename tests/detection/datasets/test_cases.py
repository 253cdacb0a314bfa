"""Data sets and detections as people have them, each with the figure that is right."""

import json
import shutil

import pytest
from click.testing import CliRunner
from vocbench.benchmarks.cli.main import cli
from vocbench.benchmarks.sample import open_data
from vocbench.benchmarks.voc_folder import check_size
from vocbench.restorer.images import check_image

HUNDRED = [
    "size_zero",
    "xmin_zero",
    "difficult_unspecified",
    "difficult_False",
    "split_bom",
    "utf16",
    "coco_bom",
    "namespace",
    "split_spaces",
    "dict_int",
    "capital_name",
    "dict_unknown_label_extra",
    "no_main",
]


@pytest.fixture
def case(shared, tmp_path):
    """A function that copies a case and gives its folder."""

    def copied(name):
        return shutil.copytree(shared / "cases/voc" / name, tmp_path / name)

    return copied


def evaluated(folder, data="VOC2099", detections="dets.json", *arguments):
    split = ["--split", "val"] if data == "VOC2099" else []
    given = ["evaluate", "--data", str(folder / data), *split, "--detections", str(folder / detections), *arguments]
    return CliRunner().invoke(cli, given, catch_exceptions=False)


def figure(*given):
    return json.loads(evaluated(*given, "--json").stdout)["map"]


@pytest.mark.parametrize("name", HUNDRED)
def test_files_that_people_have_are_read_to_the_right_figure(case, name):
    assert figure(case(name), "VOC2099", "dets.json") == 1.0


@pytest.mark.parametrize(
    ("name", "data", "detections"),
    [
        ("coco_gt_wild", "instances.json", "dets.json"),
        ("roboflow_flat", "valid", "dets.json"),
        ("split_7_007", "VOC2099", "coco.json"),
    ],
)
def test_other_forms_are_read_to_the_right_figure(case, name, data, detections):
    assert figure(case(name), data, detections) == 1.0


def test_a_line_of_a_split_that_is_an_id_is_that_photo(case):
    assert open_data(str(case("split_space_mix") / "VOC2099"), "val").ids == ["dog", "cat 2"]


def test_a_line_of_a_split_may_have_its_suffix(case):
    assert open_data(str(case("split_with_suffix") / "VOC2099"), "val").ids == ["p1", "p2"]


def test_predictions_that_were_exported_are_read_back_alike(case):
    folder = case("coco_gt")
    figures = [figure(folder, "exp/annotations.json", name) for name in ("exp/detections.json", "exp_json", "exp_voc")]
    assert figures == [0.0, 0.0, 0.0]  # none of the 16 boxes is of the class of the two objects


def test_classes_that_count_from_zero_are_told(case):
    done = evaluated(case("coco_cat0"))
    assert "--categories" in done.output


def test_photos_are_read_or_refused_by_kind(case):
    assert open_data(str(case("suffix_JPEG") / "VOC2099"), "val").photo("p2").name == "p2.JPEG"
    with pytest.raises(ValueError, match="is a BMP picture"):
        open_data(str(case("suffix_bmp") / "VOC2099"), "val").photo("p2")


def test_a_set_annotated_upright_is_named_and_read_so(case):
    place = str(case("exif_upright") / "VOC2099")

    def check(upright):
        data = open_data(place, "val", upright)
        for image in data.ids:
            check_size(data.photo(image), check_image(data.photo(image)), data.size(image), upright)

    with pytest.raises(ValueError, match=r"turned by EXIF.*annotated as people see it; give `upright=True`"):
        check(False)
    check(True)


def test_a_polygon_without_a_box_is_told(case):
    with pytest.raises(ValueError, match="has no <bndbox>, but a <polygon>"):
        evaluated(case("polygon_only"))


def test_own_classes_are_evaluated(case):
    assert figure(case("extra_class"), "VOC2099", "dets.json") is not None
