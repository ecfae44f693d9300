"""The start of calls: rate, concurrency, order, and the wait for a service that is gone.

A `Pace` belongs to the credentials of a client, since services count calls by credentials. A call
starts when the pace has a free slot and a token of the rate. Until then the call waits in a queue,
in an interactive or a batch `Lane`. Each call tells the pace its end: so the pace learns the limits
of the service.

- `slots` has the slots and the queue.
- `rate` learns a rate from refusals (429) and headers, by the `evidence` of accepted calls.
- `concurrency` lowers the calls in flight after failures, and finds the best number for a bulk run.
- `breaker` holds batches while the service seems gone, and bounds retries by a budget.
- `waiting` alone knows a clock, an event loop and the process: to all else the caller passes the
  time. A call waits there, and clients of the same credentials get the same pace.
- `shared` gives processes one rate: a thread takes tokens by a `lease` from a store, which is a file
  (`file_allowance`) or Redis (`redis_allowance`). One process, the holder, runs the learner for all.

`Snapshot` shows the state of a pace.
"""

from sunshine_async._pace.pace import Pace
from sunshine_async._pace.slots import Lane, Snapshot

__all__ = ["Lane", "Pace", "Snapshot"]
