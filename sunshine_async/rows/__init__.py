"""A file of users as rows: JSON lines or CSV, gzip or not, from a path or from standard input."""

from sunshine_async.rows.columns import Empty, Shape, SourceError
from sunshine_async.rows.file import BadRow, Format, Row, RowFile, open_rows

__all__ = ["BadRow", "Empty", "Format", "Row", "RowFile", "Shape", "SourceError", "open_rows"]
