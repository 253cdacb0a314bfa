"""A user's own models, from a file or a package."""

from typing import Any

import pytest
import torch
from vocbench.pipeline.models import build_detector, build_restorer, built_restorer, parse_detector, parse_restorer
from vocbench.pipeline.own import source_of
from vocbench.pipeline.specs import Options

SOURCE = """
import torch
import beside_it

class Darken(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor, self.seen = factor, []

    def forward(self, images):
        self.seen.append(tuple(images.shape[2:]))
        return images * self.factor

def plain():
    return Darken(beside_it.HALF)

def with_weights(weights, device="nowhere"):
    assert device == "cpu"
    return Darken(torch.load(weights, weights_only=True)["factor"])

def detector(device):
    return lambda images: [(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long()) for _ in images]

def broken(weights=None):
    raise KeyError("layer")
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "beside_it.py").write_text("HALF = 0.5\n")
    (tmp_path / "my net.py").write_text(SOURCE)
    torch.save({"factor": 0.25}, tmp_path / "w.pth")
    return tmp_path / "my net.py"


def test_a_file_and_a_function_make_a_restorer(own, photo):
    spec = parse_restorer(f"{own}:plain")
    assert (spec.label, spec.weights) == ("my-net-plain", None)
    assert torch.equal(build_restorer(spec)(photo[None]), 0.5 * photo[None])
    assert source_of(spec.name) == own


def test_a_factory_is_given_device_and_weights_that_it_takes(own, photo):
    spec = parse_restorer(f"dark={own}:with_weights:{own.parent / 'w.pth'}")
    assert spec.label == "dark"
    built = built_restorer(spec, Options(device="cpu"))
    assert torch.equal(built.model(photo[None]), 0.25 * photo[None])
    assert built.sha256 and len(built.sha256) == 64
    assert callable(build_detector(parse_detector(f"{own}:detector"), Options(device="cpu")))
    with pytest.raises(ValueError, match="takes no weights: give the factory an argument `weights`"):
        build_restorer(parse_restorer(f"{own}:plain:{own.parent / 'w.pth'}"))


def test_an_own_restorer_is_cut_into_tiles_where_asked(own, photo):
    model: Any = build_restorer(parse_restorer(f"{own}:plain"), Options(tile="32:24"))
    torch.testing.assert_close(model(photo[None]), 0.5 * photo[None])
    assert set(model.network.seen) == {(32, 32)}


def test_what_is_wrong_with_an_own_file_is_told(own, tmp_path):
    with pytest.raises(ValueError, match=r"could not be imported \(.*none\.py: no such file\)$"):
        build_restorer(parse_restorer(f"{tmp_path}/none.py:make"))
    with pytest.raises(ValueError, match="called without arguments, it raised KeyError"):
        build_restorer(parse_restorer(f"{own}:broken"))
    with pytest.raises(ValueError, match="has no attribute 'missing'"):
        build_restorer(parse_restorer(f"{own}:missing"))
