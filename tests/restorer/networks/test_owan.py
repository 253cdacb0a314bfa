import copy

import pytest
import torch
from safetensors.torch import save_file
from vocbench.pipeline.models import build_restorer, built_restorer, parse_restorer
from vocbench.pipeline.weights import find
from vocbench.restorer.engines import native
from vocbench.restorer.images import read_image
from vocbench.restorer.networks.owan import OPERATIONS, Owan
from vocbench.restorer.networks.owan_files import NETWORKS, build, load_owan
from vocbench.restorer.quality import psnr
from vocbench.restorer.training.photos import list_photos
from vocbench.restorer.weight_files import WeightsFacts, read_facts, save_weights

SHIPPED = ("owan", "owan-half", "owan-quarter", "owan-half-no-attention", "owan-half-fixed-attention")

# Means over RL-Restore's four test patches of each set, from the authors' code: input and restored PSNR in dB.
CHECK_VALUES = {"mild": (20.026, 24.699), "moderate": (20.100, 25.083), "severe": (19.916, 23.559)}


def test_owan_has_the_released_networks_number_of_parameters():
    assert sum(parameter.numel() for parameter in Owan().parameters()) == 391_456


@pytest.mark.parametrize("name", CHECK_VALUES)
def test_released_weights_reach_the_check_values(shared, name):
    network = load_owan(shared / "weights/owan/model_best.pth")
    folder = shared / "data/rl_restore_test"
    degraded, clean = (
        torch.stack([read_image(path) for path in list_photos([folder / f"{name}_{kind}"])]) for kind in ("in", "gt")
    )
    with torch.inference_mode():
        restored = network(degraded).clamp(0, 1)
    before, after = CHECK_VALUES[name]
    assert psnr(degraded, clean).mean().item() == pytest.approx(before, abs=0.002)
    assert psnr(restored, clean).mean().item() == pytest.approx(after, abs=0.002)


def test_attention_weights_of_every_layer_sum_to_one():
    image, weights = build("owan").with_attention(torch.rand(2, 3, 17, 19))
    assert image.shape == (2, 3, 17, 19)
    assert weights.shape == (2, 40, len(OPERATIONS))
    torch.testing.assert_close(weights.sum(2), torch.ones(2, 40))


def test_fixed_attention_is_the_same_for_every_input_and_none_is_one():
    fixed = build("owan-fixed-attention").with_attention(torch.rand(2, 3, 9, 9))[1]
    assert torch.equal(fixed[0], fixed[1])
    assert torch.equal(build("owan-no-attention").with_attention(torch.rand(1, 3, 9, 9))[1], torch.ones(1, 40, 8))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back_from_its_file(tmp_path, name):
    network = build(name).eval()
    save_weights(tmp_path / "w.safetensors", network.state_dict(), name, "63:42", steps=7)
    image = torch.rand(1, 3, 11, 12)
    assert torch.equal(load_owan(tmp_path / "w.safetensors")(image), network(image))
    assert read_facts(tmp_path / "w.safetensors") == WeightsFacts(name, "63:42", {"steps": 7})


def test_weights_kept_in_half_precision_are_computed_in_single(tmp_path):
    """As `checkpoints`: to spare room, people save halves."""
    network, image = load_owan(find("owan")), torch.rand(1, 3, 11, 12, generator=torch.Generator().manual_seed(0))
    torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, tmp_path / "w.pth")
    loaded = load_owan(tmp_path / "w.pth")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert network(image).mean() > 0.1
    torch.testing.assert_close(loaded(image), network(image), atol=0.01, rtol=0)


def test_a_file_of_another_network_is_named(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: not weights of OWAN"):
        load_owan(tmp_path / "other.safetensors")


def test_a_name_stands_for_its_own_network(tmp_path):
    """A row of a table called after an ablation must hold that ablation."""
    save_weights(tmp_path / "w.safetensors", build("owan").state_dict(), "owan", "63:42")
    with pytest.raises(ValueError, match=r"w\.safetensors: not weights of owan-no-attention: \d+ tensors differ"):
        build_restorer(parse_restorer(f"owan-no-attention:{tmp_path}/w.safetensors"))
    assert built_restorer(parse_restorer(f"owan-2019:{tmp_path}/w.safetensors")).facts.tile == "63:42"


def test_a_damaged_file_is_named(tmp_path):
    for name in ("bad.safetensors", "bad.pth"):
        (tmp_path / name).write_bytes(b"nothing of use")
        with pytest.raises(ValueError, match=name):
            load_owan(tmp_path / name)


class Evil:
    def __reduce__(self):
        return (print, ("code from a file was run",))


def test_a_pickle_that_runs_code_is_refused(tmp_path, capsys):
    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth"):
        load_owan(tmp_path / "evil.pth")
    assert "code from a file" not in capsys.readouterr().out


needs_compiler = pytest.mark.skipif(not native.available(), reason="needs a C++ compiler with OpenMP")


def _rounding(network, image):
    """How far the compiled layers and PyTorch are from double precision, over the norm of what the network gives."""
    with torch.inference_mode():
        exact = copy.deepcopy(network).double()(image.double())
        made = native.forward(network, image), network(image)
    return [((one - exact).norm() / exact.norm()).item() for one in made]


@needs_compiler
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (37, 51), (63, 63)])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_compiled_layers_are_the_same_function(name, size):
    torch.manual_seed(0)
    compiled, plain = _rounding(build(name).eval(), torch.rand(3, 3, *size))
    assert compiled <= 1e-5 + 10 * plain
    assert plain <= 1e-5


@needs_compiler
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (37, 51), (63, 63)])
@pytest.mark.parametrize("name", SHIPPED)
def test_the_compiled_layers_are_the_shipped_network(name, size):
    """Also on noise of the whole range, of which fifteen pixels drove the `owan` of version 0.1 to values of a thousand."""
    torch.manual_seed(0)
    network, noise = load_owan(find(name)).eval(), torch.rand(3, 3, *size)
    for image in (noise, 0.4 + 0.2 * noise):
        compiled, plain = _rounding(network, image)
        assert compiled <= 1e-5 + 10 * plain
        assert plain <= 1e-2


@needs_compiler
def test_the_compiled_layers_have_the_same_gradients():
    torch.manual_seed(0)
    network, image, target = build("owan"), torch.rand(2, 3, 21, 18), torch.rand(2, 3, 21, 18)

    def gradients(forward, network, image):
        network.zero_grad()
        (forward(image) - target.to(image)).square().mean().backward()
        return {name: parameter.grad.double().clone() for name, parameter in network.named_parameters()}

    compiled = gradients(lambda x: native.forward(network, x), network, image)
    exact = gradients(network.double(), network, image.double())
    for name, wanted in exact.items():
        assert (compiled[name] - wanted).norm() <= 1e-3 * wanted.norm() + 1e-9, name
