"""The real kubectl gets its tokens from the exec credential plugin, or from a token file."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.clients.conftest import Program
from tests.clients.gate import Gate, gate
from tests.clients.room import Room
from tests.clients.tls import certified
from tests.e2e.home import PATIENCE, Done, until

# kubectl knows version v1 of the exec credential from here on.
FIRST_WITH_V1 = 22
ANSWER = {"kind": "NamespaceList", "apiVersion": "v1", "metadata": {}, "items": []}


def pages(_method: str, _path: str, _url: str) -> tuple[str, bytes]:
    """Whatever is asked, the answer is the same: it is about who may ask."""
    return "application/json", json.dumps(ANSWER).encode()


class Kubectl:
    """kubectl, set up with Keyfob, and the cluster that it talks to."""

    def __init__(self, room: Room, served: Gate, certificate: Path, program: str) -> None:
        self.room, self.cluster, self.program, self.certificate = room, served, program, certificate
        told = json.loads(room.run(program, "version", "--client", "--output=json").out)
        minor = int(re.sub(r"\D.*", "", told["clientVersion"]["minor"]))
        version = "v1" if minor >= FIRST_WITH_V1 else "v1beta1"
        self.config(certificate, {"apiVersion": f"client.authentication.k8s.io/{version}"}, "me")

    def config(self, certificate: Path, version: dict[str, str], *arguments: str) -> None:
        """Write the kubeconfig."""
        plugin = {"command": str(self.room.keyfob), "args": ["kube-credential", *arguments], "interactiveMode": "Never"}
        self.write(certificate, {"exec": {**version, **plugin}})

    def write(self, certificate: Path, user: dict[str, Any]) -> None:
        """Write the kubeconfig with such a user."""
        place = {"server": self.cluster.url, "certificate-authority": str(certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": place}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (self.room.home.place / "kubeconfig").write_text(json.dumps(config))

    def get(self) -> Done:
        """Ask the cluster for something."""
        return self.room.run(self.program, "--kubeconfig=kubeconfig", "get", "--raw", "/api/v1/namespaces")


@pytest.fixture
def kubectl(room: Room, program: Program) -> Iterator[Kubectl]:
    """Run the cluster and a daemon with a login."""
    found = program("kubectl", "kubernetes-client")
    certificate, context = certified(program("openssl", "openssl"), room.home.place)
    with gate(pages, lambda token: room.practice.worth(token) is not None, context=context) as served:
        room.serve()
        yield Kubectl(room, served, certificate, found)


def test_two_commands_around_an_expiry(kubectl: Kubectl) -> None:
    """Each command has a token that is good."""
    first = kubectl.get()
    assert (first.code, json.loads(first.out)) == (0, ANSWER), first
    kubectl.room.outlive(kubectl.cluster.welcomed[0])

    assert kubectl.get().code == 0

    assert len(set(kubectl.cluster.welcomed)) == 2
    assert kubectl.cluster.refused == []


def test_one_process_through_an_expiry(kubectl: Kubectl) -> None:
    """A kubectl that goes on (``kubectl proxy``) asks again once its token's time is over."""
    command = [kubectl.program, "--kubeconfig=kubeconfig", "proxy", "--port=0"]
    place = kubectl.room.home
    with subprocess.Popen(command, env=place.environ, cwd=place.place, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            address = re.search(r"127\.0\.0\.1:\d+", running.stdout.readline())
            assert address
            with httpx2.Client(base_url=f"http://{address[0]}", trust_env=False, timeout=PATIENCE) as door:
                assert door.get("/api/v1/namespaces").json() == ANSWER
                assert door.get("/api/v1/namespaces").json() == ANSWER
                kubectl.room.outlive(kubectl.cluster.welcomed[0])
                assert door.get("/api/v1/namespaces").json() == ANSWER
        finally:
            running.terminate()

    *before, after = kubectl.cluster.welcomed  # the proxy itself looks at the cluster, too
    assert (len(set(before)), len(before) >= 2, after in before) == (1, True, False)
    assert kubectl.cluster.refused == []


def test_a_token_file_around_an_expiry(kubectl: Kubectl) -> None:
    """``tokenFile`` is enough: no command is run, and each kubectl reads a token that is good."""
    added = kubectl.room.home.run("app", "add", "kubectl", "--account", "me", "--token-file", "--json").json()
    file = Path(added["grants"][0]["token_file_path"])
    kubectl.write(kubectl.certificate, {"tokenFile": str(file)})
    until("the file is there", file.exists)
    assert kubectl.get().code == 0
    kubectl.room.outlive(kubectl.cluster.welcomed[0])
    until("the next one is there", lambda: file.exists() and file.read_text() != kubectl.cluster.welcomed[0])

    assert kubectl.get().code == 0

    assert len(set(kubectl.cluster.welcomed)) == 2
    assert kubectl.cluster.refused == []


def test_a_login_that_is_needed(kubectl: Kubectl) -> None:
    """The sentence stands in kubectl's own output, and kubectl asks the cluster nothing."""
    kubectl.room.end_login()

    done = kubectl.get()

    assert done.code != 0
    assert re.search(r"^keyfob: .*keyfob login me", done.err, re.MULTILINE), done
    assert "exit code 3" in done.err
    assert kubectl.cluster.welcomed + kubectl.cluster.refused == []
