"""The mutants: ways to break the promise on purpose, each with the tests that have to notice.

Run by ``__main__``; that each still fits the code is checked by ``test_mutants``.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mutant:
    """One deliberate breakage.

    Attributes:
        name: what is broken, in words.
        file: where, below the checkout.
        old: the text that is replaced; it stands there exactly once.
        new: what comes in its place.
        caught_by: the test that has to fail.
        more: further tests that have to.
    """

    name: str
    file: str
    old: str
    new: str
    caught_by: str
    more: tuple[str, ...] = ()

    @property
    def tests(self) -> tuple[str, ...]:
        """All tests that have to fail."""
        return (self.caught_by, *self.more)

    def applied(self, checkout: Path) -> str:
        """Return the file's text with the breakage in it.

        Raises:
            ValueError: the text to be replaced is not there once, so the mutant has to be written anew.
        """
        text = (checkout / self.file).read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"'{self.name}' does not fit {self.file} any more: {text.count(self.old)} places")
        return text.replace(self.old, self.new)

    def check(self, checkout: Path) -> None:
        """See that it still fits.

        Raises:
            ValueError: what it replaces does not stand there once, or a test that has to notice is not there.
            SyntaxError: what comes of it is not Python.
        """
        compile(self.applied(checkout), self.file, "exec")
        for test in self.tests:
            path, _, name = test.partition("::")
            if f"def {name.partition('[')[0]}" not in (checkout / path).read_text():
                raise ValueError(f"'{self.name}' is to be caught by {test}, which is not there")


MUTANTS = (
    Mutant(
        "synchronous=NORMAL: a commit that was answered does not survive a power cut",
        "broker/store/engine.py",
        '"PRAGMA synchronous = FULL"',
        '"PRAGMA synchronous = NORMAL"',
        "tests/store/test_engine.py::test_every_connection_begins_with_the_pragmas",
    ),
    Mutant(
        "hand-out before commit: the new token is in force before the rotated one is on the disk",
        "broker/usecases/refresh.py",
        "    kept = await keeping.keep(ctx, account, outcome.raw, outcome.refresh_token)\n",
        "    await judging.judge(ctx, account, provider, outcome.raw, ctx.when(untold.sent))\n"
        "    kept = await keeping.keep(ctx, account, outcome.raw, outcome.refresh_token)\n",
        "tests/usecases/test_refresh.py::test_the_rotated_token_is_durable_before_the_new_token_is_handed_out",
    ),
    Mutant(
        "no intent: nothing says that a refresh token was sent",
        "broker/store/refreshes.py",
        "            _INTEND.run(tx, intent)\n",
        "            assert intent\n",
        "tests/failpoints/test_steps_of_a_refresh.py::test_a_death_is_what_the_page_says",
    ),
    Mutant(
        "sent although the intent could not be written",
        "broker/usecases/refresh.py",
        "        intended = await ctx.store.begin_refresh(account, sent.at, wish) if ready else None\n",
        "        try:\n"
        "            intended = None if not ready else await ctx.store.begin_refresh(account, sent.at, wish)\n"
        "        except StoreUnavailable:\n"
        "            intended = account\n",
        "tests/usecases/test_get_token.py::test_a_store_that_cannot_note_the_intent_sends_nothing",
    ),
    Mutant(
        "a lock for each caller: who comes while a refresh is under way begins another one",
        "broker/usecases/refresh.py",
        "    if task is None or task.done():\n        task = asyncio.create_task(_fly(ctx, account, wish, before)",
        "    if awaited or not task:\n        task = asyncio.create_task(_fly(ctx, account, wish, None)",
        "tests/usecases/test_get_token.py::test_fifty_callers_of_a_stale_token_cost_one_request",
    ),
    Mutant(
        "invalid_grant ends the login without reading the row again: a lost race is a death",
        "broker/usecases/setbacks.py",
        "        if current is None or current.generation != account.generation:\n            return None\n"
        "        account = current\n",
        "        if current is None:\n            return None\n        account = current\n",
        "tests/usecases/test_meanwhile.py::test_a_new_login_during_a_flight_wins",
    ),
    Mutant(
        "a bell that APScheduler does not ring is rung by nobody: it goes by a clock that may be set back",
        "broker/scheduler.py",
        "        self._ctx.wake.set()\n\n    async def _look(",
        "\n    async def _look(",
        "tests/test_scheduler.py::test_a_machine_whose_clock_is_set[-3600.0]",
    ),
    Mutant(
        "the grace is not used: a request without an answer waits for its turn after a crash",
        "broker/usecases/refresh.py",
        "    for account in lost:\n        if not ctx.store.locked:\n",
        "    for account in lost:\n        if ctx.store.locked:\n",
        "tests/usecases/test_herd.py::test_a_start_asks_at_once_for_every_answer_that_can_still_be_had",
    ),
    Mutant(
        'an empty "refresh_token" overwrites the good one',
        "broker/oauth/reply.py",
        "    return Secret(new) if isinstance(new, str) and strict.is_printable(new) else None\n",
        "    return Secret(str(new or '')) if fields and 'refresh_token' in fields else None\n",
        "tests/oauth/test_wire.py::test_a_refresh_token_that_is_not_plainly_there_keeps_the_old_one",
    ),
    Mutant(
        "invalid_client ends the login",
        "broker/usecases/setbacks.py",
        '            await misconfigured(ctx, account, f"{told} The login is kept; check the client id and secret.")\n',
        "            await login_needed(ctx, account, told)\n",
        "tests/usecases/test_outcomes.py::test_every_outcome_is_told_apart_and_ends_the_refresh",
    ),
    Mutant(
        "what a full disk did not take of a lost answer is forgotten",
        "broker/usecases/refresh.py",
        "        await _tell(ctx, provider, untold)\n",
        "        pass\n",
        "tests/usecases/test_untold.py::test_a_lost_answer_that_a_full_disk_did_not_take_is_not_asked_for_blindly",
    ),
    Mutant(
        "a refused client makes it forgotten that an answer was lost",
        "broker/core/account.py",
        "            state = Misconfigured(now, reason, retry_at, attempts, lost_at=since)\n",
        "            state = Misconfigured(now, reason, retry_at, attempts)\n",
        "tests/usecases/test_refused_clients.py::test_a_refusal_does_not_end_the_doubt_about_a_lost_answer",
    ),
    Mutant(
        "a client that was given anew is not asked for at once",
        "broker/usecases/refusedclients.py",
        "        count = await ctx.store.recall(destination, ctx.clock())\n",
        "        count = 0\n",
        "tests/usecases/test_refused_clients.py::test_a_person_who_gives_the_client_anew_has_all_its_accounts_asked_for",
    ),
    Mutant(
        "expiry counted from the answer and not from the request",
        "broker/usecases/keeping.py",
        "return await judging.judge(ctx, account, provider, raw, ctx.when(sent), wish)\n",
        "return await judging.judge(ctx, account, provider, raw, ctx.clock(), wish)\n",
        "tests/usecases/test_refresh.py::test_the_life_of_a_token_is_counted_from_its_request",
    ),
    Mutant(
        "a Retry-After counts for one account only",
        "broker/usecases/book.py",
        "        line = self.endpoints.get(_where(url))\n",
        "        line = None\n",
        "tests/usecases/test_herd.py::test_a_throttle_counts_for_every_account_of_the_issuer",
    ),
    Mutant(
        "a copied or restored database is taken for the one in use",
        "broker/usecases/backup.py",
        "    why = ctx.store.copied\n",
        '    why = ""\n',
        "tests/usecases/test_backup.py::test_an_older_database",
    ),
    Mutant(
        "a stop cuts off what is in the air",
        "broker/usecases/flights.py",
        "        _, flying = await asyncio.wait(self.tasks.values(), timeout=seconds)\n",
        "        _, flying = await asyncio.wait(self.tasks.values(), timeout=0 * seconds)\n",
        "tests/usecases/test_refresh.py::test_a_stopping_daemon_lets_flights_land_and_starts_none",
    ),
    Mutant(
        "an account without a refresh token is taken for one that could lose it",
        "broker/usecases/setbacks.py",
        '    return not account.spends_nothing and provider.refresh.rotation != "never"\n',
        '    return provider.refresh.rotation != "never"\n',
        "tests/usecases/test_machine.py::test_an_outage_passes",
    ),
    Mutant(
        # That a private key does not open as a secret is bound to its kind as well: two walls, of which one is enough.
        "a client's row that somebody changed is taken as it stands",
        "broker/store/providers.py",
        "    _check(vault, row)\n    found = client_of(row)\n",
        "    found = client_of(row)\n",
        "tests/store/test_bindings.py::test_a_changed_client_is_not_used",
    ),
    Mutant(
        "an assertion for whoever gets it: its audience is a list",
        "broker/oauth/assertion.py",
        "        return provider.issuer\n",
        "        return [provider.issuer]  # type: ignore[return-value]\n",
        "tests/oauth/test_assertion.py::test_the_audience_is_one_text",
    ),
    Mutant(
        "no emergency journal: an answer that the database refuses is in memory only",
        "broker/usecases/keeping.py",
        "        await ctx.store.save_answer(account, raw, refresh_token)\n",
        "        pass\n",
        "tests/usecases/test_store_faults.py::test_it_strikes_between_the_request_and_the_answer",
    ),
    Mutant(
        "a lock is looked at before a wait, and not after it",
        "broker/usecases/get_token.py",
        "    if ctx.store.locked:  # it was locked while this was on its way\n",
        "    if ctx is None:\n",
        "tests/usecases/test_locking.py::test_who_waited_over_the_lock_gets_nothing",
    ),
    Mutant(
        "a lock forgets the key at once, and with it the answer that is in the air",
        "broker/usecases/locking.py",
        "            while flying := _in_the_air(ctx):\n",
        "            while flying := set[asyncio.Future[Any]]():\n",
        "tests/usecases/test_locking.py::test_a_reply_in_flight_is_kept",
    ),
    Mutant(
        "a wrong passphrase is counted after it was tried: a kill in between makes it free",
        "broker/store/locking.py",
        "        failures = await self._count_try(now)\n"
        "        kek = await asyncio.to_thread(derivation.key, passphrase)\n",
        "        kek = await asyncio.to_thread(derivation.key, passphrase)\n"
        "        failures = await self._count_try(now)\n",
        "tests/store/test_locking.py::test_a_try_counts_before_it_is_made",
    ),
    Mutant(
        "after a crash the answer for a narrower token is taken for the account's own",
        "broker/usecases/judging.py",
        "        await judge(ctx, account, provider, raw, started_at, wish)\n",
        "        await judge(ctx, account, provider, raw, started_at)\n",
        "tests/usecases/test_narrower_life.py::test_an_answer_to_a_wish_that_was_kept_is_not_taken_for_the_accounts_own",
    ),
    Mutant(
        "two refreshes of one account at a time, where one is for a narrower token",
        "broker/usecases/refresh.py",
        "        await asyncio.wait([before])\n",
        "        pass\n",
        "tests/usecases/test_narrower.py::test_the_schedule_and_a_wish_do_not_meet",
    ),
    Mutant(
        "a token that carries more than was asked for is handed out as a narrower one",
        "broker/usecases/exchange.py",
        '    return " ".join(sorted(set(grant.token.scope) - set(most))) if most else ""\n',
        '    return " ".join(sorted(set(grant.token.scope) - set(most))) if not most else ""\n',
        "tests/usecases/test_narrower.py::test_a_wish_that_the_provider_refuses_harms_nothing",
    ),
    Mutant(
        "a push that fails is followed by an open request",
        "broker/usecases/login.py",
        "        await _fail(ctx, login, str(exc))\n        raise\n",
        "        return login\n",
        "tests/usecases/test_par.py::test_there_is_no_way_back_to_a_request_in_the_browser",
    ),
    Mutant(
        "a clock that is set moves nothing: what is left of a token's life is wrong by that much",
        "broker/usecases/steps.py",
        "        if seconds := ctx.ahead():\n",
        "        if seconds := 0 * ctx.ahead():\n",
        "tests/usecases/test_steps.py::test_a_token_lives_as_long_as_before",
    ),
    Mutant(
        "the order of the audit is not sealed",
        "broker/store/chain.py",
        """    return sealer.audit_mac("entry|v1", before.hex(), str(number), *map(_text, values))
""",
        """    return sealer.audit_mac("entry|v1", "" and before.hex(), "" and str(number), *map(_text, values))
""",
        "tests/store/test_chain.py::test_what_was_done_to_the_chain_is_found",
    ),
    Mutant(
        "new keys make a count right that was changed before",
        "broker/store/chain.py",
        '            if hmac.compare_digest(seal_of_count(self.sealer, values), row["hash"]):\n',
        '            if row["hash"]:\n',
        "tests/store/test_chain_keys.py::test_what_was_changed_does_not_become_right",
    ),
    Mutant(
        "a whole older audit that was put back is taken for the present one",
        "broker/store/verify.py",
        "        end = max(self._head.last, told)\n",
        "        end = max(self._head.last, 0 * told)\n",
        "tests/store/test_chain.py::test_an_older_record_is_behind_the_fence",
    ),
    Mutant(
        "a hand-out count that somebody changed is added to, and sealed, as if nothing had happened",
        "broker/store/tally.py",
        "            self._check(found)\n",
        "",
        "tests/store/test_chain.py::test_a_count_is_not_made_right_by_going_on",
    ),
    Mutant(
        "of counts that still grow an older one that was put back is not looked for while Keyfob runs",
        "broker/store/audit.py",
        "            known = self._place.version == version\n",
        "            known = self._place.version is not None\n",
        "tests/store/test_counts.py::test_an_older_count_is_found_while_keyfob_runs",
    ),
)
