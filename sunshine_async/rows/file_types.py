"""Types and encodings of files, told by the first bytes. Pure."""

import codecs
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from sunshine_async.rows.shape import UTF_8, SourceError

BOM: Final = codecs.BOM_UTF8

_EXCEL: Final = "open it in Excel, and save it as CSV UTF-8"
_UNPACK: Final = "unpack it, and import the file inside"
_EXPORT: Final = "export the rows as CSV"
_STARTS: Final[Mapping[bytes, tuple[str, str]]] = {
    b"PK\x05\x06": ("an empty zip archive", "make the file again"),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook (.xls) or another Office file", _EXCEL),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK),
    b"Rar!\x1a\x07": ("a rar archive", _UNPACK),
    b"BZh9": ("compressed with bzip2", _UNPACK),
    b"\xfd7zXZ\0": ("compressed with xz", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", _UNPACK),
    b"\x1f\x8b": ("compressed with gzip twice", "unpack it once"),
    b"SQLite format 3\0": ("a SQLite database", _EXPORT),
    b"PAR1\x15": ("a Parquet file", _EXPORT),
    b"%PDF-": ("a PDF document", _EXPORT),
    b"{\\rtf": ("a document with formatting (RTF)", "save it as plain text"),
    b"<!doctype html": ("a web page", "is it a login page? Download the file again"),
    b"<html": ("a web page", "is it a login page? Download the file again"),
    b"<table": ("a web page", _EXCEL),
    b"<?xml": ("an XML file", _EXPORT),
}
"""Types of files, with the next step, by the first bytes: letters of text are lower case."""
_ZIPS: Final[Mapping[bytes, tuple[str, str]]] = {
    b"opendocument.spreadsheet": (
        "a LibreOffice spreadsheet (.ods)",
        "open it in LibreOffice, and save it as Text CSV",
    ),
    b"xl/": ("an Excel workbook (.xlsx)", _EXCEL),
    b"[Content_Types].xml": ("an Excel workbook (.xlsx) or another Office file", _EXCEL),
    b"": ("a zip archive", _UNPACK),
}
"""Types of zip archives, by a part of the content."""
_WIDE: Final = ("utf-16", "utf-32")
_TAR: Final = slice(257, 262)
_ASCII: Final = 'a,b;"c"\t\r\n'
_WIDE_BOMS: Final[Mapping[bytes, str]] = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Encodings by the byte order mark; the longer marks go first."""


def encoding_name(encoding: str) -> str:
    """Return Python's name of *encoding*; raise `SourceError` for an unknown encoding."""
    with suppress(LookupError, ValueError):
        name = codecs.lookup(encoding).name.removesuffix("-sig")
        if name.startswith(_WIDE) or _ASCII.encode(name) == _ASCII.encode():
            return name
    message = f"--encoding {encoding}: not known here. Usual ones: utf-8, utf-16, cp1252, latin-1"
    raise SourceError(message)


def check_head(name: str, head: bytes, encoding: str) -> str:
    """Return the encoding to read the file *name* with: *encoding*, in the byte order of the file.

    *head* is the beginning of the file. Raise `SourceError` for a file that isn't text, and for an
    *encoding* that can't be the encoding of the file.
    """
    found = _file_type(head)
    if found is not None:
        message = f"{name} is {found[0]}, not CSV or JSON lines: {found[1]}"
        raise SourceError(message)
    line = head.partition(b"\n")[0]
    if encoding.startswith(_WIDE):
        return _in_byte_order(name, head, encoding)
    wide = _wide_encoding(head)
    if wide is not None:
        message = (
            f"{name} is {wide[:6].upper()}: name its encoding (--encoding {wide[:6]}), or save it as "
            "UTF-8 (in Excel: CSV UTF-8)"
        )
        raise SourceError(message, options=("--encoding", wide[:6]))
    if b"\0" in line:
        message = (
            f"{name} isn't text: its first line has zero bytes. Name a file of CSV or JSON lines"
        )
        raise SourceError(message)
    if encoding != UTF_8 and (head.startswith(BOM) or _is_utf_8(head, encoding)):
        message = f"{name} is UTF-8, not {encoding}: leave out --encoding"
        raise SourceError(message)
    return encoding


def _file_type(head: bytes) -> tuple[str, str] | None:
    """Return the type of a file that isn't CSV or JSON lines, and the next step; None if unknown."""
    if head.startswith(b"PK\x03\x04"):
        return next(found for part, found in _ZIPS.items() if part in head)
    if head[_TAR] == b"ustar":
        return "a tar archive", _UNPACK
    text = head.removeprefix(BOM).lstrip()[:20].lower()
    known = (
        found
        for start, found in _STARTS.items()
        if start in (head[: len(start)], text[: len(start)])
    )
    return next(known, None)


def _wide_encoding(head: bytes) -> str | None:
    """Return the encoding of *head* if a character has several bytes, as the first four bytes show."""
    for mark, encoding in _WIDE_BOMS.items():
        if head.startswith(mark):
            return encoding
    zeros = [not byte for byte in head[:4]]
    match zeros:
        case [False, _, True, True]:
            return "utf-32-le"
        case [True, True, _, False]:
            return "utf-32-be"
        case [False, True, *_]:
            return "utf-16-le"
        case [True, False, *_]:
            return "utf-16-be"
        case _:
            return None


def _in_byte_order(name: str, head: bytes, encoding: str) -> str:
    """Return *encoding*, UTF-16 or UTF-32, with the byte order of *head*."""
    found = _wide_encoding(head)
    if found is None and b"\0" in head:
        is_little = head[1::2].count(0) > head[::2].count(0)
        found = encoding if encoding[6:] else f"{encoding}-{'le' if is_little else 'be'}"
    if not head or (found or "").startswith(encoding):
        return found or encoding
    message = f"{name} isn't {encoding.upper()}: leave out --encoding, or name another"
    raise SourceError(message)


def _is_utf_8(head: bytes, encoding: str) -> bool:
    """Return True if *head* is UTF-8 and hardly of *encoding*, which has a byte for a character."""
    if head.isascii() or not encoding.startswith(("cp125", "iso8859")):
        return False
    try:
        codecs.getincrementaldecoder(UTF_8)().decode(head)
    except UnicodeDecodeError:
        return False
    return True
