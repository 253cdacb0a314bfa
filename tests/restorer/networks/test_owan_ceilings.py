"""The ceilings of the features, at the full resolution and at a part of it."""

import pytest
import torch
from vocbench.restorer.networks.owan import GROUPS, UNMEASURED, Owan, measure_ceilings
from vocbench.restorer.networks.owan_files import NETWORKS, build, load_owan
from vocbench.restorer.networks.owan_subpixel import LAST, begin
from vocbench.restorer.weight_files import save_weights

both = pytest.mark.parametrize("name", ["owan", "owan-half"])


def test_a_groups_features_are_kept_at_its_ceiling():
    network = Owan()
    network.ceilings.copy_(torch.arange(1, 11))
    features = torch.tensor([0.5, 3.0, 1e6, float("nan")])
    assert network.hold(2, features)[:3].tolist() == [0.5, 3.0, 3.0]
    assert network.hold(2, features)[3].isnan()  # a broken input stays visible


@both
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_groups_ceiling_is_part_of_the_function(name, group):
    network, image = build(name), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        free = network(image)
        network.ceilings[group] = 0
        assert not torch.equal(network(image), free)


def test_where_none_was_measured_nothing_is_held_but_what_the_gates_read():
    assert build("owan").ceilings.tolist() == [UNMEASURED] * GROUPS
    assert build("owan-half").ceilings.tolist() == [UNMEASURED] * (GROUPS - 1) + [LAST]


@both
def test_ceilings_are_measured_on_features_that_none_holds(name):
    network = build(name)
    with torch.no_grad():
        network.ceilings.zero_()  # of an earlier measuring
        images = list(torch.rand(3, 1, 3, 8, 8))
        most = max(network.groups[0](network.head(network.enter(image)))[0].max() for image in images)
        found = measure_ceilings(network, images, margin=2.0)
    assert found[0] == 2 * most
    assert (found > 0).all()
    assert torch.equal(found, network.ceilings)


@pytest.mark.parametrize("name", NETWORKS)
def test_ceilings_are_kept_with_the_weights_and_weights_without_them_load(name, tmp_path):
    network = build(name)
    network.ceilings[3] = 7
    save_weights(tmp_path / "new.safetensors", network.state_dict(), name, "whole")
    assert load_owan(tmp_path / "new.safetensors", name).ceilings[3] == 7
    state = {key: tensor for key, tensor in network.state_dict().items() if key != "ceilings"}
    save_weights(tmp_path / "old.safetensors", state, name, "whole")
    assert torch.equal(load_owan(tmp_path / "old.safetensors", name).ceilings, build(name).ceilings)


def test_ceilings_of_another_resolution_are_not_taken_over():
    full, half = build("owan"), build("owan-half")
    full.ceilings.fill_(3)
    assert torch.equal(begin(half, full.state_dict()).ceilings, build("owan-half").ceilings)  # type: ignore[arg-type]
