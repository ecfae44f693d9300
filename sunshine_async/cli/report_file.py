"""The file of a report page: checked before a job, made from a job or a journal, written at the end."""

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen

from sunshine_async import ConfigurationError
from sunshine_async.cli.files import OutputTarget
from sunshine_async.cli.next_steps import NextStep, ReasonCounts, next_steps
from sunshine_async.cli.report_page import MARKER, ReportPage
from sunshine_async.jobs import Ending, Job, JournaledJob, Report, RowFile
from sunshine_async.jobs.progress import problems_of, restore_totals
from sunshine_async.jobs.source import COMMAND, PART_COUNT, PROGRESS, REASON, is_finished
from sunshine_async.jobs.timeline import read_timeline
from sunshine_async.journal import JobJournal, JournalQueries
from sunshine_async.rows import Format
from sunshine_async.rows.shape import ReadOptions


def is_report(path: Path) -> bool:
    """Return True if *path* is a report page, which a later report may replace."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return MARKER.encode() in file.read(100)


@frozen
class ReportFile:
    """The file *path* for the page of an import."""

    path: Path
    show_data: bool = False
    reasons: ReasonCounts = field(init=False)
    """The reasons of a job without a journal."""

    def __attrs_post_init__(self) -> None:
        """Raise `ConfigurationError` if the page can't be written, or would replace another file."""
        object.__setattr__(self, "reasons", ReasonCounts(show_data=self.show_data))
        if self.path.is_dir() or (self.path.is_file() and not is_report(self.path)):
            self._refuse("exists and is no report: name another file")
        folder = self.path.absolute().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            self._refuse(f"can't be written: {folder} is no directory that you may write to")

    def _refuse(self, reason: str) -> None:
        message = f"--report {self.path} {reason}"
        raise ConfigurationError(message)

    def page(
        self, job: Job, rows: RowFile, about: Mapping[str, str], command: Sequence[str]
    ) -> ReportPage:
        """Return the page of *job*, which has ended, with all runs that the journal knows."""
        if isinstance(job, JournaledJob):
            return journal_page(job.journal, show_data=self.show_data, ended=job.report)
        return ReportPage(
            report=job.report, title=_title(about["mode"], rows.name), about=_about(about),
            reasons=self.reasons, timelines=[job.recorder.timeline],
            steps=next_steps(job.report, command, journal=None),
        )  # fmt: skip

    def write(self, page: ReportPage) -> None:
        """Write *page*; raise `OutputError` if the file can't be written."""
        with OutputTarget(self.path, force=True).open() as write:
            write(page.as_html())


def save_command(journal: JobJournal, command: Sequence[str], *, replace: bool) -> None:
    """Write *command* to *journal* for later reports; keep an earlier command unless *replace* is set."""
    if (line := line_of(command)) and (replace or COMMAND not in journal.about()):
        journal.describe(**{COMMAND: line})


def line_of(command: Sequence[str]) -> str:
    """Return *command* as a line to keep; an empty text if a word isn't UTF-8, such as a path."""
    line = shlex.join(command)
    with suppress(UnicodeEncodeError):
        line.encode()
        return line
    return ""


def journal_page(
    journal: JournalQueries, *, show_data: bool, ended: Report | None = None
) -> ReportPage:
    """Return the page of the job of *journal*; *ended* is the report of the run that has just ended."""
    about = journal.about()
    read = [timeline for text in journal.timelines() if (timeline := read_timeline(text))]
    # of the runs on this source: the runs before belong to other rows
    count = int(float(about.get("sessions", "0")))
    timelines = read[-count:] if count else []
    report = Report(reason=about.get(REASON))
    restore_totals(report, journal)
    if ended is not None:
        report.ending, report.reason, report.limit = ended.ending, ended.reason, ended.limit
    elif not is_finished(about):
        last = timelines[-1].ending if timelines else None
        report.ending = Ending(last) if last in {e.value for e in Ending} else Ending.STOPPED
    reasons = ReasonCounts(show_data=show_data)
    for problem in problems_of(journal):
        reasons.add(problem)
    name = about.get("source", "rows of a program")
    command = shlex.split(about.get(COMMAND, ""))
    guess: list[str] = []
    if "source" in about:  # a file
        guess = ["sunshine-async", "import", "--service", about["service"], "--mode", about["mode"],
                 *_place_options(journal, about), name]  # fmt: skip
    is_csv = "meant" in about and ReadOptions.from_text(about["meant"]).format is Format.CSV
    steps = next_steps(
        report, command or guess, journal=journal.name, guessed=not command, is_csv=is_csv,
        by_workers=PROGRESS in about,
    )  # fmt: skip
    facts = _about(about)
    if journal.running:
        steps, facts["State"] = [_look_again(journal.name)], "running"
    title = _title(about.get("mode", "job"), name)
    return ReportPage(
        report=report, title=title, about=facts, reasons=reasons, timelines=timelines, steps=steps,
    )  # fmt: skip


def _place_options(journal: JournalQueries, about: Mapping[str, str]) -> list[str]:
    """Return the options of an import that name *journal*, so that the same import goes on."""
    if PROGRESS in about:  # an import by workers: another number of parts would be another import
        return ["--cluster", journal.name, "--parts", about[PART_COUNT]]
    return ["--journal", journal.name]


def _look_again(journal: str) -> NextStep:
    command = shlex.join(["sunshine-async", "job", "report", journal, "--out", "report.html"])
    return NextStep("The job runs: write the page again when the job has ended.", [command])


def _title(mode: str, name: str) -> str:
    return f"Report: {mode} of {name}"


def _about(about: Mapping[str, str]) -> dict[str, str]:
    names = {"service": "Service", "mode": "Mode", "app": "App", "base_url": "Address"}
    return {label: about.get(name, "") for name, label in names.items()}
