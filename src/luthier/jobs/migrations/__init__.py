"""The database's versions, one Alembic file each. They run when a store is opened, in one transaction."""

HEAD = "0004"
"""The version that this program reads and writes."""
