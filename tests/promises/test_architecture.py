"""The shape of the package: which way imports go, what stays pure, what users get."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest
from support.syntax import syntax_tree

import sunshine_async

ROOT = Path(sunshine_async.__file__).parent
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts): file
    for file in sorted(ROOT.rglob("*.py"))
}

LEVELS = (
    ("errors",),
    ("_codec", "_http"),
    ("_pace", "auth", "journal"),
    ("_calls", "bulk", "rows"),
    ("dixa", "smooch", "sunshine"),
    ("__init__", "migration", "telemetry"),
    ("emulator", "jobs", "webhooks"),
    ("cli", "testing"),
    ("__main__",),
)
"""The folders, from the leaf to the command line: imports go down only."""

LEVEL = {name: number for number, names in enumerate(LEVELS) for name in names}
IMPURE_FILES = {"_pace.file_allowance", "_pace.redis_allowance", "_pace.shared", "_pace.waiting"}
PURE = [
    *(
        name
        for name in FILES
        if name.startswith(("_codec.", "_pace.")) and name not in IMPURE_FILES
    ),
    *(
        f"webhooks.{name}"
        for name in (
            "deliveries",
            "parsers",
            "smooch_events",
            "sunshine_events",
            "sunshine_payloads",
        )
    ),
    *("_calls.endpoint", "_calls.error_body", "_calls.retry", "errors"),
]
IMPURE = {"anyio", "asyncio", "httpx", "os", "random", "time"}
SERVICES = ("dixa", "smooch", "sunshine")
MODULES = {f"sunshine_async.{name}".removesuffix(".__init__") for name in FILES}
RESOURCES = [
    name
    for name, file in FILES.items()
    if name.startswith(SERVICES) and "ENDPOINTS" in file.read_text(encoding="utf-8")
]
PACKAGES = [
    "sunshine_async",
    *(f"sunshine_async.{one}" for one in SERVICES if f"{one}.__init__" in FILES),
]
NOT_AT_FIRST = (
    "anyio._core._eventloop",
    "anyio.lowlevel",
    "asyncio",
    "cattrs",
    "hypothesis",
    "jwt",
    "phonenumbers",
    "pytest",
    "redis",
    "rich",
    "starlette",
    "sunshine_async.bulk.engine",
    "trio",
    "typer",
    "uvicorn",
)


def tree(name: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return syntax_tree(FILES[name])


@cache
def imports(name: str) -> tuple[str, ...]:
    """Return the full name of each module that the module *name* imports, wherever it does."""
    return tuple(_imports(name))


def _imports(name: str) -> Iterator[str]:
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports by a relative name"
            module = node.module or ""
            whole = {f"{module}.{alias.name}" for alias in node.names}
            yield from (one if one in MODULES else module for one in whole)


def part_of(module: str) -> str:
    """Return the folder or top-level file of *module*, named without the package."""
    return module.partition(".")[0]


def ours(name: str) -> set[str]:
    """Return the other parts of the package that the module *name* imports."""
    found = {
        part_of(module.partition(".")[2] or "__init__")
        for module in imports(name)
        if module.partition(".")[0] == "sunshine_async"
    }
    return found - {part_of(name)}


def test_every_file_has_its_level() -> None:
    """Each file belongs to a part of the package that has a level here."""
    assert {part_of(name) for name in FILES} <= set(LEVEL)


@pytest.mark.parametrize("name", FILES)
def test_imports_go_down_only(name: str) -> None:
    """A module imports only what is below it."""
    assert {part for part in ours(name) if LEVEL[part] >= LEVEL[part_of(name)]} == set()


def test_no_import_goes_in_a_circle() -> None:
    """The imports of all modules form no cycle, in functions and for type checkers included."""
    found = {
        f"sunshine_async.{name}".removesuffix(".__init__"): {
            module for module in imports(name) if module in MODULES
        }
        for name in FILES
        if not name.endswith("__init__")
    }

    assert list(TopologicalSorter(found).static_order())


def test_a_statement_imports_each_module_that_another_needs() -> None:
    """Tools such as PyInstaller, which read the statements alone, pack all that a program needs."""
    found = {module for name in FILES for module in imports(name)}
    packages = {module.rpartition(".")[0] for module in found}
    started = {"__main__", "cli.demo_bot", "migration", "telemetry", "testing"}  # by users

    assert MODULES - found - packages == {f"sunshine_async.{name}" for name in started}


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [
        ("_codec", set()),
        ("_http", {"errors"}),
        ("_pace", {"_http", "errors"}),
        ("auth", {"_http", "errors"}),
        ("_calls", {"_codec", "_http", "_pace", "auth", "errors"}),
        ("bulk", {"_pace", "errors"}),
        ("rows", {"_codec", "errors"}),
        ("journal", {"errors"}),
    ],
)
def test_a_folder_needs_few_folders(folder: str, allowed: set[str]) -> None:
    """A folder below the services imports these folders, and no other."""
    found = {part for name in FILES if part_of(name) == folder for part in ours(name)}

    assert found == allowed


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_knows_no_other_service(name: str) -> None:
    """The packages of the services never import each other."""
    found = {part for file in FILES if part_of(file) == name for part in ours(file)}

    assert not found & set(SERVICES)


def test_bulk_knows_no_service_and_no_http() -> None:
    """`bulk` runs any coroutine: of ours it knows the lanes, and no HTTP."""
    for name in FILES:
        if part_of(name) == "bulk":
            assert ours(name) <= {"errors", "_pace"}
            assert not {"httpx", "httptools"} & set(imports(name))


@pytest.mark.parametrize("name", PURE)
def test_the_pure_modules_are_told_the_time_and_the_luck(name: str) -> None:
    """A pure module imports no I/O, no clock, no randomness and no environment."""
    assert IMPURE & {module.partition(".")[0] for module in imports(name)} == set()


def test_httpx_is_imported_in_few_places() -> None:
    """The modules of httpx are imported where bytes leave, in the emulator and for tests, nowhere else."""
    importers = {
        part_of(name)
        for name in FILES
        if "httpx" in {module.partition(".")[0] for module in imports(name)}
    }

    assert importers == {"_http", "emulator", "testing"}


def test_asyncio_is_spoken_where_speed_comes_from_it() -> None:
    """Only the wire, the emulator's sockets and the check of a foreign cancellation import asyncio."""
    importers = {
        part_of(name)
        for name in FILES
        if "asyncio" in {module.partition(".")[0] for module in imports(name)}
    }

    assert importers == {"_http", "bulk", "emulator"}
    assert [name for name in FILES if name.startswith("bulk") and "asyncio" in imports(name)] == [
        "bulk.cancellation"
    ]


def test_importing_a_client_imports_little() -> None:
    """Modules that only some programs need, or only a first call, aren't imported with a client."""
    program = (
        "import sys, httpx; before = set(sys.modules);"  # which imports rich where it can
        "from sunshine_async import SunshineClient;"
        f"print(*sorted({set(NOT_AT_FIRST)!r}.intersection(sys.modules) - before))"
    )
    found = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "error", "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT.parent,
    )

    assert found.stdout.split() == []


def test_importing_a_client_compiles_few_methods() -> None:
    """A comparison is compiled only for values that users compare, and attrs makes few classes.

    An attrs class costs 1.5 to 3.2 million instructions at import, twice as much with a comparison.
    """
    program = (
        "import sys; from sunshine_async import SunshineClient;"
        "modules = [one for name, one in sys.modules.items() if name.startswith('sunshine_async')];"
        "kinds = {kind for one in modules for kind in vars(one).values()"
        " if '__attrs_attrs__' in getattr(kind, '__dict__', ())};"
        "print(len(kinds), *sorted(kind.__name__ for kind in kinds if '__eq__' in vars(kind)"
        " and kind.__eq__.__code__.co_filename.startswith('<attrs generated')))"
    )
    found = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "error", "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT.parent,
    )
    count, *compared = found.stdout.split()

    assert compared == ["CallStats", "ErrorDetail", "Model", "Retry", "Snapshot"]
    assert int(count) <= 22


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_what_users_get(name: str) -> None:
    """``__all__`` has each public name once, in order: constants, classes, the rest."""
    module = import_module(name)
    public = [
        one
        for one in dir(module)
        if one == "__version__"
        or (not one.startswith("_") and not inspect.ismodule(getattr(module, one)))
    ]

    def order(one: str) -> tuple[int, str]:
        return 0 if one.isupper() else 1 if one[0].isupper() else 2, one

    assert module.__all__ == sorted(public, key=order)


@pytest.mark.parametrize("name", RESOURCES)
def test_each_endpoint_is_in_the_tuple(name: str) -> None:
    """``ENDPOINTS`` has every `Endpoint` of its module, once."""
    module = import_module(f"sunshine_async.{name}")
    declared = [
        one for key, one in vars(module).items() if key.isupper() and hasattr(one, "operation")
    ]

    assert sorted(map(str, module.ENDPOINTS)) == sorted(map(str, declared))
    assert len({one.operation for one in module.ENDPOINTS}) == len(module.ENDPOINTS)


def public_methods(name: str) -> Mapping[str, ast.AST]:
    """Return the public methods of the resource that the module *name* has."""
    [resource] = (
        node
        for node in tree(name).body
        if isinstance(node, ast.ClassDef) and "self._transport" in ast.unparse(node)
    )
    return {
        node.name: node
        for node in resource.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
    }


def sent(method: ast.AST) -> set[str]:
    """Return the names of the endpoints that *method* sends through the transport.

    A method that returns a URL, for a browser to call, sends no request, and counts here as well.
    """
    calls = [node for node in ast.walk(method) if isinstance(node, ast.Call)]
    sends = {
        ast.unparse(node.args[0])
        for node in calls
        if ast.unparse(node.func) == "self._transport.call"
    }
    return sends or {
        ast.unparse(node.func.value)
        for node in calls
        if isinstance(node.func, ast.Attribute) and node.func.attr == "request"
    }


@pytest.mark.parametrize("name", RESOURCES)
def test_each_method_sends_a_declared_endpoint(name: str) -> None:
    """A public method sends one declared endpoint, or is made of methods that do."""
    module = import_module(f"sunshine_async.{name}")
    methods = public_methods(name)
    for method in methods.values():
        endpoints = sent(method)
        uses = {ast.unparse(node) for node in ast.walk(method) if isinstance(node, ast.Attribute)}
        assert len(endpoints) == 1 or uses & {f"self.{other}" for other in methods}
        assert all(getattr(module, one) in module.ENDPOINTS for one in endpoints)


@pytest.mark.parametrize("name", RESOURCES)
def test_each_endpoint_has_a_method(name: str) -> None:
    """A declared endpoint is what exactly one method sends."""
    module = import_module(f"sunshine_async.{name}")
    every = [one for method in public_methods(name).values() for one in sent(method)]

    assert sorted(str(getattr(module, one)) for one in every) == sorted(map(str, module.ENDPOINTS))


@pytest.mark.parametrize("name", FILES)
def test_every_public_function_and_class_has_a_docstring(name: str) -> None:
    """A module says what it is for, a public class or function in it what it promises."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    public = [
        node
        for node in tree(name).body
        if isinstance(node, kinds) and not node.name.startswith("_")
    ]

    assert ast.get_docstring(tree(name))
    assert [node.name for node in public if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("name", PACKAGES)
def test_every_method_that_users_get_has_a_docstring(name: str) -> None:
    """Each public method of what a package gives says what it promises."""
    module = import_module(name)
    classes = [one for one in map(vars(module).get, module.__all__) if inspect.isclass(one)]
    silent = [
        f"{kind.__name__}.{key}"
        for kind in classes
        for key in dir(kind)
        if not key.startswith("_")
        and (inspect.isfunction(one := getattr(kind, key)) or isinstance(one, property))
        and not inspect.getdoc(one)
    ]

    assert silent == []


@pytest.mark.parametrize("name", FILES)
def test_a_file_can_be_read_at_one_sitting(name: str) -> None:
    """No file has more than 400 lines."""
    assert len(FILES[name].read_text(encoding="utf-8").splitlines()) <= 400


def test_the_package_shows_few_entries() -> None:
    """At most 24 entries; at most 4 are private, and each of these is a package."""
    entries = [entry for entry in ROOT.iterdir() if entry.is_file() or list(entry.glob("*.py"))]
    private = [entry for entry in entries if re.match(r"_[^_]", entry.name)]

    assert len(entries) <= 24
    assert len(private) <= 4
    assert all(entry.is_dir() for entry in private)


def test_the_package_is_code_alone() -> None:
    """The package has no data file: tools such as PyInstaller, which pack a program, leave data out."""
    found = {file.name for file in ROOT.rglob("*") if file.is_file()}

    assert {name for name in found if not name.endswith((".py", ".pyc"))} == {"py.typed"}


def test_few_files_are_small() -> None:
    """At most 25 files have fewer than 100 lines, a file for each resource aside."""
    small = [
        name
        for name, file in FILES.items()
        if name not in RESOURCES and len(file.read_text(encoding="utf-8").splitlines()) < 100
    ]

    assert len(small) <= 25


@pytest.mark.parametrize("name", FILES)
def test_an_annotation_means_the_same_inside_and_outside_of_its_class(name: str) -> None:
    """No annotation of a class has a name that the class gives to something else, such as ``list``.

    Python 3.14 evaluates annotations late, and looks into the class first.
    """
    classes = [node for node in ast.walk(tree(name)) if isinstance(node, ast.ClassDef)]

    assert [
        f"{one.name}: {ast.unparse(annotation)}"
        for one in classes
        for annotation in annotations(one)
        for part in ast.walk(annotation)
        if isinstance(part, ast.Name) and part.id in names_in(one)
    ] == []


def annotations(one: ast.ClassDef) -> Iterator[ast.expr]:
    """Return the annotations of the fields and methods of a class."""
    for node in one.body:
        if isinstance(node, ast.AnnAssign):
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [part for part in ast.walk(node.args) if isinstance(part, ast.arg)]
            yield from filter(None, [node.returns, *(part.annotation for part in arguments)])


def names_in(one: ast.ClassDef) -> set[str]:
    """Return the names that a class gives to its fields and methods."""
    return {
        getattr(node, "name", "") or ast.unparse(getattr(node, "target", node)) for node in one.body
    }


@pytest.mark.parametrize("name", FILES)
def test_a_function_fits_on_a_page(name: str) -> None:
    """No function has more than 80 lines."""
    functions = [
        node
        for node in ast.walk(tree(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert [node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 80] == []


@pytest.mark.parametrize(
    "name", [name for name in FILES if name.endswith("__init__") and name != "__init__"]
)
def test_a_package_has_an_introduction(name: str) -> None:
    """A package begins with an introduction of several sentences, blocks of code aside."""
    text = re.sub(r"::\n\n(?:(?: {4}.*)?\n)+", ":\n", ast.get_docstring(tree(name)) or "")
    sentences = re.findall(r"[.:!?](?=\s|$)", text)

    assert 5 <= len(sentences) <= 40
