"""How long each saved query takes on Trino, over 30 days of 100 sessions a day.

Usage: python3 bench/queries.py; `make bench-queries` calls it. The sessions are copies of the sample's seminar of 14 participants.
S3 is moto, in one process of Python, so a file takes milliseconds: the times compare queries with each other, and say nothing
about Athena's.
"""

import datetime
import io
import pathlib
import re
import sys

import pyarrow
import pyarrow.compute
import pyarrow.parquet

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/athena"))

from check import pack, read
from engine import BUCKET, Engine, Missing, Template, fill

SEMINAR = "dt=2026-11-16/Seminar00000_st-Seminar000001.parquet"
DAYS, SESSIONS = 30, 100
# Before today, because some queries ask for the last days.
FIRST = datetime.datetime.now(datetime.UTC).date() - DAYS * datetime.timedelta(days=1)


def moved(table: pyarrow.Table, start: datetime.datetime, session_id: str) -> pyarrow.Table:
    """A session's rows as those of another session, with all times as long after its start as they were."""
    later = start - table["session_start_time"][0].as_py()
    for number, field in enumerate(table.schema):
        if field.name == "session_id":
            column = pyarrow.array([session_id] * len(table), field.type)
        elif pyarrow.types.is_timestamp(field.type):
            column = pyarrow.compute.add(table[field.name], pyarrow.scalar(later, pyarrow.duration(field.type.unit)))
        else:
            continue
        table = table.set_column(number, field, column)
    return table


def put(engine: Engine, key: str, table: pyarrow.Table) -> None:
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, compression="zstd", coerce_timestamps="ms")
    engine.s3.put_object(Bucket=BUCKET, Key=key, Body=file.getvalue())


def copy_sessions(engine: Engine) -> None:
    tables = {name: read(engine, f"{name}/{SEMINAR}") for name in ("participants", "participant_events", "attendance")}
    row = read(engine, "sessions/dt=2026-11-16/sessions.parquet")
    for day in range(DAYS):
        dt = FIRST + day * datetime.timedelta(days=1)
        rows = []
        for number in range(SESSIONS):
            minutes = datetime.timedelta(minutes=480 + 5 * number)
            start = datetime.datetime.combine(dt, datetime.time(), datetime.UTC) + minutes
            session_id = f"st-Bench{day:04}{number:04}"
            for name, table in tables.items():
                put(engine, f"{name}/dt={dt}/Seminar00000_{session_id}.parquet", moved(table, start, session_id))
            rows.append(moved(row, start, session_id))
        put(engine, f"sessions/dt={dt}/sessions.parquet", pyarrow.concat_tables(rows))


def main() -> None:
    with Engine(Template()) as engine:
        fill(engine, "export", "collect", "sweep")
        copy_sessions(engine)
        engine.wait()
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
