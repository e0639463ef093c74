"""Builds without one guard of the proxy each, and the attacks that have to succeed on them.

Part of ``unguarded``.
"""

from tests.mutants.mutants import Mutant

ATTACK = "tests/attacks/test_proxy.py"

PROXY = (
    Mutant(
        "who has the proxy only gets no token",
        "broker/core/policy.py",
        '    if ask.passage is None and (grant.mode != "token" or grant.rules):\n',
        '    if ask.passage is None and grant.mode == "none":\n',
        f"{ATTACK}::test_the_token_stays_inside[app]",
    ),
    Mutant(
        "a request fits a rule",
        "broker/core/policy.py",
        "        if grant is not None and ask.passage is not None and not rules.allow(grant.rules, ask.passage):\n",
        "        if grant is None and ask.passage is not None and not rules.allow((), ask.passage):\n",
        f"{ATTACK}::test_no_other_method[DELETE-headers1]",
    ),
    Mutant(
        "no path goes up",
        "broker/core/below.py",
        """        if segment.partition(b";")[0] in (b".", b".."):\n""",
        """        if segment in (b".", b""):\n""",
        f"{ATTACK}::test_no_path_leads_elsewhere[../private]",
        (f"{ATTACK}::test_no_path_leads_elsewhere[%252e%252e/private]",),
    ),
    Mutant(
        "no slash is hidden",
        "broker/core/below.py",
        """        if b"\\\\" in segment or b"/" in segment:\n""",
        """        if b"//" in segment:\n""",
        f"{ATTACK}::test_no_path_leads_elsewhere[..%5cprivate]",
    ),
    Mutant(
        "no redirect is followed",
        "broker/usecases/forward.py",
        "    if answer.status != REFUSED or stepup.wanted",
        """    if moved := dict(answer.headers).get(b"Location"):
        elsewhere = urlsplit(moved.decode())
        way, target = replace(way, base=elsewhere), elsewhere.path.encode()
        return Forwarded(way, target, await _sent(ctx, caller, way, errand, target, None))
    if answer.status != REFUSED or stepup.wanted""",
        f"{ATTACK}::test_no_other_host_gets_the_token",
    ),
    Mutant(
        "no redirection leads back here",
        "broker/web/proxy.py",
        """        if not back.startswith("/") and is_own_door(request.scope, back):\n""",
        """        if not back:\n""",
        f"{ATTACK}::test_no_redirection_leads_back_here[app-http://127.0.0.1:{{port}}/proxy/you/x]",
        (f"{ATTACK}::test_no_redirection_leads_back_here[socket-http://localhost/v1/lock]",),
    ),
    Mutant(
        "the caller's credentials end here",
        "broker/web/passing.py",
        """(b"host", b"authorization", b"proxy-authorization", b"cookie",""",
        """(b"host",""",
        f"{ATTACK}::test_no_claim_reaches_the_api[Cookie: session=stolen]",
        (f"{ATTACK}::test_no_claim_reaches_the_api[Proxy-Authorization: Basic eDp5]",),
    ),
    Mutant(
        "no header names another path",
        "broker/web/passing.py",
        "    ended = _HOP | _CALLERS | _OTHER_PATH | _named(listed)\n",
        "    ended = _HOP | _CALLERS | _named(listed)\n",
        f"{ATTACK}::test_no_claim_reaches_the_api[X-Original-URL: /private]",
    ),
    Mutant(
        "no header names another method",
        "broker/web/proxy.py",
        """    if passing.names_other_method(scope["headers"]):\n""",
        """    if not scope["headers"]:\n""",
        f"{ATTACK}::test_no_other_method[GET-headers2]",
    ),
    Mutant(
        "the token goes to no address of the inside",
        "broker/usecases/forward.py",
        """    base = check_base(url, what="API base", private=provider.private) if url else ""\n""",
        """    base = check_base(url, what="API base", private=True) if url else ""\n""",
        f"{ATTACK}::test_no_base_leads_inside[https://10.0.0.1]",
    ),
)
