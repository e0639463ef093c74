"""A secret cannot be printed, logged, pickled or copied into JSON by accident."""

import copy
import dataclasses
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from broker.core.secret import Secret
from broker.core.token import Grant, Token

MARK = "gho_" + "marker" * 10
SHOWN = "‹secret›"


def failing(secret: Secret) -> str:
    """Return the traceback of an error that names the secret."""
    try:
        raise ValueError(secret)  # noqa: TRY301 -- raised only to be shown
    except ValueError as exc:
        return "".join(traceback.format_exception(exc))


@pytest.mark.parametrize(
    "show",
    [
        str,
        repr,
        ascii,
        format,
        "{}".format,
        "{!r:>80}".format,
        lambda secret: f"{secret}",
        lambda secret: f"{secret!s:.3}",
        lambda secret: f"{secret:x^90}",
        lambda secret: "%s and %r" % (secret, secret),  # noqa: UP031 -- the old way has to be safe as well
        lambda secret: str([secret, {"token": secret}, (secret,)]),
        pprint.pformat,
        failing,
        lambda secret: secret.tail(),
    ],
)
def test_no_way_of_writing_shows_it(show: Callable[[Secret], str]) -> None:
    """``str``, ``repr``, ``format``, f-strings, containers and tracebacks never show the text."""
    shown = show(Secret(MARK))
    assert MARK not in shown
    assert "marker" not in shown


def test_what_is_shown_says_that_it_is_a_secret() -> None:
    """In place of the text stands a mark, so that a reader knows that something was left out."""
    assert f"{Secret(MARK)} {Secret(MARK)!r} {Secret(MARK):>40}" == f"{SHOWN} {SHOWN} {SHOWN}"


def test_a_dataclass_that_holds_one_can_be_printed() -> None:
    """The repr of a whole grant shows its facts and none of its tokens."""
    grant = Grant(Token("Bearer", ("read",), 0.0, None), Secret(MARK), Secret(MARK + "r"), Secret(MARK + "i"))
    assert MARK not in repr(grant)
    assert repr(grant).count(SHOWN) == 3
    assert "Bearer" in repr(grant)


def test_a_log_line_never_shows_it(caplog: pytest.LogCaptureFixture) -> None:
    """As an argument, as the message and in an exception's text, a secret stays one."""
    log = logging.getLogger("secrets")
    try:
        raise RuntimeError(Secret(MARK))  # noqa: TRY301 -- raised only to be logged
    except RuntimeError:
        log.exception("token %s of %r", Secret(MARK), {"x": Secret(MARK)})
    assert MARK not in caplog.text
    assert caplog.text.count(SHOWN) >= 3


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_cannot_be_pickled(protocol: int) -> None:
    """A secret does not leave the process by pickle, alone or inside of something."""
    for thing in (Secret(MARK), [Secret(MARK)]):
        with pytest.raises(TypeError):
            pickle.dumps(thing, protocol)


@pytest.mark.parametrize(
    "spill",
    [
        json.dumps,
        copy.copy,
        copy.deepcopy,
        vars,
        len,
        iter,
        lambda secret: dataclasses.asdict(Grant(Token("Bearer", (), 0.0, None), secret)),
        lambda secret: "token=" + secret,
        lambda secret: secret.encode(),
        lambda secret: secret[0],
    ],
)
def test_it_is_no_text(spill: Callable[[Any], Any]) -> None:
    """Whatever wants text, bytes, a length or a dictionary of it fails instead of spilling it."""
    with pytest.raises((TypeError, AttributeError)) as caught:
        spill(Secret(MARK))
    assert MARK not in str(caught.value)


def test_only_reveal_gives_the_text_back() -> None:
    """There is one way to the text, and it can be searched for."""
    assert Secret(MARK).reveal() == MARK


def test_secrets_are_compared_by_their_text_and_only_with_secrets() -> None:
    """Equal texts are equal secrets, non-ASCII ones too; a plain text is never equal to one."""
    assert Secret(MARK) == Secret(MARK)
    assert Secret(MARK) != Secret(MARK + "x")
    assert Secret("clé…") == Secret("clé…")
    assert Secret(MARK) != MARK
    assert hash(Secret(MARK)) == hash(Secret(MARK))
    assert hash(Secret(MARK)) != hash(MARK)
    assert {Secret("a"), Secret("a"), Secret("b")} == {Secret("b"), Secret("a")}


def test_an_empty_secret_is_false() -> None:
    """``if secret`` asks whether there is one, without looking at it."""
    assert not Secret("")
    assert Secret("0")


@pytest.mark.parametrize(
    ("text", "tail"), [("x" * 60 + "abcd", "…abcd"), ("x" * 28 + "abcd", "…abcd"), ("pin-1234", "…")]
)
def test_a_tail_is_shown_of_long_secrets_only(text: str, tail: str) -> None:
    """The last characters help people to tell tokens apart; of a short secret they would be a large part."""
    assert Secret(text).tail() == tail
