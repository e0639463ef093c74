"""The practice broker that other programs' tests run: what it offers holds, and the example of its page passes."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from broker.client import Client, ClientError, Locked, LoginNeeded, NotAllowed, ProviderUnavailable
from broker.testing import PracticeBroker, practice_broker
from tests.loopback import NO_TLS

PAGE = Path(__file__).parents[2] / "docs/python.md"
HOUR = 3600.0


@pytest.fixture
def broker() -> Iterator[PracticeBroker]:
    """Run one."""
    with practice_broker(ttl=HOUR) as running:
        yield running


def status(broker: PracticeBroker, token: str) -> int:
    """Return what the provider's API answers to a token."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.get(broker.api_url, headers=headers, trust_env=False, verify=NO_TLS).status_code


def test_app(broker: PracticeBroker) -> None:
    """The app has the account's token and nothing else, and its key does not show."""
    client = broker.client()
    broker.log_in("other")

    assert status(broker, client.token("work").access_token) == 200
    with pytest.raises(NotAllowed):
        client.token("other")
    assert broker.owner().token("other").access_token
    assert broker.key not in repr(broker)


def test_time_passes(broker: PracticeBroker) -> None:
    """An hour later the token is dead at the provider, and the next one is asked for without anybody's help."""
    client = broker.client()
    first = client.token("work").access_token

    broker.pass_time(HOUR)

    assert status(broker, first) == 401
    assert status(broker, client.token("work").access_token) == 200
    assert broker.events("refresh") == 1


def test_token_dies_early(broker: PracticeBroker) -> None:
    """A token that died early is handed out until somebody reports it."""
    client = broker.client()
    first = client.token("work").access_token

    broker.end_token()

    assert status(broker, first) == 401
    assert client.token("work").access_token == first
    assert status(broker, client.rejected("work", first).access_token) == 200


def test_what_goes_wrong(broker: PracticeBroker) -> None:
    """An outage, a login that ended, an account that is gone and a lock are the client's errors, and can be mended."""
    client = broker.client()
    broker.fail("refresh:status=503")
    broker.pass_time(HOUR)
    with pytest.raises(ProviderUnavailable):
        client.token("work")

    broker.fail()
    broker.pass_time(HOUR)
    assert client.token("work").access_token

    broker.end_logins()
    broker.pass_time(HOUR)
    with pytest.raises(LoginNeeded):
        client.token("work")
    broker.log_in("work")
    assert client.token("work").access_token

    broker.lock()
    with pytest.raises(Locked):
        client.token("work")


def test_account_is_forgotten(broker: PracticeBroker) -> None:
    """An account can be gone."""
    broker.forget("work")

    with pytest.raises(ClientError, match="work"):
        broker.client().token("work")


def test_nothing_is_left() -> None:
    """Afterwards nothing listens, no thread runs, no file is there, and new files have the rights they had before."""
    umask = os.umask(0o022)
    try:
        threads = set(threading.enumerate())
        with practice_broker() as running:
            socket, client = Path(running.socket), Client(url=running.url, key=running.key)
            assert socket.exists()
            assert os.umask(0o022) == 0o022
        with client, pytest.raises(ClientError):
            client.token("work")
        assert not socket.parent.parent.exists()
        assert set(threading.enumerate()) <= threads
    finally:
        os.umask(umask)


def test_example_of_the_page(tmp_path: Path) -> None:
    """The example in docs/python.md passes as it stands, in a pytest of its own, and finds nothing else by chance."""
    blocks = re.findall(r"```python\n# (\S+\.py)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert [name for name, _ in blocks] == ["conftest.py", "test_me.py"]
    for name, text in blocks:
        (tmp_path / name).write_text(text, encoding="utf-8")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "KEYFOB_SOCKET": "/nowhere", "NO_PROXY": "*"}

    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
