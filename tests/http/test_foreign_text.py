"""Texts of others: what a log takes of them, and no secret in any spelling that echoes have."""

import html
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sunshine_async._http.foreign_text import one_line, request_id_of, without_secrets

SECRET = "s3cr/et+va=l\"u'e<&>\\x"

SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "in capitals": str.upper,
    "in a URL": lambda text: quote(text, safe=""),
    "in a URL, lower case": lambda text: quote(text, safe="").lower(),
    "in HTML": html.escape,
    "in HTML, all": lambda text: "".join(c if c.isalnum() else f"&#x{ord(c):X};" for c in text),
    "in HTML, decimal": lambda text: "".join(c if c.isalnum() else f"&#0{ord(c)};" for c in text),
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON, slashes": lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
    "in JSON, all": lambda text: "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in text),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_is_removed_in_each_spelling(spelling: str) -> None:
    """A service that echoes a secret escapes it as the language of its answer needs."""
    echo = f"bad key {SPELLINGS[spelling](SECRET)}, and more"

    assert without_secrets(echo, ("other-secret", SECRET)) == "bad key ..., and more"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6), st.text())
def test_any_secret_is_removed(secret: str, around: str) -> None:
    """No secret of printable characters stays, whatever its pattern would mean."""
    assert without_secrets(f"{around}\n{secret}", (secret,)).endswith("\n...")


def test_a_secret_of_escapes_takes_no_long_search() -> None:
    """A secret that reads in two ways at each character isn't tried in all ways."""
    assert without_secrets("\\" * 19_000, ("\\" * 60 + "x",)) == "\\" * 19_000


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("r-1", "r-1"),
        ("a\x9b2J\x85b\tc\xa0d", "a 2J b c d"),
        ("a" * 60_000, "a" * 128),
        ("key-of-the-client", "..."),
    ],
)
def test_the_id_of_a_request_fits_a_log(given: str, shown: str) -> None:
    """An id is a printable line of some length, without the secrets of the request."""
    assert request_id_of({"x-request-id": given}, ("key-of-the-client",)) == shown
    assert request_id_of({}, ()) is None


def test_one_line() -> None:
    """Line breaks, marks that turn the text and characters without a shape leave one line."""
    assert one_line(" a\r\nb\u2028c\u202ed\u200be\x1b[2Jf ") == "a b c d e [2Jf"
