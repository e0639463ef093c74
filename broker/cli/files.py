"""Files of other programs, and of Keyfob's own for them: read byte for byte, written whole or not at all.

Called by the modules of ``setup``.
"""

import os
import stat
import tempfile
from pathlib import Path

from broker.errors import KeyfobError
from broker.integrations.setup.changes import ENCODING, ERRORS

PRIVATE = 0o600


def read(path: str) -> str | None:
    """Return what is in a file, byte for byte; None where there is none.

    Raises:
        KeyfobError: it cannot be read, or is no file.
    """
    place = Path(path)
    try:
        if place.exists() and not place.is_file():
            raise KeyfobError(f"{path} is no file.", "Name another: --file FILE")
        return place.read_bytes().decode(ENCODING, ERRORS)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise KeyfobError(f"{path} cannot be read: {exc.strerror}.", "Mend that, or name another: --file FILE") from exc


def replace(path: Path, text: str) -> None:
    """Write a file, whole or not at all, where its links lead to; a new one with mode 0600.

    Raises:
        KeyfobError: it cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else PRIVATE
        with tempfile.NamedTemporaryFile("wb", dir=target.parent, prefix=f".{target.name}.", delete=False) as draft:
            try:
                draft.write(text.encode(ENCODING, ERRORS))
                os.fchmod(draft.fileno(), mode)
                draft.flush()
                os.fsync(draft.fileno())
                Path(draft.name).replace(target)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise
    except OSError as exc:
        raise unwritable(path, exc) from exc


def remove(path: Path) -> None:
    """Remove a file, where its links lead to; one that is gone already is no error.

    Raises:
        KeyfobError: it cannot be removed.
    """
    try:
        Path(os.path.realpath(path)).unlink(missing_ok=True)
    except OSError as exc:
        raise KeyfobError(f"{path} cannot be removed: {exc.strerror}.", "Mend that, and run this again.") from exc


def unwritable(path: Path, exc: OSError) -> KeyfobError:
    """Return the error for a file that cannot be written."""
    return KeyfobError(f"{path} cannot be written: {exc.strerror}.", "Mend that, or only look: --print")
