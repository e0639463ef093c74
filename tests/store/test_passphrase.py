"""A passphrase makes a key: always the same one, at a price, and never one that nobody should choose."""

from dataclasses import replace
from typing import Any

import pytest

from broker.core.secret import Secret
from broker.errors import InvalidRequest, Locked
from broker.store.passphrase import LONGEST_DELAY, Derivation, check_new, delay

# Cheap, so that the tests are.
FAST = Derivation(bytes(16), memory=64, passes=1, lanes=1)


def test_a_new_database_pays_what_rfc_9106_wants() -> None:
    """The second recommended option of RFC 9106 4: 64 MiB, three passes, four lanes, 16 bytes of salt by chance."""
    first, second = Derivation.fresh(), Derivation.fresh()

    assert (first.memory, first.passes, first.lanes, len(first.salt)) == (65536, 3, 4, 16)
    assert first.salt != second.salt
    assert len(first.key(Secret("a passphrase"))) == 32


def test_everything_counts_for_the_key() -> None:
    """Another passphrase, salt or price makes another key; what was written down makes the same one again."""
    said = Secret("correct horse battery")
    others = [replace(FAST, salt=b"1" * 16), replace(FAST, memory=128), replace(FAST, passes=2), replace(FAST, lanes=2)]

    keys = {FAST.key(said), FAST.key(Secret("correct horse batterz")), *(other.key(said) for other in others)}

    assert len(keys) == 6
    assert Derivation.read(FAST.written()).key(said) == FAST.key(said)


@pytest.mark.parametrize("spelt", ["Gru\u0308\u00dfe an alle\n", "  Gr\u00fc\u00dfe an alle"])
def test_keyboards_and_files_may_differ(spelt: str) -> None:
    """An umlaut in one piece or two is the same, and blanks and newlines around it are those of a file."""
    assert FAST.key(Secret(spelt)) == FAST.key(Secret("Gr\u00fc\u00dfe an alle"))


@pytest.mark.parametrize(
    "changes",
    [
        {"memory": 2 * 1024 * 1024},
        {"passes": 1000},
        {"lanes": 0},
        {"lanes": 65},
        {"salt": "none"},
        {"memory": "much"},
        {"memory": 1},
        {"passes": 0},
        {"passes": -1},
        {"memory": 64.5},
        {"lanes": True},
        {"salt": ""},
    ],
)
def test_a_price_that_was_tampered_with_is_refused(changes: dict[str, Any]) -> None:
    """Nobody who can write the database may take the machine's memory with it, or break the derivation."""
    with pytest.raises(Locked, match="changed outside Keyfob"):
        Derivation.read(FAST.written() | changes).key(Secret("correct horse battery"))


@pytest.mark.parametrize(
    ("text", "why"), [("", "12 characters at least"), ("eleven char", "12"), (" " * 30, "12"), ("x" * 1025, "1024")]
)
def test_a_bad_choice_is_refused(text: str, why: str) -> None:
    """A short passphrase is refused with the number that it takes, and so is a whole file."""
    with pytest.raises(InvalidRequest, match=why):
        check_new(Secret(text))
    check_new(Secret("twelve chars"))


def test_the_wait_grows_and_ends() -> None:
    """One second after the first wrong one, doubled by each, and never more than a quarter of an hour."""
    waits = [delay(failures, 100.0, 100.0) for failures in range(13)]

    assert waits[:5] == [0.0, 1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == delay(10_000, 100.0, 100.0) == LONGEST_DELAY
    assert delay(3, 100.0, 103.0) == 1.0
    assert delay(3, 100.0, 104.0) == 0.0


def test_a_clock_that_was_set_back_makes_nobody_wait_longer() -> None:
    """A failure in what the clock takes for the future counts as one of now."""
    assert delay(3, 10_000.0, 100.0) == 4.0
