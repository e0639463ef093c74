"""From an outcome that is no token, or no answer, to the error that stands for it; and how MCP tells an error.

Called by ``render`` and ``proxy``.
"""

import json

from starlette.responses import Response

from broker.core import advice
from broker.core.policy import Denied
from broker.errors import (
    ConfirmNeeded,
    InsufficientScope,
    KeyfobError,
    LoginNeeded,
    Misconfigured,
    NotGranted,
    ProviderUnavailable,
)
from broker.usecases.outcomes import MustLogin, Unavailable
from broker.usecases.stepup import TooLittle

# Of a server's own (JSON-RPC 2.0, 5.1), and none that MCP gives a meaning.
RPC_ERROR = -32090
# What an app is told whose request waits for the owner.
ASKED = "The owner has been asked, and answers with: keyfob approve {}"


def refusal(outcome: MustLogin | Denied | Unavailable | TooLittle) -> KeyfobError:
    """Return the error that stands for an outcome which is no token, or no answer."""
    match outcome:
        case TooLittle(account=account, missing=missing, words=words):
            wants = f"the scope '{' '.join(missing)}', which" if missing else "more scope than"
            said = f" It says: {words.rstrip('.')}." if words else ""
            detail = f"The API wants {wants} account '{account}' {'does not have' if missing else 'has'}.{said}"
            more = {"scope": " ".join(missing) or None, "login_url": outcome.login_url or None}
            return InsufficientScope(detail, outcome.step, **more, account=account)
        case Denied(reason=reason, hint=hint, rules=rules) if rules:
            return NotGranted(f"No: {reason}.", hint, rule=", ".join(rules))
        case Denied(reason=reason, app=app, account=account, hint=hint, approval_url=url):
            ask_owner = f"Ask the owner: keyfob app grant {app} --account {account}"
            if url:
                return NotGranted(f"No: {reason}.", ASKED.format(url.rpartition("/")[2]), approval_url=url)
            again = f"Only another login can bring that: keyfob login {account} --scope SCOPE"
            return NotGranted(f"No: {reason}.", hint or (ask_owner if app else again))
        case Unavailable(account=account, reason=reason, retry_after=retry_after, own_pause=own_pause):
            at_once = f" To ask at once: keyfob refresh {account}" if own_pause else ""
            return ProviderUnavailable(
                reason, f"Try again later; the login is kept.{at_once}", retry_after=retry_after, account=account
            )
        case MustLogin(account=account, reason=reason, misconfigured=True):
            return Misconfigured(reason, outcome.hint or advice.step("misconfigured", account), account=account)
        case MustLogin(account=account, reason=reason, login_url=url, confirm=True):
            return ConfirmNeeded(
                reason, f"Confirm it: keyfob refresh {account} --confirm", login_url=url or None, account=account
            )
        case MustLogin(account=account, reason=reason, login_url=url, pending=True, hint=again):
            hint = f"Finish it in a browser: {url} - or begin it anew: {again}"
            return LoginNeeded(reason, hint, login_url=url, account=account)
        case MustLogin(account=account, reason=reason, login_url=url, hint=hint):
            hint = hint or f"Log in: keyfob login {account}"
            return LoginNeeded(reason, hint, login_url=url or None, account=account)


def rpc(told: Response) -> Response:
    """Return a problem document as the error of a JSON-RPC answer, with its status.

    Clients of MCP show the message of such a one to people, and of nothing else (Streamable HTTP, Sending Messages).
    """
    found = json.loads(bytes(told.body))
    error = {"code": RPC_ERROR, "message": found["detail"], "data": found}
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}, ensure_ascii=False).encode()
    kept = {name: value for name, value in told.headers.items() if name not in ("content-type", "content-length")}
    return Response(body, told.status_code, kept, "application/json")
