"""The words and sockets that pass between systemd and the daemon."""

import errno
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.errors import CannotStart
from broker.sdnotify import Notifier, listen_fds, watchdog_interval

PID = 4711


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A service manager's end of the line, and the address that it gives to its services."""
    if request.param == "path":
        address = bound = str(tmp_path / "notify")
    else:
        name = f"keyfob-test-{secrets.token_hex(8)}"
        address, bound = f"@{name}", f"\0{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(bound)
        line.settimeout(5)
        yield address, line


@pytest.mark.parametrize(
    ("say", "heard"),
    [
        (lambda to: to.ready("handing out tokens"), "READY=1\nSTATUS=handing out tokens"),
        (lambda to: to.status("locked"), "STATUS=locked"),
        (lambda to: to.watchdog(), "WATCHDOG=1"),
        (lambda to: to.stopping(), "STOPPING=1\nSTATUS=Stopping"),
        (lambda to: to.extend_timeout(2.5), "EXTEND_TIMEOUT_USEC=2500000"),
        (lambda to: to.reloading(12.000001), "RELOADING=1\nMONOTONIC_USEC=12000001"),
    ],
)
def test_every_word_arrives(manager: tuple[str, socket.socket], say: Callable[[Notifier], bool], heard: str) -> None:
    """Each message reaches the manager in sd_notify(3)'s spelling, over a path and over an abstract socket."""
    address, line = manager
    assert say(Notifier({"NOTIFY_SOCKET": address})) is True
    assert line.recv(4096).decode() == heard


def test_a_status_is_one_line(manager: tuple[str, socket.socket]) -> None:
    """A status with line breaks cannot smuggle in another command to the manager."""
    address, line = manager
    Notifier({"NOTIFY_SOCKET": address}).status("locked\nMAINPID=1\r\nREADY=1")
    assert line.recv(4096).decode() == "STATUS=locked MAINPID=1 READY=1"


def test_no_child_can_speak_for_the_daemon() -> None:
    """The address is gone from the environment once it was read."""
    environ = {"NOTIFY_SOCKET": "/run/systemd/notify", "HOME": "/root"}
    Notifier(environ)
    assert environ == {"HOME": "/root"}


def test_outside_systemd_nothing_is_said() -> None:
    """Without an address every call is a quiet no."""
    assert Notifier({}).ready("x") is False


def test_a_deaf_manager_does_not_stop_the_daemon(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line that leads nowhere is logged, and work goes on."""
    assert Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).watchdog() is False
    assert "cannot be told WATCHDOG=1" in caplog.text


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(environ: dict[str, str], interval: float | None) -> None:
    """Half of WatchdogSec= for the process that is meant, and nothing for anybody else or for nonsense."""
    assert watchdog_interval(environ, PID) == interval


@pytest.fixture
def made(tmp_path: Path) -> Iterator[dict[str, socket.socket]]:
    """Sockets as a socket unit could open them, right ones and wrong ones."""
    kinds = {
        "unix": socket.socket(socket.AF_UNIX),
        "abstract": socket.socket(socket.AF_UNIX),
        "loopback": socket.socket(),
        "everywhere": socket.socket(),
        "deaf": socket.socket(),
        "datagram": socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    }
    kinds["unix"].bind(str(tmp_path / "s"))
    kinds["abstract"].bind(f"\0keyfob-test-{secrets.token_hex(8)}")
    for name in ("loopback", "deaf", "datagram"):
        kinds[name].bind(("127.0.0.1", 0))
    # Any address but loopback would do; this one needs no network. It is never listened on.
    kinds["everywhere"].bind(("0.0.0.0", 0))  # noqa: S104 -- the mistake that is to be refused
    for name in ("unix", "abstract", "loopback"):
        kinds[name].listen()
    yield kinds
    for one in kinds.values():
        one.close()


def hand_over(*sockets: socket.socket) -> int:
    """Copy sockets to consecutive inheritable descriptors, as systemd does, and return the first."""
    first = 600  # far above what pytest has open, and below the usual limit of 1024
    for number, one in enumerate(sockets, start=first):
        os.dup2(one.fileno(), number)
    return first


def environ_of(names: str, count: int, pid: int = PID) -> dict[str, str]:
    """The variables of sd_listen_fds(3)."""
    return {"LISTEN_PID": str(pid), "LISTEN_FDS": str(count), "LISTEN_FDNAMES": names, "HOME": "/root"}


def test_sockets_come_by_name(made: dict[str, socket.socket]) -> None:
    """Each named descriptor becomes a socket that no child inherits, TCP ones without delay; the variables are gone."""
    environ = environ_of("app:app-port", 2)
    taken = listen_fds(environ, PID, first=hand_over(made["unix"], made["loopback"]))
    try:
        assert {name: one.getsockname() for name, one in taken.items()} == {
            "app": made["unix"].getsockname(),
            "app-port": made["loopback"].getsockname(),
        }
        assert [one.get_inheritable() for one in taken.values()] == [False, False]
        assert taken["app-port"].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert environ == {"HOME": "/root"}
    finally:
        for one in taken.values():
            one.close()


def test_sockets_of_another_process_are_left_alone() -> None:
    """Variables that a parent left lying about are removed and not believed."""
    environ = environ_of("app", 1, pid=1)
    assert listen_fds(environ, PID) == {}
    assert environ == {"HOME": "/root"}


def test_without_activation_there_is_nothing() -> None:
    """An ordinary start has no sockets from systemd."""
    assert listen_fds({}, PID) == {}


@pytest.mark.parametrize(
    ("name", "kind", "complaint"),
    [
        ("app", "loopback", "wrong family"),
        ("app", "abstract", "no path"),
        ("browser", "unix", "wrong family"),
        ("app-port", "everywhere", "not a listening"),
        ("app-port", "deaf", "not a listening"),
        ("app-port", "datagram", "not a listening"),
        ("unknown", "unix", "is not known"),
    ],
)
def test_a_socket_that_is_not_what_its_name_says_is_refused(
    made: dict[str, socket.socket], name: str, kind: str, complaint: str
) -> None:
    """A door is never opened on a wrong socket, and the refused descriptor is closed."""
    first = hand_over(made[kind])
    with pytest.raises(CannotStart, match=complaint):
        listen_fds(environ_of(name, 1), PID, first=first)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(first)


def test_a_port_that_listens_beyond_loopback_is_refused(made: dict[str, socket.socket]) -> None:
    """A socket unit with ListenStream=8401 (every address) does not expose the API to the network."""
    open_to_all = made["everywhere"]
    open_to_all.listen()
    with pytest.raises(CannotStart, match=r"listens on 0\.0\.0\.0, not on 127\.0\.0\.1"):
        listen_fds(environ_of("app-port", 1), PID, first=hand_over(open_to_all))


def test_after_a_refusal_no_socket_stays_open(made: dict[str, socket.socket]) -> None:
    """When the second of two sockets is wrong, the first is closed too."""
    first = hand_over(made["unix"], made["deaf"])
    with pytest.raises(CannotStart):
        listen_fds(environ_of("app:browser", 2), PID, first=first)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(first)


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        (environ_of("app:app", 2), "one name"),
        (environ_of("app", 2), "names 1"),
        (environ_of("", 1), "names 0"),
        ({"LISTEN_PID": str(PID), "LISTEN_FDS": "many"}, "no number"),
    ],
)
def test_a_garbled_handover_is_refused(environ: dict[str, str], complaint: str) -> None:
    """Counts and names that do not fit together stop the start, with the units to use as the next step."""
    with pytest.raises(CannotStart, match=complaint) as refused:
        listen_fds(environ, PID)
    assert "service install" in refused.value.hint


def test_what_is_no_socket_is_refused(tmp_path: Path) -> None:
    """A descriptor that is a file does not become a door."""
    with (tmp_path / "file").open("w") as file, pytest.raises(CannotStart, match="is not a socket"):
        listen_fds(environ_of("app", 1), PID, first=file.fileno())


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is not here")
def test_systemd_itself_hands_over(tmp_path: Path) -> None:
    """What systemd's own tool passes on is understood: one Unix socket named app, for this very process."""
    path, answer = tmp_path / "s", tmp_path / "answer"
    told = (
        "import os, json, sys; from broker.sdnotify import listen_fds\n"
        "taken = listen_fds(os.environ, os.getpid())\n"
        "found = {name: one.getsockname() for name, one in taken.items()}\n"
        "open(sys.argv[1], 'w').write(json.dumps([found, [n for n in os.environ if n.startswith('LISTEN')]]))\n"
    )
    command = ["systemd-socket-activate", "--listen", str(path), "--fdname", "app", sys.executable, "-c", told]
    with subprocess.Popen([*command, str(answer)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "Listening" in process.stderr.readline()
        with socket.socket(socket.AF_UNIX) as caller:  # the tool starts its program for the first caller
            caller.connect(str(path))
            assert process.wait(timeout=20) == 0
    assert json.loads(answer.read_text()) == [{"app": str(path)}, []]
