"""What is done on CUDA, with a parameter that says it lies on a second GPU in place of one."""

from contextlib import contextmanager

import pytest
import torch
from vocbench.restorer.engines import select, triton_layer
from vocbench.restorer.engines.placement import Placement
from vocbench.restorer.networks.owan_files import build
from vocbench.restorer.tiling import Tiled, Tiling

from tests.support.calls import noting

GPU = torch.device("cuda:1")


class OnGpu(torch.Tensor):
    """A tensor on the CPU that says otherwise."""

    device = property(lambda self: GPU)  # type: ignore[assignment]


class Graph:
    """A captured network that gives its input back."""

    def replay(self):
        pass


@pytest.fixture
def kernels(monkeypatch):
    """The kernels' engine as on a GPU; what it captures is noted under `captured`."""
    monkeypatch.setattr(triton_layer, "available", lambda device: True)
    captured: list[torch.Size] = []

    def capture(self, images, prepared):
        captured.append(images.shape)
        given = images.clone()
        return Graph(), given, given

    monkeypatch.setattr(triton_layer.TritonOwan, "_capture", capture)
    monkeypatch.setattr(triton_layer.TritonOwan, "captured", captured, raising=False)
    network = build("owan").requires_grad_(False)
    network.groups = network.groups[:1]
    return triton_layer.TritonOwan(network, "cpu", torch.float32)


def test_photos_of_any_number_of_sizes_keep_few_graphs(kernels):
    """As with whole photos, each of a size of its own: every graph holds memory of the GPU."""
    sizes = [(1, 3, 8, 8 + i) for i in range(triton_layer.GRAPHS + 3)]
    for size in (*sizes, sizes[-1]):
        image = torch.rand(size)
        assert torch.equal(kernels._replay(image), image)
    assert kernels.captured == [torch.Size(size) for size in sizes]  # the last one was replayed
    assert len(kernels._prepared()[1]) == triton_layer.GRAPHS


def test_the_kernels_are_launched_on_the_gpu_of_their_parameters(kernels, monkeypatch):
    """As on `cuda:1`: Triton launches on the current device, which is another one."""
    current: list[torch.device] = []

    @contextmanager
    def device(place):
        current.append(place)
        yield
        current.append(torch.device("cuda:0"))

    def replay(self, images):
        assert current == [GPU]
        return images

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(triton_layer.TritonOwan, "_replay", replay)
    kernels._known = [torch.Tensor._make_subclass(OnGpu, torch.zeros(1))]
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(kernels(image), image)
    assert current == [GPU, torch.device("cuda:0")]


def test_a_photo_is_copied_to_the_gpu_from_pinned_memory_without_waiting(monkeypatch):
    pinned: list[tuple[object, ...]] = []
    copied: list[tuple[object, object]] = []

    def copy(image, place, non_blocking=False):
        copied.append((place, non_blocking))
        return image

    tiled = Tiled(torch.nn.Identity(), Tiling(8, 8))
    monkeypatch.setattr(tiled, "parameters", lambda: iter([torch.Tensor._make_subclass(OnGpu, torch.zeros(1))]))
    photo = torch.rand(3, 8, 8)
    monkeypatch.setattr(torch.Tensor, "pin_memory", noting(pinned, lambda image: image))
    monkeypatch.setattr(torch.Tensor, "to", copy)
    assert tiled._placed(photo) is photo
    assert [image is photo for (image,) in pinned] == [True]
    assert copied == [(GPU, True)]


def test_on_a_cpu_no_batch_is_tried_out(monkeypatch, tmp_path):
    """Trying batches of 4 to 32 with OpenVINO took 20 GB, and every engine there computes tile by tile."""
    monkeypatch.setattr(select, "_seconds_per_tile", None)
    place = Placement("cpu", Tiling(63, 42), cache=tmp_path)
    for engine in ("auto", "native", "openvino", "torch"):
        assert select.fastest_batch(build("owan"), place, engine) == select.BATCH
    assert list(tmp_path.iterdir()) == []
