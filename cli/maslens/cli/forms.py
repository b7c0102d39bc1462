"""How an answer can be written."""

from enum import Enum


class Format(str, Enum):
    table = "table"
    json = "json"
    csv = "csv"
