#!/usr/bin/env bash
# PyPI django-oauth-toolkit 3 in a virtual environment of its own; the Funkwhale stand-in uses it as well.
set -euo pipefail
venv=${AS_PREFIX:-$HOME/.cache/keyfob-test-servers}/django_oauth_toolkit
version=${DOT_VERSION:-3.4.1}
if ! "$venv/bin/python" -c "from importlib.metadata import version as v; assert v('django-oauth-toolkit') == '$version'" 2>/dev/null; then
  python3 -m venv "$venv"
  # oauthlib 4.0.1 breaks the device endpoint of 3.4.1 (DeviceCodeResponse gets an unexpected "scope"); Django 6 wants Python 3.12
  "$venv/bin/pip" install --quiet --disable-pip-version-check "django-oauth-toolkit==$version" 'oauthlib<4' 'django>=5.2,<5.3'
fi
echo "django-oauth-toolkit $version on Django $("$venv/bin/python" -c 'import django; print(django.__version__)')"
