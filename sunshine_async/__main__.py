"""``python -m sunshine_async``: the command line."""

from sunshine_async.cli import main

if __name__ == "__main__":
    main()
