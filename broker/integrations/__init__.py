"""Programs that exist already get their tokens: each module here speaks the language of one of them.

Imported by foreign programs. A module imports the library that it is for, and of Keyfob the client only::

    bearer.py      what all of them share: ask, report, say what is wrong
    auth_flow.py   what httpx and httpx2 share
    httpx.py  httpx2.py  requests.py  google.py  azure.py  azure_policy.py  mcp.py

This module imports nothing.
"""
