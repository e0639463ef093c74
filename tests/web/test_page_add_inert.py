"""The pages that add an account: what strangers write stays text, links are careful, and a QR code is what it says."""

import re
from html.parser import HTMLParser

import pytest
import segno

from broker.core.account import Account, Active, Destination, Identity
from broker.core.login import DevicePrompt, Flow, Login, LoginState
from broker.providers.model import Preset, Provider
from broker.providers.rules import Parameter
from broker.web import pages
from broker.web.parts.add import WAYS, AddPart, Place
from broker.web.parts.choose import Choice, ChoosePart
from broker.web.parts.progress import ProgressPart, Qr
from tests.web.test_pages import HOSTILE

OUR_TAGS = (
    "article bdi a button code dd details div dl dt fieldset form h1 h2 h3 input label legend li nav ol option p path "
    "circle pre rect section select span strong summary svg time ul"
)


class Seen(HTMLParser):
    """Every tag and attribute of a part."""

    def __init__(self, part: pages.Rendered) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.html = bytes(pages.render(part).body).decode()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag, with what stands in it."""
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def _forms(text: str, address: str) -> list[pages.Rendered]:
    provider = Provider("x", text, "x", scopes=(text,), register_url=address, static_token_url=address)
    about = Preset("x", text, {}, False, "", {}, (text,), (text,), (text,))  # noqa: FBT003 -- as the class has it
    place = Place("needed", "", {"x": Parameter(text, "y", ("y",)), "z": Parameter(text)}, text, {"x": text, "z": text})
    choice = Choice("x", text, text, trial=True)
    return [
        ChoosePart(text, (choice,), (choice,), 1),
        *(
            AddPart("x", provider, about, place, by_address, tuple(WAYS), way, needs, needs, text, text)
            for way in WAYS
            for by_address, needs in ((False, True), (True, False))
        ),
    ]


def _logins(text: str) -> list[pages.Rendered]:
    where = Destination("https://op.example", "https://op.example/token", "client")
    prompt = DevicePrompt(text, "https://op.example/device", None, 5.0)
    account = Account(
        "u",
        "work",
        "x",
        where,
        1,
        1,
        Identity("i", text, text),
        (text, "b"),
        None,
        Active(0.0),
        None,
        has_refresh_token=False,
        refresh_expires_at=None,
        created_at=0.0,
    )
    pending: list[pages.Rendered] = [
        ProgressPart(_login(text, flow, "pending", where, prompt), text, "http://127.0.0.1/login/x", None, Qr.of("x"))
        for flow in ("browser", "device", "paste")
    ]
    over = [_login(text, "browser", state, where, None) for state in ("done", "failed", "expired")]
    return [*pending, *(ProgressPart(one, text, "", found, None) for one in over for found in (account, None))]


def _login(text: str, flow: Flow, state: LoginState, where: Destination, device: DevicePrompt | None) -> Login:
    return Login(
        "x",
        text,
        None,
        "x",
        "",
        flow,
        where,
        text,
        (text,),
        None,
        "",
        "https://op.example/",
        state,
        text,
        0.0,
        1.0,
        device,
    )


@pytest.mark.parametrize("text", [one for name, one in HOSTILE.items() if name != "surrogate"])
def test_what_strangers_write_is_inert(text: str) -> None:
    """Titles, notes, scopes, reasons, codes and names of people stay text, whatever they hold; links lead to us."""
    for part in (*_forms(text, "javascript:alert(1)"), *_logins(text)):
        seen = Seen(part)
        assert seen.tags <= set(OUR_TAGS.split())
        assert not [name for name, _ in seen.attributes if name.startswith("on") or name in {"style", "src", "srcdoc"}]
        for name, value in seen.attributes:
            assert name != "href" or re.match(
                r"/ui/|#by|#other|https://op\.example/|http://127\.0\.0\.1/login/x", value
            )
        assert "49" not in re.sub("<svg.*?</svg>", "", seen.html, flags=re.DOTALL)


def test_a_link_for_a_client_leaves_nothing_of_this_page_behind() -> None:
    """It opens elsewhere, without access to this page and without its address."""
    for part in _forms("x", "https://op.example/clients")[1:]:
        for link in re.findall(r'<a href="https://op.example[^>]*>', Seen(part).html):
            assert 'target="_blank" rel="noopener noreferrer"' in link


@pytest.mark.parametrize("address", ["https://op.example/device", "https://op.example/device?user_code=WDJB-MJHT"])
def test_a_qr_code_is_drawn_to_the_module(address: str) -> None:
    """The path has every dark module of the code, and no other; an address beyond any code has none."""
    drawn = Qr.of(address)
    assert drawn is not None
    dark = set()
    for x, y, length, back in re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", drawn.path):
        assert length == back
        dark |= {(int(x) + step, int(y)) for step in range(int(length))}

    rows = list(segno.make_qr(address, error="l").matrix_iter(border=4))

    assert drawn.size == len(rows)
    assert dark == {(x, y) for y, row in enumerate(rows) for x, module in enumerate(row) if module}
    assert Qr.of("x" * 5000) is None
