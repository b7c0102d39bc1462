"""Where a setting comes from, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest
from maslens.cli import machine
from maslens.cli.faults import BadInput
from maslens.cli.settings import Settings, briefs, load
from maslens.collector_processor.access import Tokens


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "page_port: 1\notlp_http_port: 2\nclickhouse_port: 3\n")
    environ = {"MASLENS_PAGE_PORT": "11", "MASLENS_OTLP_HTTP_PORT": "12"}
    settings = load({"page_port": 21, "host": None}, environ=environ, config=config)
    assert (settings.page_port, settings.otlp_http_port, settings.clickhouse_port) == (21, 12, 3)
    assert (settings.otlp_grpc_port, settings.host) == (4317, "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("maslens.yaml", "page_port: 9000\njournal_max_bytes: 64MiB\ninsecure: yes\n", id="yaml"),
        pytest.param("maslens.toml", 'page_port = 9000\njournal_max_bytes = "64MiB"\ninsecure = true\n', id="toml"),
    ],
)
def test_a_config_file_in_the_working_directory_is_read(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path / name, text)
    settings = load(environ={}, directory=tmp_path)
    assert (settings.page_port, settings.journal_max_bytes, settings.insecure) == (9000, 64 * 1024**2, True)


@pytest.mark.parametrize(
    ("flags", "environ", "text", "said"),
    [
        pytest.param({}, {}, "page_prot: 1", "unknown setting 'page_prot' (did you mean 'page_port'?)", id="typo"),
        pytest.param({}, {}, "sleeve: 1", "unknown setting 'sleeve'", id="unknown and near nothing"),
        pytest.param({}, {}, "page_port: high", "page_port in", id="file, wrong type"),
        pytest.param({}, {}, "page_port: 70000", "page_port in", id="file, out of range"),
        pytest.param({}, {"MASLENS_PAGE_PORT": "x"}, "", "MASLENS_PAGE_PORT must be a whole number, got 'x'", id="env"),
        pytest.param({"page_port": -1}, {}, "", "--page-port must be between 0 and 65535, got -1", id="flag"),
        pytest.param({}, {"MASLENS_INSECURE": "perhaps"}, "", "MASLENS_INSECURE must be true or false", id="bool"),
        pytest.param({"journal_max_bytes": "lots"}, {}, "", "--journal-max-bytes must be a size", id="size"),
        pytest.param({"store": "sqlite://x"}, {}, "", "--store must be chdb://DIR or http", id="store"),
        pytest.param({"log_level": "loud"}, {}, "", "--log-level must be one of debug, info", id="choice"),
        pytest.param(
            {"durability": "disk"}, {}, "", "--durability must be process or power, got 'disk'", id="durability"
        ),
        pytest.param({"front_ends": "many"}, {}, "", "--front-ends must be auto or a number from 0 to 64", id="number"),
        pytest.param({}, {"MASLENS_FRONT_ENDS": "65"}, "", "MASLENS_FRONT_ENDS must be auto or a", id="too many"),
        pytest.param({"batch_max_wait_s": 0.0}, {}, "", "--batch-max-wait-s must be above 0", id="duration"),
        pytest.param({"tls_cert": Path(__file__)}, {}, "", "tls_key is missing: TLS needs both", id="half of TLS"),
        pytest.param({"token_file": "/nowhere"}, {}, "", "--token-file is no file: /nowhere", id="no such file"),
        pytest.param({}, {}, "token: abc", "give the token as MASLENS_TOKEN", id="a token in a config file"),
        pytest.param({}, {}, "- a\n- b", "must hold `setting: value` pairs", id="not a mapping"),
        pytest.param({}, {}, "a: [", "cannot be read", id="not YAML"),
    ],
)
def test_a_wrong_setting_is_named_as_it_was_written(
    tmp_path: Path, flags: dict[str, object], environ: dict[str, str], text: str, said: str
) -> None:
    config = write(tmp_path / "m.yaml", text)
    with pytest.raises(BadInput) as wrong:
        load(flags, environ=environ, config=config)
    assert said in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_a_config_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--config names no file"):
        load(environ={}, config=tmp_path / "none.yaml")
    with pytest.raises(BadInput, match="MASLENS_CONFIG names no file"):
        load(environ={"MASLENS_CONFIG": str(tmp_path / "none.yaml")})


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "::", "example.test"])
def test_an_address_others_can_reach_needs_a_token_or_client_certificates(host: str) -> None:
    with pytest.raises(BadInput, match="which others can reach: set a token"):
        load({"host": host}, environ={})
    assert load({"host": host, "insecure": True}, environ={}).insecure
    assert load({"host": host}, environ={"MASLENS_TOKEN": "secret"}).bearer_token() == "secret"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    assert load({"host": host}, environ={}).host == host


def test_the_first_token_of_a_file_is_the_one_we_show(tmp_path: Path) -> None:
    path = write(tmp_path / "token", "# ours\n a-token-of-sixteen scopes=admin # the first\nanother-of-sixteen\n")
    settings = load({"token_file": path}, environ={})
    assert settings.bearer_token() == "a-token-of-sixteen"
    assert Tokens.parse(settings.tokens_text(), source="test").grant("Bearer another-of-sixteen", "ingest")
    with pytest.raises(BadInput, match="has no token in it"):
        load({"token_file": write(tmp_path / "empty", "\n")}, environ={}).bearer_token()


@pytest.mark.parametrize("text", ["", "\n", "# all of them are gone\n", " ; ;\n"])
def test_tokens_that_are_none_open_nothing(tmp_path: Path, text: str) -> None:
    """A file that was emptied, or half written, must not mean that nobody is asked for a token."""
    settings = load({"token_file": write(tmp_path / "tokens", text)}, environ={})
    with pytest.raises(BadInput, match="has no token in it"):
        machine.tokens(settings)
    with pytest.raises(BadInput, match="has no token in it"):
        machine.tokens(load(environ={"MASLENS_TOKEN": "#"}))


def test_the_token_of_the_environment_is_for_everything() -> None:
    settings = load(environ={"MASLENS_TOKEN": "a-token-of-sixteen"})
    tokens = Tokens.parse(settings.tokens_text(), source="test")
    assert tokens.grant(f"Bearer {settings.bearer_token()}", "read").name == "MASLENS_TOKEN"
    assert load(environ={}).bearer_token() is None


def test_the_journal_lives_in_the_data_directory_unless_said_otherwise(tmp_path: Path) -> None:
    assert Settings(store=f"chdb://{tmp_path}").journal_directory == tmp_path
    assert Settings(store="http://db:8123/maslens").journal_directory == Path("maslens-journal")
    assert Settings(journal_dir=tmp_path).journal_directory == tmp_path


def test_every_setting_has_a_line_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
    for name, brief in briefs().items():
        assert f"| `{name}` |" in page, name
        assert brief in page, name
