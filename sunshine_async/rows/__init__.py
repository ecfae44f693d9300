"""Rows of a file of users: JSON lines or CSV, gzip or not, from a path or standard input.

`open_rows` opens a file and returns a `RowFile`. A `Shape` says which fields a row may have.
Iterating over the file yields a `Row` for each readable row, and a `BadRow` with the reason for each
unreadable row. A bad row doesn't end the file. A file that can't be read at all raises `SourceError`,
and the text says the next step. Rows are read one at a time, so memory stays flat.

A `LineReader` turns bytes of any encoding into lines of UTF-8 (`lines`); `file_types` refuses
archives, workbooks and other files that aren't text. Rows are made from the lines in `json_lines` or
in `csv_records`. `header` matches the columns of a CSV file with fields, and suggests options for the
other columns; `columns` reads the cells. `phones` turns phone numbers into E.164, `times` adds the
zone to times.
"""

from sunshine_async.rows.file import RowFile, open_rows
from sunshine_async.rows.shape import BadRow, Empty, Format, Row, Shape, SourceError

__all__ = ["BadRow", "Empty", "Format", "Row", "RowFile", "Shape", "SourceError", "open_rows"]
