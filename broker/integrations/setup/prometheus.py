"""Prometheus: the ``oauth2`` block of a scrape, with an app's name and key as client.

Called by ``cli.setup``. Where the block goes is the person's choice, so the file itself is not touched.
"""

from __future__ import annotations

from broker.integrations.setup.plan import Asked, Plan, plain


def plan(asked: Asked, key: str) -> Plan:
    """Return the block, and the app that it names."""
    del key
    app = asked.app()
    block = (
        f"oauth2:\n  client_id: {plain(app.name, 'name of the app')}\n"
        f"  client_secret_file: {plain(app.file, 'path of the key')}\n"
        f"  token_url: {plain(asked.app_url, 'address of the app port')}/oauth/token\n"
    )
    notes = (
        "The block goes below the job_name of a scrape, indented as what is there.",
        f"The user that Prometheus runs as has to be able to read {app.file}; give it a copy of its own.",
    )
    return Plan(app=app, paste=block, notes=notes)
