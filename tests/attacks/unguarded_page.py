"""The guards of the owner's page, of questions and of pairing, each with an attack that succeeds without it.

Part of ``unguarded``.
"""

from tests.mutants.mutants import Mutant

HERE = "tests/attacks"

OWNERS_PAGE = (
    Mutant(
        "the owner's page wants a session",
        "broker/usecases/sessions.py",
        "        if used_at is None or now - used_at > IDLE:\n",
        "        if used_at is None:\n            return\n        if now - used_at > IDLE:\n",
        f"{HERE}/test_owners_page.py::test_who_is_not_signed_in_neither_reads_nor_acts"
        "[POST /ui/v1/approvals/{id}-a made-up session]",
    ),
    Mutant(
        "a part of the owner's page is drawn for who is signed in",
        "broker/web/signed_in.py",
        "        check(request, ctx)\n        return await handler(request, ctx)\n",
        "        return await handler(request, ctx)\n",
        f"{HERE}/test_owners_page.py::test_who_is_not_signed_in_neither_reads_nor_acts"
        "[GET /ui/parts/accounts/{account}-nothing]",
    ),
    Mutant(
        "what is done on the owner's page is done by who is signed in",
        "broker/web/signed_in.py",
        "        check(request, ctx)\n        ctx.latch.used_at = ctx.steady()\n",
        "        ctx.latch.used_at = ctx.steady()\n",
        f"{HERE}/test_owners_page.py::test_who_is_not_signed_in_neither_reads_nor_acts[POST /ui/v1/apps-nothing]",
    ),
    Mutant(
        "a sign-in is read from the Authorization header alone",
        "broker/web/signed_in.py",
        '    scheme, _, secret = request.headers.get("authorization", "").partition(" ")\n',
        "    given = request.headers.get(\"authorization\", f\"Bearer {request.cookies.get('session', '')}\")\n"
        '    scheme, _, secret = given.partition(" ")\n',
        f"{HERE}/test_owners_page.py::test_a_cookie_signs_nobody_in[session]",
    ),
    Mutant(
        "what the owner's page changes comes from its own script",
        "broker/web/guards.py",
        "            if not _is_own_script(headers):\n",
        "            if not headers:\n",
        f"{HERE}/test_owners_page.py::test_another_page_answers_nothing[another port]",
    ),
    Mutant(
        "a ticket is good once",
        "broker/usecases/sessions.py",
        "        ends = self._tickets.pop(_hash(ticket), None)\n",
        "        ends = self._tickets.get(_hash(ticket), None)\n",
        f"{HERE}/test_owners_page.py::test_a_ticket_is_good_once",
    ),
    Mutant(
        "the kernel says whose browser enters without a secret",
        "broker/web/signed_in.py",
        "    if not peers.is_own(request):\n",
        "    if not request:\n",
        f"{HERE}/test_owners_page.py::test_another_user_does_not_enter",
    ),
    Mutant(
        "only the owner answers questions",
        "broker/web/asgi.py",
        '    if who == "owner" and not isinstance(api.caller_of(request), Owner):\n',
        '    if who == "nobody" and not isinstance(api.caller_of(request), Owner):\n',
        f"{HERE}/test_owners_page.py::test_an_app_answers_no_question[POST-/v1/approvals/{{code}}-app]",
    ),
    Mutant(
        "a yes for one token is taken away before the token is looked for",
        "broker/usecases/desk.py",
        "                return self._waiting.pop(code)\n",
        "                return self._waiting[code]\n",
        f"{HERE}/test_owners_page.py::test_a_yes_for_one_token_is_one_token",
    ),
    Mutant(
        "the code of a pairing is of the address",
        "broker/challenge.py",
        "_FOR_CODE + address.encode()",
        "_FOR_CODE",
        f"{HERE}/test_owners_page.py::test_who_passes_a_pairing_on_shows_another_code",
    ),
    Mutant(
        "few programs wait to become an app",
        "broker/usecases/desk.py",
        "        if len(others) >= MOST_PAIRINGS or len(of_user) >= MOST_PAIRINGS_OF_USER:\n",
        "        if len(others) >= 1000:\n",
        f"{HERE}/test_owners_page.py::test_programs_cannot_flood_the_owner_with_themselves",
    ),
)
