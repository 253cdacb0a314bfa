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


def test_the_last_features_are_kept_below_a_bound_whatever_the_groups_make_of_an_image():
    """On one full colour a trained network's features grow a hundredfold, and the gates would follow them anywhere."""
    network = SubpixelOwan(2)
    image = torch.rand(1, 3, 8, 8)
    features = torch.full((1, 16, 4, 4), 4.0)
    assert torch.equal(network.leave(image, features), network.leave(image, 1e6 * features))
    assert not torch.equal(network.leave(image, features), network.leave(image, features / 2))
