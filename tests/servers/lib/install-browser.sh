#!/usr/bin/env bash
# npm playwright-core, which drives the Chromium that the system has (lib/chromium.mjs).
set -euo pipefail
prefix=${AS_PREFIX:-$HOME/.cache/keyfob-test-servers}/browser
if [ ! -f "$prefix/node_modules/playwright-core/package.json" ]; then
  mkdir -p "$prefix"
  cd "$prefix"
  [ -f package.json ] || echo '{"private":true,"type":"module"}' >package.json
  npm install --no-audit --no-fund --loglevel=error "playwright-core@${PLAYWRIGHT_VERSION:-1.64.1}" >/dev/null
fi
echo "playwright-core $(sed -n 's/^  "version": "\(.*\)",*$/\1/p' "$prefix/node_modules/playwright-core/package.json")"
