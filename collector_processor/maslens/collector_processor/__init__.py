"""OTLP in: gRPC and HTTP receivers, the journal, the loader."""

from maslens.collector_processor.access import TlsConfig, Tokens
from maslens.collector_processor.batching import BatchConfig
from maslens.collector_processor.deadletter import DeadLetter, DeadLetterConfig, DeadLetters
from maslens.collector_processor.errors import (
    ConfigError,
    JournalBusy,
    JournalError,
    Malformed,
    ReceiverError,
    Refused,
    TryAgain,
)
from maslens.collector_processor.front_ends import spare_front_ends
from maslens.collector_processor.http_server import HttpLimits
from maslens.collector_processor.inspection import Window
from maslens.collector_processor.journal import Journal, JournalConfig
from maslens.collector_processor.loader import Loader, LoaderConfig
from maslens.collector_processor.receiver import Receiver, ReceiverConfig, ReceiverStats
from maslens.collector_processor.redaction import RedactionRules, redact

__all__ = [
    "BatchConfig",
    "ConfigError",
    "DeadLetter",
    "DeadLetterConfig",
    "DeadLetters",
    "HttpLimits",
    "Journal",
    "JournalBusy",
    "JournalConfig",
    "JournalError",
    "Loader",
    "LoaderConfig",
    "Malformed",
    "Receiver",
    "ReceiverConfig",
    "ReceiverError",
    "ReceiverStats",
    "RedactionRules",
    "Refused",
    "TlsConfig",
    "Tokens",
    "TryAgain",
    "Window",
    "redact",
    "spare_front_ends",
]
