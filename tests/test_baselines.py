import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from vocbench.pipeline.names import build_restorer, parse_restorer
from vocbench.restorer.classical import CLASSICAL, Classical, noise_level
from vocbench.restorer.dncnn import ClippedDnCNN, DnCNN, fold, load_dncnn
from vocbench.restorer.quality import psnr


def noisy(photo, sigma=25):
    torch.manual_seed(0)
    return (photo + sigma / 255 * torch.randn_like(photo)).clamp(0, 1)


@pytest.mark.parametrize("name", ["nlm", "bilateral", "tv", "median"])
def test_denoisers_raise_psnr_of_a_noisy_photo(photo, name):
    before, after = noisy(photo)[None], Classical(CLASSICAL[name])(noisy(photo)[None])
    assert psnr(after, photo[None]) > psnr(before, photo[None]) + 3


def test_richardson_lucy_sharpens_a_blurred_edge(photo):
    from vocbench.restorer.degradations import gaussian_blur

    blurred = gaussian_blur(photo, 2.0)
    restored = Classical(CLASSICAL["richardson-lucy"])(blurred[None])
    assert psnr(restored, photo[None]) > psnr(blurred[None], photo[None]) + 0.5


@pytest.mark.parametrize("name", CLASSICAL)
def test_classical_restorers_take_odd_sizes(name):
    for size in ((1, 1), (9, 14)):
        restored = build_restorer(parse_restorer(name))(torch.rand(1, 3, *size))
        assert restored.shape == (1, 3, *size)
        assert torch.isfinite(restored).all()


def test_the_noise_level_is_estimated():
    flat = torch.full((3, 64, 64), 0.5)
    assert 255 * noise_level(noisy(flat, 20).permute(1, 2, 0).double().numpy()) == pytest.approx(20, rel=0.1)


def random_dncnn():
    torch.manual_seed(0)
    network = DnCNN()
    for layer in network.model:
        if isinstance(layer, nn.BatchNorm2d):
            for name, tensor in layer.state_dict().items():
                if tensor.is_floating_point():
                    tensor.uniform_(0.5, 2) if name == "running_var" else tensor.normal_(0.5, 0.2)
    return network.eval()


def test_folding_batch_norms_keeps_the_function():
    network, image = random_dncnn(), torch.rand(1, 3, 13, 17)
    with torch.no_grad():
        torch.testing.assert_close(fold(network)(image), network(image), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fold(network).model)


def test_weights_with_and_without_batch_norms_are_loaded(tmp_path):
    network, image = random_dncnn(), torch.rand(1, 3, 9, 9)
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    torch.save(
        fold(network).state_dict(), tmp_path / "kair.pth"
    )  # KAIR's names: model.0.weight, model.0.bias, model.2.weight, …
    with torch.no_grad():
        wanted = network(image).clamp(0, 1)
        for name in ("own.safetensors", "kair.pth"):
            made = ClippedDnCNN(load_dncnn(tmp_path / name), "cpu")(image)
            torch.testing.assert_close(made, wanted, atol=1e-4, rtol=1e-4)


def test_weights_of_another_network_are_named(tmp_path):
    save_file({"model.0.weight": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(
        ValueError, match=r"x\.safetensors: not weights of DnCNN .* tensors differ \(file has 1, DnCNN .* has 40\)"
    ):
        load_dncnn(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"text"), r"\(damaged, or another kind of file\); fetch or copy it again"),
        (lambda path: torch.save({"net": nn.Identity()}, path), r"could run code\); save only model\.state_dict\(\)"),
        (lambda path: torch.save({"step": 1}, path), r"but 'step' is none; save only model\.state_dict\(\)"),
        (lambda path: torch.save([1], path), r"got list; save model\.state_dict\(\)"),
    ],
)
def test_what_is_no_state_dict_says_what_to_do(tmp_path, write, message):
    write(tmp_path / "x.pth")
    with pytest.raises(ValueError, match=rf"x\.pth: .*{message}") as caught:
        load_dncnn(tmp_path / "x.pth")
    assert "weights_only" not in str(caught.value)


def test_spandrels_networks_are_padded_and_cropped_as_they_ask(tmp_path):
    pytest.importorskip("spandrel")
    from spandrel.architectures.SAFMN import SAFMN

    torch.manual_seed(0)
    network = SAFMN(dim=8, n_blocks=1, upscaling_factor=1).eval()  # takes sides of multiples of 8
    torch.save(network.state_dict(), tmp_path / "safmn.pth")
    image = torch.rand(1, 3, 13, 17)
    restored = build_restorer(parse_restorer(f"spandrel:{tmp_path}/safmn.pth"))(image)
    rows, columns = torch.arange(16).clamp(max=12), torch.arange(24).clamp(max=16)  # the last ones again
    with torch.no_grad():
        wanted = network(image[:, :, rows][..., columns])[..., :13, :17].clamp(0, 1)
    torch.testing.assert_close(restored, wanted)


def test_spandrels_networks_that_change_the_size_are_refused(tmp_path):
    pytest.importorskip("spandrel")
    from spandrel.architectures.Compact import Compact

    torch.save(Compact(num_feat=8, num_conv=1, upscale=2).state_dict(), tmp_path / "double.pth")
    with pytest.raises(ValueError, match=r"double\.pth: RealESRGAN Compact changes the image's size \(x2\); it must stay"):
        build_restorer(parse_restorer(f"spandrel:{tmp_path}/double.pth"))


def test_files_that_spandrel_cannot_read_are_named(tmp_path):
    pytest.importorskip("spandrel")
    from vocbench.restorer.foreign import load_spandrel

    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.pth: spandrel does not know this network"):
        load_spandrel(tmp_path / "bad.pth")
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such weights file"):
        load_spandrel(tmp_path / "none.pth")


def test_networks_without_weights_of_their_own_say_so():
    for name in ("owan-fixed-attention", "owan-no-attention"):
        with pytest.raises(ValueError, match=f"{name} has no weights of its own here; train some"):
            build_restorer(parse_restorer(name))
    with pytest.raises(ValueError, match="spandrel needs a weights file"):
        build_restorer(parse_restorer("spandrel"))
