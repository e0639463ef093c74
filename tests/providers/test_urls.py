"""Which addresses may be talked to (security.md R17, R21, R24)."""

import ipaddress

import pytest

from broker.errors import InvalidRequest
from broker.providers import urls


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://Pod.Example/", "https://pod.example"),
        ("https://pod.example:443/a/b/", "https://pod.example/a/b"),
        ("https://pod.example:8443", "https://pod.example:8443"),
        ("HTTPS://pod.example/A", "https://pod.example/A"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
        ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
    ],
)
def test_a_base_url_has_one_form(written: str, kept: str) -> None:
    """The same place written in two ways is one place."""
    assert urls.check_url(written, what="base URL", private=False) == kept


BAD = [
    "pod.example",
    "//pod.example",
    "ftp://pod.example",
    "http://pod.example",
    "http://10.0.0.1",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example",
    "http://2130706433",
    "https://",
    "https:///x",
    "https://user@pod.example",
    "https://user:pw@pod.example",
    "https://pod.example/#a",
    "https://pod.example/?a=b",
    "https://pod.example?",
    "https://pod.example:0",
    "https://pod.example:port",
    "https://pod.example:99999",
    "https://pod .example",
    "https://pod.example/\n",
    "https://pod.example\\@evil.example",
    "https://pöd.example",
    "https://-pod.example",
    "https://[::1",
    "https://[fe80::1%eth0]",
    "https://[zz]",
    "https://pod.example/" + "a" * 2048,
    "",
]


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_address_for_secrets_is_refused_with_the_next_step(url: str) -> None:
    """Every refusal says what to write instead."""
    with pytest.raises(InvalidRequest) as caught:
        urls.check_url(url, what="base URL", private=True)
    assert caught.value.hint


def test_a_private_address_needs_a_persons_word() -> None:
    """A literal behind the firewall is refused at once, and allowed with --private."""
    with pytest.raises(InvalidRequest, match="special-purpose") as caught:
        urls.check_url("https://192.168.1.5", what="base URL", private=False)
    assert "--private" in caught.value.hint
    assert urls.check_url("https://192.168.1.5/", what="base URL", private=True) == "https://192.168.1.5"


def test_an_issuer_stays_as_it_is() -> None:
    """Issuers are compared byte by byte: neither slash nor case is touched (RFC 8414 2)."""
    assert urls.check_issuer("https://As.Example/") == "https://As.Example/"
    with pytest.raises(InvalidRequest):
        urls.check_issuer("https://as.example?a")


def test_an_endpoint_may_have_a_query_and_keeps_its_slash() -> None:
    """Endpoints are used as they were given (RFC 6749 3.1)."""
    url = "https://as.example/token/?tenant=1"
    assert urls.check_endpoint(url, what="token endpoint", private=False) == url


def test_an_endpoint_at_a_special_address_needs_private() -> None:
    """Metadata of a stranger must not send secrets into the machine's own network."""
    url = "https://169.254.169.254/latest"
    with pytest.raises(InvalidRequest, match=r"special-purpose address 169\.254\.169\.254"):
        urls.check_endpoint(url, what="token endpoint", private=False)
    assert urls.check_endpoint(url, what="token endpoint", private=True) == url


@pytest.mark.parametrize("resource", ["https://api.example/mcp?x=1", "urn:example:api", "https://api.example"])
def test_a_resource_is_an_absolute_uri(resource: str) -> None:
    """RFC 8707 2 wants an absolute URI, and it is sent on as it was given."""
    assert urls.check_resource(resource) == resource


@pytest.mark.parametrize(
    "resource",
    ["", "api.example", "/path", "https://api.example/#x", "javascript:x", "https://[x", "https:", "a b:c", "é:x"],
)
def test_what_is_no_resource_is_refused(resource: str) -> None:
    """Anything else is refused before it is kept or sent."""
    with pytest.raises(InvalidRequest, match="resource"):
        urls.check_resource(resource)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "2606:4700:4700::1111",
        "2a00:1450:4001:80b::200e",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
        "2002:808:808::",
    ],
)
def test_public_addresses_are_public(address: str) -> None:
    """Also where a translator's address carries a public one."""
    assert not urls.is_special(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 -- an address to be judged
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "224.0.1.1",
        "239.255.255.255",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_special_purpose_addresses_are_special(address: str) -> None:
    """Every kind of RFC 6890 and its successors, also hidden inside another address."""
    assert urls.is_special(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("x.localhost", False), ("", False)],
)
def test_only_names_for_this_machine_are_loopback(host: str, here: bool) -> None:  # noqa: FBT001 -- a table's column
    """A literal or ``localhost`` itself; a name that merely resolves here is none."""
    assert urls.is_loopback(host) is here


def test_a_host_is_shown_with_its_odd_port_only() -> None:
    """For titles."""
    assert urls.host_of("https://as.example/x") == "as.example"
    assert urls.host_of("https://as.example:8443") == "as.example:8443"
