"""What a training step keeps for later, and what it does not wait for."""

import math
from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from vocbench.restorer.training.trainer import Average, Losses


class Counting(TorchDispatchMode):
    """Counts the operations that PyTorch is asked for."""

    def __init__(self):
        super().__init__()
        self.counts = Counter[str]()

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.counts[function.overloadpacket.__name__] += 1
        return function(*arguments, **(named or {}))


def test_the_average_is_that_of_each_tensor_moved_in_one_operation():
    normed = nn.BatchNorm2d(4)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), normed, nn.Conv2d(4, 3, 1))
    assert normed.num_batches_tracked is not None
    average = Average(network, 0.9)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    for step in range(1, 4):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * step)
            normed.num_batches_tracked += 1
        with Counting() as counting:
            average.update()
        assert counting.counts["_foreach_lerp_"] == 1
        assert counting.counts["lerp_"] == counting.counts["_local_scalar_dense"] == 0
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            old = expected[name]
            expected[name] = decay * old + (1 - decay) * value if value.is_floating_point() else value.clone()
            torch.testing.assert_close(average.state[name], expected[name])


def test_losses_are_summed_without_waiting_for_any():
    losses = Losses(torch.device("cpu"))
    with Counting() as counting:
        for step, value in enumerate((1.0, math.nan, math.inf, 3.0), 5):
            losses.add(torch.tensor(2.0), torch.tensor(value), step)
    assert counting.counts["_local_scalar_dense"] == 0
    assert losses.first_odd() == 6
    assert losses.mean() == pytest.approx(2)
    assert losses.mean() == 0
