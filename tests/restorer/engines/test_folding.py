import torch
from torch.nn.functional import conv2d
from vocbench.restorer.engines.folding import fold
from vocbench.restorer.networks.owan import CHANNELS, OPERATIONS, OperationLayer


def layer_of(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return OperationLayer(CHANNELS)


def test_a_folded_layer_has_its_shapes():
    taps = 3 * 3 + 5 * 5 + 7 * 7
    assert [tuple(part.shape) for part in fold(layer_of())] == [(8, 16, 16), (4, 16, 16), (taps, 16), (taps, 16), (taps, 16)]


@torch.no_grad()
def test_the_last_matrices_are_the_operations_last_convolution_joined():
    layer = layer_of()
    folded = fold(layer)
    x = torch.rand(1, CHANNELS, 9, 9, generator=torch.Generator().manual_seed(1))
    for number in range(len(OPERATIONS)):
        join = layer.join.weight[:, CHANNELS * number : CHANNELS * (number + 1)]
        own = x if number == 7 else layer.operations[number][1 if number > 3 else 4](x)
        if number == 0:  # its second depthwise convolution is a scale of each channel
            own = layer.operations[0][4](layer.operations[0][3](x))
        torch.testing.assert_close(conv2d(x, folded.last[number][:, :, None, None]), conv2d(own, join))


@torch.no_grad()
def test_taps_are_those_of_3_5_and_7_one_after_the_other():
    layer = layer_of()
    folded = fold(layer)
    for number, start, kernel in ((1, 0, 3), (2, 9, 5), (3, 34, 7)):
        taps = folded.taps1[start : start + kernel * kernel].t().reshape(CHANNELS, 1, kernel, kernel)
        assert torch.equal(taps, layer.operations[number][0].weight)
        taps = folded.dilated[start : start + kernel * kernel].t().reshape(CHANNELS, 1, kernel, kernel)
        assert torch.equal(taps, layer.operations[number + 3][0].weight)


def test_folding_is_differentiable():
    layer = layer_of()
    torch.stack([part.square().sum() for part in fold(layer)]).sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in layer.parameters())
