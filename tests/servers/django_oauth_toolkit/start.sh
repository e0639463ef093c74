#!/usr/bin/env bash
# start.sh PORT [STATE]: runs in the foreground; prints READY when it listens on 127.0.0.1:PORT.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PORT=${1:?port} STATE=${2:-${STATE:-$(mktemp -d)}} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
mkdir -p "$STATE"
exec "${AS_PREFIX:-$HOME/.cache/keyfob-test-servers}/django_oauth_toolkit/bin/python" "$here/site_.py"
