"""Training a detector behind a restorer, and both together, as programs do: torchvision's SSDlite, with the shipped weights.

As `ddp`: DistributedDataParallel stops in the second step where parameters ask for gradients and get none.
"""

import pytest
import torch
import torch.distributed as distributed
from skimage.data import astronaut
from torch.nn.parallel import DistributedDataParallel
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from vocbench.pipeline import RestoredDetector, load_restorer
from vocbench.restorer.engines import native

STAGES = [("owan", "torch"), ("dncnn", "torch")] + [("owan", "native")] * native.available()
every_stage = pytest.mark.parametrize(("name", "engine"), STAGES)
PHOTO = torch.from_numpy(astronaut()).permute(2, 0, 1)[:, 90:150, 180:244].float() / 255  # (3, 60, 64)
TARGET = {"boxes": torch.tensor([[5.0, 5, 40, 40]]), "labels": torch.tensor([3])}


@pytest.fixture
def group(tmp_path):
    """A group of this one process."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def trained(chain, steps=2):
    """The chain after steps of gradient descent under DistributedDataParallel, on photos of two sizes."""
    model = DistributedDataParallel(chain.train())
    descent = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], 1e-3)
    for _ in range(steps):
        losses = model([PHOTO, PHOTO.transpose(1, 2)], [TARGET, TARGET])
        descent.zero_grad()
        sum(losses.values()).backward()
        descent.step()
    return chain


def parts(name, engine):
    torch.manual_seed(0)
    detector = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)
    return load_restorer(name, device="cpu", engine=engine, tile="64:48"), detector


def copied(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


def moved(module, before):
    """How many of the module's parameters have moved."""
    return sum(not torch.equal(one, other) for one, other in zip(module.parameters(), before, strict=True))


@every_stage
def test_a_detector_trains_behind_a_frozen_restorer(group, name, engine):
    restorer, detector = parts(name, engine)
    before, seen = (copied(restorer), copied(detector)), restorer(PHOTO[None])
    trained(RestoredDetector(restorer, detector))
    assert moved(restorer, before[0]) == 0
    assert moved(detector, before[1]) > len(before[1]) / 2  # some steps are below a float's precision
    assert torch.equal(restorer(PHOTO[None]), seen)


@every_stage
def test_both_train_where_gradients_pass_the_restorer(group, name, engine):
    """The engine then runs the weights that were learnt: those of the plain network after the same steps."""
    restorer, detector = parts(name, engine)
    before, seen = copied(restorer), restorer(PHOTO[None])
    trained(RestoredDetector(restorer.requires_grad_(True), detector, differentiable=True))
    assert moved(restorer, before) > len(before) / 2
    plain, _ = parts(name, "torch")
    plain.load_state_dict(restorer.state_dict())
    after = restorer(PHOTO[None]).detach()
    torch.testing.assert_close(after, plain(PHOTO[None]), atol=1e-4, rtol=0)
    assert (after - seen).abs().max() > 1e-3
