"""Every secret of a long walk, and everything in which one could turn up.

Used by ``test_canary``. A secret is known because it passed the tap before the provider, because the API handed it
out, or because it was made here; it is looked for as it is and in the forms that a careless program would give it.
"""

import base64
from urllib.parse import quote, quote_plus

import httpx2

from tests.e2e.tap import Tap

# What the tap of the end-to-end tests does not collect: other secrets of this walk.
MORE = ("device_code", "client_secret", "registration_access_token")
# Answers that are meant to hand something out: method, how the path ends, and what may be in them.
HAND_OUTS = (
    ("GET", "/token", "access_token"),
    ("POST", "/token/rejected", "access_token"),
    ("POST", "/v1/apps", "app key"),
    ("POST", "/rotate", "app key"),
)


class Canary:
    """The secrets, and the places.

    Attributes:
        tap: what passes between Keyfob and the provider.
        places: name -> all that was seen there.
    """

    def __init__(self) -> None:
        self.tap = Tap()
        self.tap.found |= {name: set() for name in MORE}
        self._more: dict[str, set[str]] = {}
        self.places: dict[str, bytes] = {}

    def add(self, kind: str, *values: str) -> None:
        """Note a secret that does not pass the tap."""
        assert all(values), kind
        self._more.setdefault(kind, set()).update(values)

    @property
    def secrets(self) -> dict[str, set[str]]:
        """Every secret so far, by kind."""
        return {kind: set(values) for kind, values in (*self.tap.found.items(), *self._more.items())}

    def saw(self, place: str, content: bytes | str) -> None:
        """Note what stands at a place."""
        content = content.encode() if isinstance(content, str) else content
        self.places[place] = self.places.get(place, b"") + b"\n" + content

    def saw_answer(self, response: httpx2.Response) -> None:
        """Note an answer of the daemon, head and body; of a hand-out everything but what it hands out."""
        response.read()
        method, path = response.request.method, response.request.url.path
        if path == "/v1/events":
            return
        text = f"{response.headers}\n{response.text}"
        for its_method, end, kind in HAND_OUTS:
            if response.is_success and method == its_method and path.endswith(end):
                given = response.json()
                value = given["key" if kind == "app key" else "access_token"]
                self.add(kind, value)
                text = text.replace(value, "")
        self.saw("answers", f"{method} {response.status_code}\n{text}")

    def found_in(self, place: str) -> list[str]:
        """Return what stands at a place and should not: kinds and forms, never a value."""
        content = self.places[place]
        return sorted(
            f"{kind}, {form}"
            for kind, values in self.secrets.items()
            for value in values
            for form, written in forms(value).items()
            if written in content
        )


def forms(value: str) -> dict[str, bytes]:
    """Return how a secret could be written down."""
    raw = value.encode()
    return {
        "as it is": raw,
        "percent-encoded": quote(value, safe="").encode(),
        "as in a form": quote_plus(value).encode(),
        "in base64": base64.b64encode(raw).rstrip(b"=")[:-1],
        "in hexadecimal": raw.hex().encode(),
        "backwards": raw[::-1],
    }
