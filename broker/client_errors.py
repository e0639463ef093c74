"""What can go wrong between a program and the daemon: the errors of ``client``.

Called by ``client`` and ``client_proof``; programs import them from ``broker.client``, where the tree is drawn. As poor
in imports as those.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing for its own constant costs two milliseconds at every start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from broker.client_wire import Reply

# A century: longer than any wait. Not even the number that is none (NaN) lies below it.
MOST_SECONDS = 3_153_600_000


class ClientError(Exception):
    """A request that the daemon refused, or that never reached it.

    Attributes:
        code: stable, as in the problem document (RFC 9457). For what has none: ``daemon_not_running``, ``timeout``,
            ``connection_lost``, ``bad_answer``, ``invalid_request``, ``server_not_proven``.
        detail: what happened, in words.
        hint: the next step, or empty.
        status: the HTTP status, or 0.
        login_url: where a person can mend it, or None.
        approval_url: where the owner can allow it, or None.
        retry_after: seconds to wait before another try, or None.
        exit_code: what a command should end with.
        problem: the whole problem document.
    """

    exit_code = 1

    def __init__(
        self, detail: str, hint: str = "", *, code: str = "", status: int = 0, problem: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail, self.hint, self.code, self.status = detail, hint, code, status
        self.problem = dict(problem or {})
        self.login_url = text(self.problem.get("login_url"))
        self.approval_url = text(self.problem.get("approval_url"))
        wait = self.problem.get("retry_after")
        self.retry_after = float(wait) if isinstance(wait, (int, float)) and 0 <= wait <= MOST_SECONDS else None
        if code == "invalid_request":
            self.exit_code = 2

    def __str__(self) -> str:
        return f"{self.detail} {self.hint}".strip()


class LoginNeeded(ClientError):
    """Only a person at a browser can help this account now."""

    exit_code = 3


class NotAllowed(ClientError):
    """The caller is not known, or was not granted that; or the server did not prove that it is the daemon."""

    exit_code = 4


class ProviderUnavailable(ClientError):
    """No valid token is left and the provider cannot be asked now; or this asks too fast (``too_many_requests``)."""

    exit_code = 5


class DaemonNotRunning(ClientError):
    """No daemon answers at the socket or the URL."""

    exit_code = 6


class Locked(ClientError):
    """The daemon runs, but the key to its secrets is not at hand."""

    exit_code = 7


# By the code of a problem document; what is not here is a plain ClientError.
BY_CODE: Mapping[str, type[ClientError]] = {
    "login_needed": LoginNeeded,
    "not_granted": NotAllowed,
    "unauthorized": NotAllowed,
    "too_many_requests": ProviderUnavailable,
    "provider_unavailable": ProviderUnavailable,
    "locked": Locked,
}


def refusal(reply: Reply) -> ClientError:
    """Return the error that an answer of the daemon stands for."""
    import json  # noqa: PLC0415 -- only where something is wrong

    try:
        problem = json.loads(reply.body)
    except (ValueError, RecursionError):
        problem = None  # not a problem document: the status is all there is to say
    problem = problem if isinstance(problem, dict) else {}
    wait = reply.headers.get("retry-after", "")
    # Other scripts' digits are digits too, and thousands of them are no number to Python.
    if "retry_after" not in problem and wait.isascii() and wait.isdigit() and len(wait) <= len(str(MOST_SECONDS)):
        problem["retry_after"] = int(wait)
    code = text(problem.get("code")) or f"http_{reply.status}"
    detail = text(problem.get("detail")) or text(problem.get("title")) or f"The daemon answered {reply.status}."
    kind = BY_CODE.get(code, ClientError)
    return kind(detail, text(problem.get("hint")) or "", code=code, status=reply.status, problem=problem)


def text(value: object) -> str | None:
    """Return what is text and not empty, else None."""
    return value if isinstance(value, str) and value else None
