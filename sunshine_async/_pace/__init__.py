"""The start of calls: how many at once, how fast, and in which order."""

from sunshine_async._pace.pace import Pace
from sunshine_async._pace.slots import Lane
from sunshine_async._pace.snapshot import Snapshot

__all__ = ["Lane", "Pace", "Snapshot"]
