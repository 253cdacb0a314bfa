"""The kernels' arithmetic under Triton's interpreter, in a process of its own as it must be on from the start; and on a GPU."""

import json
import os
import subprocess
import sys

import pytest
import torch
from vocbench.pipeline.weights import find
from vocbench.restorer.engines import select, triton_layer
from vocbench.restorer.engines.placement import Placement
from vocbench.restorer.engines.probes import largest_error, probes
from vocbench.restorer.networks.owan_files import build, load_owan
from vocbench.restorer.tiling import Tiled, Tiling

from tests.support.commands import PYTHONPATH
from tests.support.pictures import portraits

pytest.importorskip("triton")
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

LAYERS = [(size, dtype) for size in ((9, 13), (16, 8), (1, 3)) for dtype in ("float32", "float16", "bfloat16")]
NETWORKS = [("owan", "float32"), ("owan", "float16"), ("owan-half", "float32")]
BEGIN = """
import copy, json
import torch
from skimage.data import astronaut
from vocbench.pipeline.weights import find
from vocbench.restorer.engines.folding import fold
from vocbench.restorer.networks.owan import OperationLayer
from vocbench.restorer.networks.owan_files import load_owan
from vocbench.restorer.engines.triton_layer import TritonOwan, _moved, available, layer
assert available("cpu")
torch.manual_seed(0)
torch.set_grad_enabled(False)
image = torch.from_numpy(astronaut()).permute(2, 0, 1)[None, :, 100:106, 200:209].float() / 255

def layer_error(size, dtype):
    module, x, weights = OperationLayer(16).eval(), torch.rand(2, 16, *size), torch.rand(2, 8)
    expected = module(x, weights)
    given = x.permute(0, 2, 3, 1).contiguous().to(getattr(torch, dtype))
    found = layer(given, _moved(fold(module), "cpu", getattr(torch, dtype)), weights).permute(0, 3, 1, 2).float()
    assert found.shape == expected.shape
    return (found - expected).abs().max().item()

def made_of(name, dtype, groups):
    network = load_owan(find(name))
    network.groups = network.groups[:groups]  # of ten: the interpreter takes seconds a layer
    return network, TritonOwan(network, "cpu", getattr(torch, dtype))

def network_error(name, dtype):
    network, made = made_of(name, dtype, 2)
    expected = network(image)
    assert expected.std() > 0.05
    return ((made(image) - expected).abs().max() / expected.abs().max()).item()

def error_after_a_change():
    network, made = made_of("owan", "float32", 1)
    expected = network(image)
    made(image)
    for parameter in network.parameters():
        parameter.mul_(0.9)
    changed = network(image)
    assert (changed - expected).abs().max() > 0.02 * expected.abs().max()
    return max(((one(image) - changed).abs().max() / expected.abs().max()).item() for one in (made, copy.deepcopy(made)))
"""


def interpret(code: str) -> list[float]:
    """Return what an expression in Python gives, beside the functions of `BEGIN`."""
    environment = os.environ | {
        "TRITON_INTERPRET": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": PYTHONPATH,
    }
    command = [sys.executable, "-c", f"{BEGIN}\nprint(json.dumps({code}))"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def layer_errors():
    """By size and precision, of one process: it imports for longer than it computes."""
    return dict(zip(LAYERS, interpret(f"[layer_error(*one) for one in {LAYERS}]"), strict=True))


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float16", 3e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("size", [(9, 13), (16, 8), (1, 3)])
def test_a_layer_is_the_plain_layer(layer_errors, size, dtype, bound):
    assert layer_errors[size, dtype] <= bound


@pytest.fixture(scope="module")
def network_errors():
    return dict(zip(NETWORKS, interpret(f"[network_error(*one) for one in {NETWORKS}]"), strict=True))


@pytest.mark.parametrize(
    ("name", "dtype", "bound"), [("owan", "float32", 1e-5), ("owan", "float16", 1e-2), ("owan-half", "float32", 1e-4)]
)
def test_the_network_is_the_plain_network(network_errors, name, dtype, bound):
    assert network_errors[name, dtype] <= bound


def test_the_kernels_follow_the_parameters():
    (error,) = interpret("[error_after_a_change()]")
    assert error <= 1e-5


class Same(torch.nn.Module):
    """What its network is."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)


class SharpOnly(torch.nn.Module):
    """Right wherever neighbours differ, as noise does, and wrong on what is smooth."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        smooth = images.diff(dim=2).abs().mean() < 0.02
        return self.network(images) + (0.5 if smooth else 0)


@pytest.mark.parametrize("size", [16, None])
def test_probes_are_pictures_of_the_real_size_of_every_kind(size):
    made = probes(size)
    assert made.shape == (8, 3, size or 256, size or 256)
    assert made.min() >= 0 and made.max() <= 1
    assert torch.equal(made, probes(size))
    network = torch.nn.Conv2d(3, 3, 1)
    assert largest_error(network, network, size) == 0
    assert largest_error(SharpOnly(network), network, size) > 0.1


def test_auto_takes_half_precision_only_where_it_agrees_on_every_kind_of_picture(monkeypatch, tmp_path, caplog):
    """Noise alone told nothing: half precision was off by 0.55 on a sky."""
    wrong: set[torch.dtype] = set()

    def kernels(network, device, dtype):
        made = SharpOnly(network) if dtype in wrong else Same(network)
        made.dtype = dtype
        return made

    monkeypatch.setattr(triton_layer, "available", lambda device: True)
    monkeypatch.setattr(triton_layer, "TritonOwan", kernels)
    place, network = Placement("cpu", Tiling(16, 12), 4, tmp_path), build("owan")

    def precision():
        made = select._checked_triton(network, place)
        return made if made is None else made.dtype

    assert precision() == torch.float16
    wrong.add(torch.float16)
    assert precision() == torch.float32
    wrong.add(torch.float32)
    assert precision() is None
    assert "in torch.float32 its result is off by" in caplog.text


def test_without_a_gpu_auto_stays_with_what_runs(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(select, "TorchEngine", lambda network, device: network)
    monkeypatch.setattr(triton_layer, "available", lambda device: False)
    network = build("owan")
    assert select.make_engine(network, Placement("cuda", Tiling(63, 42), 4, tmp_path), "auto") is network
    assert "the Triton kernels are not used" in caplog.text


@cuda
@pytest.mark.parametrize("name", ["owan", "owan-half"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-3), (torch.float16, 5e-2), (torch.bfloat16, 3e-1)])
def test_the_kernels_run_on_a_gpu(name, dtype, bound):
    plain, made = load_owan(find(name)), triton_layer.TritonOwan(load_owan(find(name)), "cuda", dtype)
    for tiles in (portraits((63, 65), 4), portraits((63, 65), 4).flip(3)):
        with torch.no_grad():
            expected = plain(tiles)
            assert (expected - tiles).abs().max() > 0.05
            for _ in range(2):  # captured, then replayed
                assert (made(tiles) - expected).abs().max() <= bound


@cuda
def test_auto_restores_on_a_gpu_as_the_plain_network_does(tmp_path):
    photo, tiling = portraits((100, 120)), Tiling(64, 48)
    plain = Tiled(load_owan(find("owan")), tiling, 4)(photo)
    made = select.make_engine(load_owan(find("owan")), Placement("cuda", tiling, 4, tmp_path))
    assert (plain - photo).abs().max() > 0.05
    assert (Tiled(made, tiling, 4)(photo) - plain).abs().max() <= select.HALF_ERROR


@cuda
@pytest.mark.parametrize("engine", ["native", "openvino", "torch"])
def test_engines_on_the_cpu_take_photos_that_lie_on_a_gpu(engine, tmp_path):
    photo, tiling = portraits((100, 120)), Tiling(64, 48)
    made = Tiled(select.make_engine(load_owan(find("owan")), Placement("cpu", tiling, 4, tmp_path), engine), tiling, 4)
    restored = made(photo.cuda())
    assert restored.is_cuda
    torch.testing.assert_close(restored.cpu(), made(photo))
