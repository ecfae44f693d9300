"""Tables of an app: rows by id in the order of creation, pages of rows, and sizes of metadata.

Assumed, where the specification is silent:

- Pages are in the order of creation. A page in the backwards direction has the oldest row first.
- A cursor is the id of a row, or of a row deleted since; any further text is a 400.
- ``hasMore`` tells of the direction of the request.
- A null in metadata clears that key; null for metadata clears all metadata.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

import orjson
from attrs import define, field

from sunshine_async.emulator.fields import JsonObject, Refusal, refuse, without_none
from sunshine_async.emulator.service import OperationRequest

MAX_METADATA_BYTES: Final = 4096
METADATA_LIMIT: Final = f"metadata is limited to {MAX_METADATA_BYTES} bytes in size"
MAX_PAGE: Final = 100
DEFAULT_PAGE: Final = 25
_CURSOR_LENGTH: Final = 24
_PAGE_PROBLEM: Final = "Invalid page query parameters"
_LINKS: Final = {"before": "prev", "after": "next"}
"""The name of a link, by the direction of the cursor."""
_CURSORS: Final = tuple(f"page[{direction}]" for direction in _LINKS)

Row: TypeAlias = JsonObject
"""A JSON object with an ``id``. A change replaces the row as a whole."""

MISSING: Final[Mapping[str, tuple[str, str]]] = {
    "conversations": ("conversation_not_found", "Conversation not found"),
    "integrations": ("integration_not_found", "Integration not found"),
    "switchboards": ("switchboard_not_found", "Switchboard not found"),
    "switchboardIntegrations": (
        "switchboard_integration_not_found", "SwitchboardIntegration not found",
    ),
}  # fmt: skip
"""Code and title of a 404, by table; ``not_found`` for tables not listed."""


@define(eq=False)
class Table:
    """Rows of one kind. Each change goes to *write*: the id and the new row, None if removed."""

    name: str
    write: Callable[[str | None, Row | None], None]
    rows: dict[str, Row] = field(factory=dict)

    def get(self, row_id: str) -> Row:
        """Return a row; raise `Refusal` (404) if there is none."""
        try:
            return self.rows[row_id]
        except KeyError:
            code, title = MISSING.get(self.name, ("not_found", "Resource not found"))
        raise Refusal(404, code, title)

    def put(self, row: Row) -> Row:
        """Store *row*; replace the row with the same id. Return the row."""
        self.rows[row["id"]] = row
        self.write(row["id"], row)
        return row

    def remove(self, row_id: str) -> None:
        """Remove a row; raise `Refusal` (404) if there is none."""
        self.get(row_id)
        del self.rows[row_id]
        self.write(row_id, None)

    def clear(self) -> None:
        """Remove all rows."""
        if self.rows:
            self.rows.clear()
            self.write(None, None)

    def restore(self, row_id: str | None, row: Row | None) -> None:
        """Repeat a change."""
        if row_id is None:
            self.rows.clear()
        elif row is None:
            del self.rows[row_id]
        else:
            self.rows[row_id] = row


def page(
    rows: Sequence[Row], request: OperationRequest, problem: str = _PAGE_PROBLEM
) -> tuple[Sequence[Row], JsonObject]:
    """Return the asked page of *rows*, and the ``meta`` and ``links`` of the page.

    Raise `Refusal` (400) with *problem* for an invalid query.
    """
    size = request.query.get("page[size]", str(DEFAULT_PAGE))
    if not (size.isascii() and size.isdecimal() and len(size) <= len(str(MAX_PAGE))):
        refuse(problem)
    if not 1 <= int(size) <= MAX_PAGE:
        refuse(problem)
    return _page(rows, request, int(size), problem, backwards=False)


def newest_page(rows: Sequence[Row], request: OperationRequest) -> tuple[Sequence[Row], JsonObject]:
    """Return the asked page of `MAX_PAGE` *rows*; without a cursor the newest page."""
    return _page(rows, request, MAX_PAGE, _PAGE_PROBLEM, backwards=True)


def _page(
    rows: Sequence[Row], request: OperationRequest, size: int, problem: str, *, backwards: bool
) -> tuple[Sequence[Row], JsonObject]:
    """Return the page that the query asks for; without a cursor the last if *backwards*."""
    ids = [row["id"] for row in rows]
    after, before = request.query.get("page[after]"), request.query.get("page[before]")
    cursors = [cursor for cursor in (after, before) if cursor is not None]
    if len(cursors) > 1 or any(_is_foreign(cursor, ids) for cursor in cursors):
        refuse(problem)
    if after is None and (before is not None or backwards):
        backwards = True
        end = len(ids) if before is None else _position(ids, before, after=False)
        start = max(0, end - size)
    else:
        backwards = False
        start = 0 if after is None else _position(ids, after, after=True)
        end = min(start + size, len(ids))
    more = {"before": start > 0, "after": end < len(ids)}
    ends = {"before": ids[start:end][:1], "after": ids[start:end][-1:]}
    meta: JsonObject = {"hasMore": more["before" if backwards else "after"]}
    links: JsonObject = {}
    others = {name: text for name, text in request.query.items() if name not in _CURSORS}
    for direction in _LINKS:
        for cursor in ends[direction] if more[direction] else ():
            meta[f"{direction}Cursor"] = cursor
            query = urlencode({**others, f"page[{direction}]": cursor}, safe="[]")
            links[_LINKS[direction]] = f"{request.url}?{query}"
    return rows[start:end], {"meta": meta, "links": links}


def _is_foreign(cursor: str, ids: list[str]) -> bool:
    """Return True for a text that can't be the id of a row, there or deleted."""
    return len(cursor) != _CURSOR_LENGTH and cursor not in ids


def _position(ids: list[str], cursor: str, *, after: bool) -> int:
    """Return the index of the row behind (*after*) or at *cursor*."""
    if cursor in ids:
        return ids.index(cursor) + after
    return bisect_right(ids, cursor) if after else bisect_left(ids, cursor)


def merged_metadata(
    old: Mapping[str, Any], new: Mapping[str, Any] | None, limit: str = METADATA_LIMIT
) -> JsonObject:
    """Return *old* metadata changed by *new*; raise `Refusal` (400), *limit*, beyond 4 KB."""
    changed = {} if new is None else without_none({**old, **new})
    if not is_within_limit(changed):
        refuse(limit)
    return changed


def is_within_limit(metadata: Mapping[str, Any]) -> bool:
    """Return True if *metadata* are small enough, as compact JSON."""
    return len(orjson.dumps(metadata)) <= MAX_METADATA_BYTES
