"""The text of the systemd units as they fit this machine: shipped text in, filled-in text out.

Called by ``service``. What is shipped (``systemd/`` in the checkout, ``broker/systemd`` in the wheel) works as it is
for the usual places; only the lines that name a place are replaced here.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

from broker.errors import CannotStart
from broker.settings import Settings, variable

SERVICE = "keyfob.service"
SOCKET = "keyfob.socket"
# What systemd writes for the runtime directory. Settings that were read with it in XDG_RUNTIME_DIR show whether the
# socket is where it always is, whatever session this command runs in.
RUNTIME = "%t"
# The lines between which keyfob.service keeps what needs user namespaces.
BLOCK = re.compile(r"^# Needs user namespaces\..*?^# End of the block[^\n]*\n", re.DOTALL | re.MULTILINE)
WITHOUT_BLOCK = "# User namespaces are not to be had on this machine, so what needs them was left out.\n"
STAMP = "# Written by 'keyfob service install'; for your own lines: systemctl --user edit keyfob. sha256="


def directory() -> Path:
    """Return where the shipped units are."""
    package = Path(__file__).parent.parent
    installed = package / "systemd"
    return installed if installed.is_dir() else package.parent / "systemd"


def user_units(program: Path, settings: Settings, environ: Mapping[str, str], *, sandbox: bool) -> dict[str, str]:
    """Return the text of both user units by file name, stamped.

    Args:
        program: the keyfob command that the service starts.
        settings: as read with :data:`RUNTIME` for ``XDG_RUNTIME_DIR``.
        environ: the environment; the service gets the settings that stand in it.
        sandbox: keep the block that needs user namespaces.

    Raises:
        CannotStart: a path cannot be written into a unit.
    """
    service = _replace(_shipped(SERVICE), dict(_places(program, settings, environ)))
    if not sandbox:
        service = BLOCK.sub(WITHOUT_BLOCK, service)
    socket = _shipped(SOCKET)
    if settings.runtime_dir != Path(RUNTIME) / "keyfob":
        socket = _replace(socket, {"ListenStream": f"ListenStream={_literal(str(settings.socket.absolute()))}"})
    return {SOCKET: _stamp(socket), SERVICE: _stamp(service)}


def system_unit(program: Path) -> str:
    """Return the text of the unit for a whole machine."""
    return _replace(_shipped(f"system/{SERVICE}"), {"ExecStart": f"ExecStart={_word(str(program))} serve"})


def is_ours(text: str) -> bool:
    """Whether the text is as :func:`user_units` once wrote it: nobody has edited it since."""
    first, _, rest = text.partition("\n")
    return first == _stamp(rest).partition("\n")[0]


def kept_back(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that are set here but must not be written to a unit: a proxy URL with a password in it."""
    name = variable("http_proxy")
    return [name] if "@" in environ.get(name, "") else []


def _places(program: Path, settings: Settings, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    writable = [settings.state_dir, settings.config.parent]
    if settings.key_source == "file":
        writable.append(settings.key_file.parent)
    database = settings.database_url.partition(":///")[2]
    if database:
        writable.append(Path(database).parent)
    paths = list(dict.fromkeys(str(path.absolute()) for path in writable))
    runtime = RUNTIME + "/keyfob" if settings.runtime_dir == Path(RUNTIME) / "keyfob" else None
    opened = [_word(f"-{path}") for path in paths]
    opened.append(f"-{runtime}" if runtime else _word(f"-{settings.runtime_dir.absolute()}"))
    made = " ".join(_word(path).replace("$", "$$") for path in paths)
    yield "ExecStartPre", f"ExecStartPre=+mkdir -p -m 0700 {made}"
    yield "ExecStart", "\n".join([f"ExecStart={_word(str(program))} serve", *_environment(settings, environ)])
    yield "ReadWritePaths", f"ReadWritePaths={' '.join(opened)}"


def _environment(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each setting that stands in the environment: a service does not inherit a shell's."""
    for spec in fields(Settings):
        name = variable(spec.name)
        if not environ.get(name) or name in kept_back(environ):
            continue
        value = getattr(settings, spec.name)
        yield f"Environment={_word(f'{name}={value.absolute() if isinstance(value, Path) else environ[name]}')}"


def _shipped(name: str) -> str:
    return (directory() / name).read_text(encoding="utf-8")


def _replace(text: str, lines: Mapping[str, str]) -> str:
    """Replace the lines that begin with these keys; each must be there once, or what is shipped has changed."""
    for key, line in lines.items():
        found = re.findall(rf"^{key}=.*$", text, re.MULTILINE)
        if len(found) != 1:
            raise CannotStart(f"The shipped unit has {len(found)} lines {key}=, not one.", "Reinstall Keyfob.")
        text = text.replace(f"{found[0]}\n", f"{line}\n")
    return text


def _stamp(text: str) -> str:
    return f"{STAMP}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def _word(text: str) -> str:
    """Quote one word as systemd.syntax(7) wants it."""
    escaped = _literal(text).replace("\\", "\\\\").replace('"', '\\"')
    return escaped if re.fullmatch(r"[\w@%+=:,./-]+", escaped, re.ASCII) else f'"{escaped}"'


def _literal(text: str) -> str:
    """Keep systemd from reading specifiers (``%h``) out of a path."""
    if not text.isprintable():
        raise CannotStart(f"{text!r} holds a character that a unit cannot hold.", "Use another path.")
    return text.replace("%", "%%")
