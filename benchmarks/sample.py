"""The built-in sample: photos that come with installed packages, annotated by hand in VOC's format.

The photos stay where they are; only annotations and the split belong to this package. Astronaut (NASA), chelsea (Stefan van der
Walt), camera (Lav Varshney, CC0) and the two views of a motorcycle (Middlebury stereo set, Scharstein et al., 2014) come with
scikit-image; Grace Hopper (US Navy) with Matplotlib; bus and zidane with ultralytics.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from vocbench.detection.datasets.contract import Dataset
from vocbench.detection.datasets.read import read_dataset
from vocbench.detection.datasets.voc import VOCSplit, read_voc

FOLDER = Path(__file__).with_name("sample_data")

# image id: (package, file inside it)
PHOTOS = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "bus": ("ultralytics", "assets/bus.jpg"),
    "camera": ("skimage", "data/camera.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "motorcycle_left": ("skimage", "data/motorcycle_left.png"),
    "motorcycle_right": ("skimage", "data/motorcycle_right.png"),
    "zidane": ("ultralytics", "assets/zidane.jpg"),
}


def photo_path(image_id: str) -> Path | None:
    """Return where an installed package keeps the photo, or None; nothing is imported."""
    package, inner = PHOTOS[image_id]
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / inner).is_file():
            return Path(folder) / inner
    return None


@dataclass(frozen=True)
class SampleSplit(VOCSplit):
    """The sample with the interface of a VOC split."""

    def picture(self, image_id: str) -> Path:
        path = photo_path(image_id)
        if path is None:
            package, inner = PHOTOS[image_id]
            raise FileNotFoundError(f"{inner}: the installed {package} lacks this photo of the sample; reinstall it")
        return path


def sample_split(split: str = "all") -> SampleSplit:
    """Return the sample's photos that the installed packages have; at least one must be there."""
    read = read_voc(FOLDER, split)
    there = [image for image in read.ids if photo_path(image)]
    if not there:
        raise FileNotFoundError("none of the sample's photos is installed; install scikit-image, Matplotlib or ultralytics")
    return SampleSplit(read.folder, "sample", split, there)


def open_data(data: str, split: str, upright: bool = False) -> Dataset:
    """Return a split of the sample or of a data set; `upright` where it is annotated as people see its photos."""
    if data == "sample":
        return sample_split(split)
    return replace(read_dataset(data, split), upright=upright)
