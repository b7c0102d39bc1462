"""ClickHouse: one DSN for chDB and server, migrations, row types, named queries."""

from maslens.storage.config import StoreConfig
from maslens.storage.errors import MigrationError, QueryError, Rejected, StoreBusy, StoreError, Unavailable
from maslens.storage.store import Signal, Store, open_store

__all__ = [
    "MigrationError",
    "QueryError",
    "Rejected",
    "Signal",
    "Store",
    "StoreBusy",
    "StoreConfig",
    "StoreError",
    "Unavailable",
    "open_store",
]
