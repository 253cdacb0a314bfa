import pytest
import torch
from vocbench.restorer.networks.owan_files import NETWORKS, build, guess_network, rename_released


@pytest.mark.parametrize("name", NETWORKS)
def test_a_state_dict_tells_which_network_it_is_of(name):
    assert guess_network(build(name).state_dict()) == name


def test_the_released_names_are_rewritten_to_ours():
    released = {
        "FEB.0.weight": "head.0.weight",
        "conv2.weight": "tail.weight",
        "layers.6.ca_fc.0.weight": "groups.3.attention.squeeze.weight",
        "layers.6.ca_fc.2.bias": "groups.3.attention.expand.bias",
        "layers.7.preprocess.op.0.weight": "groups.3.preprocess.weight",
        "layers.7._ops.2._out.0.weight": "groups.3.layers.2.join.weight",
        "layers.7._ops.2._ops.5.op.1.weight": "groups.3.layers.2.operations.5.1.weight",
        "groups.0.preprocess.weight": "groups.0.preprocess.weight",  # ours stay
    }
    renamed = rename_released({name: torch.tensor(i) for i, name in enumerate(released)})
    assert {name: int(value) for name, value in renamed.items()} == {name: i for i, name in enumerate(released.values())}


def test_an_unknown_network_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="unknown network 'owan-third'; choose one of owan, owan-half"):
        build("owan-third")
