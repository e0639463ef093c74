"""What kubectl and mail programs call: the result on stdout, and on a failure one line and an exit code."""

import base64
import json

import pytest

from broker.cli.main import main

from .scripted_daemon import ScriptedDaemon
from .test_token import ASK, TOKEN

KUBE = ["kube-credential", "work"]
SASL = ["sasl", "work", "--user", "ada@example.org"]


def test_kube_credential(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ID token where it is wanted, in the version that the environment asks for."""
    daemon.answers(f"{ASK}?min_ttl=300&id_token=true", {**TOKEN, "access_token": "e.y.J"})
    version = "client.authentication.k8s.io/v1beta1"
    monkeypatch.setenv("KUBERNETES_EXEC_INFO", json.dumps({"apiVersion": version}))

    assert main([*KUBE, "--id-token", "--min-ttl", "5m"]) == 0

    told, err = capsys.readouterr()
    assert err == ""
    assert json.loads(told) == {
        "apiVersion": version,
        "kind": "ExecCredential",
        "status": {"token": "e.y.J", "expirationTimestamp": TOKEN["expires_at"]},
    }


def test_kube_credential_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be answered asks nobody for a token."""
    monkeypatch.setenv("KUBERNETES_EXEC_INFO", "{}")

    assert main(KUBE) == 2


def test_sasl(daemon: ScriptedDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    """XOAUTH2 where nothing is said; host and port go along with the other mechanism."""
    daemon.answers(ASK, TOKEN)

    assert main(SASL) == 0
    assert main([*SASL, "--mechanism", "oauthbearer", "--host", "mx", "--port", "587"]) == 0

    first, second = map(base64.b64decode, capsys.readouterr().out.split())
    assert first == b"user=ada@example.org\x01auth=Bearer tok-1\x01\x01"
    assert second == b"n,a=ada@example.org,\x01host=mx\x01port=587\x01auth=Bearer tok-1\x01\x01"


@pytest.mark.parametrize("argv", [KUBE, SASL])
@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(409, "login_needed", 3), (403, "not_granted", 4), (503, "provider_unavailable", 5), (423, "locked", 7)],
)
def test_no_token(
    daemon: ScriptedDaemon, argv: list[str], status: int, code: str, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The calling program quotes stderr: it is one line, and says what to do."""
    daemon.refuses(ASK, status, code, "Not now.", login_url="http://127.0.0.1:1/login/x")

    assert main(argv) == exit_code

    told = capsys.readouterr()
    assert (told.out, len(told.err.splitlines())) == ("", 1)
    assert told.err.startswith("keyfob: Not now.")
    assert "http://127.0.0.1:1/login/x" in told.err


@pytest.mark.parametrize("argv", [KUBE, SASL])
def test_daemon_down(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 6, and one line."""
    assert main(argv) == 6

    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "argv",
    [
        ["kube-credential"],
        ["sasl", "work"],
        ["sasl", "work", "--user", ""],
        [*SASL, "--mechanism", "plain"],
        [*SASL, "--port", "0"],
        [*SASL, "--port", "65536"],
        [*SASL, "--port", "imap"],
    ],
)
def test_usage(argv: list[str]) -> None:
    """What cannot be meant is a usage error."""
    assert main(argv) == 2
