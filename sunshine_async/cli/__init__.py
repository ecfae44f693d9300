"""The command line: arguments in, calls of the library, text out."""

import sys
from importlib.util import find_spec

_MISSING = (
    "sunshine-async: the command line needs typer and rich: pip install 'sunshine-async[cli]'\n"
)


def main() -> None:
    """Run the command that the process was started with, and exit with its status."""
    if not all(find_spec(name) for name in ("typer", "rich")):
        sys.stderr.write(_MISSING)
        sys.exit(2)
    from sunshine_async.cli.app import run  # noqa: PLC0415 - it imports the extra

    run()
