"""Restorers and detectors that are cheap and predictable, named on the command line as `fakes:NAME`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from vocbench.detection.detections import Detections
from vocbench.pipeline.gate import Gated, Limits
from vocbench.restorer.contract import Restored


class Brighten(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return (images * 0.5 + 0.3).clamp(0, 1)


class OpenGate(Gated):
    """Passes every photo, but for one too small to tell, as `SmallDetector` sees all; such a one is brightened."""

    def __init__(self) -> None:
        infinite = float("inf")
        super().__init__(Brighten(), Limits(-infinite, infinite, infinite, (0.0, 0.0, 0.0, 0.0), infinite, infinite, infinite))


class Flatten(nn.Module):
    """Loses everything: a grey picture."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.full_like(images, 0.5)


class Stretch(nn.Module):
    """More contrast, in which `SharpDetector` finds what it lost to blur."""

    def restore_many(self, images: list[Tensor]) -> list[Restored]:
        return [Restored(self(image[None])[0], "dark" if image.mean() < 0.5 else "bright, then <b>") for image in images]

    def forward(self, images: Tensor) -> Tensor:
        return (0.5 + 1.6 * (images - 0.5)).clamp(0, 1)


class Vivid(nn.Module):
    """More colour, in which `PatchDetector` finds what it lost to blur."""

    def forward(self, images: Tensor) -> Tensor:
        grey = images.mean(1, keepdim=True)
        return (grey + 2.2 * (images - grey)).clamp(0, 1)


class Slow(nn.Module):
    """Takes a while for each photo, so that a test can kill it in the middle."""

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0.05")))
        return (images * 0.5 + 0.3).clamp(0, 1)


class Deadly(nn.Module):
    """Kills its process at the third photo, once: as the kernel does where memory runs out."""

    seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += 1
        mark = Path(os.environ["FAKE_MARK"])
        if self.seen == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.1)
        return (images * 0.5 + 0.3).clamp(0, 1)


class AlwaysDeadly(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return images


class NotANumber(nn.Module):
    """Fails on photos that are bright at one corner; all others pass unchanged."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.full_like(images, float("nan"))


class Smaller(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images[..., :-1]


class PickyNaN(nn.Module):
    """Gives NaN for the photos whose mean is above 0.497: two of the five of the test folder."""

    def forward(self, images: Tensor) -> Tensor:
        return images * (float("nan") if images.mean() > 0.497 else 1.0)


class Hungry(nn.Module):
    """Runs out of memory on the photos on which `PickyNaN` fails."""

    def forward(self, images: Tensor) -> Tensor:
        if images.mean() > 0.497:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return images


class Raising(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise KeyError("no such layer")


class RaisingDetector(nn.Module):
    """Fails on the photos on which `PickyNaN` fails."""

    def forward(self, images: list[Tensor]) -> list[Detections]:
        if any(image.mean() > 0.497 for image in images):
            raise KeyError("no such layer")
        return [Detections.empty() for _ in images]


class HungryDetector(nn.Module):
    """Has memory for two images."""

    def __init__(self, most: int = 2):
        super().__init__()
        self.most, self.counts = most, list[int]()

    def forward(self, images: list[Tensor]) -> list[Detections]:
        self.counts.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return BlobDetector()(images)


class StarvedDetector(HungryDetector):
    def __init__(self) -> None:
        super().__init__(0)


class Learner(nn.Module):
    """What a user's factory may give: a network in training mode."""

    def forward(self, images: Tensor) -> Tensor:
        return images


def dying_prepare(settings, photos) -> None:
    """Kills its process, as the system does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def broken_factory() -> nn.Module:
    raise RuntimeError("no weights\nhere")


def needy_factory(path: str) -> nn.Module:
    return nn.Identity()


def empty_factory() -> None:
    return None


class BlobDetector(nn.Module):
    """Boxes whose places and scores follow from the picture's mean colours: a detector without weights."""

    def forward(self, images: list[Tensor]) -> list[Detections]:
        found = []
        for image in images:
            red, green, blue = image.mean((1, 2)).tolist()
            boxes = torch.tensor([[9.0, 9.0, 40.0 + 8 * red, 40.0], [49.0, 19.0, 80.0, 60.0 * (0.5 + green)]])
            found.append(Detections(boxes, torch.tensor([blue, red]), torch.tensor([11, 7])))
        return found


class SmallDetector(nn.Module):
    """Sees photos at 40 x 30 pixels, and boxes the upper left quarter of what it gets; its score tells the width it got."""

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        return 30, 40

    def forward(self, images: list[Tensor]) -> list[Detections]:
        found = []
        for image in images:
            height, width = image.shape[1:]
            box, score = torch.tensor([[0.0, 0.0, width / 2, height / 2]]), torch.tensor([width / 1000])
            found.append(Detections(box, score, torch.tensor([11])))
        return found


class MappingDetector(BlobDetector):
    """The same boxes in torchvision's form."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:  # type: ignore[override]
        return [result._asdict() for result in super().forward(images)]


class SharpDetector(nn.Module):
    """Finds the dog where blur has left the picture's coarse contrast, and is wrong about its place elsewhere."""

    least = 0.13

    def forward(self, images: list[Tensor]) -> list[Detections]:
        found = []
        for image in images:
            contrast = nn.functional.avg_pool2d(image[None], 8).std().item()
            box = [9.0, 9.0, 58.0, 40.0] if contrast > self.least else [0.0, 50.0, 9.0, 69.0]
            found.append(Detections(torch.tensor([box]), torch.tensor([contrast]), torch.tensor([11])))
        return found


class KeenDetector(SharpDetector):
    """The same with scores of a half and more."""

    def forward(self, images: list[Tensor]) -> list[Detections]:
        return [Detections(one.boxes, (0.5 + one.scores).clamp(0, 1), one.labels) for one in super().forward(images)]


class EasyDetector(KeenDetector):
    """Content with less contrast."""

    least = 0.09


class PatchDetector(nn.Module):
    """Finds the largest patch of pure red and of pure blue: own classes, in an order of its own."""

    classes = ("Duck", "traffic_cone", "bench")

    def forward(self, images: list[Tensor]) -> list[Detections]:
        found = []
        for image in images:
            boxes, scores, labels = [], [], []
            for label, (one, two, three) in enumerate(((2, 0, 1), (0, 1, 2))):
                sure = (image[one] - image[two]).clamp(min=0) * (image[one] - image[three]).clamp(min=0)
                rows, columns = ((sure > 0.5).sum(axis) > 6 for axis in (1, 0))
                if rows.any() and columns.any():
                    (y1, y2), (x1, x2) = (each.nonzero().flatten()[[0, -1]].tolist() for each in (rows, columns))
                    boxes.append([float(x1), float(y1), float(x2 + 1), float(y2 + 1)])
                    scores.append(float(sure[y1 : y2 + 1, x1 : x2 + 1].mean().clamp(0, 1)))
                    labels.append(label)
            found.append(Detections(torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels).long()))
        return found


class ShiftedDetector(nn.Module):
    """Finds the dog of the test folder's photos, but counts the background as class 0."""

    label = 12

    def forward(self, images: list[Tensor]) -> list[Detections]:
        box = torch.tensor([[9.0, 9.0, 42.0, 40.0]])
        return [Detections(box, torch.tensor([0.9]), torch.tensor([self.label])) for _ in images]


class OtherClassesDetector(ShiftedDetector):
    """The same with labels that index COCO's classes."""

    label = 16
