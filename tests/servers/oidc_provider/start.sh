#!/usr/bin/env bash
# start.sh PORT [STATE]: runs in the foreground; prints READY when it listens on 127.0.0.1:PORT.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
prefix=${AS_PREFIX:-$HOME/.cache/keyfob-test-servers}/oidc_provider
export PORT=${1:?port} STATE=${2:-${STATE:-$(mktemp -d)}} MODULES=$prefix/node_modules
mkdir -p "$STATE"
exec "$prefix/node" "$here/server.mjs"
