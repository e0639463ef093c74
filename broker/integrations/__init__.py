"""What exists already and asks Keyfob without a line changed: each module here speaks the language of one.

Of Keyfob they import the client only, and they know nothing of the inside. Those that foreign programs call start at
every fetch, so they are stdlib only, and nothing here may import what is slow to import; those that foreign programs
import each import the library that they are for::

    git.py ...     what git, kubectl, mail programs and registries say and want to hear; called by the verbs of ``cli``
    bearer.py      what all libraries share: ask, report, say what is wrong
    auth_flow.py   what httpx and httpx2 share
    httpx.py  httpx2.py  requests.py  google.py  azure.py  azure_policy.py  mcp.py
    setup/         what is written into the configuration of other programs, so that they ask; for ``keyfob setup``
"""
