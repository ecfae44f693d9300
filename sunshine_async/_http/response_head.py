"""Head of an HTTP response: header fields decoded on first access, and lengths sent twice. No I/O.

- `Headers` decode the fields of a head when a field is asked for.
- `merge_content_lengths` repairs a head with the same ``Content-Length`` twice.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Final, TypeAlias

Fields: TypeAlias = Iterable[tuple[bytes, bytes]]

_END: Final = b"\r\n\r\n"
_LENGTH_NAME: Final = b"content-length:"


def merge_content_lengths(raw: bytes) -> bytes | None:
    """Merge equal ``Content-Length`` values in the final head of *raw*, as RFC 9110 (8.6) allows.

    Different lengths and all other bytes stay. Return None while the head is incomplete.
    """
    before = b""
    while True:
        head, end, rest = raw.partition(_END)
        if not end:
            return None
        if head[9:10] != b"1":  # the first digit of the status
            return before + _merge_lengths(head) + end + rest
        before, raw = before + head + end, rest


def _merge_lengths(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    size = len(_LENGTH_NAME)
    lengths = [line for line in lines if line[:size].lower() == _LENGTH_NAME]
    values = {value.strip(b" \t") for line in lengths for value in line[size:].split(b",")}
    if len(values) != 1:
        return head
    [value] = values
    others = [line for line in lines if line not in lengths]
    return b"\r\n".join([*others, b"Content-Length: " + value])


class LazyHeaders(Mapping[str, str]):
    """Header fields, decoded on first access: a successful call never reads the headers.

    *source* is the fields, or a valid head of ASCII, from the status line to the last field.
    """

    def __init__(self, source: Fields | bytes) -> None:
        self._source: Final = source

    @cached_property
    def _read(self) -> Mapping[str, str]:
        source = self._source
        return merge_fields(_split_head(source) if isinstance(source, bytes) else source)

    def __getitem__(self, name: str) -> str:
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)


def _split_head(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        yield name, value.lstrip(b" \t")


def merge_fields(fields: Fields) -> Mapping[str, str]:
    """Return *fields* with lower-case names; values of the same name are joined by commas."""
    headers: dict[str, str] = {}
    for name, value in fields:
        key = _field_key(name)
        text = value.decode("latin-1").rstrip(" ")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


@lru_cache(maxsize=256)
def _field_key(name: bytes) -> str:
    return name.decode("ascii").lower()
