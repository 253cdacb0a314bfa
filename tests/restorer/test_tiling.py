import pytest
import torch
from torch import nn
from vocbench.restorer.tiling import Tiled, Tiling, starts


class Recorder(nn.Module):
    """Adds 0.1 and keeps the shapes it was given."""

    def __init__(self, any_number=False):
        super().__init__()
        self.shapes, self.any_number = [], any_number

    def forward(self, tiles):
        self.shapes.append(tuple(tiles.shape))
        return tiles + 0.1


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (20, 20), (63, 63), (64, 100), (131, 77)])
def test_tiles_of_a_pointwise_network_blend_to_the_whole(size):
    image = torch.rand(2, 3, *size)
    restored = Tiled(Recorder(), Tiling(63, 42), 4)(image)
    torch.testing.assert_close(restored, (image + 0.1).clamp(0, 1), atol=1e-6, rtol=0)


def test_every_batch_has_the_same_shape():
    network = Recorder()
    Tiled(network, Tiling(32, 24), 5).restore_many([torch.rand(3, 40, 70), torch.rand(3, 10, 33)])
    assert set(network.shapes) == {(5, 3, 32, 32)}


def test_a_photo_does_not_depend_on_those_that_come_with_it():
    torch.manual_seed(0)
    network = nn.Conv2d(3, 3, 5, padding=2)
    one, other = torch.rand(3, 50, 61), torch.rand(3, 44, 80)
    tiled = Tiled(network, Tiling(32, 24), 4)
    alone, together = tiled.restore_many([one])[0], tiled.restore_many([other, one])[1]
    torch.testing.assert_close(alone, together, atol=1e-6, rtol=0)


def test_a_network_that_takes_any_number_gets_no_tile_more_than_there_are():
    network = Recorder(any_number=True)
    Tiled(network, Tiling(32, 24), 5).restore_many([torch.rand(3, 40, 70), torch.rand(3, 10, 33)])
    assert network.shapes == [(5, 3, 32, 32), (3, 3, 32, 32)]  # 6 tiles and 2
    Tiled(network, Tiling(32, 24), 5).restore_many([torch.rand(3, 10, 12)])
    assert network.shapes[2:] == [(1, 3, 32, 32)]


def test_the_last_tile_is_flush_with_the_border():
    assert starts(100, 63, 42) == [0, 37]
    assert starts(63, 63, 42) == [0]
    assert starts(147, 63, 42) == [0, 42, 84]


def test_whole_gives_the_network_the_photo_itself():
    network = Recorder()
    Tiled(network, Tiling.parse("whole"), 1)(torch.rand(1, 3, 17, 23))
    assert network.shapes == [(1, 3, 17, 23)]


@pytest.mark.parametrize("text", ["63:42", "whole", "128:96"])
def test_a_tiling_reads_its_own_text(text):
    assert str(Tiling.parse(text)) == text


@pytest.mark.parametrize("text", ["63", "42:63", "0:0", "a:b", ""])
def test_a_bad_tiling_is_told(text):
    with pytest.raises(ValueError, match="tiling"):
        Tiling.parse(text)


def test_output_is_clipped():
    assert Tiled(Recorder(), Tiling(16, 12))(torch.full((1, 3, 20, 20), 0.99)).max() == 1


class Small(nn.Module):
    """A device whose memory holds `most` tiles."""

    def __init__(self, most, error):
        super().__init__()
        self.most, self.error, self.counts = most, error, []

    def forward(self, tiles):
        self.counts.append(len(tiles))
        if len(tiles) > self.most:
            raise self.error
        return tiles + 0.1


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory")])  # fmt: skip
def test_a_batch_too_large_for_the_memory_is_halved_for_good(error):
    network, image = Small(3, error), torch.rand(1, 3, 100, 131)
    tiled = Tiled(network, Tiling(32, 24), 12)
    torch.testing.assert_close(tiled(image), (image + 0.1).clamp(0, 1), atol=1e-6, rtol=0)
    assert network.counts[:3] == [12, 6, 3]
    assert set(network.counts[2:]) == {3}


def test_a_single_tile_too_large_and_other_errors_are_told():
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        Tiled(Small(0, torch.OutOfMemoryError("CUDA out of memory")), Tiling(32, 24), 8)(torch.rand(1, 3, 40, 40))
    network = Small(0, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        Tiled(network, Tiling(32, 24), 8)(torch.rand(1, 3, 40, 40))
    assert network.counts == [8]


def test_photos_are_cut_and_put_together_where_the_network_is(monkeypatch):
    """With float64 in place of a GPU: all tiles come from what was placed there, once a photo, and the photo comes home."""
    placed: list[torch.Size] = []

    def place(self: Tiled, image: torch.Tensor) -> torch.Tensor:
        placed.append(image.shape)
        return image.double()

    monkeypatch.setattr(Tiled, "_placed", place)
    network = Recorder()
    taken = []
    network.register_forward_pre_hook(lambda module, given: taken.append(given[0].dtype))
    images = [torch.rand(3, 40, 70), torch.rand(3, 10, 33)]
    restored = Tiled(network, Tiling(32, 24), 5).restore_many(images)
    assert placed == [image.shape for image in images]
    assert set(taken) == {torch.float64}
    for image, one in zip(images, restored, strict=True):
        assert one.device == image.device
        torch.testing.assert_close(one.float(), (image + 0.1).clamp(0, 1), atol=1e-6, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_photo_on_the_cpu_is_restored_on_a_gpu_and_comes_back():
    network = nn.Conv2d(3, 3, 5, padding=2)
    photo = torch.rand(3, 50, 61)
    wanted = Tiled(network, Tiling(32, 24), 4).restore_many([photo])[0]
    made = Tiled(network.cuda(), Tiling(32, 24), 4).restore_many([photo])[0]
    assert made.device.type == "cpu"
    torch.testing.assert_close(made, wanted, atol=1e-3, rtol=0)
