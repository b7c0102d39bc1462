"""The `maslens` command. Each subcommand is a few lines here; what it does lives in the module named like it."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as installed_version
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from maslens.analytics.questions import CATALOGUE, Entry, Option
from maslens.cli import settings as settings_
from maslens.cli.faults import EXIT_INTERRUPTED, Fault
from maslens.cli.forms import Format
from maslens.cli.logs import configure_logs
from maslens.cli.settings import Settings
from rich.markup import escape

app = typer.Typer(
    name="maslens",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="See what goes wrong between AI agents: handoffs, cost, errors and delays, from OpenTelemetry spans.",
    epilog="Exit codes: 0 fine; 1 the answer is bad (an unhealthy check, an unknown session); 2 wrong usage or input; "
    "3 the store, the server or a port is not there; 130 interrupted.",
)

_FACTS, _DATA, _RUN = "Ask", "Data", "Run"

Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="settings as YAML or TOML")]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="the data directory of an embedded store (./maslens-data)")
]
Store = Annotated[str | None, typer.Option("--store", metavar="DSN", help=escape(settings_.briefs()["store"]))]
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="ask a running maslens, e.g. http://127.0.0.1:8088")
]
TokenFile = Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="bearer token, in its first line")]
Session = Annotated[str | None, typer.Option("--session", metavar="ID", help="only this session")]
Agent = Annotated[str | None, typer.Option("--agent", metavar="NAME", help="only this agent")]
Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="from then on: 15m, 2h, 7d or an ISO time")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="before then")]
Limit = Annotated[
    int | None, typer.Option("--limit", min=0, metavar="N", help="rows at most; 0 is all (table: 50, others: all)")
]


def _brief(name: str) -> str:
    return escape(settings_.briefs()[name])


def _port(name: str) -> Any:
    return typer.Option(f"--{name.replace('_', '-')}", metavar="PORT", help=_brief(name))


JournalDir = Annotated[Path | None, typer.Option("--journal-dir", metavar="DIR", help=_brief("journal_dir"))]
OtlpGrpcPort = Annotated[int | None, _port("otlp_grpc_port")]
OtlpHttpPort = Annotated[int | None, _port("otlp_http_port")]
PagePort = Annotated[int | None, _port("page_port")]
ClickHousePort = Annotated[int | None, _port("clickhouse_port")]
Form = Annotated[Format, typer.Option("--format", help="JSON is one array of flat objects with the columns as keys")]


Version = Annotated[
    str | None, typer.Option("--agent-version", metavar="TEXT", help="only this version, where runs are counted")
]
Explain = Annotated[
    int | None,
    typer.Option("--explain", min=1, metavar="N", help="row N of the answer: how it came about, and from what"),
]


def _read_command(entry: Entry) -> None:
    """A read command: the filters, what its question takes beside them, and where to ask."""
    options = {option.name: option for option in entry.options}

    def command(**given: Any) -> None:
        from maslens.cli import reads

        narrowed = ("session", "agent", "version", "since", "until", "limit", "form")
        filters = reads.filters(**{name: given[name] for name in narrowed})
        settings = _settings(given["config"], **{name: given[name] for name in ("data", "store", "token_file")})
        wanted = reads.Wanted(
            name=entry.name,
            filters=filters,
            options={name: given[name] for name in options},
            explain=given["explain"],
            url=given["url"],
            form=given["form"],
        )
        reads.show(wanted, settings)

    own = {name: (_option(option), None) for name, option in options.items()}
    usual: dict[str, tuple[Any, Any]] = {
        "data": (Data, None),
        "url": (Url, None),
        "store": (Store, None),
        "session": (Session, None),
        "agent": (Agent, None),
        "version": (Version, None),
        "since": (Since, None),
        "until": (Until, None),
        "limit": (Limit, None),
        "explain": (Explain, None),
        "form": (Form, Format.table),
        "token_file": (TokenFile, None),
        "config": (Config, None),
    }
    taken = {**own, **usual}
    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in taken.items()
    ]
    command.__annotations__ = {name: kind for name, (kind, _) in taken.items()}
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # typer reads the options from it
    app.command(entry.name, help=entry.help, rich_help_panel=_FACTS)(command)


def _option(option: Option) -> Any:
    flag = f"--{option.name.replace('_', '-')}"
    return Annotated[Optional.__getitem__(type(option.default)), typer.Option(flag, help=escape(option.described))]


for each in CATALOGUE:
    if each.command:
        _read_command(each)


@app.command(rich_help_panel=_FACTS)
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="one statement that reads; - reads it from stdin")],
    data: Data = None,
    url: Url = None,
    store: Store = None,
    form: Form = Format.table,
    token_file: TokenFile = None,
    config: Config = None,
) -> None:
    """Any SQL over the tables, read-only: `maslens query "SELECT count() FROM otel_traces"`.

    A FORMAT in the statement is obeyed and its bytes are written as they are.
    """
    from maslens.cli import reads

    settings = _settings(config, data=data, store=store, token_file=token_file)
    reads.show_query(sys.stdin.read() if sql == "-" else sql, settings, url=url, form=form)


@app.command(
    "run",
    rich_help_panel=_RUN,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def run(context: typer.Context) -> None:
    """Run a Python program of agents, unchanged, and send what its agents do to maslens: maslens run python app.py."""
    from maslens.instrumentation.run import main as run_program

    raise typer.Exit(run_program(context.args))


def _server_command(name: str, text: str) -> None:
    """`up` and its halves; they differ in what they run."""

    @app.command(name, help=text, rich_help_panel=_RUN)
    def command(
        data: Data = None,
        store: Store = None,
        host: Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help=_brief("host"))] = None,
        otlp_grpc_port: OtlpGrpcPort = None,
        otlp_http_port: OtlpHttpPort = None,
        page_port: PagePort = None,
        clickhouse_port: ClickHousePort = None,
        insecure: Annotated[bool, typer.Option("--insecure", help=_brief("insecure"))] = False,
        token_file: TokenFile = None,
        tls_cert: Annotated[Path | None, typer.Option("--tls-cert", metavar="FILE", help=_brief("tls_cert"))] = None,
        tls_key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help=_brief("tls_key"))] = None,
        tls_client_ca: Annotated[
            Path | None, typer.Option("--tls-client-ca", metavar="FILE", help=_brief("tls_client_ca"))
        ] = None,
        journal_dir: JournalDir = None,
        journal_max_bytes: Annotated[
            str | None, typer.Option("--journal-max-bytes", metavar="SIZE", help=_brief("journal_max_bytes"))
        ] = None,
        durability: Annotated[
            str | None, typer.Option("--durability", metavar="process|power", help=_brief("durability"))
        ] = None,
        front_ends: Annotated[
            str | None, typer.Option("--front-ends", metavar="N|auto", help=_brief("front_ends"))
        ] = None,
        sidecar_processes: Annotated[
            str | None, typer.Option("--sidecar-processes", metavar="N|auto", help=_brief("sidecar_processes"))
        ] = None,
        log_level: Annotated[str | None, typer.Option("--log-level", metavar="LEVEL", help=_brief("log_level"))] = None,
        config: Config = None,
    ) -> None:
        flags = {flag: value for flag, value in locals().items() if flag in settings_.briefs() and flag != "store"}
        flags["insecure"] = insecure or None
        settings = _settings(config, data=data, store=store, **flags)
        from maslens.cli import up

        {"up": up.up, "receiver": up.receive, "sidecar": up.compute}[name](settings)


_server_command("up", "Receive spans, compute facts, serve page, API, metrics and SQL: all of maslens in one process.")
_server_command("receiver", "Only receive and load, into a ClickHouse server.")
_server_command("sidecar", "Only compute facts and serve the page, from a ClickHouse server.")


@app.command(rich_help_panel=_RUN)
def demo(
    sessions: Annotated[int, typer.Option("--sessions", min=1, metavar="N", help="cases the help desk handles")] = 300,
    once: Annotated[bool, typer.Option("--once", help="end after the tables")] = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="the same seed makes the same cases")] = 7,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="keep the data there")] = None,
    otlp_grpc_port: OtlpGrpcPort = None,
    otlp_http_port: OtlpHttpPort = None,
    page_port: PagePort = None,
    clickhouse_port: ClickHousePort = None,
) -> None:
    """A help desk of agents with a scripted model, traced end to end: starts everything, shows the tables, serves."""
    from maslens.cli.demo.show import DemoOptions, show

    settings = _settings(
        None,
        otlp_grpc_port=otlp_grpc_port,
        otlp_http_port=otlp_http_port,
        page_port=page_port,
        clickhouse_port=clickhouse_port,
    )
    show(settings, DemoOptions(sessions=sessions, seed=seed, once=once, data=data))


@app.command(rich_help_panel=_DATA)
def replay(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="OTLP files: traces and logs", show_default=False)
    ],
    data: Data = None,
    store: Store = None,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", metavar="URL", help="send to a receiver: http://HOST:4318, grpc://HOST:4317"),
    ] = None,
    skip: Annotated[int, typer.Option("--skip", min=0, metavar="N", help="leave out the first N requests")] = 0,
    patience: Annotated[
        float, typer.Option("--patience", min=0, metavar="SECONDS", help="how long to try again when nobody answers")
    ] = 30.0,
    form: Form = Format.table,
    token_file: TokenFile = None,
    config: Config = None,
) -> None:
    """Read OTLP files into a data directory, or send them to a running receiver.

    One protobuf request, length-delimited requests, JSON (a request or an array) or JSON lines; plain, .gz or .xz.
    Every file is checked to its end first; if one is not understood, nothing is written.
    """
    from maslens.cli.replay import replay as run

    settings = _settings(config, data=data, store=store, token_file=token_file)
    run(files, settings, endpoint=endpoint, skip=skip, patience_s=patience, form=form)


@app.command(rich_help_panel=_DATA)
def migrate(data: Data = None, store: Store = None, config: Config = None) -> None:
    """Bring the tables and views of a store up to date; safe to run twice."""
    from maslens.cli import reads

    reads.migrate(_settings(config, data=data, store=store))


@app.command(rich_help_panel=_DATA)
def reprocess(
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="2h, 7d or an ISO time")],
    data: Data = None,
    store: Store = None,
    token_file: TokenFile = None,
    config: Config = None,
) -> None:
    """Compute facts again, of every session with a span since then: after a rule or a price has changed."""
    from maslens.cli import upkeep

    upkeep.reprocess(_settings(config, data=data, store=store, token_file=token_file), since)


deadletter = typer.Typer(no_args_is_help=True, help="Requests that the store refused for good.")
app.add_typer(deadletter, name="deadletter", rich_help_panel=_DATA)


@deadletter.command("list")
def deadletter_list(
    data: Data = None, journal_dir: JournalDir = None, form: Form = Format.table, config: Config = None
) -> None:
    """What lies there, and why."""
    from maslens.cli import upkeep

    upkeep.list_dead_letters(_settings(config, data=data, journal_dir=journal_dir), form)


@deadletter.command("retry")
def deadletter_retry(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME…]", help="only these")] = None,
    data: Data = None,
    journal_dir: JournalDir = None,
    token_file: TokenFile = None,
    config: Config = None,
) -> None:
    """Send them to the running maslens again."""
    from maslens.cli import upkeep

    upkeep.retry_dead_letters(_settings(config, data=data, journal_dir=journal_dir, token_file=token_file), names or [])


@app.command(rich_help_panel=_DATA)
def doctor(
    data: Data = None,
    url: Url = None,
    store: Store = None,
    app_: Annotated[
        bool, typer.Option("--app", help="look at this Python environment: would an app started here be traced?")
    ] = False,
    form: Form = Format.table,
    token_file: TokenFile = None,
    config: Config = None,
) -> None:
    """Look for the likeliest mistakes and say the cure of each; exit 1 if one of them makes the numbers wrong."""
    if app_:
        from maslens.cli.doctor_app import main as look_at_app

        raise typer.Exit(look_at_app(["--format", "json"] if form is Format.json else []))
    from maslens.cli.doctor import examine

    settings = _settings(config, data=data, store=store, token_file=token_file)
    raise typer.Exit(examine(settings, url=url, form=form, environ=os.environ))


@app.command()
def version() -> None:
    """The version of maslens and of the engine it would use."""
    print(f"maslens {installed_version('maslens')}")
    for name in ("chdb", "clickhouse-connect", "opentelemetry-sdk"):
        print(f"  {name} {installed_version(name)}")


def _settings(config: Path | None, *, data: Path | None = None, store: str | None = None, **flags: Any) -> Settings:
    if data is not None and store is not None:
        from maslens.cli.faults import BadInput

        raise BadInput("--data and --store say the same thing twice; give one of them")
    if data is not None:
        store = f"chdb://{data}"
    return settings_.load({"store": store, **flags}, environ=os.environ, config=config)


def main() -> None:
    """Run the command; every expected failure is one line on stderr and an exit code."""
    configure_logs("warning")  # to stderr; servers say more
    try:
        app()
    except Fault as fault:
        from maslens.cli.text import safe

        print(f"maslens: {safe(str(fault))}", file=sys.stderr)
        sys.exit(fault.code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # `maslens … | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
