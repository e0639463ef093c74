"""Targets: what the programs ask that call Keyfob.

Used by ``targets``.
"""

import json
from io import BytesIO

from broker.client import ClientError, Token
from broker.integrations import bazel, cargo, docker, git, kube, text
from broker.integrations.places import Place, is_loopback
from broker.integrations.whose import Found
from tests.fuzz.target import CANARY, Target, repeated, text_of

TOKEN = Token({"access_token": "tok-1", "expires_in": 5, "expires_at": "2030-01-01T00:00:00Z"})
OURS = "https://git.example.org/api"


def _sound(place: Place) -> None:
    """Assert that a place is ours only where its host is exactly that."""
    assert place.is_of([OURS]) == (place.host == "git.example.org")
    assert place.depth_below(OURS) in (-1, 0, 3)
    is_loopback(place.host)


def _git(data: bytes) -> None:
    asked = git.Asked(text.read(BytesIO(data)))
    if asked.place is not None:
        assert asked.place.protocol in ("http", "https")
        _sound(asked.place)
    told = git.lines(asked, Found("work"), TOKEN)
    assert sum(line.startswith(("password=", "credential=")) for line in told) == 1
    assert not any(character in line for line in told for character in "\r\n\0")


def _docker(data: bytes) -> None:
    server, place = docker.registry(text.read(BytesIO(data)))
    _sound(place)
    assert json.loads(docker.credential(server, "oauth2", TOKEN))["ServerURL"] == server


def _cargo(data: bytes) -> None:
    request = cargo.parse(text_of(data))
    _sound(cargo.index(request))
    assert json.loads(cargo.answer(TOKEN, str(request.get("kind"))))["Ok"]["token"].endswith("tok-1")


def _bazel(data: bytes) -> None:
    _sound(bazel.asked(text.read(BytesIO(data))))


def _kube(data: bytes) -> None:
    assert kube.version(text_of(data)) in kube.VERSIONS


ASKED = b"protocol=https\nhost=git.example.org\n"
SECRET = CANARY.encode()

CALLED = (
    Target(
        "git",
        "git's credential lines",
        _git,
        (ClientError,),
        (
            ASKED + b"path=org/repo.git\nusername=ada\npassword=" + SECRET + b"\n\n",
            ASKED + b"capability[]=authtype\nwwwauth[]=Basic realm=x\nwwwauth[]=Bearer\ncredential=" + SECRET + b"\n",
            b"password=" + SECRET + b"\r\nhost=a\0\n",
            b"protocol=smtp\nhost=mail\n",
        ),
        (
            repeated(ASKED, b"wwwauth[]=a\n"),
            repeated(ASKED, b"a=b\n"),
            repeated(b"host=", b"a."),
            repeated(ASKED + b"path=", b"a/"),
        ),
        (b"protocol=", b"host=", b"capability[]=authtype", b"wwwauth[]=", b"\r", b"[]="),
    ),
    Target(
        "docker",
        "the address of a registry, as Docker asks it",
        _docker,
        (ClientError,),
        (b"git.example.org\n", b"https://index.docker.io/v1/", b"https://a@git.example.org:443/#?", b"a\nb"),
        (repeated(b"https://", b"@"), repeated(b"", b"/")),
        (b"https://", b"git.example.org", b"@", b":443"),
    ),
    Target(
        "cargo",
        "Cargo's requests",
        _cargo,
        (ClientError,),
        (
            b'{"v":1,"kind":"get","registry":{"index-url":"sparse+https://git.example.org/index/"}}',
            b'{"registry":{"index-url":7}}',
            b'{"registry":"x"}',
        ),
        (repeated(b"", b"["), repeated(b'{"registry":{"index-url":"', b"sparse+", b'"}}')),
        (b'"kind":"get"', b'"registry":', b'"index-url":'),
    ),
    Target(
        "bazel",
        "Bazel's requests",
        _bazel,
        (ClientError,),
        (b'{"uri":"https://git.example.org/cache"}', b'{"uri":7}', b'{"uri":"https://[::1"}'),
        (repeated(b"", b"["), repeated(b'{"uri":"', b"/", b'"}')),
        (b'{"uri":"', b"https://git.example.org"),
    ),
    Target(
        "kube",
        "KUBERNETES_EXEC_INFO",
        _kube,
        (ClientError,),
        (b"", b'{"apiVersion":"client.authentication.k8s.io/v1"}', b'{"apiVersion":[]}'),
        (repeated(b"", b"["), repeated(b'{"apiVersion":"', b"a", b'"}')),
        (b'{"apiVersion":', b"client.authentication.k8s.io/v1beta1"),
    ),
)
