"""Bodies at hand as rows of a job: any iterable of models, mappings as on the wire, or rows."""

from collections.abc import AsyncIterable, Iterable, Mapping
from os import PathLike
from typing import Any, Final, TypeAlias, cast

import attrs
import orjson

from sunshine_async._codec import encode
from sunshine_async.jobs.tasks.task import Task
from sunshine_async.rows import BadRow, Row

Rows: TypeAlias = Iterable[Any] | AsyncIterable[Any]
_NOT_ROWS: Final[tuple[type[Any], ...]] = (str, bytes, bytearray, memoryview, PathLike, Mapping)
_NO_ROWS: Final = (
    "rows: expected an iterable of bodies, got {}. Rows of a file come from "
    "open_rows(path, job.shape); a single body goes in a list"
)


def check_rows(rows: object) -> None:
    """Raise `TypeError` for what isn't an iterable of bodies: a path, a file, a single body."""
    kind = type(rows).__name__
    one = attrs.has(type(rows)) or hasattr(rows, "read") or isinstance(rows, _NOT_ROWS)
    if one or not isinstance(rows, Iterable | AsyncIterable):
        raise TypeError(_NO_ROWS.format(kind))


def row_of(line: int, item: Any, task: Task) -> Row | BadRow:
    """Return *item* as a row: a body, or a row already; a bad one for what JSON can't hold."""
    if isinstance(item, BadRow):
        return item
    if isinstance(item, Row):
        line, item = item.line, item.data
    if not task.accepts(item):
        kinds = " or ".join(kind.__name__ for kind in task.models)
        return BadRow(line, f"expected a {kinds} or a mapping, got a {type(item).__name__}")
    try:
        data = orjson.loads(encode(item))
    except ValueError as error:  # which names the field
        return BadRow(line, str(error))
    except Exception as error:  # noqa: BLE001 - of the caller's own mapping, say: its row is bad
        return BadRow(line, f"can't be read: {type(error).__name__}")
    if isinstance(data, dict):
        return Row(line, cast("dict[str, Any]", data))
    return BadRow(line, f"expected a body, got {type(item).__name__}")
