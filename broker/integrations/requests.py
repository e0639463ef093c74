"""Keyfob for requests: ``requests.get(url, auth=KeyfobAuth("work"))``, or ``session.auth = KeyfobAuth("work")``.

Imported by programs that use requests.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import requests
from requests.auth import AuthBase
from requests.exceptions import RequestException

from broker.client import ClientError, Token
from broker.integrations.bearer import AUTHORIZATION, REFUSED, BearerAuth, header, sentence

__all__ = ["KeyfobAuth", "TokenUnavailable"]

T = TypeVar("T")


class TokenUnavailable(RequestException):
    """Keyfob has no token now. The text says the next step; ``__cause__`` is the error of ``broker.client``."""


class KeyfobAuth(BearerAuth, AuthBase):
    """Every request carries a token of one account that is valid now; for the arguments see ``Bearer``.

    Where the API answers 401, the token is reported and the request sent once more with another; a body that is a
    stream or a file is not sent again. Requests raise :class:`TokenUnavailable` where there is no token.
    """

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Be called by requests for each request that it prepares."""
        token = _told(r, self._bearer.token)
        r.headers[AUTHORIZATION] = header(token)
        r.register_hook("response", partial(self._answered, token))
        return r

    def _answered(self, token: Token, response: requests.Response, **sending: Any) -> requests.Response:  # noqa: ANN401 -- what requests passes on
        sent = response.request
        # Behind a redirect to another host nobody has seen the token, and the hooks come along.
        if response.status_code != REFUSED or sent.headers.get(AUTHORIZATION) != header(token):
            return response
        try:
            other = _told(sent, partial(self._bearer.another, token.access_token))
        except TokenUnavailable:
            response.close()  # nobody gets to see it
            raise
        if other is None or not (sent.body is None or isinstance(sent.body, (bytes, str))):
            return response
        response.content  # noqa: B018 -- it is read, so that its connection can be used again
        response.close()
        again = sent.copy()
        again.headers[AUTHORIZATION] = header(other)
        second: requests.Response = response.connection.send(again, **sending)
        second.history.append(response)
        second.request = again
        return second


def _told(request: requests.PreparedRequest, ask: Callable[[], T]) -> T:
    try:
        return ask()
    except ClientError as exc:
        raise TokenUnavailable(sentence(exc), request=request) from exc
