"""The services in memory, with state, faults and a ledger: in process, or on a real socket.

::

    emulator = Emulator()
    client = SunshineClient("app", auth=auth, transport=emulator.transport())

    async with emulator.serve() as base_url:  # or, from sync code, plain `with`
        client = SunshineClient("app", auth=auth, base_url=base_url)

`Emulator.ledger` counts the effects, `Emulator.faults` scripts errors, `Emulator.add` and
`Emulator.add_support` store users and Support records. Sunshine and Smooch are one platform with one
store. Scripts in other languages use the control requests below ``/_emulator/``; see `control`.
"""

try:
    import starlette as _starlette
    import uvicorn as _uvicorn
except ImportError as error:
    _missing = "the emulator needs starlette and uvicorn: pip install 'sunshine-async[emulator]'"
    raise ImportError(_missing, name=error.name) from None

from sunshine_async.emulator.emulator import Emulator
from sunshine_async.emulator.faults import DRAWN, Mishap

__all__ = ["DRAWN", "Emulator", "Mishap"]

del _starlette, _uvicorn
