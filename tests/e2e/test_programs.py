"""Accounts of programs as somebody makes them at a terminal: by a secret, and by a key that Keyfob makes."""

import json

import httpx2

from broker.practice.server import PracticeServer
from tests.e2e.home import Home, until
from tests.loopback import NO_TLS


def test_a_program_with_a_secret(home: Home, practice: PracticeServer) -> None:
    """The secret comes from a file, the login needs no browser, and the daemon renews the token while nobody looks."""
    home.serve()
    secret = home.place / "secret"
    secret.touch(mode=0o600)
    secret.write_text(practice.client_secret.reveal() + "\n")
    where = ("--provider", "practice", "--base-url", practice.url)

    done = home.run(
        "login", "ci", *where, "--flow", "client-credentials", "--client-id", "keyfob-machine", "--client-secret-file",
        str(secret), "--scope", "read",
    )  # fmt: skip

    assert (done.code, done.out) == (0, ""), done
    assert "Logged in as keyfob-machine: account 'ci'." in done.err
    first = home.token("ci")
    assert home.run("refresh", "ci").code == 0
    assert home.token("ci") != first
    assert "keyfob-machine" in home.run("accounts").out
    # By its name alone it logs in the same way.
    assert home.run("login", "ci").code == 0
    practice.set_faults(["client_credentials:invalid_client"])
    refused = home.run("login", "ci")
    assert refused.code == 1
    assert "refused client 'keyfob-machine'" in refused.err
    assert practice.client_secret.reveal() not in home.said


def test_a_program_with_a_key(home: Home, practice: PracticeServer) -> None:
    """Adding a provider prints the public key, the provider gives a client id for it, and the login names that."""
    daemon = home.serve()
    base = ("--preset", "practice", "--base-url", practice.url)

    added = home.run("provider", "add", "corp", *base, "--token-endpoint-auth-method", "private_key_jwt")

    assert added.code == 0, added
    jwks = json.loads(added.out)
    assert home.run("provider", "show", "corp").out.splitlines()[-1] == added.out.strip()
    client_id = _registered(practice.url, jwks)
    words = ("--provider", "corp", "--client-id", client_id, "--flow", "jwt-bearer", "--subject", "ada")
    done = home.run("login", "bot", *words)
    assert done.code == 0, done
    assert home.token("bot")
    asked = len(practice.log.all("jwt_bearer"))
    daemon.kill()
    home.serve()
    assert home.run("refresh", "bot").code == 0
    until("another assertion came", lambda: len(practice.log.all("jwt_bearer")) > asked)
    assert [path for path in home.place.rglob("*") if path.is_file() and b'"d":' in path.read_bytes()] == []


def _registered(url: str, jwks: object) -> str:
    grants = ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    wanted = {"token_endpoint_auth_method": "private_key_jwt", "jwks": jwks, "grant_types": grants}
    answer = httpx2.post(f"{url}/register", json=wanted, trust_env=False, verify=NO_TLS).raise_for_status()
    return str(answer.json()["client_id"])
