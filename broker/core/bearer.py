"""What a resource says when it refuses: the parameters of a challenge, and the scopes in it (RFC 6750 3, RFC 9110 11).

Called by ``oauth.resource`` before a login, and by ``usecases.forward`` for requests through the proxy.
"""

import re
from collections.abc import Iterable

INSUFFICIENT = "insufficient_scope"
# RFC 9110 11.2: a parameter of a challenge, its value a quoted text or a token. A name is looked for where one begins,
# and nothing of it is given back: trying again from every letter of a long word would take minutes.
_PARAMETER = re.compile(r'(?<![A-Za-z0-9_-])([A-Za-z0-9_-]++)\s*+=\s*+(?:"([^"]*)"|([^\s",]+))')
# RFC 6749 3.3: what a scope is made of; none that a command line would take for an option.
_SCOPE = re.compile(r"(?!-)[\x21\x23-\x5b\x5d-\x7e]+")
# More than this no person reads on a consent page.
MOST_SCOPES, MOST_LENGTH = 100, 4000


def parameters(challenge: str) -> dict[str, str]:
    """Return the parameters of what came as ``WWW-Authenticate``, names in small letters; of two the first counts."""
    found: dict[str, str] = {}
    for name, quoted, token in _PARAMETER.findall(challenge):
        found.setdefault(name.lower(), quoted or token)
    return found


def scopes(said: Iterable[object]) -> tuple[str, ...]:
    """Return the scopes of a foreign list, each once; nothing of one that holds anything else, or is beyond reason."""
    listed = list(said)
    found = tuple(dict.fromkeys(one for one in listed if isinstance(one, str) and _SCOPE.fullmatch(one)))
    fit = len(found) == len({*map(str, listed)}) <= MOST_SCOPES and sum(map(len, found)) <= MOST_LENGTH
    return found if fit else ()
