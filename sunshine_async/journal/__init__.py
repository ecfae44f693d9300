"""What a job has done, row by row, in an SQLite file: it outlives the process, and the power.

One process at a time has it; its mode is 0600, since keys are often e-mail addresses. Bodies stand
in it only where they are to be kept, credentials never.
"""

from sunshine_async.journal.disk import VERSION, JournalError
from sunshine_async.journal.journal import Found, Journal, copy_journal
from sunshine_async.journal.rows import PENDING, Done, JournalRow, Rules, SourceRow, State, Update
from sunshine_async.journal.sql import CREATED, REACH

__all__ = [
    "CREATED",
    "PENDING",
    "REACH",
    "VERSION",
    "Done",
    "Found",
    "Journal",
    "JournalError",
    "JournalRow",
    "Rules",
    "SourceRow",
    "State",
    "Update",
    "copy_journal",
]
