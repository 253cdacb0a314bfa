"""Read the weights of a caffemodel, a protobuf NetParameter, with a parser of its own.

Wire format: developers.google.com/protocol-buffers/docs/encoding. Of NetParameter only field 100 (`layer`: name 1, blobs 7)
is read, of BlobProto field 5 (packed or single floats) and 7 (shape, dims in its field 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class _Damaged(Exception):
    pass


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Damaged(f"a number at byte {at} does not end")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield (field number, wire type, value) of a message, in order."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        value: int | memoryview
        if kind == VARINT:
            value, at = _varint(data, at)
        else:
            if kind == BYTES:
                size, at = _varint(data, at)
            elif kind in (FIXED32, FIXED64):
                size = 4 if kind == FIXED32 else 8
            else:
                raise _Damaged(f"unknown wire type {kind} at byte {at}")
            if at + size > len(data):
                raise _Damaged(f"a field of {size} bytes at byte {at} runs past the end")
            value, at = data[at : at + size], at + size
        yield tag >> 3, kind, value


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _Damaged("a number where a message belongs")
    return value


def _dims(shape: memoryview) -> list[int]:
    dims: list[int] = []
    for number, _, value in _fields(shape):
        if number != 1:
            continue
        if isinstance(value, int):
            dims.append(value)
        else:  # packed
            at = 0
            while at < len(value):
                dim, at = _varint(value, at)
                dims.append(dim)
    return dims


def _blob(data: memoryview) -> np.ndarray:
    parts, dims = [], None
    for number, _, value in _fields(data):
        if number == 5:
            raw = _message(value)
            if len(raw) % 4:
                raise _Damaged(f"{len(raw)} bytes of floats")
            parts.append(np.frombuffer(raw, "<f4"))
        elif number == 7:
            dims = _dims(_message(value))
    values = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if dims is None:
        return values.copy()
    if int(np.prod(dims, dtype=object)) != len(values):
        raise _Damaged(f"a blob of shape {dims} holds {len(values)} values")
    return values.reshape(dims).copy()


def _layer(data: memoryview) -> tuple[str, list[np.ndarray]]:
    name, blobs = "", []
    for number, _, value in _fields(data):
        if number == 1:
            name = bytes(_message(value)).decode("utf-8")
        elif number == 7:
            blobs.append(_blob(_message(value)))
    return name, blobs


def read_caffemodel(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Return the blobs by layer (float32; weight, then bias); layers without blobs are left out.

    Raises FileNotFoundError for a missing file and ValueError, naming it, for one that is not a caffemodel.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such caffemodel; `vocbench weights fetch mobilenet-ssd` brings it")
    layers: dict[str, list[np.ndarray]] = {}
    try:
        for number, _, value in _fields(memoryview(path.read_bytes())):
            if number == 100:
                name, blobs = _layer(_message(value))
                layers |= {name: blobs} if blobs else {}
    except (_Damaged, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable caffemodel ({error}); fetch it again") from None
    if not layers:
        raise ValueError(f"{path}: holds no layer with weights; expected a caffemodel")
    return layers
