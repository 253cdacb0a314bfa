import pytest
from click.testing import CliRunner
from vocbench.benchmarks.cli import cli
from vocbench.restorer import export as module
from vocbench.restorer.export import FORMATS, check_path, export
from vocbench.restorer.owan import build, load_owan
from vocbench.restorer.weight_files import save_weights


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_loaded_and_is_the_network(shared, tmp_path, name):
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    path = tmp_path / f"owan{FORMATS[name][0]}"
    assert export(load_owan(shared / "weights/owan/model_best.pth"), name, path) <= 1e-4
    assert path.is_file()


def test_a_file_that_differs_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match=r"differs from the network by .*; not kept"):
        export(build("owan").eval(), "torchscript", tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


def test_bad_names_are_told(tmp_path):
    with pytest.raises(ValueError, match="unknown format 'tflite'; choose one of onnx"):
        check_path("tflite", tmp_path / "x")
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        check_path("onnx", tmp_path / "x.pt")
    (tmp_path / "x.onnx").write_text("mine")
    with pytest.raises(ValueError, match="already there"):
        check_path("onnx", tmp_path / "x.onnx")


def test_the_command_exports(tmp_path):
    save_weights(tmp_path / "w.safetensors", build("owan").state_dict(), "owan", "63:42")
    arguments = ["export", f"owan:{tmp_path}/w.safetensors", "--format", "torchscript", "--out", str(tmp_path / "o.pt")]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "largest error on three sizes" in done.output
