"""The real skopeo and Cargo ask registries, rclone a WebDAV folder, and curl an API, each in its own way."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.conftest import Program
from tests.clients.gate import Gate, gate
from tests.clients.room import Room
from tests.e2e.home import Done

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE = {
    "schemaVersion": 2,
    "mediaType": MANIFEST,
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{'0' * 64}", "size": 2},
    "layers": [],
}
FOLDER = b"""<?xml version="1.0"?>
<d:multistatus xmlns:d="DAV:"><d:response><d:href>/hello.txt</d:href>
<d:propstat><d:prop><d:getcontentlength>5</d:getcontentlength><d:resourcetype/></d:prop>
<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response></d:multistatus>"""
# The first with credential providers. Debian 12 has an older one, so this walk is left out where there is no newer.
FIRST_CARGO = (1, 74)


def pages(method: str, path: str, url: str) -> tuple[str, bytes] | None:
    """An image, a crate registry without crates, an API, and a folder with a file."""
    if path.startswith("/v2/"):
        return MANIFEST, b"{}" if path == "/v2/" else json.dumps(IMAGE).encode()
    if path == "/index/config.json":
        return "application/json", json.dumps({"dl": url, "api": url, "auth-required": True}).encode()
    if path.startswith("/api/v1/crates"):
        return "application/json", json.dumps({"crates": [], "meta": {"total": 0}}).encode()
    if path == "/v1/me":
        return "text/plain", b"ada"
    return ("application/xml", FOLDER) if method == "PROPFIND" else None


@pytest.fixture
def server(room: Room) -> Iterator[Gate]:
    """Run the server and a daemon with a login at it."""
    with gate(pages, lambda token: room.practice.worth(token) is not None, challenge='Basic realm="gate"') as served:
        room.serve(served.url)
        yield served


def twice(room: Room, server: Gate, *command: str, **environ: str) -> tuple[Done, Done]:
    """Run a command, outlive its token, and run it again; none of its tokens was refused."""
    first = room.run(*command, **environ)
    assert first.code == 0, first
    room.outlive(server.welcomed[-1])
    second = room.run(*command, **environ)
    assert second.code == 0, second
    assert len(set(server.welcomed)) == 2
    assert server.refused == []
    return first, second


def script(room: Room, name: str, verb: str) -> str:
    """Make the script that a program looks for; return a PATH with it."""
    place = room.home.place / "bin"
    place.mkdir(exist_ok=True)
    file = place / name
    file.write_text(f'#!/bin/sh\nexec {room.keyfob} {verb} "$@"\n')
    file.chmod(0o700)
    return f"{place}:{room.home.environ['PATH']}"


def test_skopeo(room: Room, server: Gate, program: Program) -> None:
    """skopeo, which reads Docker's settings, inspects an image around an expiry; then a login is needed."""
    skopeo = program("skopeo", "skopeo")
    host = server.url.removeprefix("http://")
    config = room.home.place / ".docker/config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"credHelpers": {host: "keyfob"}}))
    path = script(room, "docker-credential-keyfob", "docker-credential")
    command = (skopeo, "inspect", "--raw", "--tls-verify=false", f"docker://{host}/tool:latest")

    first, _ = twice(room, server, *command, PATH=path)
    assert json.loads(first.out) == IMAGE
    assert server.users == {"oauth2"}

    room.end_login()
    refused = room.run(*command, PATH=path)
    assert refused.code != 0
    assert "keyfob login me" in refused.err, refused


def test_cargo(room: Room, server: Gate) -> None:
    """Cargo searches a registry that wants a token, around an expiry; then a login is needed."""
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("there is no Cargo here")
    path = script(room, "cargo-credential-keyfob", "cargo-credential")
    # Where Cargo is rustup's, it finds its toolchain beside itself.
    environ = {"PATH": path, "RUSTUP_HOME": str(Path(cargo).parents[2] / ".rustup")}
    version = re.search(r"(\d+)\.(\d+)", room.run(cargo, "--version", **environ).out)
    if version is None or (int(version[1]), int(version[2])) < FIRST_CARGO:
        pytest.skip("this Cargo has no credential providers")
    config = room.home.place / ".cargo/config.toml"
    config.parent.mkdir()
    registry = f'index = "sparse+{server.url}/index/"\ncredential-provider = "cargo-credential-keyfob"\n'
    config.write_text(f"[registries.forge]\n{registry}")
    command = (cargo, "search", "--registry", "forge", "x")

    twice(room, server, *command, **environ)
    assert server.users == {"Bearer"}

    room.end_login()
    refused = room.run(*command, **environ)
    assert refused.code != 0
    assert "keyfob login me" in refused.err, refused


def test_rclone(room: Room, server: Gate, program: Program) -> None:
    """Rclone lists a WebDAV folder around an expiry; then a login is needed."""
    rclone = program("rclone", "rclone")
    remote = f":webdav,url='{server.url}',bearer_token_command='{room.keyfob} token me':"

    first, _ = twice(room, server, rclone, "lsf", remote)
    assert first.out == "hello.txt\n"

    room.end_login()
    refused = room.run(rclone, "--retries=1", "lsf", remote)
    assert refused.code != 0
    assert "keyfob login me" in refused.err, refused


def test_curl(room: Room, server: Gate, program: Program) -> None:
    """Curl reads the header from a pipe, around an expiry; then a login is needed, and nothing is sent."""
    curl = program("curl", "curl")
    command = f"set -o pipefail; {room.keyfob} token me --header | {curl} --fail --silent -H @- {server.url}/v1/me"

    first, _ = twice(room, server, "bash", "-c", command)
    assert (first.out, server.users) == ("ada", {"Bearer"})

    room.end_login()
    sent = len(server.welcomed)
    refused = room.run("bash", "-c", command)
    assert refused.code != 0
    assert "keyfob login me" in refused.err, refused
    assert len(server.welcomed) == sent
