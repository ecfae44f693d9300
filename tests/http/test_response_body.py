"""The body of an answer: put together from any pieces, inflated, and never larger than it may be."""

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sunshine_async._http.response_parts import BodyDecoder, InvalidResponseError

TEXT = b'{"user":{"id":"a","profile":{"givenName":"Jane"}}}'
ZIPPED = gzip.compress(TEXT, mtime=0)


def whole(encoding: str | None, *pieces: bytes, limit: int = 1000) -> bytes:
    """Return the body that *pieces* make."""
    body = BodyDecoder(encoding, limit=limit)
    for piece in pieces:
        body.add(piece)
    return body.finish()


@pytest.mark.parametrize("encoding", [None, "", "identity", "Identity"])
def test_a_plain_body_is_as_it_came(encoding: str | None) -> None:
    """Without an encoding the pieces are the body."""
    assert whole(encoding, TEXT[:10], b"", TEXT[10:]) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "GZip", "x-gzip"])
@given(cuts=st.lists(st.integers(0, len(ZIPPED)), max_size=5).map(sorted))
def test_gzip_is_inflated_in_any_pieces(encoding: str, cuts: list[int]) -> None:
    """Wherever the pieces of a gzip begin and end, it comes out whole."""
    ends = [*cuts, len(ZIPPED)]
    pieces = [ZIPPED[start:end] for start, end in zip([0, *cuts], ends, strict=True)]

    assert whole(encoding, *pieces) == TEXT


@given(st.binary(max_size=300))
def test_any_bytes_can_be_zipped(data: bytes) -> None:
    """Whatever was zipped comes out equal, nothing too."""
    assert whole("gzip", gzip.compress(data, mtime=0)) == data


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "identity, br", "compress"])
def test_a_compression_that_was_not_asked_for_is_refused(encoding: str) -> None:
    """A body under the name of another compression than gzip can't be read, and the text says so."""
    label = encoding.removeprefix("identity, ")
    with pytest.raises(InvalidResponseError, match=rf"that was not asked for \({label}\)$"):
        whole(encoding, TEXT)


@pytest.mark.parametrize("encoding", ["none", "UTF-8", "aws-chunked", "gzip", "gzip, br", "x"])
def test_a_label_that_names_no_compression_changes_nothing(encoding: str) -> None:
    """A plain body stays as it came under the labels that real servers put on it."""
    assert whole(encoding, TEXT[:1], TEXT[1:]) == TEXT


@pytest.mark.parametrize("encoding", ["aws-chunked,gzip", "gzip, gzip", "identity, gzip"])
def test_gzip_among_other_labels_is_inflated(encoding: str) -> None:
    """A body that begins like gzip is inflated where one of its labels is gzip."""
    assert whole(encoding, ZIPPED[:1], ZIPPED[1:]) == TEXT


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_body_of_just_the_limit_is_taken(encoding: str | None) -> None:
    """A body of the limit is read, one byte more is refused."""
    data = (bytes(100), bytes(101))
    just, more = (gzip.compress(one, mtime=0) for one in data) if encoding else data

    assert whole(encoding, just, limit=100) == bytes(100)
    with pytest.raises(InvalidResponseError, match="larger than 100 bytes"):
        whole(encoding, more, limit=100)


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_the_limit_is_for_all_pieces_together(encoding: str | None) -> None:
    """Small pieces don't add up to more than the limit."""
    data = gzip.compress(bytes(101), compresslevel=0, mtime=0) if encoding else bytes(101)

    with pytest.raises(InvalidResponseError, match="larger"):
        whole(encoding, *(data[at : at + 1] for at in range(len(data))), limit=100)


def test_a_bomb_is_not_inflated() -> None:
    """Of a small gzip that is huge inside no more than the limit is inflated."""
    bomb = gzip.compress(bytes(10_000_000), mtime=0)

    tracemalloc.start()
    with pytest.raises(InvalidResponseError, match="larger than 1000 bytes"):
        whole("gzip", bomb)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 1_000_000


@pytest.mark.parametrize("data", [b"\x1f" + TEXT, b"\x1f\x8b\x08", ZIPPED[:-8] + bytes(8)])
def test_damaged_gzip_is_refused(data: bytes) -> None:
    """A body that begins like gzip and isn't, or whose sum is wrong, can't be read."""
    with pytest.raises(InvalidResponseError, match="gzip"):
        whole("gzip", data, b"\xff" * 20)


@pytest.mark.parametrize("end", range(1, len(ZIPPED)))
def test_gzip_that_ends_too_early_is_refused(end: int) -> None:
    """A gzip that is cut off is never taken for a whole body."""
    with pytest.raises(InvalidResponseError, match="its gzip ends too early"):
        whole("gzip", ZIPPED[:end])


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_no_body_is_an_empty_one(encoding: str | None) -> None:
    """An answer without a body has an empty one, whatever its headers say."""
    assert whole(encoding) == b""


@pytest.mark.parametrize("more", [b"x", ZIPPED])
@pytest.mark.parametrize("apart", [False, True])
def test_what_follows_a_gzip_is_refused(more: bytes, *, apart: bool) -> None:
    """Junk or another gzip behind the first one is no part of a body that can be read."""
    pieces = (ZIPPED, more) if apart else (ZIPPED + more,)

    with pytest.raises(InvalidResponseError, match="more of it after its gzip"):
        whole("gzip", *pieces)
