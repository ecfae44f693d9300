"""What a service says is wrong: every shape that it comes in, and whatever else may come."""

import gzip

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sunshine_async._calls.error_body import MAX_DETAILS, MAX_TEXT, error_details
from sunshine_async.errors import ErrorDetail

HTML = b"""<!DOCTYPE html><html><head><title> 502 Bad&nbsp;Gateway </title>
<style>body { color: red }</style></head><body><h1>Oops</h1></body></html>"""
UNTITLED = b"<html><head><style>body {}</style></head><body>Try <b>again</b>\n later</body></html>"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"errors":[{"code":"conflict","title":"Taken"}]}', [("conflict", "Taken")]),
        (
            b'{"errors":[{"code":"a","title":"A"},{"title":"B"},{"code":"c"}]}',
            [("a", "A"), (None, "B"), ("c", None)],
        ),
        (b'\xef\xbb\xbf{"errors":[{"code":"a","title":"A"}]}', [("a", "A")]),
        (b'{"errors":["bad","worse"]}', [(None, "bad"), (None, "worse")]),
        (b'{"errors":[{"code":null,"title":"A"}]}', [(None, "A")]),
        (b'{"errors":[{"code":"","title":" "}],"x":1}', [(None, '{"errors":[{"code":"","title":" "}],"x":1}')]),
        (b'{"error":{"code":"not_found","description":"No user"}}', [("not_found", "No user")]),
        (b'{"error":{"code":404}}', [("404", None)]),
        (
            b'{"error":"invalid_grant","error_description":"Expired"}',
            [("invalid_grant", "Expired")],
        ),
        (b'{"error":"Not Found","message":"No route"}', [("Not Found", "No route")]),
        (b'{"error":"unauthorized"}', [("unauthorized", None)]),
        (b'{"message":"Rate limit exceeded"}', [(None, "Rate limit exceeded")]),
        (b'{"code":17,"message":"Bad"}', [("17", "Bad")]),
        (b'{"code":"","title":"A"}', [(None, "A")]),
        (b'{"code":"a","title":" "}', [("a", None)]),
        (b'{"message":["a","b"]}', [(None, "a; b")]),
        (b'{"title":{"a":"b"},"message":"Bad"}', [(None, "Bad")]),
        (b'{"message":[{"a":"b"}]}', [(None, '{"message":[{"a":"b"}]}')]),
        (b'{"message":{}}', [(None, '{"message":{}}')]),
        (b'{"errors":[]}', [(None, '{"errors":[]}')]),
        (b'{"errors":{"email":"bad"}}', [(None, '{"errors":{"email":"bad"}}')]),
        (b'"just text"', [(None, "just text")]),
        (b"[1]", [(None, "[1]")]),
        (b"", []),
        (b" \r\n\t ", []),
        (b"\x00\x01", []),
        (b"upstream connect error\r\nX-Evil: 1", [(None, "upstream connect error X-Evil: 1")]),
        (b'{"message":"a\\r\\nINFO forged\\u0000\\u202e"}', [(None, "a INFO forged")]),
        (HTML, [(None, "502 Bad&nbsp;Gateway")]),
        (UNTITLED, [(None, "Try again later")]),
        (b"<p>Try</p><script>if (a<b) {", [(None, "Try")]),
        (b"<title>Oops", [(None, "Oops")]),
        (b"a <b <i>c</i>", [(None, "a <b c")]),
        (b'{"message":"[errors=[errors=A,B]"}', [("A", "[errors=[errors=A,B]"), ("B", None)]),
        ("é".encode("latin-1"), [(None, "\N{REPLACEMENT CHARACTER}")]),
    ],
)  # fmt: skip
def test_each_shape_is_read(body: bytes, expected: list[tuple[str | None, str | None]]) -> None:
    """Code and title are found in each shape that they come in; else the readable text is taken."""
    assert error_details(body) == tuple(ErrorDetail(code, title) for code, title in expected)


@pytest.mark.parametrize(
    "body",
    [
        b'{"message":"' + b"long " * 100 + b'"}',
        b'{"message":"' + b"long " * 500_000 + b'"}',
        b"long " * 100_000,
        b"<p>" * 100 + b"long " * 1_000,
        b'["' + b"long " * 100_000 + b'"]',
    ],
    ids=["title", "huge title", "text", "markup", "unknown"],
)
def test_a_long_text_is_cut(body: bytes) -> None:
    """A text is cut to what a log takes, and shows that it was."""
    [detail] = error_details(body)

    assert detail.title is not None
    assert len(detail.title) == MAX_TEXT
    assert detail.title.endswith("...")


def test_of_a_huge_body_only_the_beginning_is_read() -> None:
    """What is too large to be an error's JSON is taken for text, and costs little."""
    [detail] = error_details(b'{"code":"a","padding":"' + b"x" * 2**20 + b'"}')

    assert detail.code is None
    assert (detail.title or "").startswith('{"code":"a","padding":"xxx')


def test_many_reasons_are_cut() -> None:
    """Of many reasons the first few are kept."""
    reasons = [{"code": f"code {number}"} for number in range(1000)]

    assert error_details(orjson.dumps({"errors": reasons})) == tuple(
        ErrorDetail(f"code {number}", None) for number in range(MAX_DETAILS)
    )


@pytest.mark.parametrize("depth", [3, 100, 500, 1000, 100_000])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"errors":[', b"]}"),
        (b'{"error":', b"}"),
        (b'{"code":', b"}"),
        (b'{"message":', b"}"),
        (b"[", b"]"),
    ],
)
def test_deep_junk_is_survived(before: bytes, after: bytes, depth: int) -> None:
    """An answer that is nested to do harm is as good as any other junk."""
    found = error_details(before * depth + b'{"code":"a"}' + after * depth)

    assert 0 <= len(found) <= 1


def test_wide_and_deep_junk_is_survived() -> None:
    """Reasons in reasons don't multiply."""
    body: object = {"code": "a"}
    for _ in range(4):
        body = {"errors": [body] * 20}

    assert len(error_details(orjson.dumps(body))) <= MAX_DETAILS


@pytest.mark.parametrize("piece", [b"<", b"<title>", b"<script ", b"<head>", b"</style", b"\xff"])
def test_hostile_markup_is_survived(piece: bytes) -> None:
    """Markup that is made to be slow to read is read in part."""
    assert 0 <= len(error_details(piece * (2**20 // len(piece)))) <= 1


def test_what_is_compressed_twice_is_survived() -> None:
    """Bytes that are no text leave something printable or nothing."""
    assert all(
        (one.title or "x").isprintable() for one in error_details(gzip.compress(HTML, mtime=0))
    )


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["errors", "error", "code", "title", "description", "message"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=200) | st.text().map(str.encode) | JUNK.map(orjson.dumps))
def test_whatever_comes_is_short_and_printable(body: bytes) -> None:
    """Whatever a service answers, the reasons are few, short, on one line and printable."""
    found = error_details(body)

    assert len(found) <= MAX_DETAILS
    for text in [text for one in found for text in (one.code, one.title) if text is not None]:
        assert text.isprintable()
        assert 0 < len(text) <= MAX_TEXT
        assert text == text.strip()
    assert all(one.code or one.title for one in found)


def test_a_secret_without_a_printable_character_hides_nothing() -> None:
    """The text stays as it is: such a secret can't stand in it."""
    [detail] = error_details(b'{"code":"a"}', ("\x7f" * 40,))

    assert detail.code == "a"
