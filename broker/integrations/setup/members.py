"""One member of a JSON file, written such that the rest of the file stays as it is.

Called by ``claude``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from broker.client import ClientError


@dataclass(frozen=True)
class Member:
    """An object in an object of the file.

    Attributes:
        path: of the file.
        within: the name of the object that holds it; made where it is not there, and removed once it is empty.
        name: its own.
        value: what it is to be.
        ours: the name of the member of it that shows that it is Keyfob's, with the words that are in it then.
    """

    path: str
    within: str
    name: str
    value: dict[str, str]
    ours: tuple[str, str]
    secret: bool = False

    def put(self, text: str | None) -> str:
        """Return the file with it."""
        whole, members = self._read(text)
        if self.name in members and not self._is_ours(members[self.name]):
            detail = f"{self.path} has a '{self.name}' in '{self.within}' that 'keyfob setup' did not write."
            raise ClientError(detail, "Choose another name: --name NAME", code="conflict")
        if text is not None and members.get(self.name) == self.value:
            return text
        members[self.name] = self.value
        whole[self.within] = members
        return _text(whole, text)

    def take(self, text: str | None) -> str | None:
        """Return the file without it."""
        whole, members = self._read(text)
        if text is None or not self._is_ours(members.get(self.name)):
            return text
        del members[self.name]
        if not members:
            del whole[self.within]
        return _text(whole, text)

    def shown(self) -> str:
        """Return it as text."""
        return _text({self.within: {self.name: self.value}}, None)

    def _is_ours(self, member: object) -> bool:
        key, words = self.ours
        return isinstance(member, dict) and words in str(member.get(key))

    def _read(self, text: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            whole = json.loads(text) if text and text.strip() else {}
        except (ValueError, RecursionError) as exc:
            raise ClientError(
                f"{self.path} is not JSON, so it was left alone.", "Mend it, or name another: --file FILE"
            ) from exc
        members = whole.get(self.within, {}) if isinstance(whole, dict) else None
        if not isinstance(members, dict):
            raise ClientError(f"{self.path} has no object '{self.within}', so it was left alone.", "Look at that file.")
        return whole, members


def _text(whole: dict[str, Any], like: str | None) -> str:
    """Return JSON that is indented, and ended, as the file was before."""
    indent = re.search(r"^([ \t]+)\S", like or "", re.MULTILINE)
    end = "\n" if not like or like.endswith("\n") else ""
    return json.dumps(whole, indent=indent[1] if indent else 2, ensure_ascii=False) + end
