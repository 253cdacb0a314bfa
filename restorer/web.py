"""Read files from http:// and https:// addresses into memory, with limits of size and time."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote

LARGEST = 100_000_000  # bytes
PATIENCE = 30.0  # seconds without an answer, and between two pieces of one
LONGEST = 300.0  # seconds for the whole
PIECE = 1 << 16  # bytes read at once
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


def is_url(text: object) -> bool:
    """Return whether `text` is an address to read a photo from; ValueError for another scheme, such as ftp://."""
    if not isinstance(text, str) or not ADDRESS.match(text):
        return False
    scheme = text.partition("://")[0].lower()
    if scheme not in ("http", "https"):
        raise ValueError(f"{text}: photos are read from http:// and https:// addresses and from files, not from {scheme}://")
    return True


def file_name(url: str) -> Path:
    """Return a file name for a photo at an address: the last part of its path, without characters that names cannot contain."""
    path = re.split(r"[?#]", url.partition("://")[2])[0].partition("/")[2]
    name = re.sub(r"[^\w.\- ]", "_", unquote(path).rpartition("/")[2])
    return Path(name.strip(". ")[-100:] or "photo")


def read_url(url: str, largest: int = LARGEST, patience: float = PATIENCE, longest: float = LONGEST) -> bytes:
    """Return what is at an http or https address, at most `largest` bytes, read within `longest` seconds.

    Raises OSError if reading fails or exceeds these limits, and ValueError for a web page in place of a file; both messages
    name the address and say what to do.
    """
    until = time.monotonic() + longest
    with _named(url):
        request = urllib.request.Request(url, headers={"User-Agent": "vocbench", "Accept": "image/*, */*;q=0.5"})
        answer = urllib.request.urlopen(request, timeout=patience)
    with answer:
        kind = answer.headers.get_content_type()
        if kind.startswith("text/") and kind != "text/plain":  # servers send plain for unknown types
            raise ValueError(f"{url}: returns a web page ({kind}), not a file; use the address of the file itself")
        return _body(answer, url, largest, until)


def _body(answer: HTTPResponse, url: str, largest: int, until: float) -> bytes:
    """Return the body of an answer; OSError where it is too large, too slow, or breaks off."""
    length = answer.headers.get("Content-Length", "")
    expected, data = int(length) if length.isdecimal() else 0, bytearray()
    while max(expected, len(data)) <= largest:
        with _named(url):
            piece = answer.read1(PIECE)
        if not piece:
            break
        data += piece
        if time.monotonic() > until:
            raise OSError(f"{url}: is too slow, {len(data)} bytes came so far; download it yourself and give the file")
    if max(expected, len(data)) > largest:
        raise OSError(f"{url}: is larger than {largest / 1e6:g} MB; download it yourself and give the file")
    if len(data) < expected:
        raise OSError(f"{url}: broke off after {len(data)} of {expected} bytes; try again")
    return bytes(data)


@contextmanager
def _named(url: str) -> Iterator[None]:
    """Turn exceptions of the block into an OSError that names the address and the reason."""
    try:
        yield
    except HTTPError as error:
        raise OSError(f"{url}: the server answered {error.code} {error.reason}; check the address") from None
    except (OSError, HTTPException, ValueError) as error:
        raise OSError(f"{url}: cannot be read ({_reason(error)}); check the address and the network") from None


def _reason(error: Exception) -> str:
    """Return why nothing could be read, in the system's words."""
    cause = getattr(error, "reason", None) or error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    return " ".join(str(getattr(cause, "strerror", None) or cause).split()) or type(error).__name__
