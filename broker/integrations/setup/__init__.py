"""How other programs are told to ask Keyfob: one file for each, which returns a plan as data and does nothing.

Called by ``cli.setup``, which shows the plan, asks, carries it out and undoes it. Stdlib only; of Keyfob they know the
client and what is beside them::

    plan.py       what a plan is made from, and what may stand in one
    changes.py    what becomes of a file: a marked block, a file of Keyfob's own, an entry that another program makes
    members.py    the same for one member of a JSON file
    git.py ...    one program each: ``where`` finds its file, ``told`` asks the daemon, ``plan`` says what goes there
"""
