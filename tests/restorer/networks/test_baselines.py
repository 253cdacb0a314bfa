import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import conv2d, pad
from vocbench.pipeline.models import Options, build_restorer, parse_restorer
from vocbench.restorer.networks.classical import CLASSICAL, Classical, noise_level
from vocbench.restorer.networks.dncnn import ClippedDnCNN, DnCNN, fold, load_dncnn
from vocbench.restorer.quality import psnr


def noisy(photo, sigma=25):
    torch.manual_seed(0)
    return (photo + sigma / 255 * torch.randn_like(photo)).clamp(0, 1)


@pytest.mark.parametrize("name", ["nlm", "bilateral", "tv", "median"])
def test_denoisers_raise_psnr_of_a_noisy_photo(photo, name):
    before, after = noisy(photo)[None], Classical(CLASSICAL[name])(noisy(photo)[None])
    assert psnr(after, photo[None]) > psnr(before, photo[None]) + 3


def test_richardson_lucy_sharpens_a_blurred_edge(photo):
    from vocbench.restorer.degradations.blur_noise_jpeg import gaussian_blur

    blurred = gaussian_blur(photo, 2.0)
    restored = Classical(CLASSICAL["richardson-lucy"])(blurred[None])
    assert psnr(restored, photo[None]) > psnr(blurred[None], photo[None]) + 0.5


@pytest.mark.parametrize("name", CLASSICAL)
def test_classical_restorers_take_odd_sizes(name):
    for size in ((1, 1), (9, 14)):
        restored = build_restorer(parse_restorer(name))(torch.rand(1, 3, *size))
        assert restored.shape == (1, 3, *size)
        assert torch.isfinite(restored).all()


@pytest.mark.parametrize("name", CLASSICAL)
@pytest.mark.filterwarnings("error")
def test_classical_restorers_take_photos_without_detail(name, photo):
    for flat in (torch.zeros(3, 40, 50), photo * torch.tensor([1.0, 1, 0])[:, None, None]):  # a black frame; no blue
        restored = Classical(CLASSICAL[name])(flat[None])
        assert torch.isfinite(restored).all()
        assert (restored[0, 2] <= 1e-3).all()


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


def test_weights_of_our_own_are_loaded(tmp_path):
    network, image = random_dncnn(), torch.rand(1, 3, 9, 9)
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    with torch.no_grad():
        made = ClippedDnCNN(load_dncnn(tmp_path / "own.safetensors"), "cpu")(image)
        torch.testing.assert_close(made, network(image).clamp(0, 1), atol=1e-4, rtol=1e-4)


def kair(norms):
    """KAIR's tensors by name, and what its network makes of them: convolutions have biases, norms an epsilon of 1e-4."""
    made = torch.Generator().manual_seed(0)
    every = 3 if norms else 2  # a convolution, its norm, its ReLU
    places = [0, *range(2, 2 + 18 * every, every)]
    state = {}
    for place in (*places, 2 + 18 * every):
        inner = 3 if place == 0 else 64, 64 if place in places else 3
        state[f"model.{place}.weight"] = torch.randn(inner[1], inner[0], 3, 3, generator=made) * 0.05
        state[f"model.{place}.bias"] = torch.randn(inner[1], generator=made) * 0.05
        if norms and 0 < place <= places[-1]:
            norm = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1}
            state |= {f"model.{place + 1}.{k}": v + torch.rand(64, generator=made) * 0.1 for k, v in norm.items()}
            state[f"model.{place + 1}.running_var"] *= 1e-3  # where the epsilon counts
            state[f"model.{place + 1}.num_batches_tracked"] = torch.tensor(5)

    def compute(image):
        x = image
        for place in (*places, 2 + 18 * every):
            x = conv2d(x, state[f"model.{place}.weight"], state[f"model.{place}.bias"], padding=1)
            if norms and 0 < place <= places[-1]:
                names = ("running_mean", "running_var", "weight", "bias")
                mean, variance, scale, shift = (state[f"model.{place + 1}.{name}"][:, None, None] for name in names)
                x = (x - mean) / (variance + 1e-4).sqrt() * scale + shift
            x = x.relu() if place in places else x
        return image - x

    return state, compute


@pytest.mark.parametrize("norms", [True, False])
def test_kairs_weights_are_loaded(tmp_path, norms):
    state, compute = kair(norms)
    torch.save(state, tmp_path / "kair.pth")
    image = torch.rand(1, 3, 9, 11)
    made = ClippedDnCNN(load_dncnn(tmp_path / "kair.pth"), "cpu")(image)
    assert 0.05 < (made - image).abs().mean() < 0.9
    torch.testing.assert_close(made, compute(image).clamp(0, 1), atol=1e-4, rtol=1e-4)


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


def test_dncnn_is_cut_where_tiles_are_asked_for():
    """Tiles of 24 pixels every 20: the upper left 20 x 20 pixels lie in the first tile alone, and it sees no others."""
    torch.manual_seed(0)
    image, whole = torch.rand(1, 3, 70, 90), build_restorer(parse_restorer("dncnn"), Options(guard=False))
    tiled = build_restorer(parse_restorer("dncnn"), Options(tile="24:20", guard=False))(image)[..., :20, :20]
    torch.testing.assert_close(tiled, whole(image[..., :24, :24])[..., :20, :20], atol=1e-6, rtol=0)
    assert (tiled - whole(image)[..., :20, :20]).abs().max() > 0.01


def test_spandrels_networks_are_padded_and_cropped_as_they_ask(tmp_path):
    pytest.importorskip("spandrel")
    from spandrel.architectures.SAFMN import SAFMN

    torch.manual_seed(0)
    network = SAFMN(dim=8, n_blocks=1, upscaling_factor=1).eval()  # takes sides of multiples of 8
    torch.save(network.state_dict(), tmp_path / "safmn.pth")
    image = torch.rand(1, 3, 13, 17)
    restored = build_restorer(parse_restorer(f"spandrel:{tmp_path}/safmn.pth"))(image)
    with torch.no_grad():
        wanted = network(pad(image, (0, 7, 0, 3), "reflect"))[..., :13, :17].clamp(0, 1)
    torch.testing.assert_close(restored, wanted)


def test_spandrels_networks_that_change_the_size_are_refused(tmp_path):
    pytest.importorskip("spandrel")
    from spandrel.architectures.Compact import Compact

    torch.save(Compact(num_feat=8, num_conv=1, upscale=2).state_dict(), tmp_path / "double.pth")
    with pytest.raises(ValueError, match=r"double\.pth: RealESRGAN Compact changes the image's size \(x2\); it must stay"):
        build_restorer(parse_restorer(f"spandrel:{tmp_path}/double.pth"))


def test_spandrels_networks_that_need_a_mask_are_refused(tmp_path, monkeypatch):
    spandrel = pytest.importorskip("spandrel")
    from types import SimpleNamespace

    (tmp_path / "lama.pth").write_bytes(b"anything")
    descriptor = SimpleNamespace(architecture=SimpleNamespace(name="LaMa"), scale=1)
    monkeypatch.setattr(spandrel.ModelLoader, "load_from_file", lambda self, path: descriptor)
    with pytest.raises(ValueError, match=r"lama\.pth: LaMa needs more than an image, such as a mask; it cannot restore"):
        build_restorer(parse_restorer(f"spandrel:{tmp_path}/lama.pth"))


def test_files_that_spandrel_cannot_read_are_named(tmp_path):
    pytest.importorskip("spandrel")
    from vocbench.restorer.networks.spandrel_network import load_spandrel

    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.pth: spandrel does not know this network"):
        load_spandrel(tmp_path / "bad.pth")
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such weights file"):
        load_spandrel(tmp_path / "none.pth")


def test_networks_without_weights_of_their_own_say_so():
    for name in ("owan-fixed-attention", "owan-no-attention"):
        with pytest.raises(ValueError, match=f"{name} comes without weights; train some"):
            build_restorer(parse_restorer(name))
    with pytest.raises(ValueError, match="spandrel needs a weights file"):
        build_restorer(parse_restorer("spandrel"))
