"""A home with dotfiles in it, for the tests of ``keyfob setup``."""

from pathlib import Path

from broker.cli.main import main

FORGE = {"name": "forge", "base_url": "https://git.example.org", "issuer": "https://id.example.org:8443"}
WORK = {
    "account": "work",
    "provider": "forge",
    "state": "active",
    "identity": {"label": "ada@example.org"},
    "resource": None,
}
MAIL = ["--host", "mx.example.org"]
MCP = ["--url", "https://mcp.example.org/mcp"]
# Program -> its options, its usual file, and what a person has in it already.
WHERE = {
    "git": ([], ".gitconfig", "# mine\n[user]\n\tname = Ada\n"),
    "msmtp": (MAIL, ".msmtprc", "defaults\ntls on"),  # without an end of line
    "mbsync": (MAIL, ".mbsyncrc", "SyncState *\n\n"),
    "neomutt": ([], ".config/neomutt/neomuttrc", "set realname = 'Ada \xe9'\n"),
    "claude": (MCP, ".claude.json", '{\n    "theme": "dark",\n    "mcpServers": {\n        "a": {}\n    }\n}'),
}


def former(home: Path, tool: str) -> Path:
    """Put a file into the home as its owner has it, in bytes that are no UTF-8."""
    path = home / WHERE[tool][1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(WHERE[tool][2].encode("latin-1"))
    path.chmod(0o640)
    return path


def setup(tool: str, *more: str) -> int:
    """Run it."""
    return main(["setup", tool, "work", *WHERE[tool][0], *more])


def everything(home: Path) -> set[str]:
    """What is in the home: files by their path, those apart that the test itself needs."""
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()} - {"stdin"}
