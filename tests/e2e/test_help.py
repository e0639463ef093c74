"""The names that scripts rely on: every verb and flag of this version explains itself."""

import re

import pytest

from broker.cli.main import VERBS
from tests.e2e.home import Home

# Verb -> the flags and words that are promised to scripts. New ones may come; none of these may go.
PROMISED = {
    "serve": "--config --state-dir --runtime-dir --browser-port --app-port --database-url --key-source --key-file "
    "--key-command --lock-after-idle --lock-on-sleep --ca-file --http-proxy "
    "--notify-command --notify-desktop --audit-entries --app-rate --app-burst "
    "--proxy-streams --proxy-body-limit --proxy-idle --proxy-wait --log --log-format",
    "demo": "",
    "practice": "--port --ttl --rotation none keep rotate single-use --grace --fault",
    "login": "--provider --base-url --scope --flow browser paste device client-credentials token refresh-token "
    "--client-id --client-secret-file --token-file --refresh-token-file --no-browser --timeout --json",
    "token": "--min-ttl --scope --resource --id-token --header --json-header --json",
    "exec": "--env --fd",
    "accounts": "--json",
    "show": "--json",
    "refresh": "--confirm",
    "rename": "--json",
    "proxy-url": "--api-base --json",
    "logout": "--local-only",
    "service": "install uninstall",
    "healthcheck": "",
    "lock": "",
    "key": "rotate",
    "key rotate": "--to --passphrase-file --json",
    "unlock": "--passphrase-file",
    "app": "add list show remove rotate grant revoke",
    "app add": "--account --scope --resource --proxy-only --rule --read-only --token-file --rate-share --expires "
    "--capability --json",
    "app rotate": "--capability --json",
    "approvals": "--json",
    "approve": "--once --always --for --scope --proxy-only --name --account --json",
    "deny": "--always --json",
    "pair": "--account --scope --key-file --timeout",
    "ui": "--no-browser",
    "provider": "list show add remove presets",
    "audit": "--account --app --since --limit --verify --json",
    "status": "--json",
    "doctor": "--json",
    "backup": "--force",
    "restore": "--without-key",
    "completion": "bash zsh fish",
    "kube-credential": "--min-ttl --scope --resource --audience --id-token",
    "sasl": "--user --mechanism xoauth2 oauthbearer --host --port",
    "docker-credential": "--account --host --username get store erase list",
    "cargo-credential": "--account --host --scheme --cargo-plugin",
    "bazel-credential": "--account --host get",
    "setup": "git kubectl rclone msmtp neomutt mbsync gcloud azure oidc-agent prometheus claude",
    "setup msmtp": "--host --port --tls --user --mechanism --file --print --undo --yes",
    "setup rclone": "--url",
    "setup kubectl": "--id-token",
    "setup gcloud": "--metadata",
    "setup azure": "--imds",
    "setup claude": "--url --name",
    "git-credential": "--account --host get store erase capability",
}


def test_every_verb_is_promised() -> None:
    """The list above is whole."""
    assert {words.partition(" ")[0] for words in PROMISED} == set(VERBS)


def test_help_lists_every_verb(home: Home) -> None:
    """`keyfob --help` needs no daemon, no home and no configuration, and shows every verb."""
    done = home.run("--help")

    assert (done.code, done.err) == (0, "")
    assert {verb for verb in VERBS if not re.search(rf"^  {verb}\b", done.out, re.MULTILINE)} == set()
    assert list(home.place.iterdir()) == []


def test_help_puts_no_token_into_arguments(home: Home) -> None:
    """The example of --help hands the token on through a pipe: every user of the machine can read arguments."""
    said = home.run("--help").out

    assert "keyfob token work --header | curl -H @- https://" in said
    assert "$(keyfob token" not in said


def test_defaults_are_shown_as_one_would_write_them(home: Home) -> None:
    """A default of 600 seconds is shown as 600."""
    assert "lifetime of access tokens (default: 600)" in " ".join(home.run("practice", "--help").out.split())


@pytest.mark.parametrize("words", PROMISED)
def test_help_of_a_verb(home: Home, words: str) -> None:
    """Every verb's --help ends well and names every flag that scripts rely on."""
    done = home.run(*words.split(), "--help")

    assert (done.code, done.err) == (0, ""), done
    assert done.out.startswith(f"usage: keyfob {words}")
    missing = [word for word in PROMISED[words].split() if not re.search(rf"(?<![\w-]){word}(?![\w-])", done.out)]
    assert missing == []
