"""How long each saved query takes on Trino, over 30 days of 100 sessions a day.

Usage: python3 bench/queries.py; `make bench-queries` calls it. The sessions are copies of the sample's seminar of 14 participants.
The lake is a folder, because S3's stand-in would take longer than the queries: the times compare queries with each other, and
say nothing about Athena's.
"""

import datetime
import pathlib
import re
import sys

import pyarrow
import pyarrow.parquet

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/athena"))

from check import pack
from copies import SEMINAR, moved
from engine import BUCKET, SAMPLE, Engine, Missing, Template, fill
from history import fill_history

LAKE = SAMPLE / "s3" / BUCKET
DAYS, SESSIONS = 30, 100
# Before today, because some queries ask for the last days.
FIRST = datetime.datetime.now(datetime.UTC).date() - DAYS * datetime.timedelta(days=1)


def put(key: str, table: pyarrow.Table) -> None:
    (LAKE / key).parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, LAKE / key, compression="zstd", coerce_timestamps="ms")


def read(key: str) -> pyarrow.Table:
    return pyarrow.parquet.ParquetFile(LAKE / key).read()


def copy_sessions() -> None:
    tables = {name: read(f"{name}/{SEMINAR}") for name in ("participants", "participant_events", "attendance")}
    row = read("sessions/dt=2026-11-16/sessions.parquet")
    # In S3 a day without files needs nothing.
    day = datetime.date.fromisoformat(Template().values["FirstDay"])
    while day <= FIRST + (DAYS + 1) * datetime.timedelta(days=1):
        for name in (*tables, "sessions"):
            (LAKE / f"{name}/dt={day}").mkdir(parents=True, exist_ok=True)
        day += datetime.timedelta(days=1)
    for day in range(DAYS):
        dt = FIRST + day * datetime.timedelta(days=1)
        rows = []
        for number in range(SESSIONS):
            minutes = datetime.timedelta(minutes=480 + 5 * number)
            start = datetime.datetime.combine(dt, datetime.time(), datetime.UTC) + minutes
            session_id = f"st-Bench{day:04}{number:04}"
            for name, table in tables.items():
                put(f"{name}/dt={dt}/Seminar00000_{session_id}.parquet", moved(table, start, session_id))
            rows.append(moved(row, start, session_id))
        put(f"sessions/dt={dt}/sessions.parquet", pyarrow.concat_tables(rows))


def main() -> None:
    with Engine(Template(), LAKE) as engine:
        fill(engine, "export", "collect", "sweep")
        copy_sessions()
        engine.wait()
        fill_history(engine)
        last = FIRST + (DAYS - 1) * datetime.timedelta(days=1)
        print("| query | rows | seconds |\n|---|---|---|", flush=True)
        for query in pack():
            days = iter([f"'{FIRST}'", f"'{last}'"] * 2)
            values = [next(days) if re.fullmatch(r"'\d{4}-\d\d-\d\d'", it) else it for it in query.examples]
            other = {"'ana'": "'student-02'"}
            values = ["'st-Bench00100042'" if it.startswith("'st-") else other.get(it, it) for it in values]
            found = engine.query(query.sql, ", ".join(values))
            print(f"| {query.name} | {len(found.rows):,} | {found.milliseconds / 1000:.1f} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (Missing, OSError) as error:
        sys.exit(f"make bench-queries: {error}")
