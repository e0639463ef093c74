"""From any URL to the authorization server behind it (security.md R21, R22; RFC 9728)."""

import asyncio
from typing import Any

import pytest

from broker.errors import InvalidRequest, KeyfobError, ProviderUnavailable
from broker.oauth import resource
from broker.oauth.locate import Found, locate, locate_for
from broker.oauth.resource import WELL_KNOWN, speaks_for
from tests.oauth.loopback import CLIENT, Loopback, http

OIDC = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"


@pytest.fixture(autouse=True)
def _nothing_elsewhere(server: Loopback) -> None:
    server.default = http("404 Not Found", "<html>")


def find(url: str) -> Found:
    """Locate what is behind a URL."""
    return asyncio.run(locate(CLIENT, url, private=False))


def find_for(resource: str) -> Found:
    """Locate the server of a resource."""
    return asyncio.run(locate_for(CLIENT, resource, private=False))


def speaks(server: Loopback, issuer: str, *places: str, **fields: object) -> None:
    """Let the server say at some places that it is an issuer."""
    document = {
        "issuer": issuer,
        "authorization_endpoint": f"{server.url}/authorize",
        "token_endpoint": f"{server.url}/token",
        **fields,
    }
    server.routes |= {place: http("200 OK", document) for place in places}


def describes(server: Loopback, place: str, resource: str, *servers: object, **fields: object) -> None:
    """Let the server describe a protected resource at a place."""
    document: dict[str, Any] = {"resource": resource, "authorization_servers": list(servers), **fields}
    server.routes[place] = http("200 OK", document)


# --- issuers and sites ------------------------------------------------------------------------------------------------


def test_an_issuer_is_asked_as_one_and_that_is_all(server: Loopback) -> None:
    """Whoever gives an issuer gets it, after two questions."""
    speaks(server, server.url, OIDC)
    assert (find(server.url).issuer, find(server.url).resource) == (server.url, None)
    assert len(server.requests) == 4


def test_a_site_leads_to_the_issuer_that_it_names_and_that_confirms_it(server: Loopback) -> None:
    """Any page of the site will do; what counts is what the issuer says about itself."""
    issuer = f"{server.url}/realms/a"
    speaks(server, issuer, OIDC, revocation_endpoint=f"{server.url}/what-the-site-says")
    speaks(server, issuer, f"/realms/a{OIDC}")
    for url in (server.url, f"{server.url}/about/us", f"{server.url}/"):
        found = find(url)
        assert found.issuer == issuer
        assert "revocation" not in found.data["endpoints"]


@pytest.mark.parametrize("confirmed", ["{url}/realms/b", "{url}/realms/a/", "https://evil.example", None])
def test_a_site_that_speaks_for_another_issuer_is_not_believed(server: Loopback, confirmed: str | None) -> None:
    """The issuer that it names has to say the same of itself, to the letter; else nothing of it is used."""
    speaks(server, f"{server.url}/realms/a", OIDC)
    if confirmed is not None:
        speaks(server, confirmed.replace("{url}", server.url), f"/realms/a{OIDC}")
    with pytest.raises(InvalidRequest, match="to the letter"):
        find(server.url)


def test_a_final_slash_too_many_or_too_few_is_forgiven(server: Loopback) -> None:
    """The commonest slip leads to the issuer as it writes itself."""
    speaks(server, f"{server.url}/t/", f"/t{OIDC}")
    assert find(f"{server.url}/t").issuer == f"{server.url}/t/"


def test_a_tenant_does_not_speak_for_another_tenant(server: Loopback) -> None:
    """A document below a path is no site's: another issuer in it is a mistake or a trap, not a hint."""
    speaks(server, f"{server.url}/b", f"/a{OIDC}", f"/b{OIDC}")
    with pytest.raises(InvalidRequest, match="to the letter"):
        find(f"{server.url}/a")


def test_a_server_that_is_down_is_an_outage(server: Loopback) -> None:
    """Nothing further is tried at a server that answers nothing."""
    server.default = http("503 Unavailable", Retry_After="9")
    with pytest.raises(ProviderUnavailable) as caught:
        find(server.url)
    assert caught.value.extra == {"retry_after": 9.0}


def test_what_is_nothing_of_all_that_is_told_so(server: Loopback) -> None:
    """The message is the one about issuers, with its next step."""
    with pytest.raises(InvalidRequest, match="does not say where") as caught:
        find(f"{server.url}/x")
    assert caught.value.hint


# --- protected resources ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [f"{WELL_KNOWN}/mcp", WELL_KNOWN])
@pytest.mark.parametrize("said", ["/mcp", ""])
def test_a_resource_is_found_at_both_well_known_places(server: Loopback, place: str, said: str) -> None:
    """With the path inserted, and at the origin; it may describe itself or what is above it (RFC 9728 3.1, 3.3)."""
    speaks(server, f"{server.url}/as", f"{OAUTH}/as")
    describes(server, place, server.url + said, f"{server.url}/as", "https://second.example")
    for found in (find(f"{server.url}/mcp"), find_for(f"{server.url}/mcp")):
        assert (found.issuer, found.resource) == (f"{server.url}/as", server.url + said)


def test_what_a_resource_wants_is_found_with_it(server: Loopback) -> None:
    """Its refusal says what a request needs; where that says nothing, what it supports is asked for."""
    speaks(server, server.url, OIDC)
    describes(server, f"{WELL_KNOWN}/mcp", f"{server.url}/mcp", server.url, scopes_supported=["read", "write", "read"])
    assert find_for(f"{server.url}/mcp").scopes == ("read", "write")
    server.routes["/mcp"] = http("401 Unauthorized", WWW_Authenticate='Bearer scope="read list"')
    found = find_for(f"{server.url}/mcp")
    assert (found.scopes, found.supported) == (("read", "list"), ("read", "write"))


@pytest.mark.parametrize(
    "supported", ["read", ["read", 5], ["two words"], ["--only-scope"], [f"s{n}" for n in range(200)]]
)
def test_scopes_that_are_none_are_not_asked_for(server: Loopback, supported: object) -> None:
    """Nothing of a list is used that holds anything else, or is beyond reason."""
    speaks(server, server.url, OIDC)
    describes(server, f"{WELL_KNOWN}/mcp", f"{server.url}/mcp", server.url, scopes_supported=supported)
    assert find_for(f"{server.url}/mcp").scopes == ()


def test_the_first_authorization_server_that_is_one_counts(server: Loopback) -> None:
    """A resource may name several; one that describes itself as another, or as nothing, is passed over."""
    speaks(server, f"{server.url}/b", f"{OAUTH}/b", f"{OAUTH}/a")
    describes(server, f"{WELL_KNOWN}/mcp", f"{server.url}/mcp", 5, f"{server.url}/a", f"{server.url}/b")
    assert find_for(f"{server.url}/mcp").issuer == f"{server.url}/b"


def test_an_authorization_server_that_is_down_is_not_passed_over(server: Loopback) -> None:
    """Nobody is sent to log in elsewhere because of an outage."""
    speaks(server, f"{server.url}/b", f"{OAUTH}/b")
    describes(server, f"{WELL_KNOWN}/mcp", f"{server.url}/mcp", f"{server.url}/a", f"{server.url}/b")
    for place in (f"/a{OIDC}", f"{OAUTH}/a"):
        server.routes[place] = http("503 Unavailable")
    with pytest.raises(ProviderUnavailable):
        find_for(f"{server.url}/mcp")


@pytest.mark.parametrize(("named", "issuer"), [("{url}/", "{url}"), ("{url}", "{url}/")])
def test_a_slash_behind_an_authorization_server_is_forgiven(server: Loopback, named: str, issuer: str) -> None:
    """The issuer counts as it writes itself."""
    speaks(server, issuer.replace("{url}", server.url), OIDC)
    describes(server, f"{WELL_KNOWN}/mcp", f"{server.url}/mcp", named.replace("{url}", server.url))
    assert find_for(f"{server.url}/mcp").issuer == issuer.replace("{url}", server.url)


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer resource_metadata="{url}/meta"',
        'Basic realm="x, resource_metadata=y", Bearer error="invalid_token", resource_metadata="{url}/meta", a=b',
        "bearer Resource_Metadata={url}/meta",
    ],
)
def test_a_refusal_names_the_place(server: Loopback, challenge: str) -> None:
    """A resource that is asked without a token says where it is described (RFC 9728 5.1)."""
    speaks(server, server.url, OIDC)
    refusal = challenge.replace("{url}", server.url)
    server.routes["/mcp"] = http("401 Unauthorized", WWW_Authenticate=refusal)
    describes(server, "/meta", f"{server.url}/mcp", server.url)
    assert find_for(f"{server.url}/mcp").resource == f"{server.url}/mcp"
    assert not any("authorization:" in server.head(number).lower() for number in range(len(server.requests)))


@pytest.mark.parametrize(
    ("resource", "servers", "said"),
    [
        ("{url}/mcp/deeper", ["{url}"], "another one"),
        ("{url}/mc", ["{url}"], "another one"),
        ("https://evil.example/mcp", ["{url}"], "another one"),
        ("{url}/mcp#x", ["{url}"], "another one"),
        ("{url}/mcp\r\n", ["{url}"], "another one"),
        ("{url}/mcp\n", ["{url}"], "another one"),
        ("https://[evil", ["{url}"], "another one"),
        ("{url}/mcp", ["https://[evil"], "is not a URL"),
        ("{url}/mcp", ["https://as.example:port"], "is not a URL"),
        ("{url}/mcp", ["https://as.example/\n"], "is not a URL"),
        ("{url}/mcp", [], "does not say which"),
        ("{url}/mcp", [5], "does not say which"),
        ("{url}/mcp", ["http://as.example"], "not encrypted"),
        ("{url}/mcp", ["{url}/other"], "does not say where"),
    ],
)
def test_a_description_that_is_not_believed(server: Loopback, resource: str, servers: list[object], said: str) -> None:
    """One of another resource, without a server, or with one that does not say so itself."""
    speaks(server, server.url, OIDC)
    filled = [each.replace("{url}", server.url) if isinstance(each, str) else each for each in servers]
    describes(server, f"{WELL_KNOWN}/mcp", resource.replace("{url}", server.url), *filled)
    with pytest.raises(KeyfobError, match=said) as caught:
        find_for(f"{server.url}/mcp")
    assert caught.value.hint


def test_a_server_that_is_no_url_is_refused_in_words() -> None:
    """Whatever stands there is foreign text (a resource elsewhere, whose server could be on this machine)."""
    here = "https://rs.example/api"
    with pytest.raises(InvalidRequest, match="is not a URL"):
        resource._read({"resource": here, "authorization_servers": ["https://[evil"]}, here)  # noqa: SLF001 -- no network


def test_a_resource_that_publishes_nothing_may_have_its_server_at_its_site(server: Loopback) -> None:
    """As was the custom before RFC 9728; the resource is then the URL itself."""
    speaks(server, server.url, OAUTH)
    found = find_for(f"{server.url}/mcp")
    assert (found.issuer, found.resource) == (server.url, f"{server.url}/mcp")


def test_a_resource_without_any_server_says_what_to_do(server: Loopback) -> None:
    """A person names the server then."""
    with pytest.raises(InvalidRequest, match="RFC 9728") as caught:
        find_for(f"{server.url}/mcp")
    assert "--provider" in caught.value.hint


@pytest.mark.parametrize("resource", ["urn:example:api", "http://api.example/", "not a url", "https://a.example/#x"])
def test_what_cannot_be_asked_is_not_asked(resource: str) -> None:
    """A resource has to be the https address of a server to tell anything."""
    with pytest.raises(InvalidRequest):
        find_for(resource)


@pytest.mark.parametrize(
    ("said", "url", "does"),
    [
        ("https://a.example", "https://a.example/x", True),
        ("https://A.example/", "https://a.example/x", True),
        ("https://a.example/x", "https://a.example/x/", True),
        ("https://a.example/x/", "https://a.example/x", True),
        ("https://a.example/x", "https://a.example/xy", False),
        ("https://a.example:8443", "https://a.example/", False),
        ("http://a.example", "https://a.example", False),
        ("https://a.example/x?y", "https://a.example/x?y", True),
        ("https://a.example/x?y", "https://a.example/x", False),
    ],
)
def test_whom_an_identifier_covers(said: str, url: str, *, does: bool) -> None:
    """The same server, and a path above, in whole steps."""
    assert speaks_for(said, url) is does
