"""A token file as a program sees it that reads it whenever it likes: never half a token, never one that is over."""

import stat

from broker.practice.server import practice_in_thread
from broker.practice.settings import PracticeSettings
from tests.e2e.home import Home, until

# Seconds that a token lives: a little more than the least that Keyfob renews by itself before its end.
TTL = 8
RENEWALS = 3


def test_it_is_read_over_and_over(home: Home) -> None:
    """Over three renewals, and a restart in between, every token that is read is good at that moment."""
    read: dict[str, None] = {}
    with practice_in_thread(PracticeSettings(auto_approve=True, ttl=TTL)) as practice:
        daemon = home.serve()
        home.log_in(practice.url)
        added = home.run("app", "add", "prometheus", "--account", "me", "--token-file")
        file = home.runtime / "tokens/prometheus/me"
        assert f"is kept in {file}\n" in added.err
        until("the file is there", file.exists)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

        def renewed(times: int) -> bool:
            token = file.read_text()
            assert practice.worth(token) is not None, f"token {len(read)} was not good any more"
            read[token] = None
            return len(read) > times

        until("it is renewed", lambda: renewed(1))
        daemon.stop()
        assert renewed(1)
        daemon = home.serve()
        until("it is renewed more often", lambda: renewed(RENEWALS), seconds=3 * TTL)

        shown = home.run("app", "show", "prometheus")
        assert str(file) in shown.out
        assert home.run("app", "revoke", "prometheus", "--account", "me").code == 0
        until("it is gone", lambda: not file.exists())
        assert not any(token in home.said for token in read)
