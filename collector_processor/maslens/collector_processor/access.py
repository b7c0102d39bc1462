"""Who may send: bearer tokens with scopes and rates, and where a receiver may listen without any."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from maslens.collector_processor.errors import ConfigError, Forbidden, TooManyRequests, Unauthenticated

Scope: TypeAlias = Literal["ingest", "read", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
_SHORTEST: Final = 16
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows. `admin` allows everything."""

    name: str
    scopes: frozenset[Scope]
    bytes_per_second: float = math.inf


@dataclass(frozen=True, slots=True)
class Tokens:
    """Known tokens; only their hashes are kept. Without any, everybody may do everything."""

    grants: tuple[tuple[bytes, Grant], ...] = ()

    @classmethod
    def parse(cls, text: str, *, source: str) -> Tokens:
        """One token a line (or between `;`): `TOKEN [name=NAME] [scopes=ingest,read,admin] [rate=10M]`.

        `rate` is in bytes a second. `#` begins a comment. A token without scopes may ingest.
        """
        grants = []
        for number, line in enumerate(re.split(r"[\n;]", text), 1):
            words = line.split("#", 1)[0].split()
            if words:
                grants.append((_digest(words[0]), _grant(words, f"{source}, token {number}")))
        return cls(tuple(grants))

    @classmethod
    def from_file(cls, path: Path) -> Tokens:
        try:
            return cls.parse(path.read_text("utf-8"), source=str(path))
        except OSError as error:
            raise ConfigError(f"the token file {path} cannot be read: {error.strerror}") from None

    def __bool__(self) -> bool:
        return bool(self.grants)

    def grant(self, authorization: str | None, scope: Scope | None) -> Grant:
        """Who sent this `Authorization` header; raises Unauthenticated or Forbidden. Takes as long for any token.

        Without a `scope` any known token will do.
        """
        if not self.grants:
            return _EVERYBODY
        kind, _, token = (authorization or "").partition(" ")
        presented = _digest(token.strip())
        found = None
        for digest, grant in self.grants:
            if hmac.compare_digest(digest, presented):
                found = grant
        if kind.lower() != "bearer" or found is None:
            raise Unauthenticated
        if scope is not None and scope not in found.scopes and "admin" not in found.scopes:
            raise Forbidden(f"the token {found.name!r} has no scope {scope!r}")
        return found


@dataclass(slots=True)
class RateLimiter:
    """Bytes a second for each token, with a second's worth of burst."""

    _filled: dict[Grant, tuple[float, float]] = field(default_factory=dict)  # bytes that may be spent, and since when
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self, grant: Grant, size: int, *, now: float) -> None:
        """Raises TooManyRequests, saying when there will be room. A debt is allowed, so any size passes in the end."""
        if grant.bytes_per_second == math.inf:
            return
        with self._lock:
            left, since = self._filled.get(grant, (grant.bytes_per_second, now))
            left = min(grant.bytes_per_second, left + (now - since) * grant.bytes_per_second)
            allowed = left > 0
            self._filled[grant] = (left - size if allowed else left, now)
        if not allowed:
            delay = timedelta(seconds=min(5.0, 0.1 - left / grant.bytes_per_second))
            raise TooManyRequests(f"the token {grant.name!r} is over its rate", reason="rate_limited", delay=delay)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    certificate: Path
    key: Path
    client_ca: Path | None = None  # who signs the certificates that clients must show

    def __post_init__(self) -> None:
        for name in ("certificate", "key", "client_ca"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ConfigError(f"tls.{name}: there is no file {path}")


def check_exposure(hosts: Iterable[str], *, tokens: Tokens, tls: TlsConfig | None, insecure: bool) -> None:
    """Raises ConfigError where a receiver would be open to the network without knowing who sends."""
    known = bool(tokens) or (tls is not None and tls.client_ca is not None)
    for host in hosts:
        if not known and not insecure and not is_loopback(host):
            raise ConfigError(
                f"{host} can be reached from other machines: give tokens or a client CA, or say insecure=True if "
                "anybody there may send"
            )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _grant(words: list[str], where: str) -> Grant:
    if len(words[0]) < _SHORTEST:
        raise ConfigError(f"{where}: a token must have at least {_SHORTEST} characters")
    options = dict(word.partition("=")[::2] for word in words[1:])
    if unknown := set(options) - {"name", "scopes", "rate"}:
        raise ConfigError(f"{where}: unknown {', '.join(sorted(unknown))}; a token has name=, scopes= and rate=")
    scopes = frozenset(options.get("scopes", "ingest").split(","))
    if wrong := scopes - set(SCOPES):
        raise ConfigError(f"{where}: unknown scope {', '.join(sorted(wrong))}; known: {', '.join(SCOPES)}")
    return Grant(
        options.get("name", _digest(words[0]).hex()[:8]),
        frozenset(scope for scope in SCOPES if scope in scopes),
        _rate(options["rate"], where) if "rate" in options else math.inf,
    )


def _rate(text: str, where: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)(?:i?B)?", text)
    if found is None or float(found[1]) <= 0:
        raise ConfigError(f"{where}: rate is bytes a second, as 500K or 10M, not {text!r}")
    return float(found[1]) * _UNITS[found[2]]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


_EVERYBODY: Final = Grant("everybody", frozenset(SCOPES))
