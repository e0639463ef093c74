"""Keyfob: log in once, and every local program gets a fresh OAuth token from one small daemon.

The map of the house. A floor imports only lower ones; neighbours on a floor do not know each other::

    cli                    verbs for people
    daemon                 composition root: build, open the doors, run, stop
    scheduler | web        the clock | the three doors
    usecases               the stories; the only place where store meets oauth
    store | oauth | events what we remember | how we ask | what happened
    providers              whom we know, as data
    core                   what is true: no I/O, no clock
    errors                 every breakdown, with its next step

Beside the house: ``settings`` (read by daemon and cli only), ``client`` (the standard library only: what other
programs import), ``challenge`` (what client and daemon both compute before a key is sent), ``integrations`` (what other
programs call), ``practice`` (a small real OAuth server), ``testing`` (all of it for the tests of other programs) and
``inthread`` (how both run in a thread).

This module imports nothing, so that ``keyfob token`` starts fast.
"""

__version__ = "0.1.0"
