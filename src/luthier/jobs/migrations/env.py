"""Alembic runs this file: it migrates over the connection that `jobs.database` opened, in its transaction."""

from alembic import context

from luthier.jobs.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
