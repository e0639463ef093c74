"""The verbs for people: ``keyfob VERB``.

Called by the installed ``keyfob`` command and by ``python -m broker.cli``.
"""

from broker.cli.main import main

__all__ = ["main"]
