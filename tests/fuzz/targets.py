"""Every parser of Keyfob that meets foreign bytes, in one table.

From providers: token endpoint replies as JSON and as forms, discovery documents, what a site and a protected resource
say (RFC 9728, ``WWW-Authenticate``), ID tokens and the keys that prove them, the query of the callback, user
information, device codes and polls, registrations, pushed requests, revocations, whole HTTP answers with their lengths,
``Retry-After`` and dates. From callers: request heads and bodies at the three doors (``Content-Length``, chunks,
targets, cookies, pipelines), the ``Authorization`` header, JSON bodies, forms, queries, what a person pastes. From the
daemon: what the client of programs is answered, and ``KEYFOB_URL``. From files: the configuration, the environment,
presets, keys, the parameters of a passphrase, the emergency journal, the fence, sealed texts, backups. From people:
addresses and times.

From programs that call Keyfob: what git, Docker, Cargo, Bazel and kubectl ask, and clients of oidc-agent. Through the
proxy: paths, queries, and where an API's redirections lead; other redirects are not followed, so nothing reads their
addresses. What is parsed after it was opened with a key of Keyfob's own (entries of the journal, device prompts,
registrations) has only Keyfob itself as author.

Used by ``test_targets`` (hypothesis) and by ``guided`` (atheris).
"""

from tests.fuzz.agents import AGENTS
from tests.fuzz.answers import ANSWERS
from tests.fuzz.called import CALLED
from tests.fuzz.callers import CALLERS
from tests.fuzz.doors import DOORS
from tests.fuzz.files import FILES
from tests.fuzz.passages import PASSAGES
from tests.fuzz.people import PEOPLE
from tests.fuzz.replies import REPLIES
from tests.fuzz.target import Target

TARGETS: tuple[Target, ...] = (*REPLIES, *ANSWERS, *DOORS, *CALLERS, *CALLED, *AGENTS, *PASSAGES, *FILES, *PEOPLE)
