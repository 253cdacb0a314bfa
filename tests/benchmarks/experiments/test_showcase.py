from click.testing import CliRunner
from PIL import Image
from vocbench.benchmarks.experiments.showcase import WIDTH, main


def test_the_readmes_picture_has_three_panels_and_names_what_was_done(tmp_path):
    given = [
        "--photo",
        "chelsea",
        "--recipe",
        "mild",
        "--restorer",
        "identity",
        "--detector",
        "tests.support.fakes:BlobDetector",
    ]
    done = CliRunner().invoke(main, [*given, "--out", str(tmp_path / "a.jpg")], catch_exceptions=False)
    assert done.output.startswith(f"{tmp_path}/a.jpg: chelsea, blur ")
    assert "(sigma in pixels); noise " in done.output
    with Image.open(tmp_path / "a.jpg") as made:
        assert made.width == WIDTH
        assert 300 * WIDTH / (3 * 451 + 16) < made.height < 340 * WIDTH / (3 * 451 + 16)  # a line of text above the photo
