from itertools import product
from math import sqrt

import numpy as np
import pytest
import torch
from vocbench.detection.detectors.ssd300_voc import SSD300, L2Norm, _unwrapped, load_ssd300_voc, preprocess, rename


def amdegroot(state):
    """Our names as amdegroot/ssd.pytorch writes them."""
    names = {"norm.": "L2Norm.", "offsets.": "loc.", "scores.": "conf."}
    return {next((new + name[len(old) :] for old, new in names.items() if name.startswith(old)), name): value
            for name, value in state.items()}  # fmt: skip


def lufficc(state):
    """Our names as lufficc/SSD writes them, priors and optimiser beside them."""
    heads = {"offsets.": "box_head.predictor.reg_headers.", "scores.": "box_head.predictor.cls_headers."}
    renamed = {}
    for name, value in state.items():
        head = next((old for old in heads if name.startswith(old)), None)
        renamed[heads[head] + name[len(head) :] if head else f"backbone.{name.replace('norm.', 'l2_norm.')}"] = value
    return {"model": renamed, "iteration": 120000}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SSD300().eval()


@pytest.mark.parametrize("layout", [amdegroot, lufficc])
def test_both_layouts_give_the_network_back(network, tmp_path, layout):
    torch.save(layout(network.state_dict()), tmp_path / "ssd.pth")
    loaded = load_ssd300_voc(tmp_path / "ssd.pth")
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_the_layouts_number_the_convolutions_as_they_are_known(network):
    """Places of VGG's convolutions in both projects' lists, from their checkpoints' keys."""
    places = sorted({int(name.split(".")[1]) for name in network.state_dict() if name.startswith("vgg.")})
    assert places == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33]
    assert network.vgg[31].dilation == (6, 6)
    assert network.state_dict()["scores.1.weight"].shape == (6 * 21, 1024, 3, 3)


def test_maps_have_the_papers_sides(network):
    with torch.no_grad():
        maps = network.maps(torch.zeros(1, 3, 300, 300))
        offsets, scores = network.raw(torch.zeros(1, 3, 300, 300))
    assert [tuple(found.shape[1:]) for found in maps] == [
        (512, 38, 38), (1024, 19, 19), (512, 10, 10), (256, 5, 5), (256, 3, 3), (256, 1, 1)
    ]  # fmt: skip
    assert offsets.shape == (1, 8732, 4)
    assert scores.shape == (1, 8732, 21)


def test_priors_are_those_of_an_independent_count(network):
    """Scales 0.1, 0.2, 0.37 … 1.05 of the input; one row of (centre, size) per cell and shape, clipped to [0, 1]."""
    sizes, steps = [30, 60, 111, 162, 213, 264, 315], [8, 16, 32, 64, 100, 300]
    sides, ratios = [38, 19, 10, 5, 3, 1], [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
    rows = []
    for k, side in enumerate(sides):
        for i, j in product(range(side), repeat=2):
            cx, cy = (j + 0.5) * steps[k] / 300, (i + 0.5) * steps[k] / 300
            small = sizes[k] / 300
            rows.append([cx, cy, small, small])
            rows.append([cx, cy, sqrt(small * sizes[k + 1] / 300), sqrt(small * sizes[k + 1] / 300)])
            for ratio in ratios[k]:
                rows.append([cx, cy, small * sqrt(ratio), small / sqrt(ratio)])
                rows.append([cx, cy, small / sqrt(ratio), small * sqrt(ratio)])
    np.testing.assert_allclose(network.priors.numpy(), np.clip(rows, 0, 1), atol=1e-6)


def test_l2_norm_has_its_scale():
    x = torch.rand(2, 512, 3, 4)
    torch.testing.assert_close(L2Norm(512)(x).norm(dim=1), torch.full((2, 3, 4), 20.0))


def test_input_is_rgb_of_255_less_the_mean():
    x = preprocess([torch.full((3, 5, 7), 1.0)])
    torch.testing.assert_close(x[0, :, 0, 0], torch.tensor([132.0, 138.0, 151.0]))


def test_detections_lie_in_the_photos_pixels(network):
    found = network([torch.rand(3, 60, 90), torch.rand(3, 40, 30)])
    assert len(found) == 2
    assert all(len(result.scores) <= 200 for result in found)


def test_other_networks_are_named(tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth: not SSD300-VGG16 for VOC"):
        load_ssd300_voc(tmp_path / "x.pth")
    with pytest.raises(FileNotFoundError, match="no such weights file of SSD300"):
        load_ssd300_voc(tmp_path / "none.pth")


@pytest.mark.parametrize("prefix", ["module.", "module.module.", "model.", "_orig_mod.module.", "module.backbone."])
def test_the_prefixes_of_training_programs_are_taken_off(prefix):
    assert list(rename({f"{prefix}L2Norm.weight": torch.zeros(1)})) == ["norm.weight"]


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "weight"])
def test_weights_are_found_beside_what_training_programs_keep(key, tmp_path):
    state = {"vgg.0.bias": torch.zeros(1)}
    assert _unwrapped(tmp_path, {key: state, "optimizer": {}, "epoch": 3}) == state
    assert _unwrapped(tmp_path, {"model": {key: state}}) == state
    with pytest.raises(ValueError, match="expected a state dict of tensors"):
        _unwrapped(tmp_path, {"epoch": 3})
