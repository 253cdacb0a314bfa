"""The kernels' arithmetic under Triton's interpreter, in a process of its own as it must be on from the start; and on a GPU."""

import os
import subprocess
import sys

import pytest
import torch
from vocbench.restorer.engines import select
from vocbench.restorer.engines.placement import Placement
from vocbench.restorer.networks.owan_files import build
from vocbench.restorer.tiling import Tiled, Tiling

from tests.support.commands import PYTHONPATH

pytest.importorskip("triton")
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

BEGIN = """
import torch
from vocbench.restorer.engines.folding import fold
from vocbench.restorer.networks.owan import OperationLayer
from vocbench.restorer.networks.owan_files import build
from vocbench.restorer.engines.triton_layer import TritonOwan, _moved, available, layer
assert available("cpu")
torch.manual_seed(0)
torch.set_grad_enabled(False)
"""
LAYER = """
module, x, weights = OperationLayer(16).eval(), torch.rand(2, 16, {height}, {width}), torch.rand(2, 8)
expected = module(x, weights)
given = x.permute(0, 2, 3, 1).contiguous().to(torch.{dtype})
found = layer(given, _moved(fold(module), "cpu", torch.{dtype}), weights).permute(0, 3, 1, 2).float()
assert found.shape == expected.shape
print((found - expected).abs().max().item())
"""
NETWORK = """
network, image = build("owan").eval(), torch.rand(2, 3, 5, 7)
network.groups = network.groups[:2]  # of ten: the interpreter takes seconds a layer
print((TritonOwan(network, "cpu", torch.{dtype})(image) - network(image)).abs().max().item())
"""


def interpret(code: str) -> float:
    environment = os.environ | {
        "TRITON_INTERPRET": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": PYTHONPATH,
    }
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float16", 3e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize(("height", "width"), [(9, 13), (16, 8), (1, 3)])
def test_a_layer_is_the_plain_layer(height, width, dtype, bound):
    assert interpret(LAYER.format(height=height, width=width, dtype=dtype)) <= bound


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("float16", 5e-3)])
def test_the_network_is_the_plain_network(dtype, bound):
    assert interpret(NETWORK.format(dtype=dtype)) <= bound


def test_without_a_gpu_auto_stays_with_what_runs(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(select, "TorchEngine", lambda network, device: network)
    made = select.make_engine(build("owan"), Placement("cuda", Tiling(63, 42), 4, tmp_path), "auto")
    if not torch.cuda.is_available():
        assert isinstance(made, torch.nn.Module)
        assert "the Triton kernels are not used" in caplog.text


@cuda
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.float16, 2e-2), (torch.bfloat16, 1e-1)])
def test_the_kernels_run_on_a_gpu(dtype, bound):
    from vocbench.restorer.engines.triton_layer import TritonOwan

    torch.manual_seed(0)
    network, tiles = build("owan").eval(), torch.rand(4, 3, 63, 65)
    made = TritonOwan(network, "cuda", dtype)
    with torch.no_grad():
        expected = network(tiles)
    for _ in range(2):  # captured, then replayed
        assert (made(tiles) - expected).abs().max() <= bound
    other = torch.rand(4, 3, 63, 65)
    with torch.no_grad():
        assert (made(other) - network(other)).abs().max() <= bound


@cuda
def test_auto_restores_on_a_gpu_as_the_plain_network_does(tmp_path):
    torch.manual_seed(0)
    photo, tiling = torch.rand(1, 3, 100, 120), Tiling(64, 48)
    plain = Tiled(build("owan").eval(), tiling, 4)
    network = build("owan").eval()
    network.load_state_dict(plain.network.state_dict())
    made = select.make_engine(network, Placement("cuda", tiling, 4, tmp_path))
    assert (Tiled(made, tiling, 4)(photo) - plain(photo)).abs().max() <= select.HALF_ERROR


@cuda
@pytest.mark.parametrize("engine", ["native", "openvino", "torch"])
def test_engines_on_the_cpu_take_photos_that_lie_on_a_gpu(engine, tmp_path):
    photo, tiling = torch.rand(1, 3, 100, 120), Tiling(64, 48)
    made = Tiled(select.make_engine(build("owan").eval(), Placement("cpu", tiling, 4, tmp_path), engine), tiling, 4)
    restored = made(photo.cuda())
    assert restored.is_cuda
    torch.testing.assert_close(restored.cpu(), made(photo))
