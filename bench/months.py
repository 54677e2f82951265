"""What the table history saves: questions over 300 days of 20 sessions of 30 people, on the files and on history.

Usage: python3 bench/months.py; `make bench-history` calls it. The sessions are copies of the sample's seminar. Athena's engine is
Trino here, on moto in place of S3, which takes some milliseconds for each request: the requests are those that S3 would see,
the seconds compare the two and say nothing about Athena's.
"""

import collections
import datetime
import io
import pathlib
import sys

import pyarrow
import pyarrow.parquet
from werkzeug.serving import WSGIRequestHandler

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/athena"))

import history
from check import Query
from copies import SEMINAR, moved
from engine import BUCKET, Engine, Missing, Template, fill
from files import read

DAYS, SESSIONS, PEOPLE = 300, 20, 30
TODAY = datetime.datetime.now(datetime.UTC).date()
FIRST = TODAY - DAYS * datetime.timedelta(days=1)
REQUESTS = collections.Counter()
# What the questions read of the files, in place of history.
FILES = """(
  SELECT participants.*, attendance.last_leave_time, attendance.connected_ms, attendance.join_inferred, attendance.leave_inferred,
    attendance.errors, attendance.browser_name, attendance.os_name, attendance.sdk_version, attendance.isp_name, attendance.protocol
  FROM participants
  LEFT JOIN attendance
    ON attendance.dt = participants.dt AND attendance.stage_arn = participants.stage_arn
    AND attendance.session_id = participants.session_id AND attendance.participant_id = participants.participant_id
) AS history
"""


def count(handler: WSGIRequestHandler, *_) -> None:
    """In place of a line in a log."""
    kind = "LIST" if "list-type=2" in handler.path else handler.command
    if f"/{BUCKET}" in handler.path:
        REQUESTS[kind] += 1


def people(table: pyarrow.Table) -> pyarrow.Table:
    """As many rows as a session has here, of people with ids of their own."""
    copies = []
    for number in range(-(-PEOPLE // len(table))):
        ids = [f"{it}-{number}" for it in table["participant_id"].to_pylist()]
        place = table.column_names.index("participant_id")
        copies.append(table.set_column(place, "participant_id", pyarrow.array(ids)))
    return pyarrow.concat_tables(copies).slice(0, PEOPLE)


def fill_lake(engine: Engine) -> int:
    tables = {name: people(read(engine, f"{name}/{SEMINAR}")) for name in ("participants", "attendance")}
    size = 0
    for day in range(DAYS):
        dt = FIRST + day * datetime.timedelta(days=1)
        for number in range(SESSIONS):
            start = datetime.datetime.combine(dt, datetime.time(8), datetime.UTC) + number * datetime.timedelta(minutes=30)
            session_id = f"st-Bench{day:04}{number:04}"
            for name, table in tables.items():
                file = io.BytesIO()
                pyarrow.parquet.write_table(moved(table, start, session_id), file, compression="zstd", coerce_timestamps="ms")
                size += file.tell()
                key = f"{name}/dt={dt}/Seminar00000_{session_id}.parquet"
                engine.s3.put_object(Bucket=BUCKET, Key=key, Body=file.getvalue())
    return size


def measured(work) -> str:
    """Seconds, and requests to S3."""
    REQUESTS.clear()
    began = datetime.datetime.now()
    work()
    seconds = (datetime.datetime.now() - began).total_seconds()
    return f"{seconds:.1f} | {REQUESTS['LIST']:,} | {REQUESTS['GET'] + REQUESTS['HEAD']:,} | {REQUESTS['PUT'] + REQUESTS['POST']:,}"


def main() -> None:
    WSGIRequestHandler.log_request = count
    template = Template()
    template.values["FirstDay"] = str(FIRST)
    with Engine(template) as engine:
        fill(engine, "export", "collect")
        size = fill_lake(engine)
        engine.wait()
        print(f"{DAYS * SESSIONS:,} sessions of {PEOPLE} people: {2 * DAYS * SESSIONS:,} files, {size / 1e6:.1f} MB\n")
        print("| what | seconds | LIST | GET, HEAD | PUT |\n|---|---|---|---|---|", flush=True)
        history.scheduled(engine, "Create")
        for first, last in history_months():
            print(f"| merge of {first:%Y-%m} | {measured(lambda: history.merge(engine, first, last))} |", flush=True)
        print(f"| merge of 10 days, unchanged | {measured(lambda: history.scheduled(engine, 'Merge'))} |", flush=True)
        print(f"| OPTIMIZE | {measured(lambda: history.scheduled(engine, 'Optimize'))} |", flush=True)
        print(f"| VACUUM, two statements in Trino | {measured(lambda: history.scheduled(engine, 'Vacuum'))} |", flush=True)
        print("\n| question over 300 days | rows | files: seconds | LIST | GET, HEAD | PUT | history: seconds | LIST | GET, HEAD | PUT |")
        print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
        for name in ("months", "stages", "returning_users", "of_user", "devices"):
            query = Query(ROOT / f"queries/history_{name}.sql")
            values = f"'{FIRST}', '{TODAY}'" + (", 'student-02'" if name == "of_user" else "")
            answers, said = [], []
            for sql in (query.sql.replace("FROM history\n", f"FROM {FILES}"), query.sql):
                said.append(measured(lambda: answers.append(engine.query(sql, values).rows)))
            if answers[0] != answers[1]:
                raise SystemExit(f"{query.name} has another answer on the files than on history")
            print(f"| {query.name} | {len(answers[0]):,} | {' | '.join(said)} |", flush=True)
        pages = engine.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="history/")
        objects = [it for page in pages for it in page["Contents"]]
        rows = [it["Size"] for it in objects if "/data/" in it["Key"]]
        print(f"\nhistory: {len(rows)} files of rows, {sum(rows) / 1e6:.2f} MB; {len(objects) - len(rows)} files about them")


def history_months():
    day, found = FIRST, []
    while day <= TODAY:
        end = (day.replace(day=1) + datetime.timedelta(days=31)).replace(day=1) - datetime.timedelta(days=1)
        found.append((day, min(end, TODAY)))
        day = end + datetime.timedelta(days=1)
    return found


if __name__ == "__main__":
    try:
        main()
    except (Missing, OSError) as error:
        sys.exit(f"make bench-history: {error}")
