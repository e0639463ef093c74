"""Every breakdown that Keyfob can report, with its stable code and the next step.

Raised by every room; turned into a problem document by ``web.render`` and into an exit code by ``cli``::

    KeyfobError
    ├── InvalidRequest            invalid_request      400   exit 2
    ├── Unauthorized              unauthorized         401   exit 4
    ├── NotGranted                not_granted          403   exit 4
    ├── NotFound                                       404   exit 1
    │   ├── UnknownAccount        unknown_account
    │   ├── UnknownProvider       unknown_provider
    │   ├── UnknownLogin          unknown_login
    │   ├── UnknownApp            unknown_app
    │   └── UnknownApproval       unknown_approval
    ├── Conflict                  conflict             409   exit 1
    │   ├── LoginNeeded           login_needed               exit 3
    │   ├── Misconfigured         misconfigured
    │   └── ConfirmNeeded         confirm_needed
    ├── LoginFailed               login_failed         400   exit 1
    ├── TooManyRequests           too_many_requests    429   exit 5
    ├── Locked                    locked               423   exit 7
    ├── ProviderUnavailable       provider_unavailable 503   exit 5
    ├── StoreUnavailable          store_unavailable    503   exit 1
    │   └── SecretChanged         store_unavailable
    ├── DaemonNotRunning          daemon_not_running     -   exit 6
    └── CannotStart               cannot_start           -   exit 2

Outcomes that are answers, not breakdowns (a token, "needs login", "denied"), are values: see ``core.policy`` and
``usecases.get_token``. Messages are safe to show: they never hold a request body, a token or a secret.
"""

from typing import ClassVar


class KeyfobError(Exception):
    """A breakdown that a person or a program can act on.

    Args:
        detail: what happened, in one or two sentences, safe to show.
        hint: the next step, as an imperative sentence; empty only where there is none.
        **extra: further members of the problem document (``login_url``, ``approval_url``, ``retry_after``).
    """

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong inside Keyfob"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, detail: str, hint: str = "", **extra: str | float | None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.extra = {name: value for name, value in extra.items() if value is not None}

    def __str__(self) -> str:
        return f"{self.detail} {self.hint}".strip()


class InvalidRequest(KeyfobError):
    """The request or the command line cannot be understood or is not allowed to say that."""

    code = "invalid_request"
    title = "The request is not valid"
    status = 400
    exit_code = 2


class Unauthorized(KeyfobError):
    """The caller did not prove who it is."""

    code = "unauthorized"
    title = "An app key is needed"
    status = 401
    exit_code = 4


class NotGranted(KeyfobError):
    """The caller is known but may not have this."""

    code = "not_granted"
    title = "That was not granted"
    status = 403
    exit_code = 4


class InsufficientScope(KeyfobError):
    """The account's API wants more scope than the login has; a person can log in for it."""

    code = "insufficient_scope"
    title = "The login has too little scope"
    status = 403
    exit_code = 3


class NotFound(KeyfobError):
    """The thing named does not exist."""

    code = "not_found"
    title = "There is no such thing"
    status = 404


class UnknownAccount(NotFound):
    """No account has that name."""

    code = "unknown_account"
    title = "There is no such account"


class UnknownProvider(NotFound):
    """No provider or preset has that name."""

    code = "unknown_provider"
    title = "There is no such provider"


class UnknownLogin(NotFound):
    """No login has that id: it never was, is finished, or is too old."""

    code = "unknown_login"
    title = "There is no such login"


class UnknownApp(NotFound):
    """No app has that name."""

    code = "unknown_app"
    title = "There is no such app"


class UnknownApproval(NotFound):
    """Nothing with that code waits for the owner's answer: it never did, was answered, or is too old."""

    code = "unknown_approval"
    title = "There is no such request"


class Conflict(KeyfobError):
    """The thing exists, but its state does not allow that."""

    code = "conflict"
    title = "That does not fit the present state"
    status = 409


class LoginNeeded(Conflict):
    """Only a person at a browser can help this account now."""

    code = "login_needed"
    title = "Somebody has to log in again"
    exit_code = 3


class Misconfigured(Conflict):
    """The provider refuses the client itself; the login is kept."""

    code = "misconfigured"
    title = "The provider refuses this client"


class ConfirmNeeded(Conflict):
    """The next step may end the login, so a person has to say yes."""

    code = "confirm_needed"
    title = "This needs to be confirmed"


class LoginFailed(KeyfobError):
    """A login came to an end without an account."""

    code = "login_failed"
    title = "The login did not succeed"
    status = 400


class TooManyRequests(KeyfobError):
    """The caller asks faster than is useful."""

    code = "too_many_requests"
    title = "Too many requests"
    status = 429
    exit_code = 5


class Locked(KeyfobError):
    """The key that opens the stored secrets is not at hand."""

    code = "locked"
    title = "Keyfob is locked"
    status = 423
    exit_code = 7


class ProviderUnavailable(KeyfobError):
    """The provider cannot be reached, is throttling, or answers nonsense."""

    code = "provider_unavailable"
    title = "The provider is not available"
    status = 503
    exit_code = 5


class StoreUnavailable(KeyfobError):
    """The database cannot be read or written now."""

    code = "store_unavailable"
    title = "The database is not available"
    status = 503


class SecretChanged(StoreUnavailable):
    """The database can be read, but one sealed row in it does not open: it was changed outside Keyfob."""


class DaemonNotRunning(KeyfobError):
    """No daemon answers at the socket or the URL."""

    code = "daemon_not_running"
    title = "The Keyfob daemon is not running"
    status = 503
    exit_code = 6


class CannotStart(KeyfobError):
    """The daemon or a command cannot begin: a setting, a file or a port is in the way."""

    code = "cannot_start"
    title = "Keyfob cannot start"
    exit_code = 2
