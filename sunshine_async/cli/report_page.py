"""The report of a job as a single HTML page, for readers who don't use the command line.

The page asks for nothing from anywhere: the style is inside, a policy forbids scripts and requests,
and the charts are drawings made on the spot. `xml.etree.ElementTree` builds the page and escapes all
text, so that no text of a row or a service becomes a part of the page; a template engine would be a
dependency more for a single page. Without *show_data* the page has no text of a service.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from xml.etree.ElementTree import Element, tostring

from attrs import frozen

from sunshine_async import __version__
from sunshine_async.cli.charts import bar, key, make
from sunshine_async.cli.next_steps import NextStep, ReasonCounts, ending_without_data
from sunshine_async.cli.output import OUTCOMES
from sunshine_async.cli.progress import format_duration
from sunshine_async.cli.report_charts import charts_of, condensed, rate, short, values_of
from sunshine_async.cli.report_style import STYLE
from sunshine_async.cli.streams import escape_controls
from sunshine_async.jobs import Ending, Report
from sunshine_async.jobs.timeline import Timeline, total_of

MARKER: Final = "<!-- report of sunshine-async -->"
"""Second line of a page: such a file may be replaced by a later page."""
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_OUTCOMES: Final = {
    "done": "the service has the row",
    "failed": "the service does not have the row",
    "unknown": "the service may have the row, or not",
    "bad": "the row could not be read; nothing was sent",
    "left out": "another row with the same key was sent",
    "waiting": "still to be sent",
}
"""Outcomes of rows, in the order shown, with the meaning; each is an attribute of a `Report`."""
_ALWAYS: Final = {"done", "failed", "unknown", "bad"}


@frozen(kw_only=True)
class ReportPage:
    """The parts of a page about a job."""

    report: Report
    title: str
    about: Mapping[str, str]
    """The job in figures that are no counts, such as the service and the mode, by name."""
    reasons: ReasonCounts
    timelines: Sequence[Timeline]
    """A timeline for each run of the job, in order."""
    steps: Sequence[NextStep]

    def as_html(self) -> str:
        """Return the page."""
        head = make(
            "head", "",
            make("meta", charset="utf-8"),
            make("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            make("meta", name="viewport", content="width=device-width, initial-scale=1"),
            make("meta", name="color-scheme", content="light dark"),
            make("title", self.title),
            make("link", rel="icon", href="data:,"),
            make("style", STYLE),
        )  # fmt: skip
        page = make("html", "", head, make("body", "", self._main()), lang="en")
        for element in page.iter():
            element.text = escape_controls(element.text or "")
            element.tail = escape_controls(element.tail or "")
        return f"<!DOCTYPE html>\n{MARKER}\n{tostring(page, encoding='unicode', method='html')}\n"

    def _main(self) -> Element:
        style = f"status {'good' if self._is_good else 'open'}"
        header = make(
            "header", "", make("h1", self.title), make("p", self._status, class_=style),
            _pairs("about", {name: value for name, value in self.about.items() if value}),
        )  # fmt: skip
        sections = [
            _section("Result", self._tiles(), self._outcomes()),
            _section("Reasons of rows not done", *self._reason_table()),
            _section("Over time", *self._charts()),
            _section("Limit of the service", make("p", self._limit)),
            _section("Next steps", self._step_list()),
        ]
        if self.timelines:
            sections.append(_section("Runs", self._run_table()))
        return make("main", "", header, *sections, self._footer())

    @property
    def _is_good(self) -> bool:
        report = self.report
        return report.ending is Ending.ALL and not report.troubles and not report.waiting

    @property
    def _status(self) -> str:
        report = self.report
        rows = f"{report.rows:,} row{'s' * (report.rows != 1)}"
        left = f"; still to be sent: {report.waiting:,}" if report.waiting else ""
        if report.ending is Ending.GAVE_UP:
            reason = report.reason or "going on would have been useless"
            reason = reason if self.reasons.show_data else ending_without_data(reason)
            return f"The job gave up: {reason}. {rows} have an outcome{left}."
        if report.ending is Ending.STOPPED or report.waiting:
            return f"Not finished: {rows} have an outcome{left}."
        if report.troubles:
            return f"Finished: {report.troubles:,} of {rows} were not done."
        return f"Finished: all {rows} are done." if report.rows else "There was no row."

    def _tiles(self) -> Element:
        report = self.report
        whole = total_of(part for timeline in self.timelines for part in timeline.parts)
        sent = whole.done + whole.not_done
        return _pairs("tiles", {
            "Rows": f"{report.rows + report.waiting:,}",
            "Done": f"{report.done:,}",
            "Not done": f"{report.troubles:,}",
            "Time": format_duration(report.seconds),
            "Speed": f"{short(rate(sent, whole))} rows/s" if sent else "-",
            "Requests": f"{report.requests:,}",
        })  # fmt: skip

    def _outcomes(self) -> Element:
        report = self.report
        counts: dict[str, int] = {
            name: getattr(report, name.replace(" ", "_")) for name in _OUTCOMES
        }
        styles = {name: f"fill-{name.replace(' ', '-')}" for name in _OUTCOMES}
        whole = sum(counts.values())
        rows: list[Sequence[Element | str]] = []
        for name, meaning in _OUTCOMES.items():
            if counts[name] or name in _ALWAYS:
                label = make("span", "", key(styles[name], name))
                rows.append([label, f"{counts[name]:,}", _share(counts[name], whole), meaning])
            if name == "done" and len(report.outcomes) > 1:
                rows += [
                    [f"of them {word}", f"{n:,}", _share(n, whole), OUTCOMES.get(word, "")]
                    for word, n in report.outcomes.most_common()
                ]
        shown = {name: count for name, count in counts.items() if count}
        text = ", ".join(f"{count:,} {name}" for name, count in shown.items())
        shares = [(styles[name], count) for name, count in shown.items()]
        names = ["Outcome", "Rows", "Share", "Meaning"]
        table = _table("Rows by outcome", names, rows, numbers={1, 2})
        return make("div", "", bar(shares, f"Rows by outcome: {text or 'none'}"), _scroll(table))

    def _reason_table(self) -> list[Element]:
        counted = self.reasons.most_common()
        if not counted:
            return [make("p", "Every row that was taken is done.")]
        shows = self.reasons.show_data
        rows: list[Sequence[Element | str]] = [
            [
                each.trouble.value, f"{each.count:,}",
                make("span", each.reason, class_="reason"), each.code,
                ", ".join(str(problem.line) for problem in each.examples),
            ]
            for each in counted
        ]  # fmt: skip
        note = (
            "The reasons repeat texts that may name people."
            if shows
            else "Texts that may name people are left out; --show-data shows the texts."
        )
        table = _table(
            "Rows not done, by reason",
            ["Outcome", "Rows", "Reason", "Code", "Lines, such as"],
            rows,
            numbers={1},
        )
        return [_scroll(table), make("p", note, class_="note")]

    @property
    def _limit(self) -> str:
        report = self.report
        if report.limit_found is not None:
            return f"The service was found to accept {report.limit_found}."
        if report.limit is not None:
            return f"At most {report.limit:,.3g} calls a second were sent, as declared or learnt."
        return "No limit of the service was met."

    def _charts(self) -> list[Element]:
        timelines = condensed(self.timelines)
        parts = [part for timeline in timelines for part in timeline]
        if not parts:
            text = "No timeline: nothing was sent, or an earlier release has run the job."
            return [make("p", text)]
        figures = [chart.draw() for chart in charts_of(timelines)]
        text = "Time is the working time of the job."
        if len(timelines) > 1:
            text += " A dashed line marks the start of a further run. The time between runs is left out."
        drawn, worked = total_of(parts).seconds, self.report.seconds
        if worked - drawn >= 1:
            text += (
                f" The charts show {format_duration(drawn)} of {format_duration(worked)}: the end of a "
                "run that was cut off, or is running, is left out."
            )
        names, rows = values_of(parts)
        table = _table("Values of the charts", names, rows, numbers={*range(len(names))})
        return [
            make("p", text, class_="note"),
            make("div", "", *figures, class_="charts"),
            make("details", "", make("summary", "The charts as a table"), _scroll(table)),
        ]

    def _step_list(self) -> Element:
        return make("ol", "", *[
            make("li", "", make("p", step.text), *[
                make("pre", "", make("code", command), tabindex="0") for command in step.commands
            ])
            for step in self.steps
        ], class_="steps")  # fmt: skip

    def _run_table(self) -> Element:
        rows: list[list[str]] = []
        for number, timeline in enumerate(self.timelines, 1):
            whole = total_of(timeline.parts)
            ending = timeline.ending or "cut off, or running"
            rows.append([
                str(number), _clock(timeline.started_at), format_duration(whole.seconds),
                f"{whole.done:,}", f"{whole.not_done:,}", f"{whole.requests:,}", ending,
            ])  # fmt: skip
        names = ["Run", "Start of sending", "Time", "Rows done", "Not done", "Requests", "Ending"]
        return _scroll(_table("Runs of the job", names, rows, numbers={0, 2, 3, 4, 5}))

    def _footer(self) -> Element:
        data = "with texts of the service" if self.reasons.show_data else "no personal data"
        now = _clock(datetime.now(UTC).timestamp())
        return make("footer", "", make("p", f"sunshine-async {__version__}, {now}; {data}."))


def _section(title: str, *children: Element) -> Element:
    return make("section", "", make("h2", title), *children)


def _pairs(style: str, values: Mapping[str, str]) -> Element:
    pairs = [make("div", "", make("dt", name), make("dd", text)) for name, text in values.items()]
    return make("dl", "", *pairs, class_=style)


def _table(
    caption: str,
    names: Sequence[str],
    rows: Iterable[Sequence[Element | str]],
    *,
    numbers: set[int],
) -> Element:
    """Return a table; the first cell of a row is the row's header, and *numbers* are right-aligned."""

    def cell(place: int, content: Element | str, *, scope: str | None = None) -> Element:
        made = make("th" if scope else "td")
        if isinstance(content, str):
            made.text = content
        else:
            made.append(content)
        more = {"scope": scope, "class": "number" if place in numbers else None}
        made.attrib.update({name: value for name, value in more.items() if value})
        return made

    head = [cell(place, name, scope="col") for place, name in enumerate(names)]
    body = [
        make(
            "tr", "", cell(0, first, scope="row"), *(cell(n, one) for n, one in enumerate(rest, 1))
        )
        for first, *rest in rows
    ]
    return make(
        "table", "", make("caption", caption), make("thead", "", make("tr", "", *head)),
        make("tbody", "", *body),
    )  # fmt: skip


def _scroll(table: Element) -> Element:
    """Return *table* in a box that scrolls, also by the keyboard, where the page is narrow."""
    caption = table[0].text or ""
    return make("div", "", table, class_="scroll", role="region", aria_label=caption, tabindex="0")


def _share(count: int, whole: int) -> str:
    """Return the share in percent; a share is ``0 %`` or ``100 %`` only if that is exact."""
    if count in (0, whole):
        return f"{100 if count else 0} %"
    return f"{min(99.9, max(0.1, 100 * count / whole)):.1f} %"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
