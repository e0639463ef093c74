#!/usr/bin/env bash
# PyPI canaille in a virtual environment of its own, with the versions of constraints.txt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${AS_PREFIX:-$HOME/.cache/keyfob-test-servers}/canaille
version=${CANAILLE_VERSION:-0.3.6}
if ! "$venv/bin/python" -c "from importlib.metadata import version as v; assert v('canaille') == '$version'" 2>/dev/null ||
  ! cmp -s "$here/constraints.txt" "$venv/constraints.txt"; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --constraint "$here/constraints.txt" "canaille[front,oidc,sqlite]==$version"
  cp "$here/constraints.txt" "$venv/constraints.txt"
fi
echo "canaille $version on Authlib $("$venv/bin/python" -c 'from importlib.metadata import version; print(version("authlib"))')"
