"""Command line: ``sunshine-async``, an optional extra with typer and rich.

`app` declares the commands and the options of an import; `run_job` runs an import or a dry run.
`cluster` has imports by workers, and the command of a worker.
`users` has the commands for a single user, `job` for a journal, and `webhooks` for deliveries. `demo` is a
demonstration on an emulator, with the users of `demo_data`.
`services` makes a client from options and the environment. `options` has options that commands
share, exit statuses and error messages. `output` prints results, notes and progress; `files` writes
results to files; `streams` writes to stdout and stderr. `failures` lists rows that were not done.

Commands and options
--------------------

``sunshine-async COMMAND --help`` describes a command. The options, in the groups of the help::

    import FILE: --mode --service --dry-run --yes
        File: --format --delimiter --encoding
        Rows: --map --skip --only-mapped --empty --default-region --timezone --date-format
        Speed: --concurrency --rate --pace
        Journal: --journal --duplicates --keep-bodies
        Runs with the same journal: --retry-failed --retry-unknown --accept-changed-source --full
        Giving up: --max-failures --max-outage --grace
        Output: --report --show-data --json
        Cluster: --cluster --parts --shared-file
        Credentials: --base-url --app-id --key-id --secret-file
    worker: --cluster --heartbeat
        Speed: --rate --pace
        Credentials: --base-url --app-id --key-id --secret-file
    job show JOURNAL: --watch --json
    job failures JOURNAL: --out --force
    job export JOURNAL: --format --out --force
    job report JOURNAL: --out --force --show-data
    job copy JOURNAL TARGET: --force
    users get ID: --service --brand-id
        Credentials: --base-url --app-id --key-id --secret-file
    users delete ID: --service --brand-id --force --yes
        Credentials: --base-url --app-id --key-id --secret-file
    conversations list: --user-id --external-id --limit
        Credentials: --base-url --app-id --key-id --secret-file
    conversations get CONVERSATION:
        Credentials: --base-url --app-id --key-id --secret-file
    messages list CONVERSATION: --limit
        Credentials: --base-url --app-id --key-id --secret-file
    messages send CONVERSATION TEXT: --once --sent-before
        Credentials: --base-url --app-id --key-id --secret-file
    webhooks listen: --port --service --record
        Credentials: --secret-file
    webhooks replay FILE: --target
        Credentials: --secret-file
    emulator: --port --state
        Answers: --rate --latency --fail --seed
        Credentials: --key --token
        Webhooks: --webhook-retry --webhook-faults
    demo: --users --bot
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
    try:
        from sunshine_async.cli.app import run  # noqa: PLC0415 - it imports the extra

        run()
    except KeyboardInterrupt as error:  # before a command has begun
        sys.stderr.write("sunshine-async: interrupted\n")
        sys.exit(128 + getattr(error, "number", 2))
