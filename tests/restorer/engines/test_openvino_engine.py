import re

import pytest
import torch
from torch import nn
from vocbench.restorer.engines import openvino_engine
from vocbench.restorer.engines.openvino_engine import OpenVinoEngine
from vocbench.restorer.networks.owan_files import build

pytest.importorskip("openvino")


class Dimmed(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.0))

    def forward(self, image):
        return self.factor * image


class Request:
    """Infers as OpenVINO does."""

    def __init__(self, made):
        self.made = made

    def infer(self, inputs, share_inputs):
        return [self.made(inputs[0])]


def refused(image):
    raise RuntimeError("Exception from src/plugins/intel_cpu/src/node.cpp:823:\nbad combination")


FAULTS = {
    "node.cpp:823: bad combination": refused,
    "pictures of (0, 0) in place of (64, 64)": lambda image: image[..., :0, :0],
    "off by 0.500": lambda image: 0 * image + 0.5,
    "off by nan": lambda image: image + float("nan"),
}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(openvino_engine._Process, "requests", {})
    monkeypatch.setattr(openvino_engine._Process, "began", None)


@pytest.mark.parametrize("fault", FAULTS)
def test_where_openvino_computes_something_else_the_network_itself_runs(monkeypatch, caplog, tmp_path, fault):
    """As on a CPU without AVX2, where bicubic enlarging fails or gives an empty picture."""
    monkeypatch.setattr(openvino_engine, "_compile", lambda *given: Request(FAULTS[fault]))
    network, photos = Dimmed(), torch.rand(2, 3, 20, 24)
    made = OpenVinoEngine(network, None, tmp_path)
    with torch.inference_mode():
        assert torch.equal(made(photos), network(photos))
        assert torch.equal(made(photos), network(photos))
    (told,) = caplog.messages
    assert re.match(r"OpenVINO is not right on this CPU \(.*" + re.escape(fault) + r"\)", told)


@pytest.mark.parametrize("size", [None, 24])
@pytest.mark.parametrize("name", ["owan", "owan-half"])
def test_where_it_computes_the_network_it_is_what_runs(monkeypatch, caplog, tmp_path, name, size):
    network, photos = build(name).eval(), torch.rand(2, 3, 24, 24)
    network.groups = network.groups[:1]
    made = OpenVinoEngine(network, size, tmp_path)
    with torch.inference_mode():
        wanted = network(photos)
        restored = made(photos)
        monkeypatch.setattr(network, "forward", refused)  # the network itself is not run again
        assert torch.equal(made(photos), restored)
        assert made(photos[:0]).shape == (0, 3, 24, 24)
    torch.testing.assert_close(restored, wanted, atol=1e-4, rtol=0)
    assert caplog.messages == []
