"""Texts of services and proxies, for messages and logs: one printable line, without secrets. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

_SHORTEST: Final = 6  # characters of a secret
_LONGEST_ID: Final = 128  # characters
_MARKUP: Final = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


def one_line(text: str) -> str:
    """Return *text* as one printable line, fit for a log."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def without_secrets(text: str, hidden: Iterable[str]) -> str:
    """Return *text* without the texts in *hidden*, but for texts so short that words would suffer.

    A text in *hidden* is found in upper and lower case, and with any characters but letters and
    digits escaped as URLs, JSON and HTML do.
    """
    for secret in hidden:
        if len(secret) >= _SHORTEST and (plain := one_line(secret)):
            escaped = "".join(map(_escaped, plain))
            text = re.sub(f"{re.escape(plain)}|{escaped}", "...", text, flags=re.IGNORECASE)
    return text


def _escaped(character: str) -> str:
    """Return a pattern of *character*, perhaps escaped; atomic, so that no text takes long."""
    if character.isalnum():
        return character
    code, plain = ord(character), re.escape(character)
    name = _MARKUP.get(character, f"#{code}")
    return rf"(?>%{code:02x}|\\u{code:04x}|&#0{{0,5}}{code};|&#x0{{0,5}}{code:x};|&{name};|\\{plain}|{plain})"


def request_id_of(headers: Mapping[str, str], hidden: Iterable[str]) -> str | None:
    """Return the service's id of a request, fit for a log, without the texts in *hidden*."""
    given = headers.get("x-request-id")
    return None if given is None else without_secrets(one_line(given), hidden)[:_LONGEST_ID]
