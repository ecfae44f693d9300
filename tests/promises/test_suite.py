"""The shape of the tests: no real sleeps, a single bound of all waits, and each helper once."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from support.syntax import syntax_tree

TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("*.py"))
CLOCKS = {"anyio", "asyncio", "time", "trio"}
SLEEPS = {"sleep", "sleep_until"}
BOUNDED = {"communicate", "wait", "acquire", "join", "run", "create_connection"}
"""Functions that wait for something certain, for so many seconds at most."""
REQUESTS = {"Client", "AsyncClient", "get", "post", "head"}
"""Names of httpx that wait five seconds for an answer, unless told otherwise."""
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def sleeps(module: ast.Module) -> Iterator[int]:
    """Yield the lines of *module* with a sleep that takes real time: any but ``sleep(0)``."""
    nodes = [*ast.walk(module)]
    names = {
        alias.asname or alias.name: alias.name
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    yields = set()
    for node in nodes:
        match node:
            case ast.Call(func, [ast.Constant(0)], []):
                yields.add(func)
    for node in nodes:
        match node:
            case ast.Attribute(ast.Name(name), attr) if node not in yields:
                if attr in SLEEPS and names.get(name) in CLOCKS:
                    yield node.lineno
            case ast.ImportFrom(module=source, names=found) if source in CLOCKS:
                if SLEEPS & {alias.name for alias in found}:
                    yield node.lineno


def hasty(module: ast.Module) -> Iterator[int]:
    """Yield the lines of *module* that wait for something certain, for a number of seconds."""
    for node in ast.walk(module):
        match node:
            case ast.Call(ast.Attribute(_, "fail_after"), [ast.Constant()]):
                yield node.lineno
            case ast.Call(ast.Attribute(_, "join" | "settimeout"), [ast.Constant(int() | float())]):
                yield node.lineno
            case ast.Assert(ast.Call(ast.Attribute(_, "wait"), [ast.Constant()])):
                yield node.lineno
            case ast.Call(ast.Attribute(ast.Name("httpx"), name), _, keywords) if name in REQUESTS:
                if not {"timeout", "transport"} & {one.arg for one in keywords}:
                    yield node.lineno
            case ast.Call(ast.Attribute(_, name) | ast.Name(name), _, keywords) if name in BOUNDED:
                for one in keywords:
                    if one.arg == "timeout" and isinstance(one.value, ast.Constant):
                        yield node.lineno


def meaning(node: Definition) -> str:
    """Return all of a definition but its name, its documentation and its decorators."""
    head = [*node.bases, *node.keywords] if isinstance(node, ast.ClassDef) else [node.args]
    return "\n".join([type(node).__name__, *map(ast.dump, [*head, *_body(node)])])


def _body(node: Definition) -> list[ast.stmt]:
    """Return the statements of a definition, its documentation aside."""
    return node.body[ast.get_docstring(node, clean=False) is not None :]


def test_no_test_sleeps_in_real_time() -> None:
    """Outside the promises tests let virtual time pass (`support.virtual`), or wait for an event."""
    found = [
        f"{file.relative_to(TESTS)}:{line}"
        for file in FILES
        if not file.is_relative_to(TESTS / "promises") and "sleep" in file.read_text("utf-8")
        for line in sleeps(syntax_tree(file))
    ]

    assert found == []


def test_all_waits_have_one_bound() -> None:
    """A wait for something certain ends after `PATIENCE`: a slow machine breaks no promise."""
    found = [
        f"{file.relative_to(TESTS)}:{line}"
        for file in FILES
        if re.search(r"fail_after|timeout|wait\(|join\(|httpx\.", file.read_text("utf-8"))
        for line in hasty(syntax_tree(file))
    ]

    assert found == []


def test_each_helper_stands_once() -> None:
    """No function or class beside the tests has an equal in another file, or in the same one."""
    alike = defaultdict(list)
    for file in FILES:
        for node in syntax_tree(file).body:
            if isinstance(node, Definition) and not node.name.lower().startswith("test"):
                alike[tuple(map(type, _body(node)))].append((file, node))
    places = defaultdict(list)
    for file, node in (one for several in alike.values() if len(several) > 1 for one in several):
        places[meaning(node)].append(f"{file.relative_to(TESTS)}: {node.name}")

    assert [each for each in places.values() if len(each) > 1] == []
