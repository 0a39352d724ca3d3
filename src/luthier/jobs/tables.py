"""The tables of the store. `number` is the order of creation, `id` what the outside sees."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql
from sqlalchemy import Column, Index, MetaData, Table, UniqueConstraint

from luthier.jobs.column_types import Integer, Json, Text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _number() -> Column[Any]:
    # Only a column called INTEGER counts by itself in SQLite.
    return Column("number", sql.BigInteger().with_variant(sql.Integer, "sqlite"), primary_key=True, autoincrement=True)


def _text(name: str, *, optional: bool = False, unique: bool = False) -> Column[Any]:
    return Column(name, Text, nullable=optional, unique=unique)


def _integer(name: str, *, optional: bool = False) -> Column[Any]:
    return Column(name, Integer, nullable=optional)


def _json(name: str, *, optional: bool = False) -> Column[Any]:
    return Column(name, Json, nullable=optional)


def _reference(name: str, target: str) -> Column[Any]:
    return Column(name, Text, sql.ForeignKey(target), nullable=False)


projects = Table("projects", metadata, _number(), _text("id", unique=True), _text("name"), _integer("created_at"))

keys = Table(
    "keys",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("project_id", "projects.id"),
    _text("name"),
    _text("role"),
    _text("digest", unique=True),
    _integer("created_at"),
    _integer("expires_at", optional=True),
    _integer("revoked_at", optional=True),
)

files = Table(
    "files",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("project_id", "projects.id"),
    _text("filename"),
    _text("purpose"),
    _integer("bytes"),
    _text("sha256"),
    _text("artefact"),
    _integer("created_at"),
    _integer("expires_at", optional=True),
    _text("status"),
    _text("status_details", optional=True),
    Index(None, "project_id", "number"),
    Index(None, "expires_at"),
)

uploads = Table(
    "uploads",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("project_id", "projects.id"),
    _text("filename"),
    _text("purpose"),
    _integer("bytes"),
    _text("mime_type"),
    _text("status"),
    _integer("created_at"),
    _integer("expires_at"),
    _text("file_id", optional=True),
    _integer("file_seconds", optional=True),
    Index(None, "project_id", "status"),
    Index(None, "status", "expires_at"),
)

parts = Table(
    "parts",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("upload_id", "uploads.id"),
    _integer("bytes"),
    _text("sha256"),
    _text("artefact"),
    _integer("created_at"),
    Index(None, "upload_id"),
)

jobs = Table(
    "jobs",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("project_id", "projects.id"),
    _text("key_id", optional=True),
    _text("kind"),
    _text("status"),
    _text("model"),
    _text("base_model"),
    _text("task"),
    _text("training_file"),
    _integer("created_at"),
    _integer("seed"),
    _json("recipe"),
    _text("parent", optional=True),
    _text("validation_file", optional=True),
    _text("suffix", optional=True),
    _json("method"),
    _json("metadata"),
    _json("integrations"),
    _json("chosen"),
    _integer("priority"),
    _integer("started_at", optional=True),
    _integer("finished_at", optional=True),
    _integer("estimated_finish", optional=True),
    _integer("trained_tokens", optional=True),
    _text("fine_tuned_model", optional=True),
    _json("result_files"),
    _json("error", optional=True),
    _integer("step"),
    _integer("total_steps", optional=True),
    _integer("fence"),
    _text("owner", optional=True),
    _text("device", optional=True),
    _integer("attempts"),
    _text("wanted", optional=True),
    _integer("version"),
    _json("result"),
    # The rest is the store's own and in no record.
    _text("idempotency", optional=True),
    Column("validated", sql.Boolean, nullable=False),
    _integer("beats"),
    _integer("claimed_step"),
    _integer("losses"),
    _integer("last_event"),
    UniqueConstraint("project_id", "idempotency"),
    Index(None, "project_id", "number"),
    Index(None, "status", "priority", "number"),
)

job_metadata = Table(
    "job_metadata",
    metadata,
    Column("job_id", Text, sql.ForeignKey("jobs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    _text("value"),
    Index(None, "name", "value"),
)

events = Table(
    "events",
    metadata,
    Column("job_id", Text, sql.ForeignKey("jobs.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    _text("id", unique=True),
    _text("key"),
    _integer("created_at"),
    _text("level"),
    _text("type"),
    _text("message"),
    _json("data"),
    UniqueConstraint("job_id", "key"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("job_id", "jobs.id"),
    _integer("step"),
    _text("model"),
    _json("metrics"),
    _integer("created_at"),
    UniqueConstraint("job_id", "step"),
)

models = Table(
    "models",
    metadata,
    _number(),
    _text("name", unique=True),
    _reference("project_id", "projects.id"),
    _reference("job_id", "jobs.id"),
    _text("base_model"),
    _text("task"),
    _text("method"),
    _text("artefact"),
    _integer("created_at"),
    _integer("step", optional=True),
    Index(None, "project_id", "number"),
)

endpoints = Table(
    "endpoints",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("project_id", "projects.id"),
    _text("name"),
    _text("model"),
    _text("state"),
    _integer("idle_seconds"),
    _integer("created_at"),
    UniqueConstraint("project_id", "name"),
)

permissions = Table(
    "permissions",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("project_id", "projects.id"),
    _text("checkpoint"),
    _integer("created_at"),
    UniqueConstraint("project_id", "checkpoint"),
    Index(None, "checkpoint"),
)

sessions = Table(
    "sessions",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("project_id", "projects.id"),
    _reference("key_id", "keys.id"),
    _text("digest", unique=True),
    _integer("created_at"),
    _integer("expires_at"),
    Index(None, "key_id"),
)

datasets = Table(
    "datasets",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("project_id", "projects.id"),
    _text("name"),
    _integer("latest"),
    _integer("created_at"),
    UniqueConstraint("project_id", "name"),
    Index(None, "project_id", "number"),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    _number(),
    _reference("dataset_id", "datasets.id"),
    _integer("version"),
    _text("file_id"),
    _text("test_file_id", optional=True),
    _text("format"),
    _text("task"),
    _integer("rows"),
    _integer("bytes"),
    _text("sha256"),
    _json("columns"),
    _json("origin"),
    _integer("created_at"),
    UniqueConstraint("dataset_id", "version"),
    Index(None, "file_id"),
    Index(None, "test_file_id"),
)

exports = Table(
    "exports",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("project_id", "projects.id"),
    _text("model"),
    _json("options"),
    _text("status"),
    _text("filename"),
    _integer("bytes"),
    _json("error", optional=True),
    _integer("created_at"),
    _integer("finished_at", optional=True),
    Index(None, "project_id", "model", "number"),
)

traffic = Table(
    "traffic",
    metadata,
    Column("endpoint_id", Text, primary_key=True),
    Column("start", Integer, primary_key=True, autoincrement=False),
    _integer("requests"),
    _integer("errors"),
    _integer("prompt_tokens"),
    _integer("completion_tokens"),
    _json("latencies"),
    Index(None, "start"),
)

searches = Table(
    "searches",
    metadata,
    _number(),
    _text("id", unique=True),
    _reference("project_id", "projects.id"),
    _text("name"),
    _integer("created_at"),
    Index(None, "project_id", "number"),
)

search_entries = Table(
    "search_entries",
    metadata,
    Column("search_id", Text, sql.ForeignKey("searches.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    _json("entries"),
)
