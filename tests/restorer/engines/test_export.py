import numpy as np
import pytest
import torch
from click.testing import CliRunner
from vocbench.benchmarks.cli.main import cli
from vocbench.pipeline.weights import find
from vocbench.restorer.engines import export as module
from vocbench.restorer.engines.export import FORMATS, check_path, export
from vocbench.restorer.networks.owan_files import build, load_owan
from vocbench.restorer.weight_files import save_weights


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_loaded_and_is_the_network(shared, tmp_path, name):
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    path = tmp_path / f"owan{FORMATS[name][0]}"
    assert export(load_owan(shared / "weights/owan/model_best.pth"), name, path) <= 1e-4
    suffixes = {".xml", ".bin"} if name == "openvino" else {path.suffix}
    assert {made.name for made in tmp_path.iterdir()} == {f"owan{suffix}" for suffix in suffixes}


@pytest.mark.parametrize("weights", ["owan", "owan-half"])
@pytest.mark.parametrize("name", ["torchscript", "torch-export"])
def test_files_of_torch_take_any_batch_and_side_and_ask_for_no_gradients(tmp_path, recwarn, name, weights):
    """As `export`: batches of one and sides of 16 or more only, gradients asked for, and torch's warnings on the way."""
    network = load_owan(find(weights))
    network.groups = network.groups[:1]  # of ten, which are alike
    path = tmp_path / f"x{FORMATS[name][0]}"
    export(network, name, path)
    assert [str(one.message) for one in recwarn] == []
    loaded = torch.jit.load(path) if name == "torchscript" else torch.export.load(path).module()
    assert all(parameter.requires_grad for parameter in network.parameters())  # the caller's are as they were
    for size in ((1, 3, 64, 72), (3, 3, 5, 7), (2, 3, 1, 9), (1, 3, 2, 1), (1, 3, 1, 1)):
        image = torch.rand(size)
        restored = loaded(image)
        assert not restored.requires_grad
        torch.testing.assert_close(restored, network(image).clamp(0, 1).detach(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", FORMATS)
def test_the_default_network_is_written_in_every_format(tmp_path, name):
    """Its ends at another resolution have parameters of their own, and sides that blocks do not divide."""
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    network = load_owan(find("owan-half"))
    network.groups = network.groups[:1]
    network.ceilings[0] = 3
    path = tmp_path / f"x{FORMATS[name][0]}"
    assert export(network, name, path) <= 1e-4
    run = FORMATS[name][2](path)
    with torch.no_grad():
        for colour in torch.eye(3):  # on a full one features pass the ceiling
            image = colour[None, :, None, None].expand(1, 3, 16, 18).contiguous()
            assert next(network.reached(image)).max() > 3
            assert np.abs(run(image.numpy()) - network(image).clamp(0, 1).numpy()).max() <= 1e-4


def test_a_pytorch_that_cannot_export_the_default_network_is_told(tmp_path, monkeypatch):
    monkeypatch.delattr(module.symbolic, "backed_size_oblivious")
    with pytest.raises(ValueError, match=r"PyTorch .* cannot export this network; update PyTorch, or choose another format"):
        export(load_owan(find("owan-half")), "torch-export", tmp_path / "x.pt2")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match=r"differs from the network by .*, so it was removed"):
        export(build("owan").eval(), "torchscript", tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


def test_openvinos_second_file_is_checked_and_removed_with_the_first(tmp_path, monkeypatch):
    (tmp_path / "taken.bin").write_text("mine")
    with pytest.raises(ValueError, match=r"taken\.bin: already there; choose another name"):
        check_path("openvino", tmp_path / "taken.xml")

    def write(network, path):
        path.write_text("a graph")
        path.with_suffix(".bin").write_text("its weights")

    monkeypatch.setitem(module.FORMATS, "openvino", (".xml", write, lambda path: lambda image: image + 9))
    with pytest.raises(ValueError, match="so it was removed"):
        export(build("owan").eval(), "openvino", tmp_path / "x.xml")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.bin"]


def test_a_writer_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(network, path):
        path.write_text("half")
        raise RuntimeError("no space")

    monkeypatch.setitem(module.FORMATS, "torchscript", (".pt", fail, module.FORMATS["torchscript"][2]))
    with pytest.raises(RuntimeError, match="no space"):
        export(build("owan").eval(), "torchscript", tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_and_a_missing_extra_are_told(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"x\.pt: there is no folder .*none; make it first"):
        check_path("torchscript", tmp_path / "none" / "x.pt")
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "onnxscript" else name)
    with pytest.raises(ValueError, match=r'onnx needs onnxscript; `pip install "\.\[export\]"` brings it'):
        check_path("onnx", tmp_path / "x.onnx")
    assert check_path("openvino", tmp_path / "x.xml") == tmp_path / "x.xml"


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


def test_a_file_that_this_machine_cannot_run_is_told_and_removed(tmp_path, monkeypatch):
    """As OpenVINO on a CPU without AVX2."""

    def load(path):
        def run(image):
            raise RuntimeError("node.cpp:823:\nbad combination")

        return run

    monkeypatch.setitem(FORMATS, "torchscript", (*FORMATS["torchscript"][:2], load))
    network = load_owan(find("owan"))
    network.groups = network.groups[:1]
    with pytest.raises(ValueError, match=r"x\.pt: this machine cannot run the torchscript file .* \(node\.cpp:823: bad combin"):
        export(network, "torchscript", tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []
