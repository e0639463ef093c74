"""The one way in which the practice provider says no, in OAuth's own error form (RFC 6749 5.2).

Raised by every module of this room; turned into an answer by ``wire``.
"""

from collections.abc import Mapping


class Refusal(Exception):
    """An OAuth error answer. It travels to the client over HTTP and never reaches a person as a traceback.

    Args:
        error: the error code of the RFC.
        description: what was wrong with the request, for a developer.
        status: HTTP status.
        headers: further headers, as ``WWW-Authenticate``.
        result: what the event log calls it; the error code where empty.
    """

    def __init__(
        self,
        error: str,
        description: str,
        *,
        status: int = 400,
        headers: Mapping[str, str] | None = None,
        result: str = "",
    ) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status
        self.headers = dict(headers or {})
        self.result = result or error
