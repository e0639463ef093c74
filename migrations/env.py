"""What Alembic runs: the migrations, on the connection and in the transaction that ``broker.store.migrate`` opened.

Called by Alembic. It configures no logging and opens nothing.
"""

from alembic import context

from broker.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a column by rebuilding the table
)
context.run_migrations()
