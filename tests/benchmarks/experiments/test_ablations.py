import pytest
import torch
from click.testing import CliRunner
from vocbench.benchmarks.experiments.ablations import hold_attention, main, mean_attention
from vocbench.pipeline.weights import find
from vocbench.restorer.images import write_image
from vocbench.restorer.networks.owan import GROUPS, LAYERS, OPERATIONS
from vocbench.restorer.networks.owan_files import build, load_owan
from vocbench.restorer.weight_files import WeightsFacts, open_weights, save_weights


@pytest.fixture
def images():
    noise = torch.rand(2, 1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    return [noise[0], noise[1] / 4]


@pytest.mark.parametrize("kind", ["none", "fixed"])
@pytest.mark.parametrize("name", ["owan", "owan-half"])
@torch.no_grad()
def test_an_ablation_begins_as_the_network_with_its_mean_attention(name, kind, images):
    network = load_owan(find(name))
    mean = mean_attention(network, images[:1])  # of one image: its own attention
    assert mean.shape == (GROUPS, LAYERS, len(OPERATIONS))
    assert mean.std(2).mean() > 0.01
    held = hold_attention(network, mean, kind)
    torch.testing.assert_close(held(images[0]), network(images[0]), atol=1e-5, rtol=0)
    assert (held(images[1]) - network(images[1])).abs().max() > 1e-4


def test_the_command_writes_both_ablations(images, tmp_path):
    photos, weights = tmp_path / "photos", tmp_path / "half.safetensors"
    photos.mkdir()
    write_image(photos / "one.png", images[0][0])
    save_weights(weights, build("owan-half").state_dict(), "owan-half", "whole", hours=3)
    done = CliRunner().invoke(main, [str(weights), "--clean", str(photos), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    for name in ("owan-half-no-attention", "owan-half-fixed-attention"):
        path = tmp_path / f"out/{name}.safetensors"
        assert open_weights(path).facts == WeightsFacts(name, "whole", {"hours": 3})
        load_owan(path, name)


def test_a_network_without_ablations_is_refused(images, tmp_path):
    weights = tmp_path / "quarter.safetensors"
    save_weights(weights, build("owan-quarter").state_dict(), "owan-quarter", "whole")
    done = CliRunner().invoke(main, [str(weights), "--clean", str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "a network at 1/4 of the resolution has no ablations; give owan or owan-half" in done.output
