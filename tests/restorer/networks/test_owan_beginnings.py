"""What OWAN at a part of the resolution is before it has learnt anything of its own."""

import pytest
import torch
from torch.nn.functional import avg_pool2d
from vocbench.pipeline.weights import find
from vocbench.restorer.networks.owan_files import begin_from, build, load_owan
from vocbench.restorer.networks.owan_subpixel import SubpixelOwan, begin, enlarge
from vocbench.restorer.weight_files import save_weights


def gates(network, logit):
    """The network with gates of one logit everywhere."""
    torch.nn.init.zeros_(network.gates.open.weight)
    torch.nn.init.constant_(network.gates.open.bias, logit)
    return network


@pytest.mark.parametrize("factor", [2, 4])
def test_a_beginning_with_shut_gates_is_shrinking_restoring_and_enlarging(factor):
    torch.manual_seed(0)
    full, image = load_owan(find("owan")).eval(), torch.rand(2, 3, 16, 24)
    network = gates(begin(SubpixelOwan(factor), full.state_dict()), -100.0).eval()
    with torch.inference_mode():
        wanted = enlarge(full(avg_pool2d(image, factor)), factor)
        assert wanted.abs().mean() > 0.05
        torch.testing.assert_close(network(image), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (13, 17), (16, 24)])
@pytest.mark.parametrize("factor", [2, 4])
def test_open_gates_give_the_image_back(factor, size):
    torch.manual_seed(0)
    network, image = gates(SubpixelOwan(factor), 100.0).eval(), torch.rand(1, 3, *size)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), image, atol=1e-6, rtol=0)


def test_a_beginning_from_another_kind_of_attention_is_refused(tmp_path):
    path = tmp_path / "none.safetensors"
    save_weights(path, build("owan-no-attention").state_dict(), "owan-no-attention", "whole")
    with pytest.raises(ValueError, match=r"none\.safetensors: owan-half cannot start from it: it lacks 'groups\.0\.attention"):
        begin_from("owan-half", path)
