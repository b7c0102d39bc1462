"""Who may send, and how fast."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from maslens.collector_processor.access import Grant, RateLimiter, TlsConfig, Tokens, check_exposure, is_loopback
from maslens.collector_processor.errors import ConfigError, Forbidden, TooManyRequests, Unauthenticated

TEXT = """
# who may send
ingest-token-0123456789                       name=fleet rate=10M
reader-token-0123456789 name=grafana scopes=read
owner-token-01234567890 name=me scopes=admin  # everything
"""
TOKENS = Tokens.parse(TEXT, source="test")


@pytest.mark.parametrize(
    ("token", "scope", "name"),
    [
        ("ingest-token-0123456789", "ingest", "fleet"),
        ("reader-token-0123456789", "read", "grafana"),
        ("owner-token-01234567890", "ingest", "me"),
        ("owner-token-01234567890", "read", "me"),
    ],
)
def test_a_token_with_the_scope_is_granted(token: str, scope: str, name: str) -> None:
    for kind in ("Bearer", "bearer"):
        assert TOKENS.grant(f"{kind} {token}", scope).name == name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "ingest-token-0123456789",
        "Basic ingest-token-0123456789",
        "Bearer ingest-token-012345678",
        "Bearer ingest-token-01234567890",
        "Bearer \udcff",
        "Bearer " + "x" * 100_000,
    ],
)
def test_anything_else_is_not(authorization: str | None) -> None:
    with pytest.raises(Unauthenticated):
        TOKENS.grant(authorization, "ingest")


def test_a_scope_that_was_not_given_is_forbidden() -> None:
    with pytest.raises(Forbidden, match="'grafana' has no scope 'ingest'"):
        TOKENS.grant("Bearer reader-token-0123456789", "ingest")


def test_without_tokens_everybody_may() -> None:
    assert Tokens().grant(None, "admin").bytes_per_second == math.inf
    assert not Tokens()
    assert TOKENS


def test_tokens_are_not_kept() -> None:
    assert "ingest-token" not in repr(TOKENS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("short", "at least 16 characters"),
        ("ingest-token-0123456789 scopes=write", "unknown scope write"),
        ("ingest-token-0123456789 colour=red", "unknown colour"),
        ("ingest-token-0123456789 rate=fast", "rate is bytes a second"),
        ("ingest-token-0123456789 rate=0", "rate is bytes a second"),
    ],
)
def test_a_wrong_token_line_is_named(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"tokens.txt, token 2: .*{message}"):
        Tokens.parse(f"# comment\n{line}", source="tokens.txt")


def test_tokens_from_a_file_or_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(TEXT)
    assert Tokens.from_file(path) == TOKENS
    assert len(Tokens.parse("first-token-0123456789;second-token-0123456789", source="env").grants) == 2
    with pytest.raises(ConfigError, match="cannot be read"):
        Tokens.from_file(tmp_path / "none")


def test_a_rate_is_kept_and_says_when_to_come_back() -> None:
    limiter, grant = RateLimiter(), Grant("fleet", frozenset({"ingest"}), 1000.0)
    limiter.spend(grant, 900, now=0.0)
    limiter.spend(grant, 900, now=0.0)  # what is left pays for a part; the rest is a debt
    with pytest.raises(TooManyRequests) as refused:
        limiter.spend(grant, 1, now=0.1)
    assert 0.5 < refused.value.delay.total_seconds() < 1.0
    limiter.spend(grant, 1, now=0.9)
    limiter.spend(Grant("other", frozenset({"ingest"})), 10**9, now=0.9)


def test_over_time_no_more_than_the_rate_gets_through() -> None:
    limiter, grant, taken = RateLimiter(), Grant("fleet", frozenset({"ingest"}), 1000.0), 0
    for step in range(10_000):
        try:
            limiter.spend(grant, 100, now=step / 1000)
        except TooManyRequests:
            continue
        taken += 100
    assert 10_000 <= taken <= 11_200


@pytest.mark.parametrize(("host", "expected"), [
    ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True),
    ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False), ("", False),
])  # fmt: skip
def test_what_only_this_machine_can_reach(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_other_machines_need_a_token_or_a_certificate(tmp_path: Path) -> None:
    file = tmp_path / "pem"
    file.write_text("")
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0 can be reached from other machines"):
        check_exposure(["127.0.0.1", "0.0.0.0"], tokens=Tokens(), tls=None, insecure=False)
    with pytest.raises(ConfigError):  # encrypted, but by anybody
        check_exposure(["0.0.0.0"], tokens=Tokens(), tls=TlsConfig(certificate=file, key=file), insecure=False)
    check_exposure(["0.0.0.0"], tokens=TOKENS, tls=None, insecure=False)
    check_exposure(["0.0.0.0"], tokens=Tokens(), tls=None, insecure=True)
    mutual = TlsConfig(certificate=file, key=file, client_ca=file)
    check_exposure(["0.0.0.0"], tokens=Tokens(), tls=mutual, insecure=False)
    with pytest.raises(ConfigError, match=r"tls\.key: there is no file"):
        TlsConfig(certificate=file, key=tmp_path / "none")
