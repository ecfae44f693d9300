"""The bound of a wait that takes a moment: a safety net, since a slow machine breaks no promise."""

from typing import Final

PATIENCE: Final = 120.0
"""Seconds without an event after which a test is given up: longer than any start of a process."""
