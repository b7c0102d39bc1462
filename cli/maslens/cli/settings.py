"""Every setting of maslens in one frozen class: flags over `MASLENS_*` over the config file over the defaults."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import yaml
from maslens.cli.faults import BadInput, nearest
from maslens.cli.text import human_bytes, size_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENV_PREFIX = "MASLENS_"
CONFIG_NAMES = ("maslens.yaml", "maslens.yml", "maslens.toml")  # looked for in the working directory
CONFIG_VARIABLE = "MASLENS_CONFIG"
MOST_PROCESSES = 64
DURABILITIES = ("process", "power")
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Checked when made, so that a wrong setting stops the start and not the first span."""

    store: Annotated[str, "where the tables are: chdb://DIR or http(s)://user:pass@host:8123/db"] = (
        "chdb://./maslens-data"
    )
    host: Annotated[str, "address to listen on; any other than loopback needs a token, TLS or `insecure`"] = "127.0.0.1"
    otlp_grpc_port: Annotated[int, "OTLP over gRPC; 0 takes a free port"] = 4317
    otlp_http_port: Annotated[int, "OTLP over HTTP; 0 takes a free port"] = 4318
    page_port: Annotated[int, "page, REST, GraphQL and /metrics; 0 takes a free port"] = 8088
    clickhouse_port: Annotated[int, "read-only ClickHouse HTTP interface; 0 takes a free port"] = 8123
    insecure: Annotated[bool, "listen on another address than loopback with neither token nor TLS"] = False
    token_file: Annotated[
        Path | None, "bearer tokens, one a line: `TOKEN [name=NAME] [scopes=ingest,read,admin] [rate=10M]`"
    ] = None
    token: Annotated[
        str | None, "a bearer token for everything; only as MASLENS_TOKEN, so that no process list shows it"
    ] = None
    tls_cert: Annotated[Path | None, "PEM certificate chain; needs `tls_key`"] = None
    tls_key: Annotated[Path | None, "PEM private key of `tls_cert`"] = None
    tls_client_ca: Annotated[Path | None, "PEM authorities whose clients are let in (mutual TLS); needs `tls_cert`"] = (
        None
    )
    journal_dir: Annotated[
        Path | None,
        "holds `journal`, where acknowledged requests wait, and `deadletter`; default: the data directory",
    ] = None
    journal_max_bytes: Annotated[int, "acknowledged bytes that may wait before senders are pushed back"] = 4 * 1024**3
    front_ends: Annotated[
        str, "processes that take OTLP in for this one, on Linux; 0: none, this one does; auto: as cores are left over"
    ] = "0"
    journal_keep_bytes: Annotated[int, "loaded requests stay in the journal while they are within this size ..."] = 0
    journal_keep_s: Annotated[float, "... or younger than this"] = 0.0
    deadletter_max_bytes: Annotated[int, "what the store refuses for good is kept up to this size ..."] = 1024**3
    deadletter_max_files: Annotated[int, "... and this number, so that a bad deploy fills no disk ..."] = 10_000
    deadletter_keep_s: Annotated[float, "... and no longer than this; 0 is for ever"] = 0.0
    durability: Annotated[
        str, "process: acknowledged spans survive the death of any process; power: loss of power too, at any moment"
    ] = "process"
    otlp_max_bytes: Annotated[int, "the largest request that is taken, before and after decompression"] = 64 * 1024**2
    cors_origins: Annotated[
        tuple[str, ...], "origins of web pages that may send OTLP over HTTP, as https://app.example; `*` is all"
    ] = ()
    redact_keys: Annotated[
        tuple[str, ...], "attributes whose values are blanked before anything is written, `*` for any part"
    ] = ()
    redact_patterns: Annotated[
        tuple[str, ...], "email, key, card or NAME=REGEX: blanked in every text before anything is written"
    ] = ()
    content_off: Annotated[
        tuple[str, ...], "services (`*` for any part) whose prompts, answers and tool data are not kept"
    ] = ()
    batch_max_bytes: Annotated[int, "bytes of one insert at most"] = 12 * 1024**2
    batch_max_wait_s: Annotated[float, "longest time a request waits for others to be inserted with it …"] = 0.75
    batch_few_wait_s: Annotated[float, "… or since the last insert, while fewer than 1,000 spans wait"] = 1.5
    sidecar_interval_s: Annotated[float, "pause between two looks at which sessions got new spans"] = 0.5
    sidecar_processes: Annotated[
        str, "processes that compute facts beside this one; 0: none, this one does; auto: one where there are two cores"
    ] = "auto"
    session_idle_s: Annotated[float, "a session without new spans for this long is final"] = 300.0
    price_sheet: Annotated[Path | None, "YAML or JSON with prices of your own, which win over genai-prices"] = None
    compute_usd_per_hour: Annotated[
        float, "what an hour of an agent's time costs, in US dollars; see `cost --rate`"
    ] = 0.0
    budgets: Annotated[str | None, "US dollars by hour, day, week or month: `50/day; agent billing 5/day`"] = None
    embedder: Annotated[
        str | None, "`package.module:function` that embeds texts, for context drift; unset: by their letters alone"
    ] = None
    judge_url: Annotated[
        str | None, "base of an OpenAI-compatible API that is asked about failed sessions; unset: no model is asked"
    ] = None
    judge_model: Annotated[str | None, "the model that is asked; needed with `judge_url`"] = None
    judge_key: Annotated[str | None, "its API key; only as MASLENS_JUDGE_KEY, so that no process list shows it"] = None
    judge_tokens_per_day: Annotated[int, "tokens that the judge may use from midnight to midnight, UTC"] = 200_000
    judge_retries: Annotated[int, "how often a busy judge is asked again"] = 3
    log_level: Annotated[str, "debug, info, warning or error"] = "info"

    def __post_init__(self) -> None:
        _check_store(self.store)
        for name in ("otlp_grpc_port", "otlp_http_port", "page_port", "clickhouse_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise SettingError(name, f"must be between 0 and 65535, got {getattr(self, name)}")
        for name, least in (
            ("journal_max_bytes", 1 << 20),
            ("batch_max_bytes", 1 << 10),
            ("otlp_max_bytes", 1 << 10),
            ("journal_keep_bytes", 0),
            ("deadletter_max_bytes", 0),
        ):
            if getattr(self, name) < least:
                raise SettingError(name, f"must be at least {human_bytes(least)}, got {getattr(self, name)}")
        for name in ("batch_max_wait_s", "sidecar_interval_s", "session_idle_s"):
            if not 0 < getattr(self, name) <= 86_400:
                raise SettingError(name, f"must be above 0 and at most 86400 seconds, got {getattr(self, name)}")
        for name in ("front_ends", "sidecar_processes"):
            number = getattr(self, name)
            if number != "auto" and not (number.isdecimal() and int(number) <= MOST_PROCESSES):
                raise SettingError(name, f"must be auto or a number from 0 to {MOST_PROCESSES}, got {number!r}")
        for name in ("journal_keep_s", "deadletter_keep_s", "deadletter_max_files", "batch_few_wait_s"):
            if not getattr(self, name) >= 0:
                raise SettingError(name, f"must not be negative, got {getattr(self, name)}")
        for origin in self.cors_origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
                raise SettingError("cors_origins", f"must be origins such as https://app.example, got {origin!r}")
        if self.durability not in DURABILITIES:
            raise SettingError("durability", f"must be {' or '.join(DURABILITIES)}, got {self.durability!r}")
        if not 0 <= self.compute_usd_per_hour < float("inf"):
            raise SettingError("compute_usd_per_hour", f"must be 0 or more, got {self.compute_usd_per_hour}")
        if self.budgets is not None:
            _check_budgets(self.budgets)
        _check_judge(self)
        if self.log_level not in LOG_LEVELS:
            raise SettingError("log_level", f"must be one of {', '.join(LOG_LEVELS)}, got {self.log_level!r}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingError("tls_key" if self.tls_cert else "tls_cert", "is missing: TLS needs both")
        if self.tls_client_ca and not self.tls_cert:
            raise SettingError("tls_client_ca", "needs tls_cert and tls_key")
        for name in ("token_file", "tls_cert", "tls_key", "tls_client_ca", "price_sheet"):
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise SettingError(name, f"is no file: {path}")
        if self.token is not None and not self.token.strip():
            raise SettingError("token", "must not be empty")
        _check_exposure(self)

    @property
    def data_dir(self) -> Path | None:
        """The directory of an embedded store; None when the store is a server."""
        return Path(self.store.removeprefix("chdb://").partition("?")[0]) if self.store.startswith("chdb://") else None

    @property
    def survives_power_loss(self) -> bool:
        return self.durability == "power"

    @property
    def journal_directory(self) -> Path:
        if self.journal_dir is not None:
            return self.journal_dir
        return self.data_dir if self.data_dir is not None else Path("maslens-journal")

    def usual_options(self) -> dict[str, dict[str, str | int | float]]:
        """What questions take where nothing else is said, by question."""
        return {"cost": {"rate": self.compute_usd_per_hour}, "budgets": {"budgets": self.budgets or ""}}

    def tokens_text(self) -> str:
        """The tokens asked of clients, as `collector_processor` reads them; empty if none are."""
        if self.token is not None:
            return self.token if " " in self.token.strip() else f"{self.token.strip()} name=MASLENS_TOKEN scopes=admin"
        return self.token_file.read_text(encoding="utf-8") if self.token_file is not None else ""

    def bearer_token(self) -> str | None:
        """The token we show ourselves: the first of those we know."""
        for line in self.tokens_text().replace(";", "\n").splitlines():
            words = line.split("#", 1)[0].split()
            if words:
                return words[0]
        if self.token_file is not None:
            raise SettingError("token_file", f"has no token in it: {self.token_file}")
        return None


class SettingError(BadInput):
    """A setting has a value it cannot have."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name = name
        self.problem = problem


def load(
    flags: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str],
    config: Path | None = None,
    directory: Path | None = None,
) -> Settings:
    """The settings of one start. `flags` that are None were not given; messages name a setting as it was written."""
    known = _types()
    path = _config_path(config, environ, directory or Path())
    values: dict[str, Any] = {}
    written: dict[str, str] = {}
    for name, value in (_config_file(path, known) if path else {}).items():
        values[name], written[name] = _parse(name, value, f"{name} in {path}"), f"{name} in {path}"
    for name in known:
        variable = ENV_PREFIX + name.upper()
        if variable in environ:
            values[name], written[name] = _parse(name, environ[variable], variable), variable
    for name, value in (flags or {}).items():
        if value is not None:
            flag = "--" + name.replace("_", "-")
            values[name], written[name] = _parse(name, value, flag), flag
    try:
        return Settings(**values)
    except SettingError as wrong:
        raise BadInput(f"{written.get(wrong.name, wrong.name)} {wrong.problem}") from None


def _config_path(config: Path | None, environ: Mapping[str, str], directory: Path) -> Path | None:
    named = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named is None:
        return next((directory / name for name in CONFIG_NAMES if (directory / name).is_file()), None)
    if not named.is_file():
        raise BadInput(f"{'--config' if config else CONFIG_VARIABLE} names no file: {named}")
    return named


def _config_file(path: Path, known: Mapping[str, type]) -> dict[str, object]:
    text = path.read_text(encoding="utf-8")
    try:
        document = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as wrong:
        raise BadInput(f"{path} cannot be read: {' '.join(str(wrong).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise BadInput(f"{path} must hold `setting: value` pairs")
    for name in document:
        if name == "token":
            raise BadInput(f"token in {path}: give the token as MASLENS_TOKEN or in a file named by token_file")
        if name == "judge_key":
            raise BadInput(f"judge_key in {path}: give it as MASLENS_JUDGE_KEY")
        if name not in known:
            raise BadInput(f"{path} has an unknown setting {str(name)!r}{nearest(str(name), known)}")
    return {str(name): value for name, value in document.items()}


def briefs() -> dict[str, str]:
    """One line on each setting."""
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(Settings, include_extras=True).items()}


def _types() -> dict[str, type]:
    """The type of each setting, `None` left out; lists are of texts."""
    hints = get_type_hints(Settings)
    return {
        name: tuple if get_origin(hint) is tuple else (get_args(hint) or (hint,))[0] for name, hint in hints.items()
    }


def _parse(name: str, value: object, written: str) -> Any:
    """`value` as the type of the setting; text is understood the way a person writes it."""
    kind = _types()[name]
    try:
        if kind is bool:
            return _flag(value)
        if kind is int:
            if isinstance(value, bool):
                raise ValueError(value)
            return size_bytes(str(value)) if name.endswith("_bytes") else int(str(value))
        if kind is float:
            if isinstance(value, bool):
                raise ValueError(value)
            return float(str(value).removesuffix("s"))
        if kind is tuple:
            return _texts(value)
        if not isinstance(value, (str, Path)) or not str(value):
            raise ValueError(value)
        return Path(value).expanduser() if kind is Path else str(value)
    except ValueError:
        wanted = {
            bool: "true or false",
            int: "a whole number",
            float: "a number of seconds" if name.endswith("_s") else "a number",
            tuple: "a list of texts, or texts between commas",
        }.get(kind, "text")
        wanted = "a size such as 64MiB" if name.endswith("_bytes") else wanted
        raise BadInput(f"{written} must be {wanted}, got {value!r}") from None


def _flag(value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]


def _texts(value: object) -> tuple[str, ...]:
    """A list of a config file as it is; a text is cut at its commas."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise ValueError(value)
    return tuple(part for part in parts if part)


def _check_judge(settings: Settings) -> None:
    if settings.judge_url is not None:
        if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", settings.judge_url):
            raise SettingError("judge_url", f"must be http(s)://host/..., got {settings.judge_url!r}")
        if not (settings.judge_model or "").strip():
            raise SettingError("judge_model", "is missing: judge_url needs it")
    if settings.judge_tokens_per_day < 1:
        raise SettingError("judge_tokens_per_day", f"must be at least 1, got {settings.judge_tokens_per_day}")
    if not 0 <= settings.judge_retries <= 10:
        raise SettingError("judge_retries", f"must be between 0 and 10, got {settings.judge_retries}")


def _check_budgets(text: str) -> None:
    from maslens.analytics.spend import parse_budgets

    try:
        parse_budgets(text)
    except ValueError as wrong:
        raise SettingError("budgets", f"cannot be read: {wrong}") from None


def _check_store(store: str) -> None:
    scheme, _, rest = store.partition("://")
    if scheme == "chdb" and rest:
        return
    if scheme in ("http", "https") and urlsplit(store).hostname:
        return
    raise SettingError("store", f"must be chdb://DIR or http(s)://user:pass@host:8123/db, got {store!r}")


def _check_exposure(settings: Settings) -> None:
    """Refuse to be open to a network by accident."""
    if _is_loopback(settings.host) or settings.insecure:
        return
    if settings.token is None and settings.token_file is None and settings.tls_client_ca is None:
        raise SettingError(
            "host",
            f"is {settings.host}, which others can reach: set a token (token_file or MASLENS_TOKEN) or "
            "tls_client_ca, or say `--insecure`",
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
