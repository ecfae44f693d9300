"""The help of each command: complete, grouped and readable in a narrow terminal, and the list of options."""

import re
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import pytest
import shellingham
from typer.main import get_command
from typer.testing import CliRunner

from sunshine_async import cli
from sunshine_async.cli.app import app
from sunshine_async.cli.options import HelpCommand

PANEL = re.compile(r"^╭─ (.+?) ─*╮\n((?:│.*│\n)+)╰", re.MULTILINE)
CREDENTIALS = {"--base-url", "--app-id", "--key-id", "--secret-file"}


def commands(command: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the words and the definition of a command and of each command below."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, *path, name)


COMMANDS = dict(commands(get_command(app)))


def help_of(path: tuple[str, ...], width: int) -> str:
    """Return the help of a command, as a terminal of that width shows it."""
    result = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": str(width)})
    assert result.exit_code == 0
    return result.stdout


def panels(text: str) -> dict[str, str]:
    """Return the text in each panel, by the title; a row begins with the name, without a star."""
    return {
        title: "".join(f"{line.lstrip('│* ')}\n" for line in body.splitlines())
        for title, body in PANEL.findall(text)
    }


def rows(body: str, name: str) -> list[str]:
    """Return the row of the option *name* in a panel, up to the next option, if there is one."""
    return re.findall(rf"^{name} (.*?)(?=^--|\Z)", body, re.DOTALL | re.MULTILINE)


@pytest.mark.costly
@pytest.mark.parametrize("width", [80, 60])
def test_the_help_of_each_command(width: int) -> None:
    """Nothing is cut off; each option stands in a panel, with its help; no word is a type."""
    assert len(COMMANDS) == 23
    for path, command in COMMANDS.items():
        text = help_of(path, width)
        shown = panels(text)
        assert "…" not in text
        assert not re.search(r"<\w|[{}]", text), path
        assert max(map(len, text.splitlines())) <= width
        for option in command.params:
            assert option.help, (path, option.name)
            name = option.metavar if option.param_type_name == "argument" else option.opts[0]
            [row] = [row for body in shown.values() for row in rows(body, name)]
            for word in option.help.split():
                assert word in row, (path, name, word)
        for inner in getattr(command, "commands", ()):
            assert f"{inner} " in shown["Commands"]


def test_the_import_is_grouped() -> None:
    """The options of an import stand in groups."""
    shown = panels(help_of(("import",), 80))
    assert [*shown] == [
        "Arguments", "Options", "File", "Rows", "Speed", "Journal", "Runs with the same journal",
        "Giving up", "Output", "Cluster", "Credentials",
    ]  # fmt: skip
    assert {*re.findall(r"^--[a-z-]+", shown["Credentials"], re.MULTILINE)} == CREDENTIALS


def test_each_option_is_listed() -> None:
    """The introduction of the command line lists each command, its arguments, options and groups."""
    listed: dict[tuple[str, ...], dict[str, set[str]]] = {}
    path: tuple[str, ...] = ()
    for indent, title, options in re.findall(
        r"^( {4}| {8})(\w[\w ]*):(.*)$", cli.__doc__ or "", re.MULTILINE
    ):
        if len(indent) == 4:
            path = tuple(word for word in title.split() if word.islower())
            names = {word for word in title.split() if word.isupper()}
            listed[path] = {"": {*names, *options.split()}}
        else:
            listed[path][title] = set(options.split())

    for words_of, command in COMMANDS.items():
        if hasattr(command, "commands"):
            continue
        groups: dict[str, set[str]] = {"": set()}
        for each in command.params:
            name = each.metavar if each.param_type_name == "argument" else each.opts[0]
            groups.setdefault(each.rich_help_panel or "", set()).add(name)
        assert listed.pop(words_of) == groups, words_of
    assert listed == {}


def test_the_help_without_docstrings() -> None:
    """``python -OO`` keeps no docstrings: the source has the help of a command, if the source is there."""
    sourceless = FunctionType(compile("None", "nowhere", "eval"), {})
    for path, command in COMMANDS.items():
        if not hasattr(command, "commands") and path != ("import",):
            bare = HelpCommand(path[-1], callback=command.callback)
            assert bare.help == command.help, path
    assert HelpCommand("x", callback=sourceless).help is None


def test_a_shell_completes_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--show-completion`` prints the script that ``--install-completion`` installs; both work."""
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("bash", "/bin/bash"))
    script = CliRunner().invoke(app, ["--show-completion"])
    words = {"_SUNSHINE_ASYNC_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    found = CliRunner().invoke(
        app, [], prog_name="sunshine-async", env={**words, "COMP_WORDS": "sunshine-async job "}
    )

    assert "complete -o default -F" in script.stdout
    assert found.stdout.split() == [*COMMANDS[("job",)].commands]
