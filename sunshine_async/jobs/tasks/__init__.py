"""Tasks of a job: the treatment of a row, as a table of modes for each service.

A `Service` maps each `Mode` to a `Task`: the shape of a row, the call that sends an entry, the
user's key, and the safe recovery after a kill. A job turns a row into an `Entry` with `Task.entry`,
and sends the entry with `Task.send`: singly, or for Dixa together, as `Batched` says.
A new service needs a module here, and a place in `SERVICES`.
"""

from collections.abc import Mapping
from typing import Final

from sunshine_async.jobs.tasks.dixa import DIXA
from sunshine_async.jobs.tasks.smooch import SMOOCH
from sunshine_async.jobs.tasks.sunshine import SUNSHINE
from sunshine_async.jobs.tasks.task import Service

__all__ = ["DIXA", "SERVICES", "SMOOCH", "SUNSHINE"]

SERVICES: Final[Mapping[str, Service]] = {
    service.name: service for service in (SUNSHINE, SMOOCH, DIXA)
}
