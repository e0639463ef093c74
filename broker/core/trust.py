"""Whether what a file says may be believed: who could have written it.

Called for every file that decides where secrets go: the configuration and a person's own presets.
"""

import stat


def distrust(owner: int, mode: int, uid: int) -> tuple[str, str]:
    """Return why a file or directory is not to be believed, and what mends that; two empty texts where it is.

    Args:
        owner: uid of its owner.
        mode: ``st_mode`` of the open file.
        uid: whose word counts; root's always does.
    """
    if owner not in (uid, 0):
        return "belongs to another user", f"Make it yours: chown {uid}"
    others = stat.S_IWOTH if stat.S_ISDIR(mode) else stat.S_IWGRP | stat.S_IWOTH
    if mode & others:
        return "may be written by others", "Run: chmod go-w"
    return "", ""
