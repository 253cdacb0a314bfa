import json

import pytest
import torch
from click.testing import CliRunner
from skimage.data import astronaut
from vocbench.benchmarks.cli.main import cli
from vocbench.pipeline.weights import find
from vocbench.restorer.engines import native, select
from vocbench.restorer.engines.fused import fuse
from vocbench.restorer.engines.placement import Placement
from vocbench.restorer.engines.select import ENGINES, make_engine
from vocbench.restorer.images import read_image
from vocbench.restorer.networks.owan_files import build, load_owan
from vocbench.restorer.tiling import Tiled, Tiling
from vocbench.restorer.weight_files import save_weights

from tests.support.pictures import portraits


@pytest.mark.parametrize("name", ["owan", "owan-half"])
@pytest.mark.parametrize("size", [(1, 1), (7, 13), (50, 63)])
def test_the_fused_network_is_the_same_function(name, size):
    """With trained weights: a new network gives a picture that is black but for 0.00002."""
    network, photos = load_owan(find(name)), portraits(size, 3)
    with torch.inference_mode():
        expected = network(photos)
        torch.testing.assert_close(fuse(network)(photos), expected, atol=1e-5, rtol=1e-4)
    assert (expected - photos).abs().max() > 0.1


@pytest.mark.parametrize("engine", ["native", "openvino", "torch"])
def test_every_engine_restores_a_real_photo_alike(shared, tmp_path, engine):
    if engine == "native" and not native.available():
        pytest.skip("needs a C++ compiler")
    weights = shared / "weights/owan/model_best.pth"
    photo = read_image(shared / "data/VOCdevkit/VOC2007/JPEGImages/000001.jpg")[:, 100:203, 50:181]
    tiling = Tiling(63, 42)
    plain = Tiled(load_owan(weights), tiling, 4)(photo[None])
    made = make_engine(load_owan(weights), Placement("cpu", tiling, 4, tmp_path), engine)
    assert (plain - photo).abs().max() > 0.1
    assert (Tiled(made, tiling, 4)(photo[None]) - plain).abs().max() <= 1e-4


def test_auto_says_when_only_plain_pytorch_is_left(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(native, "available", lambda: False)
    monkeypatch.setattr(select, "find_spec", lambda name: None)
    made = make_engine(build("owan"), Placement("cpu", Tiling(63, 42), 4, tmp_path), "auto")
    assert isinstance(made, select.TorchEngine)
    assert "neither a C++ compiler nor openvino can be used here; OWAN runs in plain PyTorch" in caplog.text


@pytest.mark.parametrize(("name", "tiling"), [("owan", Tiling(32, 24)), ("owan-half", Tiling())])
def test_auto_takes_openvino_where_there_is_no_compiler(monkeypatch, tmp_path, name, tiling):
    monkeypatch.setattr(native, "available", lambda: False)
    made = make_engine(build(name), Placement("cpu", tiling, 2, tmp_path), "auto")
    assert isinstance(made, select.OpenVinoEngine)


def _made(name, engine, tmp_path):
    if engine == "native" and not native.available():
        pytest.skip("needs a C++ compiler")
    return make_engine(load_owan(find(name)), Placement("cpu", Tiling(), 1, tmp_path), engine)


COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


@pytest.mark.parametrize("engine", ["native", "openvino", "torch"])
def test_every_engine_restores_whole_photos_of_any_size_and_of_one_full_colour(tmp_path, engine):
    """By the default restorer, whose features grow beyond their ceilings on full colours."""
    plain, made = load_owan(find("owan-half")), _made("owan-half", engine, tmp_path)
    photo = torch.from_numpy(astronaut()).permute(2, 0, 1)[None].float() / 255
    pictures = [photo[:, :, 90 : 90 + height, 180 : 180 + width] for height, width in ((1, 1), (7, 13), (40, 36))]
    pictures += [torch.tensor(colour)[None, :, None, None].expand(1, 3, 16, 18) for colour in COLOURS.values()]
    beyond = 0
    with torch.inference_mode():
        for picture in pictures:
            torch.testing.assert_close(made(picture), plain(picture), atol=1e-4, rtol=0)
            reached = zip(plain.reached(picture), plain.ceilings, strict=True)
            beyond += any(features.max() > ceiling for features, ceiling in reached)
        assert (plain(pictures[2]) - pictures[2]).abs().max() > 0.02  # the weights do something
    assert beyond >= 2


def test_engines_that_do_not_fit_are_told(tmp_path):
    with pytest.raises(ValueError, match="unknown engine 'fast'; choose one of auto, native"):
        make_engine(build("owan"), Placement("cpu", Tiling(63, 42), 4, tmp_path), "fast")
    with pytest.raises(ValueError, match="needs the package openvino and a CPU"):
        make_engine(build("owan"), Placement("cuda", Tiling(), 1, tmp_path), "openvino")
    with pytest.raises(ValueError, match="needs the package triton and a CUDA GPU"):
        make_engine(build("owan"), Placement("cpu", Tiling(63, 42), 4, tmp_path), "triton")
    with pytest.raises(ValueError, match="runs OWAN on a CPU"):
        make_engine(torch.nn.Identity(), Placement("cpu", Tiling(63, 42), 4, tmp_path), "native")


def test_the_table_of_engines_is_literal():
    assert list(ENGINES) == ["auto", "native", "openvino", "triton", "torch"]


def test_the_speed_command_measures_against_the_plain_network(tmp_path):
    save_weights(tmp_path / "w.safetensors", load_owan(find("owan")).state_dict(), "owan", "32:24")
    arguments = ["speed", "--restorer", f"owan:{tmp_path}/w.safetensors", "--size", "40x36", "--rounds", "1", "--batch", "2"]
    compiled = "native" if native.available() else "openvino"  # the faster to be had: OpenVINO converts a network for 24 s
    arguments += ["--engine", compiled, "--engine", "channels-last", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "out" / "speed.json").read_text())
    assert sorted(row["engine"] for row in content["rows"]) == ["channels-last", compiled, "plain"]  # in the order of time
    assert all(row["max_error"] <= 1e-4 for row in content["rows"])
    assert next(row["ratio"] for row in content["rows"] if row["engine"] == "plain") == 1
    assert all(row["peak_memory_bytes"] > 100e6 for row in content["rows"])  # a process with PyTorch in it


def test_the_fastest_batch_is_found_once_and_remembered(monkeypatch, tmp_path):
    tried = []

    def seconds(network, placement, engine):
        tried.append(placement.batch)
        return abs(placement.batch - 8) + 1.0

    monkeypatch.setattr(select, "_seconds_per_tile", seconds)
    monkeypatch.setattr(select, "_machine", lambda device: "a GPU")
    arguments = (build("owan"), Placement("cuda", Tiling(63, 42), cache=tmp_path), "triton")
    assert select.fastest_batch(*arguments) == 8
    assert tried == list(select.BATCHES)
    assert select.fastest_batch(*arguments) == 8
    assert len(tried) == len(select.BATCHES)
    (tmp_path / "batches.json").write_text("{")  # a damaged file is made again
    assert select.fastest_batch(*arguments) == 8
    assert len(tried) == 2 * len(select.BATCHES)


def test_without_a_usable_cache_no_batch_is_measured(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(select, "_seconds_per_tile", None)
    cache = tmp_path / "file" / "cache"
    assert select.fastest_batch(build("owan"), Placement("cuda", Tiling(63, 42), cache=cache), "triton") == select.BATCH
    assert f"{cache}: cannot be written to (Not a directory)" in caplog.text


def test_a_batch_is_timed_on_the_engine_itself(monkeypatch, tmp_path):
    """The clock ticks once for each tile restored."""
    restored = []

    class Engine(torch.nn.Module):
        def forward(self, tiles):
            restored.append(tuple(tiles.shape))
            return tiles

    monkeypatch.setitem(ENGINES, "torch", lambda network, placement: Engine())
    monkeypatch.setattr(select.time, "perf_counter", lambda: float(sum(shape[0] for shape in restored)))
    place = Placement("cpu", Tiling(16, 12), 2, tmp_path)
    assert select._seconds_per_tile(build("owan"), place, "torch") == 1.0
    assert set(restored) == {(2, 3, 16, 16)}


@pytest.mark.skipif(not native.available(), reason="needs a C++ compiler")
@pytest.mark.parametrize("name", ["owan", "owan-half"])
def test_threads_do_not_change_what_the_compiled_layers_give(shared, name):
    """Images alone, by one thread each, and the last one by all of them together."""
    photo = read_image(shared / "data/VOCdevkit/VOC2007/JPEGImages/000001.jpg")
    tiles, kept = torch.stack([photo[:, 10 * i : 10 * i + 50, :41] for i in range(3)]), torch.get_num_threads()
    made, given = native.NativeOwan(load_owan(find(name))), []
    try:
        with torch.inference_mode():
            for threads in (1, 2, 3, 5, 64):
                torch.set_num_threads(threads)
                given.append(made(tiles))
                assert torch.equal(made(tiles[1:2])[0], given[-1][1])
    finally:
        torch.set_num_threads(kept)
    assert (given[0] - tiles).abs().max() > 0.005
    assert all(torch.equal(given[0], other) for other in given[1:])


def test_plain_pytorch_on_a_gpu_convolves_in_float32_and_leaves_the_programs_setting(monkeypatch):
    seen = []

    class Telling(torch.nn.Module):
        def forward(self, images):
            seen.append(torch.backends.cudnn.allow_tf32)
            return images

    monkeypatch.setattr(select.TorchEngine, "any_number", False)  # as on a GPU
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    select.TorchEngine(Telling(), "cpu")(torch.rand(2, 3, 8, 8))
    assert seen == [False]
    assert torch.backends.cudnn.allow_tf32
