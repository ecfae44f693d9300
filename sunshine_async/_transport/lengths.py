"""Repair of heads that say the same ``Content-Length`` more than once. No I/O."""

from typing import Final

_END: Final = b"\r\n\r\n"
_NAME: Final = b"content-length:"
_INTERIM: Final = b"1"
_STATUS: Final = slice(9, 10)


def with_one_length(raw: bytes) -> bytes | None:
    """Return *raw* with the equal lengths of its final head as one, as RFC 9110 (8.6) allows.

    Lengths that differ stay, and so does anything else. Return None while the head isn't whole.
    """
    before = b""
    while True:
        head, end, rest = raw.partition(_END)
        if not end:
            return None
        if head[_STATUS] != _INTERIM:
            return before + _repaired(head) + end + rest
        before, raw = before + head + end, rest


def _repaired(head: bytes) -> bytes:
    lines = head.split(b"\r\n")
    said = [line for line in lines if line[: len(_NAME)].lower() == _NAME]
    values = {value.strip(b" \t") for line in said for value in line[len(_NAME) :].split(b",")}
    if len(values) != 1:
        return head
    [value] = values
    others = [line for line in lines if line not in said]
    return b"\r\n".join([*others, b"Content-Length: " + value])
