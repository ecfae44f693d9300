"""The journals of all parts of an import, read as one: counts, rows in the order of the file, times."""

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import orjson
import psycopg
from psycopg.errors import InsufficientPrivilege

from sunshine_async.jobs.cluster_plan import (
    HAS_TABLES,
    SELECT_IMPORT,
    SELECT_PARTS,
    ClusterPlan,
    journal_of,
    worst,
)
from sunshine_async.jobs.progress import FOUND, restore_totals
from sunshine_async.jobs.report import Ending, Report
from sunshine_async.jobs.source import (
    COMMAND,
    FINISHED,
    LIVE,
    OPEN,
    PART_COUNT,
    PROGRESS,
    REASON,
    SUMS,
)
from sunshine_async.jobs.timeline import Timeline, parallel, read_timeline
from sunshine_async.journal import Found, JournalAwayError, JournalError, State
from sunshine_async.journal.lease import PATIENCE
from sunshine_async.journal.postgres_database import PostgresPlace, passes_by_itself, reason_of
from sunshine_async.journal.postgres_journal import PostgresReader
from sunshine_async.journal.postgres_sql import REASONS, RUNNING
from sunshine_async.journal.reader import PAGE, read_pages
from sunshine_async.journal.sql import SELECT_TIMELINES

_HAS_JOURNAL: Final = (
    "SELECT to_regclass(name || '.version') IS NOT NULL FROM unnest(?::text[]) AS name"
)
_SEARCH: Final = "SELECT set_config('search_path', ?, false)"
_HAS_PLAIN_JOURNAL: Final = """SELECT EXISTS (SELECT FROM pg_class
    WHERE relnamespace = to_regnamespace(%s) AND relname = 'version')"""
"""Needs no privilege on the journal."""
_AT_ONCE: Final = 100  # parts in a query: each table is locked until the end of the query
_IN_MEMORY: Final = 10_000  # rows of all parts
_SHOWN: Final = 3  # reasons
_OF_PARTS: Final = ("app", "base_url")
"""Facts that the first worker knows, and no plan."""
_REASONS: Final = {
    **REASONS,
    "42501": (
        "has no journal of this name, and the imports can't be read: the user lacks a privilege. Check "
        "the name of the job in the URL, or grant USAGE on the schema sunshine_cluster, and SELECT on "
        "its tables"
    ),
}
_OTHER_RELEASE: Final = (
    "has an import of another release: read the import with the release of the workers"
)
_HIDDEN: Final = (
    "{} also has a journal of an import by one process, which is not shown: an import by "
    "workers has the same name. Give imports of either kind names of their own: ?job=NAME"
)


class ImportReader(PostgresReader):
    """The journals of the parts of the import *number* at *place*, read only, as a single journal.

    Methods raise `JournalError` for a database that can't be read.
    """

    def __init__(
        self, place: PostgresPlace, number: int, plan: ClusterPlan, *, hides_journal: bool = False
    ) -> None:
        super().__init__(place)
        self.plan: Final = plan
        self._hides_journal: Final = hides_journal
        self.endings: Sequence[Ending | None] = ()
        """The ending of each part; None: a worker has, or will get, the part."""
        self.reasons: Sequence[str | None] = ()
        """For each part the reason of the ending, or the reason why a worker has left the part."""
        self._number: Final = number
        names = [journal_of(place, number, index).schema for index in range(plan.part.count)]
        self._names: Final = names
        self._begun: Sequence[str] = ()  # the schemas of the journals that are there
        self._owned: Collection[str] = ()  # of these: those that workers have

    @property
    def note(self) -> str | None:
        """A note about a journal with the same place, which this reader hides, if any."""
        return _HIDDEN.format(self.name) if self._hides_journal else None

    @property
    def progress(self) -> str:
        """The number of parts that have ended, and that workers have, in words."""
        ended = len(self.endings) - self.endings.count(None)
        under_way = f", {len(self._owned) or 'none'} under way" if None in self.endings else ""
        return f"{ended} of {len(self.endings)} parts have ended{under_way}"

    @property
    def running(self) -> bool:
        """True while a worker has, or will get, a part; the parts are looked at again."""
        self.refresh()
        return None in self.endings

    def refresh(self) -> None:
        """Look at the parts again; raise `JournalError` for an ending that only another release knows."""
        parts = super()._fetch_all(SELECT_PARTS.replace("%s", "?"), (self._number,))
        try:
            self.endings = [ending and Ending(ending) for ending, _ in parts]
        except ValueError:
            self._fail(_OTHER_RELEASE)
        self.reasons = [reason for _, reason in parts]
        known = super()._fetch_all(_HAS_JOURNAL, (self._names,))
        self._begun = [name for name, [exists] in zip(self._names, known, strict=True) if exists]
        owned = list[tuple[bool]]()
        for start in range(0, len(self._begun), _AT_ONCE):
            names = self._begun[start : start + _AT_ONCE]
            running = " UNION ALL ".join(RUNNING.format(owner=f"{name}.owner") for name in names)
            owned += super()._fetch_all(running)
        self._owned = {
            name for name, [is_owned] in zip(self._begun, owned, strict=True) if is_owned
        }

    def about(self) -> dict[str, str]:
        """Return the facts about the import, and the sums over all parts."""
        part, facts = self.plan.part, self._facts()
        has_ended = worst(self.endings) is Ending.ALL
        about = {
            "source": self.plan.source, "digest": part.digest, "meant": part.meant,
            "service": part.service, "mode": part.mode.value, COMMAND: self.plan.command,
            PART_COUNT: str(part.count),
            **(FINISHED if has_ended else OPEN),
        }  # fmt: skip
        each_part = [*facts.values()]
        about |= {name: each[name] for name in _OF_PARTS for each in each_part[:1]}
        for name in (*SUMS, "turned"):
            about[name] = str(sum(float(each.get(name, "0")) for each in each_part))
        runs = self._runs(facts)
        about["seconds"] = str(sum(part.seconds for run in runs for part in run.parts))
        about["sessions"] = str(len(runs))
        found = [each[FOUND] for each in each_part if FOUND in each]
        if found:
            about[FOUND] = max(found, key=lambda text: float(text.split()[0]))
        about[PROGRESS] = self.progress
        if reason := self._reason():
            about[REASON] = reason
        return {**about, **self._live(facts)}

    def timelines(self) -> list[str]:
        """Return the timelines of the import's runs, each of all parts that ran."""
        return [run.as_text() for run in self._runs(self._facts())]

    def rows(self, *states: State) -> Iterator[Found]:
        """Yield all rows, or the rows in *states*, in the order of the file; numbers are the part's."""
        page_size = max(1, min(PAGE, _IN_MEMORY // max(1, len(self._begun))))
        each = (
            read_pages(partial(self._fetch_in, name), states, page_size=page_size)
            for name in self._begun
        )
        return heapq.merge(*each, key=lambda row: row["line"])

    def total(self) -> Report:
        """Return the report of all parts; *seconds* are those in which a part ran."""
        report = Report(ending=worst(self.endings) or Ending.STOPPED, reason=self._reason())
        restore_totals(report, self)
        return report

    def _reason(self) -> str | None:
        """Return the reasons of parts that gave up, or that a worker has left, each reason once."""
        found: dict[str, int] = {}
        for number, reason in enumerate(self.reasons, 1):
            if reason:
                found.setdefault(reason, number)
        shown = [f"part {number}: {reason}" for reason, number in found.items()]
        more = [f"{len(shown) - _SHOWN} more reasons"] if len(shown) > _SHOWN else []
        return "; ".join([*shown[:_SHOWN], *more]) or None

    def _connect(self) -> "psycopg.Connection[Any]":
        if self._connection is None:
            self._connection = self._open(self._application, self._is_late)
        return self._connection

    def _fetch_all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        return [row for name in self._begun for row in self._fetch_in(name, query, values)]

    def _fetch_in(self, name: str, query: str, values: Sequence[Any]) -> list[Any]:
        """Return the rows that *query* finds in the journal with the schema *name*."""
        super()._fetch_all(_SEARCH, (name,))
        return super()._fetch_all(query, values)

    def _facts(self) -> dict[str, dict[str, str]]:
        """Return the facts of each part that a worker has begun, by the name of the schema."""
        query = "SELECT name, value FROM about"
        facts = {name: dict(self._fetch_in(name, query, ())) for name in self._begun}
        return {name: each for name, each in facts.items() if "state" in each}

    def _live(self, facts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """Return the counts of all parts as those of one running job; *total* 0: nobody knows."""
        lives = {name: orjson.loads(each[LIVE]) for name, each in facts.items() if LIVE in each}
        if not lives:
            return {}
        running = [live for name, live in lives.items() if name in self._owned]
        held = (live["held"] for live in running if live["held"] is not None)
        live = {
            "rows": sum(live["rows"] for live in lives.values()), "total": 0,
            "not_done": sum(live["not_done"] for live in lives.values()),
            "rate": sum(live["rate"] for live in running), "held": next(held, None),
            "at": max(live["at"] for live in lives.values()),
            "paused_until": max((live["paused_until"] for live in running), default=0.0),
        }  # fmt: skip
        return {LIVE: orjson.dumps(live).decode()}

    def _runs(self, facts: Mapping[str, Mapping[str, str]]) -> list[Timeline]:
        """Return the timeline of each run of the import on this file."""
        timelines: list[Timeline] = []
        for name, about in facts.items():
            found = self._fetch_in(name, SELECT_TIMELINES, ())
            # of the runs on this file: the runs before belong to other rows
            of_file = found[max(0, len(found) - int(float(about.get("sessions", "0")))) :]
            timelines += [each for [text] in of_file if (each := read_timeline(text))]
        runs = parallel(timelines)
        if runs:
            ending = worst(self.endings)
            runs[-1].ending = ending and ending.value
        return runs


def open_import(place: PostgresPlace) -> ImportReader | None:
    """Return the import at *place*, or None if the database has no such import.

    The result is also None for a user that may read no imports, if *place* has a plain journal. Raise
    `JournalError` for a database that can't be read, and for an import of another release.
    """
    try:
        with place.address.connect("sunshine-async cluster", patience=PATIENCE) as connection:
            [[has_journal]] = connection.execute(_HAS_PLAIN_JOURNAL, (place.schema,)).fetchall()
            try:
                [[has_tables]] = connection.execute(HAS_TABLES).fetchall()
                found = has_tables and connection.execute(SELECT_IMPORT, (place.job,)).fetchone()
            except InsufficientPrivilege:
                if not has_journal:
                    raise
                found = None
        if not found:
            return None
        plan = ClusterPlan.from_text(found[1])
    except psycopg.Error as error:
        reason = reason_of(error, _REASONS, goes_on="Run the same again")
        kind = JournalAwayError if passes_by_itself(error) else JournalError
    except (KeyError, TypeError, ValueError):
        reason, kind = _OTHER_RELEASE, JournalError
    else:
        reader = ImportReader(place, found[0], plan, hides_journal=has_journal)
        with ExitStack() as stack:
            stack.callback(reader.close)
            reader.refresh()
            stack.pop_all()
        return reader
    message = f"{place} {reason}"
    raise kind(message)
