"""What the pages need: sessions of browsers, data sets with their versions, exports, traffic of endpoints.

Written out, not taken from `jobs.tables`: what a version did must not change when the tables do.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _number() -> sa.Column[Any]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("number", kind, autoincrement=True, nullable=False)


def _text(name: str, *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=optional)


def _integer(name: str, *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=optional)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "sessions",
        _number(), _text("id"), _text("project_id"), _text("key_id"), _text("digest"), _integer("created_at"),
        _integer("expires_at"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_sessions_project_id"),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name="fk_sessions_key_id"),
        sa.PrimaryKeyConstraint("number", name="pk_sessions"),
        sa.UniqueConstraint("id", name="uq_sessions_id"),
        sa.UniqueConstraint("digest", name="uq_sessions_digest"),
    )  # fmt: skip
    op.create_index("ix_sessions_key_id", "sessions", ["key_id"], unique=False)
    op.create_table(
        "datasets",
        _number(), _text("id"), _text("project_id"), _text("name"), _integer("latest"), _integer("created_at"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_datasets_project_id"),
        sa.PrimaryKeyConstraint("number", name="pk_datasets"),
        sa.UniqueConstraint("id", name="uq_datasets_id"),
        sa.UniqueConstraint("project_id", "name", name="uq_datasets_project_id_name"),
    )  # fmt: skip
    op.create_index("ix_datasets_project_id_number", "datasets", ["project_id", "number"], unique=False)
    op.create_table(
        "dataset_versions",
        _number(), _text("dataset_id"), _integer("version"), _text("file_id"), _text("test_file_id", optional=True),
        _text("format"), _text("task"), _integer("rows"), _integer("bytes"), _text("sha256"), _text("columns"),
        _text("origin"),
        _integer("created_at"),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_dataset_versions_dataset_id"),
        sa.PrimaryKeyConstraint("number", name="pk_dataset_versions"),
        sa.UniqueConstraint("dataset_id", "version", name="uq_dataset_versions_dataset_id_version"),
    )  # fmt: skip
    op.create_index("ix_dataset_versions_file_id", "dataset_versions", ["file_id"], unique=False)
    op.create_index("ix_dataset_versions_test_file_id", "dataset_versions", ["test_file_id"], unique=False)
    op.create_table(
        "exports",
        _number(), _text("id"), _text("project_id"), _text("model"), _text("options"), _text("status"),
        _text("filename"), _integer("bytes"), _text("error", optional=True), _integer("created_at"),
        _integer("finished_at", optional=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_exports_project_id"),
        sa.PrimaryKeyConstraint("number", name="pk_exports"),
        sa.UniqueConstraint("id", name="uq_exports_id"),
    )  # fmt: skip
    op.create_index("ix_exports_project_id_model_number", "exports", ["project_id", "model", "number"], unique=False)
    op.create_table(
        "traffic",
        _text("endpoint_id"), sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        _integer("requests"), _integer("errors"), _integer("prompt_tokens"), _integer("completion_tokens"),
        _text("latencies"),
        sa.PrimaryKeyConstraint("endpoint_id", "start", name="pk_traffic"),
    )  # fmt: skip
    op.create_index("ix_traffic_start", "traffic", ["start"], unique=False)
