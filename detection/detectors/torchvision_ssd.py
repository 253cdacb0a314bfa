"""torchvision's SSD300-VGG16 and SSDlite320-MobileNetV3, trained on COCO, as detectors of VOC's classes or of others.

COCO's names are mapped to those asked for, and other boxes dropped. The weights come through torchvision's own download.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from vocbench.detection.detections import Detections
from vocbench.detection.detectors.labels import default_classes, label_map


def coco_names() -> list[str]:
    """Return COCO's 80 classes in their order, as torchvision lists them."""
    from torchvision.models.detection import SSD300_VGG16_Weights

    return [name for name in SSD300_VGG16_Weights.COCO_V1.meta["categories"] if name not in ("__background__", "N/A")]


class TorchvisionDetector(nn.Module):
    """A torchvision detector whose labels index `names`: a list of (3, H, W) in [0, 1] to a list of `Detections`.

    Its detections' labels index `classes`, VOC's where it knows any.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]):
        super().__init__()
        self.network, self.known = network.eval(), tuple(names)
        self.labels: Tensor
        self.register_buffer("labels", torch.zeros(0))
        self.label_by(default_classes(self.known))

    def label_by(self, classes: Sequence[str]) -> TorchvisionDetector:
        """Let labels index these classes; boxes of others are left out."""
        self.classes = tuple(classes)
        self.labels = label_map(self.known, classes).to(next(self.network.parameters(), self.labels).device)
        return self

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width in pixels to which a photo of any size is resized."""
        wide, high = self.network.transform.fixed_size  # type: ignore[union-attr, misc]
        return int(high), int(wide)

    @torch.no_grad()
    def forward(self, images: Sequence[Tensor]) -> list[Detections]:
        found = []
        for image in images:  # one by one, so that a batch cannot change a result
            result = self.network([image.to(self.labels.device)])[0]
            labels = self.labels[result["labels"]]
            kept = labels >= 0
            found.append(Detections(result["boxes"][kept], result["scores"][kept], labels[kept]))
        return found


def load_torchvision(name: str) -> TorchvisionDetector:
    """Return `ssd300` or `ssdlite` with torchvision's COCO weights.

    Raises OSError, in one line, where they cannot be downloaded, ValueError where the file is damaged.
    """
    from torchvision.models import detection, get_weight

    makers = {
        "ssd300": (detection.ssd300_vgg16, "SSD300_VGG16_Weights.COCO_V1"),
        "ssdlite": (detection.ssdlite320_mobilenet_v3_large, "SSDLite320_MobileNet_V3_Large_Weights.COCO_V1"),
    }
    make, chosen = makers[name]
    weights = get_weight(chosen)
    file = Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])
    try:
        network = make(weights=weights, weights_backbone=None, score_thresh=0.01)
    except OSError as error:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise OSError(f"the weights of {name} could not be downloaded ({reason}); put {weights.url} at {file}") from None
    except Exception:  # torch raises a different type for every kind of damage
        raise ValueError(f"{file}: damaged, or not the weights of {name}; delete it, and it is downloaded again") from None
    return TorchvisionDetector(network, weights.meta["categories"])
