"""Tests of a user: the code in the documentation, run by pytest in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from support.size import sized


def run_tests(folder: Path, conftest: str, tests: str) -> str:
    """Run *tests* in *folder*; return the output. A small run loads one plugin: pytest-asyncio."""
    folder.joinpath("conftest.py").write_text(conftest)
    folder.joinpath("test_block.py").write_text(tests)
    folder.joinpath("pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    plugins, more = sized(
        ((), {}), (("-p", "pytest_asyncio.plugin"), {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    )
    env = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins],
        cwd=folder, env={**env, **more}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ran.stdout + ran.stderr
