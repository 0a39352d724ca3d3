"""Searches, and the journal of each: a row per transaction of its study."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "searches",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_searches_project_id"),
        sa.PrimaryKeyConstraint("number", name="pk_searches"),
        sa.UniqueConstraint("id", name="uq_searches_id"),
    )
    op.create_index("ix_searches_project_id_number", "searches", ["project_id", "number"], unique=False)
    op.create_table(
        "search_entries",
        sa.Column("search_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entries", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name="fk_search_entries_search_id"),
        sa.PrimaryKeyConstraint("search_id", "seq", name="pk_search_entries"),
    )
