"""Read text, JSON, XML and photos of data sets as common tools write them, without running or fetching anything.

Text may be UTF-8 or, with a byte-order mark, UTF-8, UTF-16 or UTF-32. Of photos only the header is read here.
"""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

MAX_XML_BYTES = 1_000_000  # the largest of VOC's own annotations has 20 kB
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0?\0", "utf-16-le"),  # XML without a mark
    (b"\0<\0?", "utf-16-be"),
)
DECLARED = re.compile(rb"""^\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([\w.\-]{1,40})["']""")

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
OTHER_PICTURES = {
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".heic": "HEIC",
    ".heif": "HEIF",
    ".jp2": "JPEG 2000",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WebP",
}
TURNED = range(5, 9)  # EXIF orientations that exchange width and height


def decode(data: bytes) -> str:
    """Return the text of a file by its byte-order mark, else by its XML declaration, else UTF-8; ValueError or LookupError."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return data.decode(encoding)
    declared = DECLARED.match(data[:200])
    return data.decode(declared[1].decode() if declared else "utf-8")


def read_text(path: Path) -> str:
    """Return the text of a file; FileNotFoundError or ValueError naming it."""
    try:
        return decode(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"{path}: no such file") from None
    except (UnicodeError, LookupError):
        raise ValueError(f"{path}: not a text file; save it as UTF-8") from None


def load_json(path: Path) -> Any:
    """Return a JSON file's content; FileNotFoundError or ValueError naming it, also for a key that occurs twice."""
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable JSON ({error})") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, of which Python alone would keep the last of two equal keys; ValueError for these."""
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for i, key in enumerate(keys) if key in keys[:i])!r} occurs twice in one object; keep one")
    return made


class _Plain(TreeBuilder):
    """Ignores namespaces, and refuses document type declarations, which allow entity expansion."""

    def start(self, tag: str, attrs: dict[str, str]) -> Any:
        return super().start(tag.rpartition("}")[2], attrs)

    def end(self, tag: str) -> Any:
        return super().end(tag.rpartition("}")[2])

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("a document type declaration, which VOC annotations do not have")


def parse_xml(path: Path) -> Element:
    """Return the root of a small XML file without entities or namespaces; ValueError, naming the file, for others."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such annotation") from None
    if len(data) > MAX_XML_BYTES:
        raise ValueError(f"{path}: {len(data)} bytes of XML, above the limit of {MAX_XML_BYTES}; not a VOC annotation")
    parser = XMLParser(target=_Plain())
    try:
        text = decode(data).lstrip("\ufeff \t\r\n")
        # Entities can only be declared in a document type, and the parser would expand them before the target hears of it.
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise ValueError("a document type declaration, which VOC annotations do not have")
        parser.feed(text)
        root = parser.close()
    except (ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that Python does not know
        raise ValueError(f"{path}: not a readable VOC annotation ({error}); repair or remove it") from None
    if root.tag != "annotation":
        raise ValueError(f"{path}: not a VOC annotation (its root is <{root.tag}>, not <annotation>); repair or remove it")
    return root


def photos_by_name(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder by their names without suffix; JPEG and PNG are preferred to other formats."""
    photos: dict[str, Path] = {}
    if not folder.is_dir():
        return photos
    for path in sorted(folder.iterdir(), key=lambda path: (path.suffix.lower() not in PHOTO_SUFFIXES, path.name)):
        if path.suffix.lower() in (*PHOTO_SUFFIXES, *OTHER_PICTURES) and not path.name.startswith("."):
            photos.setdefault(path.stem, path)
    return photos


def check_kind(path: Path) -> Path:
    """Return the path of a JPEG or PNG by its suffix; ValueError, naming the kind, for another picture."""
    kind = OTHER_PICTURES.get(path.suffix.lower())
    if kind:
        raise ValueError(f"{path}: is a {kind} picture; photos are JPEG or PNG: convert it to {path.with_suffix('.png').name}")
    return path


def _header(path: Path) -> tuple[tuple[int, int], int]:
    """Return the size (width, height) as stored and EXIF orientation (1: none) of a JPEG or PNG."""
    from PIL import JpegImagePlugin, PngImagePlugin

    reader = PngImagePlugin.PngImageFile if path.suffix.lower() == ".png" else JpegImagePlugin.JpegImageFile
    other = JpegImagePlugin.JpegImageFile if reader is PngImagePlugin.PngImageFile else PngImagePlugin.PngImageFile
    for make in (reader, other):
        try:
            with open(path, "rb") as stream, make(stream) as file:
                return file.size, int(file.getexif().get(0x0112, 1) or 1)
        except (SyntaxError, ValueError, OSError, TypeError) as error:
            if isinstance(error, FileNotFoundError):
                raise FileNotFoundError(f"{path}: no such photo") from None
    raise ValueError(f"{path}: not a JPEG or PNG picture, or a damaged one; replace the file")


def photo_size(path: Path, upright: bool = False) -> tuple[int, int]:
    """Return (width, height) in pixels as stored, or after EXIF rotation if `upright`."""
    return see_photo(path, upright)[0]


def see_photo(path: Path, upright: bool = False) -> tuple[tuple[int, int], bool]:
    """Return the size as `photo_size` does, and whether EXIF rotates or mirrors the photo."""
    (width, height), orientation = _header(path)
    return (height, width) if upright and orientation in TURNED else (width, height), orientation > 1


def exif_orientation(path: Path) -> int:
    """Return EXIF's orientation, 1 for a photo that is stored upright."""
    return _header(path)[1]
