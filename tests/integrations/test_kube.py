"""kubectl's exec credential: the form, and what cannot be asked for."""

import json

import pytest

from broker.client import ClientError, Token
from broker.integrations import kube

TOKEN = Token({"access_token": "tok-1", "expires_at": "2030-01-01T00:00:00Z"})


@pytest.mark.parametrize("version", ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"])
def test_credential(version: str) -> None:
    """The version is the one that was asked for, and kubectl learns how long it may keep the token."""
    info = json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}})

    assert json.loads(kube.credential(TOKEN, kube.version(info))) == {
        "apiVersion": version,
        "kind": "ExecCredential",
        "status": {"token": "tok-1", "expirationTimestamp": "2030-01-01T00:00:00Z"},
    }


def test_without_an_end() -> None:
    """Where nobody knows when the token ends, no time is made up."""
    told = json.loads(kube.credential(Token({"access_token": "tok-1"}), kube.version("")))

    assert told["status"] == {"token": "tok-1"}
    assert told["apiVersion"] == "client.authentication.k8s.io/v1"


@pytest.mark.parametrize(
    "info",
    ["{", "[]", "7", "{}", '{"apiVersion": "v1"}', '{"apiVersion": ["client.authentication.k8s.io/v1"]}', "[" * 9999],
)
def test_what_cannot_be_asked_for(info: str) -> None:
    """Another version, or nonsense, is a usage error that says what to write."""
    with pytest.raises(ClientError) as refused:
        kube.version(info)

    assert (refused.value.exit_code, "apiVersion: client.authentication" in refused.value.hint) == (2, True)
