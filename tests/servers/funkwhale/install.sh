#!/usr/bin/env bash
# The stand-in runs on the django-oauth-toolkit of its neighbour.
set -euo pipefail
exec "$(dirname "$0")/../django_oauth_toolkit/install.sh"
