"""``python -m broker.cli``: the same as ``keyfob``, for units and tests that know a Python but no PATH.

Called by the interpreter.
"""

import sys

from broker.cli.main import main

sys.exit(main())
