"""Reads TensorFlow's checkpoints (`PREFIX.index` and `PREFIX.data-00000-of-00001`) without TensorFlow.

The index is a LevelDB table: a footer points to an index block, whose entries point to data blocks of prefix-compressed keys.
Keys are variable names, values BundleEntryProto messages: dtype 1, shape 2, shard 3, offset 4, size 5, masked CRC-32C 6.
Every block's and tensor's checksum is verified.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

MAGIC = 0xDB4775248B80FB57
FOOTER = 48  # bytes
TRAILER = 5  # bytes after a block: its compression and checksum
DTYPES = {1: np.dtype("<f4"), 3: np.dtype("<i4")}
MAX_BYTES = 1 << 30


class _Damaged(Exception):
    pass


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC = _table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32 with the Castagnoli polynomial."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """Return the checksum as TensorFlow stores it: turned right by 15 bits, plus a constant."""
    value = crc32c(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Damaged("a number does not end")
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def _block(data: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + TRAILER > len(data):
        raise _Damaged("a block runs past the end")
    if data[end]:
        raise _Damaged("a compressed block, which these checkpoints do not have")
    (stored,) = struct.unpack_from("<I", data, end + 1)
    if stored != masked_crc32c(data[offset : end + 1]):
        raise _Damaged("a block's checksum is wrong")
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block."""
    if len(block) < 4:
        raise _Damaged("a block of less than 4 bytes")
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise _Damaged("a block without room for its restarts")
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        size, at = _varint(block, at)
        if shared > len(key) or at + unshared + size > end:
            raise _Damaged("an entry runs past its block")
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + size]
        at += size


def _fields(message: bytes) -> dict[int, list]:
    """Return the values of a protobuf message by field number: numbers, or bytes."""
    values: dict[int, list] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        value: int | bytes
        if kind == 0:
            value, at = _varint(message, at)
        elif kind in (2, 5):
            size = 4
            if kind == 2:
                size, at = _varint(message, at)
            if at + size > len(message):
                raise _Damaged("a field runs past its message")
            value, at = message[at : at + size], at + size
        else:
            raise _Damaged(f"unknown wire type {kind}")
        values.setdefault(tag >> 3, []).append(value)
    return values


def _tensor(entry: bytes, values: bytes) -> np.ndarray:
    fields = _fields(entry)
    number = fields.get(1, [0])[0]
    if number not in DTYPES:
        raise _Damaged(f"a tensor of TensorFlow's type {number}; only float32 and int32 are read")
    shape = [_fields(dim).get(1, [0])[0] for part in fields.get(2, []) for dim in _fields(part).get(2, [])]
    offset, size = fields.get(4, [0])[0], fields.get(5, [0])[0]
    data = values[offset : offset + size]
    if len(data) != size or size != DTYPES[number].itemsize * int(np.prod(shape, dtype=object)):
        raise _Damaged(f"a tensor of shape {shape} has {len(data)} bytes of data")
    if struct.unpack("<I", fields.get(6, [b"\0\0\0\0"])[0])[0] != masked_crc32c(data):
        raise _Damaged("a tensor's checksum is wrong")
    return np.frombuffer(data, DTYPES[number]).reshape(shape).copy()


def read_checkpoint(prefix: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays by variable name of the checkpoint `PREFIX.index` with its one data file.

    Raises FileNotFoundError for a missing file and ValueError, naming the checkpoint, for a damaged one.
    """
    index, values = Path(f"{prefix}.index"), Path(f"{prefix}.data-00000-of-00001")
    for path in (index, values):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; expected a TensorFlow checkpoint")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path}: larger than {MAX_BYTES} bytes; not one of these checkpoints")
    try:
        return _read(index.read_bytes(), values.read_bytes())
    except (_Damaged, struct.error, TypeError, AttributeError, UnicodeDecodeError, IndexError) as error:
        raise ValueError(f"{prefix}: not a readable TensorFlow checkpoint ({error}); copy it again") from None


def _read(table: bytes, values: bytes) -> dict[str, np.ndarray]:
    if len(table) < FOOTER or struct.unpack_from("<Q", table, len(table) - 8)[0] != MAGIC:
        raise _Damaged("no table footer")
    footer = table[-FOOTER:]
    _, at = _varint(footer, 0)  # the metaindex block's offset and size are not needed
    _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, at = _varint(footer, at)
    found = {}
    for _, handle in _entries(_block(table, offset, size)):
        begin, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        for key, entry in _entries(_block(table, begin, length)):
            if key:  # the empty key holds the header
                found[key.decode("utf-8")] = _tensor(entry, values)
    return found
