"""The report page: whole, safe to open, readable by anybody, and with commands that run."""

import re
import shlex
import shutil
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from support.commands import Call
from support.pages import FULL, timelines, troubled
from support.size import sized

from sunshine_async.cli.charts import Axis, Chart, Series, round_step
from sunshine_async.cli.next_steps import (
    EXAMPLES,
    GROUPS,
    OTHER,
    ReasonCounts,
    next_steps,
    reason_without_data,
)
from sunshine_async.cli.report_page import ReportPage
from sunshine_async.cli.report_style import STYLE
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.jobs import Ending, Problem, Report, Trouble
from sunshine_async.jobs.timeline import Part, Timeline
from sunshine_async.journal import Journal, State, Update

VOID = {"meta", "link", "br"}
SERVED = {"service": "sunshine", "mode": "create"}


class Page(HTMLParser):
    """The elements of a page, checked to be nested; the text by element; all attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, *tags: str) -> str:
        return " ".join(text for tag, text in self.texts if not tags or tag in tags)

    def commands(self) -> list[str]:
        return [text for tag, text in self.texts if tag == "code"]


def page(report: Report | None = None, *, show_data: bool = False, **more: Any) -> Page:
    """Return the page of *report*."""
    report = report or Report()
    reasons = ReasonCounts(show_data=show_data)
    for problem in report.problems:
        reasons.add(problem)
    values = {
        "title": "Report: create of users.csv", "about": {"Service": "sunshine", "App": ""},
        "timelines": [], "steps": next_steps(report, ["sunshine-async", "import"], journal=None),
        **more,
    }  # fmt: skip
    return Page(ReportPage(report=report, reasons=reasons, **values).as_html())


def problem(reason: str, code: str = "conflict", trouble: Trouble = Trouble.FAILED) -> Problem:
    return Problem(7, trouble, code, reason)


PAGES = {
    "empty": page,
    "full": lambda: page(FULL, timelines=timelines(1), show_data=True),
    "many runs": lambda: page(FULL, timelines=timelines(50)),
}


@pytest.mark.parametrize("name", PAGES)
class TestStructure:
    def test_it_asks_for_nothing(self, name: str) -> None:
        """Nothing in the page names an address, a script or a font; a policy forbids requests."""
        shown = PAGES[name]()
        names = {tag for tag, _ in shown.elements}
        values = {
            (key, value)
            for _, attributes in shown.elements
            for key, value in attributes.items()
            if key in {"src", "href", "xlink:href", "srcset", "action", "data", "content"}
            or key.startswith("on")
        }
        policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

        assert not names & {
            "script",
            "img",
            "iframe",
            "object",
            "embed",
            "a",
            "base",
            "form",
            "use",
        }
        assert values == {
            ("href", "data:,"), ("content", policy), ("content", "light dark"),
            ("content", "width=device-width, initial-scale=1"),
        }  # fmt: skip
        assert not re.search(r"url\(|@import|@font-face|//", shown.text("style"))

    def test_it_is_accessible(self, name: str) -> None:
        """A language, a title, headings in order; tables with captions and headers; charts in words."""
        shown = PAGES[name]()
        levels = [int(tag[1]) for tag, _ in shown.elements if re.fullmatch(r"h\d", tag)]
        tags = [tag for tag, _ in shown.elements]

        assert shown.attributes("html") == [{"lang": "en"}]
        assert shown.text("title") == shown.text("h1") != ""
        assert levels[0] == 1
        assert levels.count(1) == tags.count("main") == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert tags.count("caption") == tags.count("table") > 0
        assert {each["scope"] for each in shown.attributes("th")} == {"col", "row"}
        for svg in shown.attributes("svg"):
            assert svg["role"] == "img"
            assert re.search(r"\w{3}.*[.:]", svg["aria-label"] or "")
        for scroll in (e for e in shown.attributes("div") if e.get("class") == "scroll"):
            assert scroll["tabindex"] == "0"
            assert scroll["aria-label"]

    def test_its_size_is_bounded(self, name: str) -> None:
        """A page with fifty full timelines is as small as a picture."""
        assert sum(len(str(element)) for element in PAGES[name]().elements) < 200_000


def test_the_charts_show_the_run() -> None:
    """Each chart says the numbers in words, and a table has the values of the parts."""
    shown = page(FULL, timelines=timelines(2))
    labels = [svg["aria-label"] or "" for svg in shown.attributes("svg")]
    paths = [path["d"] or "" for path in shown.attributes("path")]

    assert [label.partition(".")[0] for label in labels[1:]] == [
        "Rows a second", "Requests a second", "Seconds a call", "Pauses",
    ]  # fmt: skip
    assert labels[1] == ("Rows a second. 14,640 rows in 4:00: 61 a second on average, 120 at most.")
    assert labels[2] == "Requests a second. 14,280 requests, 480 of them refused as too many (429)."
    assert re.search(r"Half of the calls ended within \d.*, 95 % within ", labels[3])
    assert labels[4] == (
        "Pauses. Calls waited 30 s as the service asked (429) and 36 s because the service was gone."
    )
    assert all(re.fullmatch(r"([MVH][\d. ]+|Z)*", path) for path in paths)
    assert sum(bool(path) for path in paths) == 9
    assert len([line for line in shown.attributes("line") if line["class"] == "mark"]) == 4
    assert "Values of the charts" in shown.text("caption")
    assert "cut off, or running" in shown.text("td")


def test_the_charts_tell_what_they_leave_out() -> None:
    """A run that was killed has rows and seconds that no chart shows."""
    drawn, whole = (
        page(evolve(FULL, seconds=seconds), timelines=timelines(2)).text("p")
        for seconds in (240.0, 300.0)
    )

    assert "the end of a run" not in drawn
    assert "The charts show 4:00 of 5:00: the end of a run that was cut off" in whole


def test_a_long_number_widens_its_tile() -> None:
    """No number runs into the next tile: a tile whose text doesn't wrap is as wide as the text."""
    assert re.search(r"\.tiles dd \{[^}]*white-space: nowrap", STYLE)
    assert re.search(r"\.tiles div \{[^}]*min-width: max-content", STYLE)


@given(
    st.lists(st.none() | st.floats(0, 1e9), min_size=1, max_size=20),
    st.floats(1e-3, 1e7),
)
def test_any_values_fit_in_a_chart(values: list[float | None], seconds: float) -> None:
    """No value is drawn outside of the drawing, and the scales have few round labels."""
    axis = Axis([seconds / len(values)] * len(values))
    series = [Series("x", "x", values)]
    figure = Chart("x", "x", axis, areas=series, lines=series).draw()
    places = [
        float(number)
        for path in figure.iter("path")
        for number in re.findall(r"[\d.]+", path.get("d", ""))
    ]
    ticks = axis.ticks()

    assert all(0 <= place <= 1000 for place in places)
    assert 1 <= len(ticks) <= 9
    assert ticks[0] == 0
    assert ticks[-1] <= axis.end * (1 + 1e-6)


@pytest.mark.parametrize("highest", [0.001, 0.07, 1, 4, 4.1, 99, 100, 12345])
def test_steps_are_round(highest: float) -> None:
    """A scale has two to four steps of 1, 2 or 5 times a power of ten."""
    step = round_step(highest)

    assert 1.5 < highest / step <= 4 * (1 + 1e-6)
    assert re.fullmatch(r"[125]\.0+e.*", f"{step:e}")


HOSTILE = "<script>alert(1)</script></style>&amp;\"'<!-- \x1b[31m\u202e]]>"


def test_a_hostile_text_is_text() -> None:
    """Markup in a reason, a code, a file name, a command or an app is shown, and is no markup."""
    report = troubled(
        problem(HOSTILE, HOSTILE), problem(HOSTILE, "bad row", Trouble.BAD),
        ending=Ending.GAVE_UP, reason=HOSTILE,
    )  # fmt: skip
    steps = next_steps(report, ["sunshine-async", "import", HOSTILE], journal=HOSTILE)
    plain = page(FULL)
    shown = page(report, show_data=True, title=HOSTILE, about={HOSTILE: HOSTILE}, steps=steps)

    assert {tag for tag, _ in shown.elements} <= {tag for tag, _ in plain.elements}
    assert shown.text("title") == HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert shown.text().count("<script>alert(1)</script>") >= 8
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", shown.text())


class TestPersonalData:
    def test_texts_of_a_service_are_left_out(self) -> None:
        """A page without --show-data has no text that a service wrote, whatever the text is."""
        secret = "jane@example.org"
        report = troubled(
            problem(f"409 conflict: {secret} (POST /v2/apps)"),
            problem(secret, secret),
            problem(f"599 {secret}", "x"), problem(f"²³¹ {secret}", "x"),
            problem(secret, "invalid", Trouble.BAD), problem(secret, "stopped", Trouble.UNKNOWN),
            problem("3 cells, where the first line has 2", "bad row", Trouble.BAD),
            ending=Ending.GAVE_UP, reason=f"no row would fare better: 401 {secret}",
        )  # fmt: skip
        hidden, shown = page(report).text(), page(report, show_data=True).text()

        assert secret not in hidden
        for text in (
            "the service answered 409 (Conflict)", "the text may have data of the row",
            "the job was stopped before the answer came", "3 cells, where the first line has 2",
            "The job gave up: no row would fare better.", "no personal data",
        ):  # fmt: skip
            assert text in hidden
        assert shown.count(secret) == 8
        assert "no personal data" not in shown

    @given(st.text(), st.text(), st.sampled_from(Trouble))
    def test_no_reason_but_a_bad_rows_is_repeated(
        self, reason: str, code: str, trouble: Trouble
    ) -> None:
        """A reason without data is a text of this library, and doesn't depend on the text given."""
        told = reason_without_data(Problem(1, trouble, code, f"zzz{reason}"))

        assert "zzz" not in told or (trouble, code) == (Trouble.BAD, "bad row")

    def test_an_unsettled_message_is_no_claim_about_a_user(self) -> None:
        """The reason is true of messages, and of rows without a key, for which nothing is compared."""
        told = reason_without_data(Problem(1, Trouble.UNKNOWN, "UnsettledError", "no message"))

        assert told == "an earlier attempt may have been applied, and nothing can tell the result"

    def test_reasons_have_totals_and_examples(self) -> None:
        """Reasons are counted, the most frequent first; memory and page stay small with any number."""
        counts = ReasonCounts(show_data=True)
        for line in range(sized(20_000, 2_000)):
            counts.add(Problem(line, Trouble.FAILED, "x", str(line if line % 2 else "the same")))
        first, second, *rest = counts.most_common()

        assert len(rest) == GROUPS - 1
        assert (first.reason, first.count) == ("the same", sized(10_000, 1_000))
        assert (second.reason, second.count) == (OTHER, sized(10_000, 1_000) - GROUPS + 1)
        assert [example.line for example in first.examples] == [0, 2, 4, 6, 8]
        assert len(second.examples) == EXAMPLES


def colors(style: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#\w{6})", style))


def luminance(color: str) -> float:
    """Return the relative luminance as WCAG defines it."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(map(float.__mul__, (0.2126, 0.7152, 0.0722), linear))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str) -> None:
    """Text has a contrast of 4.5 at least on each ground that text stands on, and drawings 3."""
    light, dark = STYLE.split("@media screen and (prefers-color-scheme: dark)")
    found = colors(light) if scheme == "light" else colors(dark.partition("* {")[0])

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(found[one]), luminance(found[other])))
        return (high + 0.05) / (low + 0.05)

    assert colors(light).keys() == colors(dark.partition("* {")[0]).keys()
    for ground in ("page", "card", "code", "good-page", "open-page"):
        assert contrast("ink", ground) >= 4.5
    for ground in ("page", "card"):
        assert contrast("muted", ground) >= 4.5
    drawn = found.keys() - {
        "page",
        "card",
        "ink",
        "muted",
        "grid",
        "edge",
        "code",
        "good-page",
        "open-page",
    }
    for name in drawn:
        assert contrast(name, "card") >= 3


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "the users.csv"
    path.write_text("externalId,Given Name\na,Zoë\nb,Jane,x\nc,Jane\n")
    return path


OPTIONS = ("--mode", "create", "--map", "profile.givenName=Given Name")


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


class TestCommands:
    def test_without_a_journal(self, call: Call, users: Path, emulator: Emulator) -> None:
        """The page has the counts and the reasons of the import; --json output is as before."""
        emulator.faults.append(Mishap(status=400))
        result = call("import", users.name, *OPTIONS, "--report", "r.html", "--json")
        shown = read(users.with_name("r.html"))

        assert result.exit_code == 1
        assert shown.text("h1") == "Report: create of the users.csv"
        assert "Finished: 2 of 3 rows were not done." in shown.text("p")
        assert re.search("3 cells, where the .* has 2", shown.text("span"))
        assert "the service answered 400 (Bad Request)" in shown.text("span")
        assert len(result.stderr.splitlines()) == 3

    def test_with_a_journal(self, call: Call, users: Path, emulator: Emulator) -> None:
        """Each command of the page can be pasted into a shell, and does as the page says."""
        emulator.faults.append(Mishap(status=400))
        call("import", users.name, *OPTIONS, "--journal", "a run.sqlite", "--report", "r.html")
        shown = read(users.with_name("r.html"))
        again, failures = map(pasted, shown.commands())

        assert call(*failures).exit_code == 0
        assert len(users.with_name("failed.csv").read_text().splitlines()) == 3
        assert call(*again).exit_code == 1
        assert "Finished: 1 of 3 rows were not done." in read(users.with_name("r.html")).text("p")
        assert len(read(users.with_name("r.html")).commands()) == 1

    def test_a_journal_of_any_ending(self, call: Call, users: Path, path: Path) -> None:
        """The page of a job that was cut off says so, and shows the command that goes on."""
        call("import", users, *OPTIONS, "--journal", path)
        with closing(Journal(path)) as journal:
            journal.describe(state="open", found="9.5 10.0", held="3")
            journal.write(
                [
                    Update(1, State.WAITING, 1.0),
                    Update(3, State.UNKNOWN, 1.0, code="lost", reason="x"),
                ]
            )
        result = call("job", "report", path)
        shown = Page(result.stdout)

        assert result.exit_code == 0
        assert "Not finished: 2 rows have an outcome; still to be sent: 1." in shown.text("p")
        assert "accept about 9.5 calls a second (95 in 10 s)" in shown.text("p")
        for command, option in zip(
            shown.commands(), ("", "--retry-unknown", "--out", "--rate"), strict=True
        ):
            assert option in pasted(command) or not option

    def test_a_journal_of_an_earlier_release(self, call: Call, users: Path, path: Path) -> None:
        """A journal without timelines and command has a page without charts, and a guessed command."""
        call("import", users, *OPTIONS, "--journal", path)
        with closing(sqlite3.connect(path)) as database:
            database.execute("DROP TABLE timelines")
            database.execute("DELETE FROM about WHERE name IN ('command', 'sessions')")
            database.execute("UPDATE rows SET state = 4, code = 'x', reason = 'x' WHERE number = 1")
            database.commit()
        shown = Page(call("job", "report", path).stdout)

        assert "No timeline" in shown.text("p")
        assert "Add the other options of the first run" in shown.text("p")
        assert pasted(shown.commands()[0])[:1] == ["import"]
        assert len(shown.attributes("svg")) == 1

    def test_an_unused_journal(self, call: Call, path: Path) -> None:
        """A journal that no job has used has a page that says so."""
        Journal(path).close()
        shown = Page(call("job", "report", path).stdout)

        assert "Not finished: 0 rows have an outcome." in shown.text("p")
        assert shown.commands() == []

    def test_a_new_file(self, call: Call, path: Path, tmp_path: Path) -> None:
        """--out makes a new file, for the owner alone, and says so."""
        Journal(path).close()
        out = tmp_path / "new.html"
        result = call("job", "report", path, "--out", out)
        assert (result.exit_code, result.stderr) == (0, f"Written to {out}\n")
        assert read(out).text("h1") == "Report: job of rows of a program"
        assert out.stat().st_mode & 0o777 == 0o600

    def test_a_report_is_replaced_and_nothing_else(
        self, call: Call, users: Path, path: Path, emulator: Emulator
    ) -> None:
        """A page replaces an earlier page only; else nothing is sent."""
        before = users.read_text()
        out = users.with_name("r.html")
        for name in (users, users.parent, users / "r.html", users.with_name("none") / "r.html"):
            result = call("import", users, *OPTIONS, "--report", name)
            assert result.exit_code == 2
            assert result.stderr.startswith(f"sunshine-async: --report {name}")
        assert emulator.requests == 0
        assert users.read_text() == before
        for _ in range(2):
            assert (
                call("import", users, *OPTIONS, "--report", out, "--journal", path).exit_code == 1
            )
            assert call("job", "report", path, "--out", out).exit_code == 0
        assert call("job", "report", path, "--out", users).exit_code == 2
        assert call("job", "report", path, "--out", path, "--force").exit_code == 2

    def test_what_has_no_page(self, call: Call, users: Path, tmp_path: Path) -> None:
        """A dry run has no page; a page that can't be written changes no outcome but is said."""
        result = call("import", users, *OPTIONS, "--report", "r.html", "--dry-run")
        assert "no effect: --report" in result.stderr
        assert not (tmp_path / "r.html").exists()
        one = tmp_path / "one.csv"
        one.write_text("externalId\nz\n")
        result = call("import", one, "--mode", "create", "--report", "/dev/full")
        assert result.exit_code == 1
        assert "/dev/full can't be written" in result.stderr


@pytest.mark.parametrize("command", [(), ("sunshine-async", "import", "-")])
def test_rows_that_cannot_be_read_again(command: tuple[str, ...]) -> None:
    """For rows of a program, or of standard input, no command says to import the same rows."""
    steps = next_steps(FULL, command, journal="run.sqlite")

    assert [each for step in steps for each in step.commands] == [
        "sunshine-async job failures run.sqlite --out failed.jsonl"
    ]
    report = troubled(problem("x"))
    [by_hand] = next_steps(report, command, journal=None)
    assert "the same program or command again" in by_hand.text


def test_an_option_is_given_once() -> None:
    """A step replaces an option of the first command, and repeats no option."""
    command = ["sunshine-async", "import", "--rate", "50", "--retry-failed", "x.csv"]
    again, *_, last = next_steps(troubled(problem("x"), found=9.5), command, journal="j")

    assert again.commands == ["sunshine-async import --retry-failed --rate 50 x.csv"]
    assert last.commands == ["sunshine-async import --rate 9.5 --retry-failed x.csv"]


def test_figures_of_a_job() -> None:
    """The page has a line for each outcome of rows done, and the limit that was declared."""
    shown = page(Report(done=3, outcomes=Counter(created=2, unchanged=1), limit=9.5, seconds=3.0))

    assert "Finished: all 3 rows are done." in shown.text("p")
    assert "of them created of them unchanged" in shown.text("th")
    assert "66.7 %" in shown.text("td")
    assert "At most 9.5 calls a second were sent" in shown.text("p")


def test_no_call() -> None:
    """A run without a call and a row has charts as well."""
    shown = page(timelines=[Timeline(parts=[Part(1.0)])])

    assert "No call ended." in shown.text("p")
    assert "No call had to wait." in shown.text("p")


def test_the_most_is_not_less_than_the_average() -> None:
    """A row at the very end, in a part without length, counts with the part before."""
    parts = [Part(0.5, done=2), Part(0.0, bad=1)]

    shown = page(timelines=[Timeline(parts=parts)])

    assert "6 a second on average, 6 at most." in shown.text("p")


def test_a_stopped_import_without_a_journal() -> None:
    """The page of a stopped import without a journal tells the last line, and the way to a journal."""
    report = troubled(problem("x"), ending=Ending.STOPPED, last_line=1234)
    first, second = next_steps(report, ["sunshine-async", "import", "x.csv"], journal=None)

    assert "line 1,234" in first.text
    assert second.commands == ["sunshine-async import --journal run.sqlite x.csv"]
    assert next_steps(Report(), [], journal=None)[0].text == "Nothing is left to do."


def pasted(command: str) -> list[str]:
    """Return the words after the program's name, as a POSIX shell understands *command*."""
    shell = shutil.which("sh")
    assert shell is not None
    program = f'sunshine-async() {{ printf "%s\\0" "$@"; }}; {command}'.replace(
        "-async()", "_async()"
    )
    program = program.replace("; sunshine-async", "; sunshine_async")
    found = subprocess.run([shell, "-c", program], check=True, capture_output=True, text=True)  # noqa: S603 - our own program
    words = found.stdout.split("\0")[:-1]
    assert words == shlex.split(command)[1:]
    return words
