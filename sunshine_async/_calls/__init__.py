"""One call of a service: encode, send, retry, decode.

An `Endpoint` declares an operation once: method, path, models, and replay safety. `Transport.call`
encodes a body into a request, runs the call, and decodes the answer or raises an error. `OneCall`
runs the attempts: wait for the pace, send, and go on as `CallState` and `Retry` decide. The tables of
``retry.py`` tell which fault allows a resend, and which later answer settles a lost answer.
`CallContext` holds the parts that all calls of a client share: wire, credentials, pace, counts.
``fence.py`` lets a worker send only with the lease of its work.
``hooks.py`` tells a user's objects of calls and attempts, and is imported only for such objects.
``error_body.py`` reads a service's reasons. ``upsert.py`` combines a create and an update.
``pages.py`` iterates over the pages of a list, by the service's scheme (`Paging`). ``forms.py`` makes
forms with files, which are read while being sent; ``free_body.py`` the bodies of free requests.
`Client` and `AppClient` are the base classes of the public clients; `ClientOptions` holds the
arguments of a client's constructor.
"""
