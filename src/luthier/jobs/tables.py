"""The tables of the store. `number` is the order of creation, `id` what the outside sees."""

from __future__ import annotations

import sqlalchemy as sql
from sqlalchemy import Column, Index, MetaData, Table, UniqueConstraint

from luthier.jobs.column_types import Integer, Text
from luthier.jobs.columns import integer, json, number, reference, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


projects = Table("projects", metadata, number(), text("id", unique=True), text("name"), integer("created_at"))

keys = Table(
    "keys",
    metadata,
    number(),
    text("id", unique=True),
    reference("project_id", "projects.id"),
    text("name"),
    text("role"),
    text("digest", unique=True),
    integer("created_at"),
    integer("expires_at", optional=True),
    integer("revoked_at", optional=True),
)

files = Table(
    "files",
    metadata,
    number(),
    text("id", unique=True),
    reference("project_id", "projects.id"),
    text("filename"),
    text("purpose"),
    integer("bytes"),
    text("sha256"),
    text("artefact"),
    integer("created_at"),
    integer("expires_at", optional=True),
    text("status"),
    text("status_details", optional=True),
    Index(None, "project_id", "number"),
    Index(None, "expires_at"),
)

uploads = Table(
    "uploads",
    metadata,
    number(),
    text("id", unique=True),
    reference("project_id", "projects.id"),
    text("filename"),
    text("purpose"),
    integer("bytes"),
    text("mime_type"),
    text("status"),
    integer("created_at"),
    integer("expires_at"),
    text("file_id", optional=True),
    integer("file_seconds", optional=True),
    Index(None, "project_id", "status"),
    Index(None, "status", "expires_at"),
)

parts = Table(
    "parts",
    metadata,
    number(),
    text("id", unique=True),
    reference("upload_id", "uploads.id"),
    integer("bytes"),
    text("sha256"),
    text("artefact"),
    integer("created_at"),
    Index(None, "upload_id"),
)

jobs = Table(
    "jobs",
    metadata,
    number(),
    text("id", unique=True),
    reference("project_id", "projects.id"),
    text("key_id", optional=True),
    text("kind"),
    text("status"),
    text("model"),
    text("base_model"),
    text("task"),
    text("training_file"),
    integer("created_at"),
    integer("seed"),
    json("recipe"),
    text("parent", optional=True),
    text("validation_file", optional=True),
    text("suffix", optional=True),
    json("method"),
    json("metadata"),
    json("integrations"),
    json("chosen"),
    integer("priority"),
    integer("started_at", optional=True),
    integer("finished_at", optional=True),
    integer("estimated_finish", optional=True),
    integer("trained_tokens", optional=True),
    text("fine_tuned_model", optional=True),
    json("result_files"),
    json("error", optional=True),
    integer("step"),
    integer("total_steps", optional=True),
    integer("fence"),
    text("owner", optional=True),
    text("device", optional=True),
    integer("attempts"),
    text("wanted", optional=True),
    integer("version"),
    json("result"),
    # The rest is the store's own and in no record.
    text("idempotency", optional=True),
    Column("validated", sql.Boolean, nullable=False),
    integer("beats"),
    integer("claimed_step"),
    integer("losses"),
    integer("last_event"),
    UniqueConstraint("project_id", "idempotency"),
    Index(None, "project_id", "number"),
    Index(None, "status", "priority", "number"),
)

job_metadata = Table(
    "job_metadata",
    metadata,
    Column("job_id", Text, sql.ForeignKey("jobs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    text("value"),
    Index(None, "name", "value"),
)

events = Table(
    "events",
    metadata,
    Column("job_id", Text, sql.ForeignKey("jobs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    text("id", unique=True),
    text("key"),
    integer("created_at"),
    text("level"),
    text("type"),
    text("message"),
    json("data"),
    UniqueConstraint("job_id", "key"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    number(),
    text("id", unique=True),
    reference("job_id", "jobs.id"),
    integer("step"),
    text("model"),
    json("metrics"),
    integer("created_at"),
    UniqueConstraint("job_id", "step"),
)

models = Table(
    "models",
    metadata,
    number(),
    text("name", unique=True),
    reference("project_id", "projects.id"),
    reference("job_id", "jobs.id"),
    text("base_model"),
    text("task"),
    text("method"),
    text("artefact"),
    integer("created_at"),
    integer("step", optional=True),
    Index(None, "project_id", "number"),
)

endpoints = Table(
    "endpoints",
    metadata,
    number(),
    text("id", unique=True),
    reference("project_id", "projects.id"),
    text("name"),
    text("model"),
    text("state"),
    integer("idle_seconds"),
    integer("created_at"),
    UniqueConstraint("project_id", "name"),
)

permissions = Table(
    "permissions",
    metadata,
    number(),
    text("id", unique=True),
    reference("project_id", "projects.id"),
    text("checkpoint"),
    integer("created_at"),
    UniqueConstraint("project_id", "checkpoint"),
    Index(None, "checkpoint"),
)

sessions = Table(
    "sessions",
    metadata,
    number(),
    text("id", unique=True),
    reference("project_id", "projects.id"),
    reference("key_id", "keys.id"),
    text("digest", unique=True),
    integer("created_at"),
    integer("expires_at"),
    Index(None, "key_id"),
)

datasets = Table(
    "datasets",
    metadata,
    number(),
    text("id", unique=True),
    reference("project_id", "projects.id"),
    text("name"),
    integer("latest"),
    integer("created_at"),
    UniqueConstraint("project_id", "name"),
    Index(None, "project_id", "number"),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    number(),
    reference("dataset_id", "datasets.id"),
    integer("version"),
    text("file_id"),
    text("test_file_id", optional=True),
    text("format"),
    text("task"),
    integer("rows"),
    integer("bytes"),
    text("sha256"),
    json("columns"),
    json("origin"),
    integer("created_at"),
    UniqueConstraint("dataset_id", "version"),
    Index(None, "file_id"),
    Index(None, "test_file_id"),
)

exports = Table(
    "exports",
    metadata,
    number(),
    text("id", unique=True),
    reference("project_id", "projects.id"),
    text("model"),
    json("options"),
    text("status"),
    text("filename"),
    integer("bytes"),
    json("error", optional=True),
    integer("created_at"),
    integer("finished_at", optional=True),
    Index(None, "project_id", "model", "number"),
)

traffic = Table(
    "traffic",
    metadata,
    Column("endpoint_id", Text, primary_key=True),
    Column("start", Integer, primary_key=True, autoincrement=False),
    integer("requests"),
    integer("errors"),
    integer("prompt_tokens"),
    integer("completion_tokens"),
    json("latencies"),
    Index(None, "start"),
)

search_entries = Table(
    "search_entries",
    metadata,
    Column("job_id", Text, sql.ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    text("entries"),
)
