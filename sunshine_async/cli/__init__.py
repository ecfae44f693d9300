"""Command line: ``sunshine-async``, an optional extra with typer and rich.

`app` declares the commands and the options of an import; `run_job` runs an import or a dry run.
`users` has the commands for a single user, `job` for a journal, and `webhooks` for deliveries. `demo` is a
demonstration on an emulator, with the users of `demo_data`.
`services` makes a client from options and the environment. `options` has options that commands
share, exit statuses and error messages. `output` prints results, notes and progress; `files` writes
results to files; `streams` writes to stdout and stderr.
"""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line of the process, and exit with the status of the command."""
    if not all(find_spec(name) for name in ("typer", "rich")):
        sys.stderr.write(
            "sunshine-async: the command line needs typer and rich: pip install 'sunshine-async[cli]'\n"
        )
        sys.exit(2)
    from sunshine_async.cli.app import run  # noqa: PLC0415 - it imports the extra

    run()
