"""Repair annotations one object at a time, in their own format, keeping everything else in them.

Boxes slightly beyond the border are clipped, corners in the wrong order are swapped, and a missing size is filled in. An object
that no rule repairs is removed, and its text is kept in the finding. Files on disk are not changed.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from vocbench.detection.datasets.coco import Index, read_entry
from vocbench.detection.datasets.contract import make_annotation
from vocbench.detection.datasets.files import MARKS, decode, parse_xml, read_text
from vocbench.detection.datasets.voc import SIDES, annotated_size, is_difficult, text_of, voc_corners, written_box
from vocbench.detection.datasets.yolo import YoloSplit, corners, read_row

Size = tuple[int, int]
# Irregularities that are tolerated: kind and description.
NOTES = {
    "clipped": "a box that reaches beyond the border and is clipped",
    "size": "no size of the photo, which is taken from the photo",
    "difficult": "<difficult> as a word, not 0 or 1",
    "encoding": "text that is not plain UTF-8",
    "namespace": "an XML namespace, which is left out",
    "alone": "a file of labels without its photo",
}


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file: a message that names it, and its kind in `NOTES` if it is tolerated.

    `lost` is the original text of what the repaired annotation leaves out; empty if nothing is left out.
    """

    text: str
    kind: str = ""
    lost: str = ""


class Mended(NamedTuple):
    """The content of a repaired annotation, the class of each object in it, and what was wrong."""

    content: Any
    names: list[str]
    findings: list[Finding]


def mend_box(
    whence: str,
    size: Size | None,
    name: str,
    convert: Callable[[Sequence[float]], Sequence[float]],
    written: Sequence[float],
    turned: Sequence[float],
) -> tuple[list[float] | None, list[Finding]]:
    """Return the corners of an object's box clipped to the picture, None if it cannot be repaired, and what is wrong with it.

    `convert` turns the box as `written` into continuous corners from 0; `turned` is the same box with its corners in order.
    """
    try:
        annotation = make_annotation(whence, size, [(name, convert(written), False)])
        beyond = [Finding(f"{whence}: the box {list(written)} of a {name} reaches beyond the border", "clipped")]
        return annotation.boxes[0].tolist(), beyond if annotation.clipped else []
    except ValueError as error:
        reason = str(error)
    try:
        annotation = make_annotation(whence, size, [(name, convert(turned), False)])
        return annotation.boxes[0].tolist(), [Finding(reason)]
    except ValueError:
        return None, [Finding(reason, lost=f"{name} {list(written)}")]


def mend_voc(path: Path, size: Size | None) -> Mended:
    """Return a VOC annotation repaired, as XML; `size` is that of the photo, None if it is not known.

    Raises FileNotFoundError, and ValueError for a file that cannot be read at all.
    """
    root = parse_xml(path)
    findings, names = _written_as(path), list[str]()
    try:
        annotated = annotated_size(root, path)
        if annotated is None:
            findings.append(Finding(f"{path}: has no size of the photo", "size"))
    except ValueError as error:
        annotated = None
        findings.append(Finding(str(error)))
    number = 0
    for parent in list(root.iter()):
        for element in parent.findall("object"):
            number += 1
            kept, problems = _mend_object(element, number, path, size or annotated)
            findings += problems
            if kept:
                names.append(text_of(element, "name"))
            else:
                parent.remove(element)
    if annotated is None and size is not None:
        _write_size(root, size)
    indent(root)
    return Mended(tostring(root, encoding="utf-8") + b"\n", names, findings)


def _written_as(path: Path) -> list[Finding]:
    """Return the irregularities in the encoding of an XML file that are tolerated."""
    data = path.read_bytes()
    findings = []
    if any(data.startswith(mark) for mark, _ in MARKS) or not _is_utf8(data):
        findings.append(Finding(f"{path}: is not plain UTF-8", "encoding"))
    if re.search(r"\sxmlns(:\w+)?\s*=", decode(data)):
        findings.append(Finding(f"{path}: has an XML namespace", "namespace"))
    return findings


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeError:
        return False
    return True


def _mend_object(element: Element, number: int, path: Path, size: Size | None) -> tuple[bool, list[Finding]]:
    """Repair an object in place; False if it must be left out."""
    name = text_of(element, "name")
    try:
        written, difficult = written_box(element, number, path), is_difficult(element, path)
    except ValueError as error:
        return False, [Finding(str(error), lost=tostring(element, "unicode").strip())]
    xmin, ymin, xmax, ymax = written
    turned = [min(xmin, xmax), min(ymin, ymax), max(xmin, xmax), max(ymin, ymax)]
    box, findings = mend_box(str(path), size, name, lambda given: voc_corners(path, name, given), written, turned)
    if box is None:
        return False, [Finding(one.text, lost=tostring(element, "unicode").strip()) for one in findings]
    mended = [box[0] + 1, box[1] + 1, box[2], box[3]]
    place = element.find("bndbox")
    if mended != written and place is not None:
        for tag, value in zip(SIDES, mended, strict=True):
            _set(place, tag, plain(value))
    flag = element.find("difficult")
    if flag is not None and (flag.text or "").strip() not in ("0", "1"):
        findings.append(Finding(f"{path}: <difficult> is {(flag.text or '').strip()!r}", "difficult"))
        flag.text = str(int(difficult))
    return True, findings


def plain(value: float) -> str:
    """Return the shortest exact text of a number: 12, 12.5."""
    return str(int(value)) if value == int(value) else repr(value)


def _set(parent: Element, tag: str, text: str) -> None:
    """Set the text of a child element, creating it if it is missing."""
    inner = parent.find(tag)
    (SubElement(parent, tag) if inner is None else inner).text = text


def _write_size(root: Element, size: Size) -> None:
    place = root.find("size")
    if place is None:
        place = Element("size")
        first = next((i for i, inner in enumerate(root) if inner.tag == "object"), len(root))
        root.insert(first, place)
    for tag, value in zip(("width", "height"), size, strict=True):
        _set(place, tag, str(value))


def mend_yolo(data: YoloSplit, image: str, size: Size) -> Mended:
    """Return the rows of an image's label file repaired, as text; empty if there is no file, which means no objects."""
    path, rows = data.label_file(image), list[str]()
    findings, names = list[Finding](), list[str]()
    if not path.is_file():
        return Mended(b"", names, findings)
    if any(path.read_bytes().startswith(mark) for mark, _ in MARKS):
        findings.append(Finding(f"{path}: is not plain UTF-8", "encoding"))
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = read_row(path, number, line)
            name = data.class_name(path, row[0])
            mended, problems = _mend_row(path, name, row, size)
        except ValueError as error:
            mended, problems = None, [Finding(str(error), lost=line.strip())]
        findings += [Finding(one.text, one.kind, line.strip() if one.lost else "") for one in problems]
        if mended is not None:
            names.append(name)
            rows.append(f"{' '.join([plain(row[0]), *map(repr, mended)])}\n" if mended != row[1:] else f"{line.strip()}\n")
    return Mended("".join(rows).encode(), names, findings)


def _mend_row(path: Path, name: str, row: list[float], size: Size) -> tuple[list[float] | None, list[Finding]]:
    """Return a row's numbers after its class, clipped to the picture; None if the box cannot be repaired."""
    written = row[1:]
    turned = [*written[:2], *map(abs, written[2:])] if len(written) == 4 else written
    box, findings = mend_box(str(path), size, name, lambda given: corners(path, list(given), size), written, turned)
    if box is None or not findings:
        return (None if box is None else written), findings
    if len(written) != 4:  # a polygon
        return [min(max(value, 0.0), 1.0) for value in written], findings
    width, height = size
    x1, y1, x2, y2 = box
    return [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height], findings


def mend_coco(path: Path, content: Mapping[str, Any], index: Index, sizes: Mapping[str, Size]) -> Mended:
    """Return the annotations of a COCO file repaired, by the number of their image; names are those of all objects.

    `sizes` are those of the photos by number, as far as they are known; the file's own are used for the others.
    """
    kept: dict[str, list[Any]] = {number: [] for number in index.files}
    names, findings = list[str](), list[Finding]()
    known = {number: size for number, size in index.sizes.items() if all(size)} | dict(sizes)
    for i, one in enumerate(content["annotations"]):
        try:
            image, name, (x1, y1, x2, y2), _ = read_entry(path, i, one, index)
        except ValueError as error:
            findings.append(Finding(str(error), lost=repr(one)))
            continue
        whence = f"{path}: image {index.files[image]}"
        turned = [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]
        box, problems = mend_box(whence, known.get(image), name, lambda given: given, [x1, y1, x2, y2], turned)
        findings += [Finding(each.text, each.kind, repr(one) if each.lost else "") for each in problems]
        if box is not None:
            names.append(name)
            kept[image].append(_with_box(one, box) if problems else one)
    return Mended(kept, names, findings)


def _with_box(one: Mapping[str, Any], box: Sequence[float]) -> dict[str, Any]:
    """Return an annotation with another box, and with the box's area if it has no outline."""
    x1, y1, x2, y2 = box
    mended = copy.deepcopy(dict(one)) | {"bbox": [x1, y1, x2 - x1, y2 - y1]}
    if "area" in one and not one.get("segmentation"):
        mended["area"] = (x2 - x1) * (y2 - y1)
    return mended
