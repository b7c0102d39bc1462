"""What the key of a fact table costs: reads of the newest versions, and inserts, under the old key and the new one.

python -m tests.bench.fact_keys [--rows N] [--each N]

Model calls of made-up sessions, in inserts of `--each`, a tenth of them written twice. CPU of this process, the best of
seven for reads; both tables in turn, so that what else the machine does hits both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial

from maslens.storage import Store, fact_keys, open_store
from maslens.storage.migrate import migrations, split

from tests.bench.filled import selected

TABLE = "fact_llm_calls"
READS = {
    "count": "SELECT count() FROM {} FINAL",
    "by agent": "SELECT agent, count(), sum(input_tokens), sum(cost_usd) FROM {} FINAL GROUP BY agent",
    "the latest 100": "SELECT * FROM {} FINAL ORDER BY at DESC, span_id LIMIT 100",
    "a session": "SELECT * FROM {} FINAL WHERE session_id = '28dd2c7955ce926456240b2ff0100bde'",
}


def cpu_ms(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e3


def made(folder: str) -> Store:
    """A store with the table under its old key beside the one under its new key."""
    store = open_store(f"chdb://{folder}/store")
    for migration in migrations():
        for statement in split(migration.text):
            store.command(statement)
    store.command(f"RENAME TABLE {TABLE} TO before")
    store.command(f"CREATE TABLE {TABLE} AS before")
    for statement in fact_keys.statements(store):
        store.command(statement)
    store.command("ALTER TABLE before DROP COLUMN run_key")
    for table in ("before", TABLE):
        store.command(f"SYSTEM STOP MERGES {table}")  # as many parts each
    return store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--each", type=int, default=25_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = made(folder)
        tables = {"before": "before", "now": TABLE}
        inserts = dict.fromkeys(tables, 0.0)
        rows = 0
        for number in range(arguments.rows // arguments.each):
            for version, share in ((1, 1), (2, 10)):
                first, count = number * arguments.each // 20, arguments.each // share
                numbers = f"intDiv(number, 20) * {share} + {first} AS session, number % 20 AS i"
                data = store.arrow(selected("llm_calls", numbers, "lower(hex(MD5(toString(session))))", count, version))
                rows += data.num_rows
                for name, table in tables.items():
                    token = f"{number}:{version}"
                    inserts[name] += cpu_ms(partial(store.insert_arrow, table, data, token=token))
        print(f"{rows:,} model calls, {arguments.each:,} an insert")
        print(f"{'':24} {'before':>10} {'now':>10}")
        each = {name: f"{spent * 1e3 / rows:10.2f}" for name, spent in inserts.items()}
        print(f"{'insert, µs a row':24} {each['before']} {each['now']}")
        for title, sql in READS.items():
            best = dict.fromkeys(tables, float("inf"))
            for _ in range(7):
                for name, table in tables.items():
                    read = partial(store.query_raw, sql.format(table), fmt="Null")
                    best[name] = min(best[name], cpu_ms(read))
            print(f"{title + ', CPU ms':24} {best['before']:10.1f} {best['now']:10.1f}")
        for name, table in tables.items():
            (size,) = store.rows(
                "SELECT sum(bytes_on_disk) / sum(rows) AS n, count() AS p FROM system.parts"
                " WHERE active AND table = {table:String}",
                {"table": table},
            )
            print(f"{name}: {size['n']:.0f} bytes a row, {size['p']} parts")
        store.close()


if __name__ == "__main__":
    main()
