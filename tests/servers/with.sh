#!/usr/bin/env bash
# with.sh SERVER COMMAND...: start SERVER on a free port of 127.0.0.1 ($PORT to choose one) with a fresh state directory
# that is removed at the end ($STATE to choose one that is kept), wait until it is ready, run COMMAND with $BASE and
# $STATE set, stop the server, return COMMAND's exit code.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
server=${1:?server}
shift
port=${PORT:-}
if [ -z "$port" ]; then
  # Held until the end: bound, so that the kernel gives it to no connection, and not listening, so that the server can.
  coproc HOLDER { exec python3 -c 'import socket, sys
with socket.socket() as held:
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    print(held.getsockname()[1], flush=True)
    sys.stdin.read()'; }
  read -r port <&"${HOLDER[0]}"
fi
made=
[ -n "${STATE:-}" ] || made=$(mktemp -d)
export STATE=${STATE:-$made} BASE=http://127.0.0.1:$port
mkdir -p "$STATE"
setsid "$here/$server/start.sh" "$port" "$STATE" >"$STATE/server.log" 2>&1 </dev/null &
pid=$!
trap 'kill -TERM -- -$pid 2>/dev/null; wait $pid 2>/dev/null; [ -z "$made" ] || rm -rf "$made"' EXIT
for _ in $(seq 300); do
  grep -q ^READY "$STATE/server.log" && break
  kill -0 $pid 2>/dev/null || break
  sleep 0.1
done
if ! grep -q ^READY "$STATE/server.log"; then
  echo "$server did not start; its log ends so:" >&2
  tail -15 "$STATE/server.log" >&2
  exit 1
fi
"$@"
