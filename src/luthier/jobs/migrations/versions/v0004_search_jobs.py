"""The journal of a search belongs to its job, as text that its workers write; 0003's was never used."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table anew."""
    op.drop_table("search_entries")
    op.drop_table("searches")
    op.create_table(
        "search_entries",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entries", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_search_entries_job_id"),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_search_entries"),
    )
