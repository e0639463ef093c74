"""Ending a login at its provider, in the provider's own way, and saying truly how far that went.

Called by ``accounts`` at a log-out, and by ``activate`` for a grant that nobody will hold.
"""

from dataclasses import dataclass, replace

from broker.core.login import Client
from broker.core.secret import Secret
from broker.errors import Misconfigured
from broker.oauth import wire
from broker.providers.model import Provider
from broker.usecases.context import Context

REFRESH, ACCESS = "refresh_token", "access_token"


@dataclass(frozen=True, slots=True)
class Revoked:
    """How far a revocation went.

    Attributes:
        whole: the provider confirmed that nothing can come of this login any more.
        detail: in words, with what is left to do.
    """

    whole: bool
    detail: str


async def revoke(
    ctx: Context,
    provider: Provider,
    client: Client,
    secret: Secret | None,
    *,
    refresh_token: Secret | None,
    access_token: Secret | None,
) -> Revoked:
    """Revoke a login's tokens: those that the provider takes, the refresh token first (RFC 7009 2.1)."""
    title, rules = provider.title, provider.revocation
    by_hand = "remove Keyfob in your settings there"
    if not provider.endpoints.revocation:
        return Revoked(whole=False, detail=f"{title} has no revocation endpoint: {by_hand}.")
    held = {hint: token for hint, token in ((REFRESH, refresh_token), (ACCESS, access_token)) if token is not None}
    wanted = {"refresh": (REFRESH,), "access": (ACCESS,), "both": (REFRESH, ACCESS)}[rules.which]
    done, problems = set(), {}
    for hint in (hint for hint in wanted if hint in held):
        problem = await _one(ctx, provider, client, secret, held[hint], hint)
        if problem is not None:
            problems[hint] = problem
            continue
        done.add(hint)
        if rules.ends_login:
            return Revoked(whole=True, detail=f"{title} confirmed that the login is dead.")
        if hint == REFRESH and provider.refresh.kills_old_access_token:
            done.add(ACCESS)
            break  # The access token died with it, and some providers stumble over a second request.
    if problems:
        said = "; ".join(f"{hint.replace('_', ' ')}: {problem}" for hint, problem in problems.items())
        return Revoked(whole=False, detail=f"{title} did not confirm ({said}).")
    left = [hint for hint in held if hint not in done]
    if not left:
        return Revoked(whole=True, detail=f"{title} confirmed that the login is dead.")
    if left == [ACCESS] and done:
        # RFC 7009 2.1: most end it together with the refresh token, and none has to.
        return Revoked(
            whole=True,
            detail=f"{title} confirmed that the refresh token is dead; the last access token, if it does not go along "
            "with it, ends by itself.",
        )
    names = " and ".join(hint.replace("_", " ") for hint in left)
    return Revoked(
        whole=False, detail=f"{title} has no way to revoke the {names}, which is only forgotten here: {by_hand}."
    )


async def _one(
    ctx: Context, provider: Provider, client: Client, secret: Secret | None, token: Secret, hint: str
) -> str | None:
    method = provider.revocation.method_for(client.auth_method) or client.auth_method
    try:
        return await wire.revoke(
            ctx.http, provider, replace(client, auth_method=method), secret, token=token, hint=hint
        )
    except Misconfigured as exc:
        return exc.detail.rstrip(".")
