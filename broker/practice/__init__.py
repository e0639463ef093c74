"""The practice provider: a small, strict, real OAuth 2 and OpenID provider on loopback.

Used by ``keyfob demo`` and ``keyfob practice``, by the tests, and by anybody who rehearses faults::

    settings.py   what it is set to: lifetimes, rotation, people
    shape.py      how it speaks, dimension by dimension; the default is the RFCs'
    kinds.py      every kind of fault, as data
    faults.py     the grammar of ``--fault`` and which fault is due
    sabotage.py   what a fault does to an answer
    state.py      everything one running provider knows
    clients.py    who may ask: clients, their redirect URIs and secrets
    assertions.py what clients sign, judged strictly
    grants.py     codes, grants, access tokens, refresh tokens and their rotation
    tokens.py     the signing key and ID tokens
    events.py     what happened, countable
    refusal.py    OAuth's error answer
    wire.py       one request with its form, its faults and its refusals
    authorize.py  token.py  device.py  registration.py  resources.py  control.py    the endpoints
    pages.py      what a person sees
    app.py        the route table
    person.py     the person who logs in, where the provider asks nothing
    server.py     start, stop, and a thread for synchronous tests
"""
