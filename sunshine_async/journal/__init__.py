"""Journal of a job: the state of each row, in a file or database that survives a kill and a power cut.

A job writes a row's state to the journal before the row is sent and after the service has answered.
A job that was cut off goes on from the journal, and sends no finished row again.

`JobJournal` has all reads and writes. `Journal` is a journal in an SQLite file, which the base
`SingleProcessDatabase` opens, with file mode 0600, since keys are often e-mail addresses.
`PostgresJournal` is a journal in a schema of a PostgreSQL database, which several machines reach:
the owner holds a `JournalLease`, and each write is fenced. For ``?job=may`` the schema is
``sunshine_journal_may``, which stays until somebody drops the schema. `JournalReader` and
`PostgresReader` read a journal while another process runs the job. `open_journal` opens either
kind; `place_of` reads the place, a path or a URL.

A source that can be read again is loaded whole: `begin`, `add`, `ready`. The rows of a source that
can be read once are matched to journal rows by `meet`. `Rules` say which rows are still to be sent.
The journal holds bodies only where a job asks for that, and credentials never.
"""

from sunshine_async.journal.database import (
    VERSION,
    JournalAwayError,
    JournalError,
    JournalInUseError,
)
from sunshine_async.journal.job_journal import JobJournal
from sunshine_async.journal.journal import Journal, copy_journal
from sunshine_async.journal.lease import JournalLease, LeaseState
from sunshine_async.journal.places import Place, open_journal, open_reader, place_of
from sunshine_async.journal.reader import Found, JournalQueries, JournalReader, JournalReport
from sunshine_async.journal.rows import PENDING, Done, JournalRow, Rules, SourceRow, State, Update
from sunshine_async.journal.sql import CREATED, STARTED_THROUGH

REACH, Kept, Line, Mark = STARTED_THROUGH, JournalRow, SourceRow, Update
"""Former names, still valid."""

__all__ = [
    "CREATED",
    "PENDING",
    "REACH",
    "STARTED_THROUGH",
    "VERSION",
    "Done",
    "Found",
    "JobJournal",
    "Journal",
    "JournalAwayError",
    "JournalError",
    "JournalInUseError",
    "JournalLease",
    "JournalQueries",
    "JournalReader",
    "JournalReport",
    "JournalRow",
    "Kept",
    "LeaseState",
    "Line",
    "Mark",
    "Place",
    "Rules",
    "SourceRow",
    "State",
    "Update",
    "copy_journal",
    "open_journal",
    "open_reader",
    "place_of",
]
