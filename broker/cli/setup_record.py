"""What ``keyfob setup`` remembers, so that it can take away exactly that: no content, only what it was made from.

Called by ``setup`` and ``setup_files``.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from broker.cli.files import remove, replace
from broker.errors import KeyfobError
from broker.integrations.setup.changes import ENCODING, ERRORS
from broker.integrations.setup.plan import App, Asked


@dataclass
class Trace:
    """One file.

    Attributes:
        before: the digest of what it was; None where there was none.
        after: the digest of what it became.
        kept: a copy of what it was, or None where nothing would be lost.
    """

    before: str | None
    after: str | None
    kept: str | None = None


@dataclass
class Record:
    """What was done for one program and account.

    Attributes:
        path: where this is kept.
        asked: what the plan was made from; None where nothing was done.
        app: the name of the app that was made, or None.
        files: by path.
    """

    path: Path
    asked: Asked | None = None
    app: str | None = None
    files: dict[str, Trace] = field(default_factory=dict)

    @classmethod
    def load(cls, own: Path, tool: str, account: str) -> Self:
        """Return what is remembered.

        Raises:
            KeyfobError: the file cannot be read.
        """
        # An account's name is part of this one's: what is none must not lead elsewhere.
        path = own / f"{tool}-{account.replace('/', '_')}.setup.json"
        if not path.exists():
            return cls(path)
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            asked = Asked(**{**told["asked"], "hosts": tuple(told["asked"]["hosts"])})
            return cls(path, asked, told["app"], {name: Trace(**one) for name, one in told["files"].items()})
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise KeyfobError(
                f"What 'keyfob setup' remembers in {path} cannot be read.",
                "Take its lines out by hand, then remove that file.",
            ) from exc

    def save(self, asked: Asked, app: App | None) -> None:
        """Remember."""
        self.asked, self.app = asked, app.name if app else None
        files = {name: asdict(one) for name, one in self.files.items()}
        replace(self.path, json.dumps({"asked": asdict(asked), "app": self.app, "files": files}, indent=2) + "\n")

    def forget(self) -> None:
        """Forget it.

        Raises:
            KeyfobError: the file cannot be removed.
        """
        remove(self.path)


def digest(text: str | None) -> str | None:
    """Return what a file is recognised by."""
    return None if text is None else hashlib.sha256(text.encode(ENCODING, ERRORS)).hexdigest()
