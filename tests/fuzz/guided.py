"""One target under atheris, which looks for input that reaches new code: ``python -m tests.fuzz.guided NAME SECONDS``.

Called by ``__main__``, a process for each target, because libFuzzer ends the one in which it runs.
"""

import importlib
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

# Bytes of an input at the most: a head of 32 KiB and the like is the matter of the growth check.
MOST_BYTES = 4096
# Seconds after which one input counts as a hang; MiB that the process may take.
HANG, MEMORY = 20, 2048


def main(name: str, seconds: str, findings: str) -> None:
    """Try a target until the time is over, or something is found; that is written to the directory of findings."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["broker", "tomllib", "joserfc"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    nasty = importlib.import_module("tests.fuzz.target").NASTY
    logging.disable()
    target = next(each for each in targets if each.name == name)
    # libFuzzer ends the process without another word, so whoever started it clears the temporary directory.
    place = Path(tempfile.mkdtemp(prefix="kf-corpus-"))
    for number, seed in enumerate(target.seeds):
        (place / f"seed-{number}").write_bytes(seed)
    words = place.with_suffix(".words")
    pieces = [word for word in (*target.words, *nasty) if word]
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in pieces), encoding="ascii")
    limits = [f"-max_total_time={seconds}", f"-timeout={HANG}", f"-rss_limit_mb={MEMORY}", f"-max_len={MOST_BYTES}"]
    kept = [f"-artifact_prefix={findings}/{name}-", f"-dict={words}", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, *kept, str(place)], target.try_it, enable_python_coverage=True)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main(*sys.argv[1:])
