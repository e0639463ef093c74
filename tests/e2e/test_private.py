"""What others could see: the modes of every file and directory, and every secret of a whole walk, looked for everywhere."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.practice import server
from broker.practice.server import PracticeServer, practice_in_thread
from broker.practice.settings import CONFIDENTIAL_CLIENT, PracticeSettings
from broker.practice.state import Practice
from tests.e2e.home import START_URL, Home, browser, until

# What travels between Keyfob and a provider and is worth stealing.
SECRET_FIELDS = ("code", "state", "code_verifier", "access_token", "refresh_token", "id_token", "client_secret", "token")


class Tap:
    """Sits before the provider and writes down every secret that is sent to it or leaves it."""

    def __init__(self, app: ASGIApp, found: set[tuple[str, str]]) -> None:
        self._app, self._found = app, found
