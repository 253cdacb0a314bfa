"""The network at a fraction of the resolution: see also `test_owan_beginnings`."""

import torch
from vocbench.restorer.networks.owan_subpixel import SubpixelOwan


def test_a_block_mean_that_has_left_the_range_learns_its_way_back():
    """A clamp without gradients would keep a wrongly painted colour for ever."""
    network = SubpixelOwan(2)
    with torch.no_grad():
        network.tail.weight.mul_(1e3)  # block means far beyond black and white
    restored = network(torch.full((1, 3, 16, 16), 0.8))
    assert restored.abs().max() < 2  # what comes out is held all the same
    (restored - 0.8).abs().mean().backward()
    gradient = network.tail.weight.grad
    assert gradient is not None
    assert gradient[:3].abs().sum((1, 2, 3)).min() > 0  # for each colour
