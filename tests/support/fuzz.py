"""Readers of files from strangers, for fuzzing: each gives something or raises an error that names the file, nothing else.

Coverage-guided, for as long as wanted: `python -m tests.support.fuzz READER -max_total_time=600` (needs atheris).
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TOLD = (ValueError, FileNotFoundError)  # with a message for people


def _field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes, of less than 128."""
    return bytes([number << 3 | 2, len(content)]) + content


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def a_caffemodel() -> bytes:
    blob = _field(5, np.arange(6, dtype="<f4").tobytes()) + _field(7, _field(1, bytes([2, 3])))
    layer = _field(1, b"conv") + _field(7, blob)
    return _varint(100 << 3 | 2) + _varint(len(layer)) + layer


def a_checkpoint_index() -> bytes:
    """An index of one float32 tensor (2, 3) named `w`, at the start of the data file."""
    from vocbench.restorer.networks.tensorflow_checkpoint import MAGIC, masked_crc32c

    data = np.arange(6, dtype="<f4").tobytes()
    shape = b"".join(_field(2, b"\x08" + bytes([side])) for side in (2, 3))
    entry = b"\x08\x01" + _field(2, shape) + b"\x20\x00" + b"\x28" + bytes([len(data)])
    entry += b"\x35" + struct.pack("<I", masked_crc32c(data))

    def block(rows: list[tuple[bytes, bytes]]) -> bytes:
        body = b"".join(b"\x00" + _varint(len(key)) + _varint(len(value)) + key + value for key, value in rows)
        body += struct.pack("<II", 0, 1) + b"\x00"
        return body + struct.pack("<I", masked_crc32c(body))

    first = block([(b"w", entry)])
    second = block([(b"w", _varint(0) + _varint(len(first) - 5))])
    footer = _varint(0) + _varint(0) + _varint(len(first)) + _varint(len(second) - 5)
    return first + second + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


ANNOTATION = b"""<annotation><size><width>90</width><height>70</height><depth>3</depth></size><object><name>dog</name>
<difficult>0</difficult><bndbox><xmin>10</xmin><ymin>10</ymin><xmax>40</xmax><ymax>40</ymax></bndbox></object></annotation>"""
DETECTIONS = {"a": {"boxes": [[1, 2, 30, 40]], "scores": [0.5], "labels": ["dog"]}}
COCO = [{"image_id": "a", "category_id": 12, "bbox": [1, 2, 30, 40], "score": 0.5}]
TRUTH = {"a": {"width": 90, "height": 70, "objects": [{"name": "dog", "bbox": [10, 10, 40, 40], "difficult": 0}]}}


def _annotation(path: Path) -> None:
    from vocbench.detection.datasets.voc import read_annotation

    read_annotation(path)


def _split(path: Path) -> None:
    from vocbench.detection.datasets.ids import read_ids

    for image in read_ids(path):
        assert Path(image).name == image
        assert image not in ("", ".", "..")


def _detections(path: Path) -> None:
    from vocbench.detection.datasets.contract import DataWarning
    from vocbench.detection.exchange import read_detections

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # a spoilt name is of no class, which is told and no failure
        found = read_detections(path, ["a", "b"])
    assert all(one.boxes.shape == (len(one.scores), 4) for one in found.values())


def _truth(path: Path) -> None:
    from vocbench.detection.datasets.files import load_json
    from vocbench.detection.datasets.voc import listed_from_json

    data = listed_from_json(path, load_json(path))
    for image in data.ids:
        data.objects(image)


def _caffemodel(path: Path) -> None:
    from vocbench.detection.detectors.caffemodel import read_caffemodel

    read_caffemodel(path)


class _Anything:
    """Equal to every checksum: past it, the parser itself is tried."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


def _checkpoint(path: Path) -> None:
    from vocbench.restorer.networks import tensorflow_checkpoint

    index = path.with_name("c.index")
    index.write_bytes(path.read_bytes())
    index.with_name("c.data-00000-of-00001").write_bytes(np.arange(6, dtype="<f4").tobytes())
    kept = tensorflow_checkpoint.masked_crc32c
    tensorflow_checkpoint.masked_crc32c = lambda data: _Anything()  # type: ignore[assignment, return-value]
    try:
        tensorflow_checkpoint.read_checkpoint(index.with_suffix(""))
    finally:
        tensorflow_checkpoint.masked_crc32c = kept


def _picture(path: Path) -> None:
    from vocbench.restorer.images import read_image

    image = read_image(path)
    assert image.shape[0] == 3


def _store(path: Path) -> None:
    from vocbench.benchmarks.storage.store import PART, Store, _digest

    data = path.read_bytes()
    store = Store(path.parent / "store")
    store.files.write(f"part-000000-{_digest(b'what was written')}.parquet", data)
    assert PART.fullmatch(store.files.names()[0])
    assert store.parts() == {}  # nothing of a part that is not what was written is ever used
    store.clear([])


RECORD = {
    "settings": {"data": "sample", "split": "all", "recipe": "voc", "restorers": ["flat=fakes:F"], "detectors": ["d=fakes:D"],
                 "protocol": "voc07", "seed": 0, "draws": 1, "limit": 2, "levels": '{"noise": 10}'},
    "dataset": {"name": "sample", "split": "all", "images": 2, "sha256": "0"},
    "weights_sha256": {"flat": None}, "execution": {}, "store": None, "started": "2099-01-01T00:00:00+0000",
}  # fmt: skip
ROW = {"boxes": [1, 2, 30, 40], "scores": [0.5], "labels": [11], "draw": 0, "levels": '{"noise": 10}', "note": '"a"'}
ROWS = [ROW | {"image": image, "variant": v, "detector": "d"} for v in ("clean", "distorted", "flat") for image in "ab"]


def _record(path: Path) -> None:
    from vocbench.benchmarks.storage.records import read_record

    assert read_record(path).settings.split


def _rows(path: Path) -> None:
    """A store's part with a sound checksum, of whatever rows the file lists, read as those of a run."""
    import pyarrow as pa
    from msgspec import convert
    from vocbench.benchmarks.results.finished import Finished, read_rows, scan
    from vocbench.benchmarks.storage.checks import check_names
    from vocbench.benchmarks.storage.records import RunRecord
    from vocbench.benchmarks.storage.row import Row
    from vocbench.benchmarks.storage.store import Store
    from vocbench.detection.columns import ObjectColumns, places
    from vocbench.detection.detections import Objects

    store = Store(path.parent / "store")
    store.clear([])
    try:
        store.write(0, [Row(**dict.fromkeys(Row.__struct_fields__) | row) for row in json.loads(path.read_bytes())])
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError, pa.ArrowException):
        return  # no rows at all: nothing was written
    truth = ObjectColumns.of({image: Objects.of([[1, 2, 30, 40]], [11]) for image in "ab"})
    found = scan(store, store.parts(), places("ab"))
    record = convert(RECORD, RunRecord)
    run = Finished(path.parent, record, store, store.parts(), truth, found.variants, found.detectors, found.failed)
    check_names(store.place, found.variants, found.detectors, run.settings)
    for variant in found.variants:
        rows = read_rows(run, variant, "d", ["note"])
        boxes = rows.detections
        assert boxes.boxes.shape == (len(boxes.scores), 4)
        assert np.isin(boxes.labels, range(20)).all()
        assert all(note is None or json.dumps(note) for note in rows.decoded("note", Any))


def _png() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), (200, 30, 40)).save(buffer, "PNG")
    return buffer.getvalue()


READERS: dict[str, tuple[Callable[[Path], None], list[bytes]]] = {
    "annotation": (_annotation, [ANNOTATION]),
    "split": (_split, [b"2007_000001\n2007_000002 -1\n"]),
    "detections": (_detections, [json.dumps(DETECTIONS).encode(), json.dumps(COCO).encode()]),
    "truth": (_truth, [json.dumps(TRUTH).encode()]),
    "caffemodel": (_caffemodel, [a_caffemodel()]),
    "checkpoint": (_checkpoint, [a_checkpoint_index()]),
    "picture": (_picture, [_png()]),
    "store": (_store, [b"PAR1"]),
    "record": (_record, [json.dumps(RECORD).encode()]),
    "rows": (_rows, [json.dumps(ROWS).encode()]),
}


def attempt(reader: str, data: bytes, folder: Path) -> None:
    """Give the reader a file with this content; any error but a told one goes through."""
    path = folder / "input.bin"
    path.write_bytes(data)
    try:
        READERS[reader][0](path)
    except TOLD as error:
        assert folder.name in str(error), f"the file is not named in {error!r}"


def main() -> None:
    import atheris

    reader = sys.argv.pop(1)
    with atheris.instrument_imports(include=["vocbench"]):
        from vocbench.benchmarks.storage import records, store  # noqa: F401
        from vocbench.detection.datasets import voc  # noqa: F401
        from vocbench.restorer.networks import tensorflow_checkpoint  # noqa: F401
    with tempfile.TemporaryDirectory() as work:
        corpus = Path(work) / "corpus"
        corpus.mkdir()
        for i, seed in enumerate(READERS[reader][1]):
            (corpus / str(i)).write_bytes(seed)
        place = Path(work) / "place"
        place.mkdir()
        atheris.Setup([*sys.argv, str(corpus)], lambda data: attempt(reader, data, place))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
