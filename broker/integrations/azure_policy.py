"""Pipeline policies for the Azure SDK that report a refused token and try once more, which its own do not.

Imported by programs that build or configure a pipeline (``authentication_policy=`` of most clients).
"""

from __future__ import annotations

from typing import Any

from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, BearerTokenCredentialPolicy

from broker.integrations.azure import AsyncKeyfobCredential, KeyfobCredential
from broker.integrations.bearer import AUTHORIZATION

__all__ = ["AsyncKeyfobPolicy", "KeyfobPolicy"]

BEARER = "Bearer "


class KeyfobPolicy(BearerTokenCredentialPolicy[Any, Any]):
    """The policy of azure-core; at a 401 with a challenge it reports the token and sends the request once more.

    Args:
        credential: the account's.
        scopes: what azure-core asks with.
    """

    def __init__(self, credential: KeyfobCredential, *scopes: str) -> None:
        super().__init__(credential, *scopes)
        self._keyfob, self._wanted = credential, scopes

    def on_challenge(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> bool:
        """Be asked by azure-core at a 401; return whether the request may be sent again."""
        refused = _refused(request, response)
        other = None if refused is None else self._keyfob.another(refused, *self._wanted)
        if other is None or not _replayable(request):
            return False
        request.http_request.headers[AUTHORIZATION] = BEARER + other.token
        return True


class AsyncKeyfobPolicy(AsyncBearerTokenCredentialPolicy[Any, Any]):
    """The asynchronous twin.

    Args:
        credential: the account's.
        scopes: what azure-core asks with.
    """

    def __init__(self, credential: AsyncKeyfobCredential, *scopes: str) -> None:
        super().__init__(credential, *scopes)
        self._keyfob, self._wanted = credential, scopes

    async def on_challenge(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> bool:
        """Be asked by azure-core at a 401; return whether the request may be sent again."""
        refused = _refused(request, response)
        other = None if refused is None else await self._keyfob.another(refused, *self._wanted)
        if other is None or not _replayable(request):
            return False
        request.http_request.headers[AUTHORIZATION] = BEARER + other.token
        return True


def _refused(request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> str | None:
    """Return the token that the answerer has seen and refused: behind a redirect to another host nobody has."""
    sent = str(request.http_request.headers.get(AUTHORIZATION, ""))
    same = response.http_response.request.headers.get(AUTHORIZATION) == sent
    return sent.removeprefix(BEARER) if same and sent.startswith(BEARER) else None


def _replayable(request: PipelineRequest[Any]) -> bool:
    """Tell whether the whole body is at hand: a stream that was read cannot be sent again."""
    sent = request.http_request  # azure-core has two kinds of it, and both answer to these names
    return sent.files is None and (sent.data is None or isinstance(sent.data, (bytes, str, dict)))
