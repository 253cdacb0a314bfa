"""Average precision under named protocols, so that the protocol of a number is never in doubt.

`voc07` and `voc10` are the official devkit's (VOCevaldet.m and VOCap.m): detections of a class by falling score, ties in the
order given; each takes the object of its image with the largest IoU (the first of equals) and is a true positive when that
is at least 0.5; a match to a difficult object is neither a true nor a false positive, any number of times; a second match
of an object is a false positive, with no fall-back to another. `voc07` averages the interpolated precision at 11 recalls,
`voc10` takes the area under the monotone envelope. `coco` is pycocotools' AP at IoU 0.50 to 0.95, difficult objects marked
as crowd.

One class is matched at a time, so that memory beyond the detections themselves is that of one class.

Boxes are continuous corners from 0: the devkit's +1 widths on 1-based inclusive boxes are plain widths here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from vocbench.detection.columns import DetectionColumns, ObjectColumns
from vocbench.detection.detections import VOC_CLASSES, Detections, Objects

RECALLS = np.linspace(0, 1, 11)  # the same doubles as the devkit's 0:0.1:1
CELLS = 2**20  # numbers of a resampling's arrays at a time


@dataclass(frozen=True)
class Matches:
    """One class of one evaluation: its detections by falling score, matched to the objects.

    scores (N,), image (N,) index into the images, true_positive (N,) bool, ignored (N,) bool (on a difficult object), and the
    image of each object that counts (objects,).
    """

    scores: np.ndarray
    image: np.ndarray
    true_positive: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Return recall and precision (M,) after each detection that counts."""
        true_positive = self.true_positive[~self.ignored]
        hits = np.cumsum(true_positive)
        count = max(len(self.objects), 1)
        return hits / count, hits / np.arange(1, len(true_positive) + 1)

    def by_image(self) -> Iterator[tuple[int, Matches]]:
        """Yield each image that has objects, and the matches in it alone."""
        order = np.argsort(self.image, kind="stable")  # scores keep falling
        image = self.image[order]
        for place, count in zip(*np.unique(self.objects, return_counts=True), strict=True):
            rows = order[slice(*np.searchsorted(image, [place, place + 1]))]
            objects = np.full(count, place)
            matches = Matches(self.scores[rows], self.image[rows], self.true_positive[rows], self.ignored[rows], objects)
            yield int(place), matches


def paired_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N,) of boxes (N, 4) and others (N, 4), row by row."""
    sides = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    shared = np.where((sides > 0).all(1), sides.prod(1), 0.0)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(shared > 0, shared / (area - shared), 0.0)


def _best_objects(
    image: np.ndarray, boxes: np.ndarray, object_image: np.ndarray, object_boxes: np.ndarray, images: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each detection, its largest IoU with an object of its image, and that object's index (-1 for none)."""
    counts = np.bincount(object_image, minlength=images)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])  # objects come sorted by image
    per = counts[image]
    best, chosen = np.zeros(len(image)), np.full(len(image), -1)
    has = per > 0
    if not has.any():
        return best, chosen
    begin = np.concatenate([[0], np.cumsum(per[has])[:-1]])
    row = np.repeat(np.flatnonzero(has), per[has])  # detection of each pair
    within = np.arange(len(row)) - np.repeat(begin, per[has])
    candidate = first[image[row]] + within
    iou = paired_iou(boxes[row], object_boxes[candidate])
    best[has] = np.maximum.reduceat(iou, begin)
    is_best = iou == best[row]
    position = np.where(is_best, np.arange(len(row)), len(row))
    chosen[has] = candidate[np.minimum.reduceat(position, begin)]
    return best, chosen


def match_class(
    image: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    object_image: np.ndarray,
    object_boxes: np.ndarray,
    difficult: np.ndarray,
    images: int,
    iou: float = 0.5,
) -> Matches:
    """Match one class's detections (image index, box, score) to its objects, sorted by image, as the devkit does."""
    order = np.argsort(-scores, kind="stable")
    image, boxes, scores = image[order], boxes[order], scores[order]
    best, chosen = _best_objects(image, boxes, object_image, object_boxes, images)
    matched = (best >= iou) & (chosen >= 0)
    ignored = np.zeros(len(image), bool)
    ignored[matched] = difficult[chosen[matched]]
    candidates = np.flatnonzero(matched & ~ignored)
    _, firsts = np.unique(chosen[candidates], return_index=True)
    true_positive = np.zeros(len(image), bool)
    true_positive[candidates[firsts]] = True  # the highest score takes the object, later ones are false positives
    return Matches(scores, image, true_positive, ignored, object_image[~difficult])


def voc07_average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the mean over 11 recalls of the best precision at that recall or above; (N,) arrays by falling score."""
    return float(np.mean([precision[recall >= least].max(initial=0.0) for least in RECALLS]))


def voc10_average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the area under the precision-recall curve made monotone; (N,) arrays by falling score."""
    recall = np.concatenate([[0.0], recall, [1.0]])
    envelope = np.maximum.accumulate(np.concatenate([[0.0], precision, [0.0]])[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(np.sum((recall[steps] - recall[steps - 1]) * envelope[steps]))


VOC_RULES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "voc07": voc07_average_precision,
    "voc10": voc10_average_precision,
}
PROTOCOLS = {
    "voc07": "PASCAL VOC 2007 devkit: 11 recalls, IoU at least 0.5, difficult objects ignored",
    "voc10": "PASCAL VOC 2010 devkit: area under the monotone curve, IoU at least 0.5, difficult objects ignored",
    "coco": "COCO (pycocotools): mean over IoU 0.50 to 0.95, difficult objects marked as crowd",
}


@dataclass(frozen=True)
class Evaluation:
    """AP of every class (None without objects) and their mean, with the matches they came from (none for `coco`)."""

    protocol: str
    iou: float | None
    images: list[str]
    ap: dict[str, float | None]
    matches: dict[str, Matches] = field(default_factory=dict, repr=False)

    @property
    def map(self) -> float | None:
        """Return the mean over the classes that have objects; None if no class has any."""
        values = [value for value in self.ap.values() if value is not None]
        return float(np.mean(values)) if values else None

    def image_maps(self) -> np.ndarray:
        """Return each image's own mAP (images,), over the classes it has objects of; NaN where it has none. Not for `coco`."""
        sums, counts = np.zeros(len(self.images)), np.zeros(len(self.images))
        for match in self.matches.values():
            for place, alone in match.by_image():
                sums[place] += VOC_RULES[self.protocol](*alone.curve())
                counts[place] += 1
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def resampled_class_ap(self, weights: np.ndarray) -> np.ndarray:
        """Return AP (R, classes) with images counted `weights` (R, images) times; NaN where no object of a class counts.

        Classes come in the order of `ap`. See `resample` for the weights of a bootstrap. Not for `coco`.
        """
        if self.protocol not in VOC_RULES:
            raise ValueError(f"resampling is for {' and '.join(VOC_RULES)}, not {self.protocol}")
        counts = np.ascontiguousarray(weights.T, np.float32)  # (images, R)
        none = np.full(len(weights), np.nan)
        return np.stack(
            [none if self.ap[name] is None else _counted_ap(self.matches[name], counts, self.protocol) for name in self.ap], 1
        )


def resample(groups: Sequence[str], resamples: int = 1000, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield how often each image counts in each bootstrap resample, images of one group alike: blocks (r, images).

    Equal seeds and groups draw the same, so that evaluations of the same images can be compared in pairs.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    generator = np.random.default_rng(seed)  # draws the same in blocks as at once
    rows, count = max(CELLS // len(index), 4), len(names)
    for block in np.array_split(np.arange(resamples), -(-resamples // rows)):
        drawn = generator.integers(0, count, (len(block), count), np.int32) + count * np.arange(len(block))[:, None]
        times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        yield times.astype(np.float32)[:, index]


def _counted_ap(match: Matches, counts: np.ndarray, protocol: str) -> np.ndarray:
    """Return the AP (R,) of a class with images counted `counts` (images, R) times; NaN where no object was drawn."""
    keep = ~match.ignored
    true_positive, image = match.true_positive[keep], match.image[keep]
    hit = np.flatnonzero(true_positive)  # what comes after the last hit changes nothing
    image = image[: hit[-1] + 1] if len(hit) else image[:0]
    columns = max(CELLS // 8 // max(len(hit), 1), 4)
    parts = [slice(first, first + columns) for first in range(0, counts.shape[1], columns)]
    return np.concatenate([_part_ap(match.objects, image, hit, counts[:, part], protocol) for part in parts])


def _part_ap(objects: np.ndarray, image: np.ndarray, hit: np.ndarray, counts: np.ndarray, protocol: str) -> np.ndarray:
    """Return the AP (R,) from the images of the objects, of the detections by falling score, and which of these are hits.

    Only precision at hits matters. All that lies between two hits is added up by one sparse product.
    """
    from scipy.sparse import csr_matrix

    positives = counts[objects].sum(0)  # (R,); sums of counts are exact below 2**24
    if not len(hit):
        return np.where(positives > 0, 0.0, np.nan)
    until = np.concatenate([[0], hit + 1])  # the detections of each stretch that ends with a hit
    between = csr_matrix((np.ones(len(image), np.float32), image, until), shape=(len(hit), len(counts)))
    gained = counts[image[hit]]  # (hits, R)
    hits, total = np.cumsum(gained, 0), np.cumsum(between @ counts, 0)
    envelope = np.maximum.accumulate((hits / np.maximum(total, 1).astype(np.float64))[::-1], 0)[::-1]
    known = np.maximum(positives, 1).astype(np.float64)
    ap = (gained * envelope).sum(0) / known if protocol == "voc10" else _eleven_points(hits / known, envelope)
    return np.where(positives > 0, ap, np.nan)


def _eleven_points(recall: np.ndarray, envelope: np.ndarray) -> np.ndarray:
    """Return the mean precision (R,) at the first hit that reaches each of `RECALLS`, of recall and envelope (hits, R)."""
    low = np.zeros((len(RECALLS), recall.shape[1]), np.int64)
    high = np.full_like(low, len(recall))
    while (low < high).any():  # halve every range at once
        middle = (low + high) // 2
        below = (np.take_along_axis(recall, np.minimum(middle, len(recall) - 1), 0) < RECALLS[:, None]) & (low < high)
        low, high = np.where(below, middle + 1, low), np.where(below, high, np.minimum(high, middle))
    padded = np.concatenate([envelope, np.zeros((1, envelope.shape[1]))])
    return np.take_along_axis(padded, low, 0).mean(0)


def evaluate(
    detections: Mapping[str, Detections],
    ground_truth: Mapping[str, Objects],
    protocol: str,
    iou: float = 0.5,
    classes: Sequence[str] = VOC_CLASSES,
) -> Evaluation:
    """Return the AP of `detections` (image id to boxes, scores and labels) against `ground_truth` under a protocol.

    Labels of both index `classes`.

    Images without an entry have no detections. Ties keep the order of the images in `ground_truth`, then that of the boxes.
    Raises ValueError for an unknown protocol, and for detections of an image that the ground truth does not have.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
    images = list(ground_truth)
    unknown = next((name for name in detections if name not in ground_truth), None)
    if unknown is not None:
        raise ValueError(f"detections of image {unknown!r}, which is not in the ground truth; check the split")
    if protocol == "coco":
        from vocbench.detection.coco import coco_average_precision

        return Evaluation("coco", None, images, coco_average_precision(detections, ground_truth, classes))
    columns, truth = DetectionColumns.of(detections), ObjectColumns.of(ground_truth)
    place = np.fromiter((truth.index[name] for name in columns), np.int32, len(columns))
    image, object_image = place[columns.image], truth.image
    ap: dict[str, float | None] = {}
    matches = {}
    for label, name in enumerate(classes):
        of_class, objects = np.flatnonzero(columns.labels == label), np.flatnonzero(truth.labels == label)
        of_class = of_class[np.argsort(image[of_class], kind="stable")]  # the order of the ground truth
        match = match_class(
            image[of_class],
            columns.boxes[of_class].astype(np.float64),
            columns.scores[of_class].astype(np.float64),
            object_image[objects],
            truth.boxes[objects],
            truth.difficult[objects],
            len(images),
            iou,
        )
        matches[name] = match
        ap[name] = VOC_RULES[protocol](*match.curve()) if len(match.objects) else None
    return Evaluation(protocol, iou, images, ap, matches)
