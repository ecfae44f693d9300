"""Options and commands in messages: each is pasted, and does as the message says."""

import ast
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest
from attrs import field, frozen
from support.text import words
from typer.testing import CliRunner, Result

import sunshine_async
from sunshine_async.cli import demo, demo_chat
from sunshine_async.cli.app import app
from sunshine_async.cli.report_style import STYLE
from sunshine_async.emulator import Emulator, Mishap
from sunshine_async.journal import Journal, State, Update

Call: TypeAlias = Callable[..., Result]
Step: TypeAlias = Callable[[Emulator], object]
ENV = {
    "SUNSHINE_APP_ID": "app",
    "SUNSHINE_KEY_ID": "key-id",
    "SUNSHINE_KEY_SECRET": "the-secret",
    "DIXA_API_TOKEN": "token",
    "COLUMNS": "80",
}
USER = "externalId,profile.givenName\na,Jane\n"
OTHER = "externalId,profile.givenName\na,Ann\n"
CREATE = "import users.csv --mode create"
JOURNAL = f"{CREATE} --journal run.sqlite"
DRY = f"{CREATE} --dry-run"
MESSAGE = "import texts.csv --mode message --journal run.sqlite"


@frozen
class Case:
    """A command whose output has *text*, a part of a message, and *paste*, options to add.

    With the options the command ends with *status*, and the output has *text* no more.
    """

    text: str
    paste: str
    command: str
    files: Mapping[str, str | bytes] = field(factory=dict)
    before: tuple[str | Step, ...] = ()
    """Commands to run before, and steps."""
    status: int = 0
    env: Mapping[str, str] = field(factory=dict)
    instead: str = ""
    """The part of the command that the options replace."""


def csv_of(text: str | bytes, name: str = "users.csv") -> Mapping[str, str | bytes]:
    return {name: text}


def write(name: str, text: str) -> Step:
    """Return a step that writes a file."""
    return lambda _: Path(name).write_text(text)


def mark(state: State, *, run: str = "open") -> Step:
    """Return a step that sets the state of the first row, and of the run."""

    def step(_: Emulator) -> None:
        journal = Journal("run.sqlite")
        journal.write([Update(1, state, 1.0, doubt=True)], about={"state": run})
        journal.close()

    return step


def lose_answers(emulator: Emulator) -> None:
    emulator.faults += [Mishap(reset=True, when="before", times=1000)]


def find_answers(emulator: Emulator) -> None:
    emulator.faults.clear()


def add_conversation(emulator: Emulator) -> None:
    emulator.add("sunshine", {"externalId": "a"}, app_id="app")


def add_busy_end_user(emulator: Emulator) -> None:
    emulator.add("dixa", {"id": USER_ID})
    emulator.dixa.add_conversation(USER_ID, {"state": "Open"})


USER_ID = "00000000-0000-4000-8000-000000000001"
MANY_BAD = "externalId,metadata.n:number\n" + "".join(f"{n},x\n\n" for n in range(60))

CASES = (
    Case("name its encoding: --encoding", "--encoding cp1252", DRY, csv_of(USER.replace("Jane", "Zoë").encode("cp1252"))),
    Case("name its encoding (--encoding", "--encoding utf-16", DRY, csv_of(USER.encode("utf-16"))),
    Case("(--timezone Europe/Berlin and --date-format", "--timezone Europe/Berlin --date-format '%d/%m/%Y %H:%M'", DRY, csv_of("externalId,signedUpAt\na,21/05/2020 15:53\n")),
    Case("--date-format '%d/%m/%Y %H:%M'", "--date-format '%d/%m/%Y %H:%M'", f"{DRY} --timezone UTC", csv_of("externalId,signedUpAt\na,21/05/2020 15:53\n")),
    Case("the time has no zone: --timezone", "--timezone Europe/Berlin", f"{DRY} --date-format %d.%m.%Y", csv_of("externalId,signedUpAt\na,21.05.2020\n")),
    Case(", which has no name: --skip '#", "--skip '#2'", DRY, csv_of("externalId,\na,x\n")),
    Case("as a field: --only-mapped", "--only-mapped", DRY, csv_of("externalId,Fax\na,1\n")),
    Case("Are the cells separated otherwise?", "--delimiter ';'", DRY, csv_of("externalId;metadata.x\na;1\n")),
    Case("Name one by its number, such as", "--map 'metadata.y=#2'", f"{DRY} --only-mapped --map metadata.y=x", csv_of("externalId,x,x\na,1,2\n"), instead="--map metadata.y=x"),
    Case("works it out for 10 calls a second", "--rate 10", DRY, csv_of(USER)),
    Case("more reasons: --json", "--json", f"{DRY} --only-mapped", csv_of("externalId,signedUpAt\n" + "a,\n" * 3 + "".join(f"b,{'x,' * n}\n" for n in range(60))), status=1),
    Case("more: with --json", "--json", CREATE, csv_of(MANY_BAD), status=1),
    Case("goes with a journal, such as --journal", "--journal run.sqlite", f"{CREATE} --full", csv_of(USER)),
    Case("--default-region DE turns", "--default-region DE", "import users.csv --mode create --service dixa --dry-run", csv_of("displayName,phoneNumber\nJane,030 123456\n")),
    Case("the rows of this source (--accept-changed-source", "--accept-changed-source", JOURNAL, csv_of(USER), (JOURNAL, mark(State.DONE), write("users.csv", OTHER)), status=1),
    Case("corrected, accept it (--accept-changed-source", "--accept-changed-source", JOURNAL, csv_of("profile.givenName\nJane\n"), (JOURNAL, write("users.csv", "profile.givenName\nAnn\n"))),
    Case("--duplicates last, --duplicates first", "--duplicates last", f"{JOURNAL} --duplicates fail", csv_of(USER + "a,Ann\n")),
    Case(": --retry-unknown looks", "--retry-unknown", JOURNAL, csv_of(USER), (JOURNAL, mark(State.UNKNOWN, run="finished"), write("users.csv", USER + "b,Ann\n"))),
    Case("--retry-unknown looks once more", "--retry-unknown", MESSAGE, csv_of("externalId,text\na,Hello\n", "texts.csv"), (add_conversation, lose_answers, f"{MESSAGE} --max-outage 0 --grace 0", find_answers, mark(State.BEGUN))),
    Case("or replace the file with --force", "--force", "job export run.sqlite --out out.csv", {**csv_of(USER), "out.csv": "mine"}, (JOURNAL,)),
    Case("name a file with it: --secret-file", "--secret-file secret.txt", f"{CREATE}", {**csv_of(USER), "secret.txt": "s"}, env={"SUNSHINE_KEY_SECRET": ""}),
    Case("give --yes to confirm", "--yes", "import users.csv --mode delete", csv_of(USER), (CREATE,)),
    Case("--force anonymizes the user", "--force", f"users delete {USER_ID} --service dixa --yes", before=(add_busy_end_user,)),
    Case("JSON lines, which CSV can't hold: --out", "--out failed.jsonl", "job failures run.sqlite --out failed.csv", csv_of('{"externalId": "a"}\n', "users.jsonl"), ("import users.jsonl --mode update --journal run.sqlite",)),
    Case("the other way round: --map", "--map externalId=no", f"{DRY} --map no=externalId", csv_of("no\na\n"), instead="--map no=externalId"),
    Case("are left out; --show-data", "--show-data", "job report run.sqlite", csv_of(USER), ("import users.csv --mode update --journal run.sqlite",)),
)  # fmt: skip

NOT_PASTED = {
    "the address of a shared pace (--pace,": "a fault of the value",
    "two options --map set": "the options given are too many",
    "--default-region is for rows": "the option is to be left out",
    "--default-region needs": "a command for pip",
    "--timezone and --date-format are for": "the options are to be left out",
    ": leave out --encoding": "the option is to be left out",
    "which user? Give --user-id": "an id has no example",
    "if the job had --keep-bodies": "it is too late",
    "JSON lines can hold the content": "test_cli_failures.py: test_content_of_a_pipe",
    "stdout is closed: name a file": "a test without stdout",
    "such as --map.": "the options of the first run are not known",
    ": no delivery recorded by": "the way the file is made",
    "accept it as it is (--accept-changed-source": "a file that changes meanwhile: tests of jobs",
    "with --journal the job stops at such a change": "a file that changes meanwhile: tests of jobs",
    "accept the changed source (--accept-changed-source": "rows of a pipe: tests of jobs",
    "--out failed.": "tests of the report page",
    "; --rate": "a limit that was found: tests of the report page",
    "--pace file:": "the beginning of a message: another file is to be named",
    "has no effect with --cluster": "the option is to be left out",
    "the rows of this file (--accept-changed-source": "an import by workers: tests of clusters",
    "No worker is running. Start one": "a command for other terminals",
    "Next, import a file of your own": "commands: below",
    "The bot is a file of": "commands: below",
    "Create, update, upsert": "help",
}
"""Texts with options that aren't to be pasted, or that other tests paste, with the reason."""
OPTION = re.compile(r"(?<![\w-])--[a-z]+")


@pytest.fixture
def call(emulator_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run a command in the test's folder, against the emulator."""
    monkeypatch.chdir(tmp_path)
    urls = {"SUNSHINE_BASE_URL": emulator_url, "DIXA_BASE_URL": emulator_url}

    def invoke(command: str, env: Mapping[str, str] = ENV) -> Result:
        return CliRunner().invoke(app, shlex.split(command), env={**ENV, **env, **urls})

    return invoke


def output(result: Result) -> str:
    """Return all output on a line, without the borders of tables."""
    return words(re.sub("[│┃]", " ", result.output))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.text)
def test_pasted_options(case: Case, call: Call, emulator: Emulator, tmp_path: Path) -> None:
    """The options of a message, pasted behind the command, do as the message says."""
    for name, data in case.files.items():
        (tmp_path / name).write_bytes(data.encode() if isinstance(data, str) else data)
    for step in case.before:
        if isinstance(step, str):
            call(step)
        else:
            step(emulator)
    said = output(call(case.command, case.env))
    assert case.text in said
    for option in re.split(r" (?=--)", case.paste):
        assert option in said

    result = call(
        f"{case.command.replace(case.instead, '') if case.instead else case.command} {case.paste}",
        case.env,
    )

    assert result.exit_code == case.status, result.output
    assert case.text not in output(result)


def texts() -> set[str]:
    """Return the texts of the package with an option, other than docstrings, help and CSS."""
    found: set[str] = set()
    for path in Path(sunshine_async.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told: set[int] = set()
        for node in ast.walk(tree):
            is_help = isinstance(node, ast.keyword) and node.arg == "help"
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if is_help or is_docstring:
                told.update(map(id, ast.walk(node)))
        found.update(
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if id(node) not in told and OPTION.search(node.value) and " " in node.value.strip()
        )
    return found - {STYLE}


@pytest.mark.slow
def test_each_text_with_an_option_is_pasted() -> None:
    """Each message with an option has a case here, or a reason against."""
    known = {*(case.text for case in CASES), *NOT_PASTED}
    used = {text: {each for each in known if each in text} for text in texts()}
    assert [text for text, found in used.items() if not found] == []
    assert len(used) > 30
    assert {
        each for each in NOT_PASTED if not any(each in found for found in used.values())
    } == set()


def test_commands_of_the_demos(call: Call, emulator: Emulator, tmp_path: Path) -> None:
    """Each command at the end of a demonstration runs, or has options that the command line knows."""
    (tmp_path / "users.csv").write_text(USER)
    shown = demo._NEXT_STEPS + demo_chat._NEXT_STEPS.replace("\\\n", " ")
    commands = re.findall(r"^  {program} (.*)$", shown, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        known = call(f"{shlex.split(command)[0]} --help").stdout
        if command.startswith("import"):
            assert call(command).exit_code == 0
        elif command.startswith("webhooks"):
            known = call(" ".join([*shlex.split(command)[:2], "--help"])).stdout
        for option in OPTION.findall(command):
            assert option in known
