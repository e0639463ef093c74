#!/usr/bin/env bash
# start.sh PORT [STATE]: runs in the foreground; prints READY when it listens on 127.0.0.1:PORT.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PORT=${1:?port} STATE=${2:-${STATE:-$(mktemp -d)}} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
mkdir -p "$STATE"
cd "$STATE" # it reads canaille.toml of the place where it is started; there is none here
exec "${AS_PREFIX:-$HOME/.cache/keyfob-test-servers}/canaille/bin/python" "$here/server.py"
