"""Eight programs share a pod's rate limit: through the proxy none of them is refused, and without it many are.

Called by ``walk_funkwhale``, with a daemon that runs and an account at the pod.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from .journey import Journey
from .steps import Steps, expect

PROGRAMS = 8
LIST, API = "authenticated-list", "/api/v1"
# So many requests in so many seconds, and what each program wants: more than one window's worth for all together.
LIMIT, SECONDS, EACH = 100, 4, 20
HOUR = 3600
# Longer than all windows together, and a busy machine.
PATIENCE = 90


@dataclass(slots=True)
class Crowd:
    """What came of eight programs that all want the same.

    Attributes:
        refused: how many answers were 429.
        failed: what else went wrong.
        done: of each program, seconds until it had all.
    """

    refused: int = 0
    failed: list[str] = field(default_factory=list)
    done: list[float] = field(default_factory=list)


class LimitsWalk:
    """The steps; each says in its docstring what it promises.

    Args:
        journey: daemon and pod.
        account: an account there.
    """

    def __init__(self, journey: Journey, account: str) -> None:
        self.journey, self.keyfob, self.pod = journey, journey.keyfob, journey.server
        self.account = account
        self.keys: list[str] = []
        self.url = ""
        self.without = Crowd()

    def walk(self, steps: Steps) -> None:
        """Go through all of it."""
        steps.run("eight programs may use the proxy", self.admitted)
        steps.run("the book equals the pod's own /api/v1/rate-limit", self.equals)
        steps.run("without the book: eight programs run into the limit", self.without_the_book)
        steps.run("with it: none sees a 429, and all get what they want", self.with_the_book)
        steps.run("a refused request is told before it is sent", self.told)

    def admitted(self) -> None:
        """A key for each, which gets no token."""
        self.url = f"{self.keyfob.run('status', '--json').json()['doors']['app']}/proxy/{self.account}"
        for number in range(PROGRAMS):
            grant = ("--account", self.account, "--proxy-only")
            made = self.keyfob.run("app", "add", f"program{number}", *grant, "--json").exits(0)
            self.keys.append(made.json()["key"])

    def equals(self) -> str:
        """What this person has left of lists, and this address of tokens, as the pod itself counts it."""
        self._rate(LIMIT, HOUR)
        found = []
        for _ in range(3):
            for key in self.keys:
                self._get(key, "tracks/").raise_for_status()
            theirs = self._pods(self._get(self.keys[0], "rate-limit").json())
            ours = self._ours()
            expect(ours["api", LIST] == theirs[LIST], f"lists: {ours['api', LIST]} here, {theirs[LIST]} at the pod")
            found.append(f"{ours['api', LIST][1]} of {ours['api', LIST][0]}")
        anonymous = self._pods(httpx2.get(f"{self.pod.base}{API}/rate-limit", trust_env=False).json())
        token = ours["token", "oauth-token"]
        expect(token == anonymous["oauth-token"], f"tokens: {token} here, {anonymous['oauth-token']} at the pod")
        return f"lists {', then '.join(found)}; tokens {token[1]} of {token[0]}"

    def without_the_book(self) -> str:
        """The control: each has a token of its own and waits when the pod says so, and still they are refused."""
        token = self.journey.token(self.account)

        def one(_: int, get: httpx2.Client) -> httpx2.Response:
            return get.get(f"{self.pod.base}{API}/tracks/", headers={"Authorization": f"Bearer {token}"})

        self.without = self._crowd(one)
        expect(self.without.refused > 0, "nobody was refused: this shows nothing")
        return self._figures(self.without)

    def with_the_book(self) -> str:
        """The same programs, the same limit; the proxy holds what would be refused."""

        def one(number: int, get: httpx2.Client) -> httpx2.Response:
            key = {"Authorization": f"Bearer {self.keys[number]}", "X-Keyfob-Wait": str(PATIENCE)}
            return get.get(f"{self.url}/tracks/", headers=key)

        before = self._refused()
        crowd = self._crowd(one)
        at_the_pod = self._refused() - before
        expect(crowd.refused == 0, f"{crowd.refused} requests were refused")
        expect(at_the_pod == 0, f"the pod refused {at_the_pod}")
        return f"{self._figures(crowd)}; without: {self.without.refused}"

    def told(self) -> str:
        """Who does not wait gets the time from Keyfob, and the pod hears nothing of it."""
        self._rate(10, HOUR)
        answers = [self._get(self.keys[number % PROGRAMS], "tracks/") for number in range(20)]
        refused = [answer for answer in answers if answer.status_code == httpx2.codes.TOO_MANY_REQUESTS]
        expect(refused, "nobody was refused")
        own = [answer for answer in refused if answer.json().get("code") == "too_many_requests"]
        expect(len(own) >= len(refused) - 1, f"{len(refused) - len(own)} refusals came from the pod")
        return str(own[-1].json()["detail"])

    def _crowd(self, one: Callable[[int, httpx2.Client], httpx2.Response]) -> Crowd:
        """Let every program have its requests answered, one after the other; a refused one waits and asks again."""
        self._rate(LIMIT, SECONDS)
        time.sleep(SECONDS + 2.0)  # what was counted before is free again
        crowd, lock, began = Crowd(), threading.Lock(), time.monotonic()

        def program(number: int) -> None:
            with httpx2.Client(trust_env=False, timeout=PATIENCE) as get:
                left = EACH
                while left and time.monotonic() < began + PATIENCE:
                    answer = one(number, get)
                    if answer.status_code == httpx2.codes.OK:
                        left -= 1
                    elif answer.status_code == httpx2.codes.TOO_MANY_REQUESTS:
                        with lock:
                            crowd.refused += 1
                        time.sleep(float(answer.headers["retry-after"]))
                    else:
                        break
                with lock:
                    if left:
                        crowd.failed.append(f"{left} left: HTTP {answer.status_code} {answer.text[:200]}")
                    crowd.done.append(time.monotonic() - began)

        programs = [threading.Thread(target=program, args=(number,)) for number in range(PROGRAMS)]
        for each in programs:
            each.start()
        for each in programs:
            each.join()
        expect(not crowd.failed, f"{crowd.failed}")
        return crowd

    def _figures(self, crowd: Crowd) -> str:
        times = f"the first program was done after {min(crowd.done):.1f} s, the last after {max(crowd.done):.1f} s"
        return f"{PROGRAMS} x {EACH} requests, {LIMIT} in {SECONDS} s: {crowd.refused} answers 429; {times}"

    def _rate(self, limit: int, seconds: int) -> None:
        given = {"scope": LIST, "limit": limit, "seconds": seconds}
        httpx2.post(f"{self.pod.base}/control/rate", json=given, trust_env=False).raise_for_status()

    def _refused(self) -> int:
        return int(httpx2.get(f"{self.pod.base}/control/refused", trust_env=False).json()[LIST])

    def _get(self, key: str, path: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx2.get(f"{self.url}/{path}", headers=headers, trust_env=False, timeout=PATIENCE)

    def _pods(self, told: dict[str, Any]) -> dict[str, tuple[int, int]]:
        return {one["id"]: (one["limit"], one["remaining"]) for one in told["scopes"]}

    def _ours(self) -> dict[tuple[str, str], tuple[int, int]]:
        shown = self.keyfob.api("GET", f"/v1/accounts/{self.account}/rate-limits").json()["rate_limits"]
        return {(one["use"], one["scope"]): (one["limit"], one["remaining"]) for one in shown}
