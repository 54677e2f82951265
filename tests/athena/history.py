"""The table history on Trino's Iceberg connector: the statements of the template, what they must come to, and `make history`.

Only three statements are in Athena's own dialect, and translated here: CREATE TABLE, OPTIMIZE and VACUUM.
"""

import contextlib
import datetime
import http.server
import json
import os
import re
import subprocess
import threading
import uuid

import moto.s3.models
import pyarrow
import pyarrow.compute
import trino

import tables
from compare import equal, fails, now
from engine import BUCKET, FIRST_DAY, ICEBERG, KEYS, REGION, ROOT, STACK, Engine, Template
from expected import Row
from files import other_file, read, with_broken_files

# The day before it has sessions, too, which history does not take over here.
FIRST = "2026-09-20"
REWRITTEN = "dt=2026-11-06/Reconnects00_st-Reconnect0001.parquet"
UNCOLLECTED = "dt=2026-11-07/Twins0000One_st-Twins00000001.parquet"
DOUBLED = "2026-11-06"
# The place of a row in the first of these.
WITHOUT_ID = 5
ERASED = "dt=2026-11-04/Future000000_st-Future0000001.parquet"
TYPES = {
    "string": "varchar",
    "timestamp": "timestamp(6)",
    "boolean": "boolean",
    "int": "integer",
    "bigint": "bigint",
    "map<string,string>": "map(varchar, varchar)",
}
CREATE = re.compile(r"CREATE TABLE IF NOT EXISTS history \((.*)\) PARTITIONED BY \((.*?\))\) LOCATION '(\S+)' TBLPROPERTIES \(.*\)")


def in_trinos_dialect(engine: Engine, sql: str) -> list[str]:
    """A statement for Athena as statements for Trino."""
    words = " ".join(line for line in sql.splitlines() if not line.startswith("--")).split()
    sql = " ".join(words)
    table = f"{ICEBERG}.{engine.database}.history"
    create = CREATE.fullmatch(sql)
    if create:
        columns, partition, location = create.groups()
        columns = ", ".join(f"{name} {TYPES[kind]}" for name, kind in (it.split(" ") for it in re.split(r", (?!string>)", columns.strip())))
        settings = f"partitioning = ARRAY['{partition}'], location = '{location}', format_version = 2"
        return [f"CREATE TABLE IF NOT EXISTS {table} ({columns}) WITH ({settings})"]
    if sql == "OPTIMIZE history REWRITE DATA USING BIN_PACK":
        return [f"ALTER TABLE {table} EXECUTE optimize"]
    if sql == "VACUUM history":
        # Athena keeps five days of former states. Here there are none that old.
        commands = ["expire_snapshots", "remove_orphan_files"]
        return [f"ALTER TABLE {table} EXECUTE {command}(retention_threshold => '0s')" for command in commands]
    return [sql]


def run(engine: Engine, sql: str) -> None:
    for statement in in_trinos_dialect(engine, sql):
        engine.query(statement)


def scheduled(engine: Engine, name: str) -> None:
    """Runs what the stack's schedule runs."""
    run(engine, engine.template.statements()[name]["QueryString"])


class Athena:
    """Athena's API in front of Trino, as far as tools/history.py calls it."""

    def __init__(self, engine: Engine, refusing: bool = False):
        states, stopped = {}, []
        self.states, self.stopped = states, stopped

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                operation = self.headers["X-Amz-Target"].removeprefix("AmazonAthena.")
                refused = refusing and operation == "GetQueryExecution"
                answer = {"__type": "AccessDeniedException"} if refused else getattr(self, operation)(asked)
                body = json.dumps(answer).encode()
                self.send_response(400 if refused else 200)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def StartQueryExecution(self, asked: dict) -> dict:
                name = str(uuid.uuid4())
                wanted = (f"{STACK}-history", {"Database": engine.database})
                states[name] = {"State": "SUCCEEDED"}
                try:
                    equal("workgroup and database", (asked["WorkGroup"], asked["QueryExecutionContext"]), wanted)
                    run(engine, asked["QueryString"])
                except (AssertionError, trino.exceptions.Error) as error:
                    states[name] = {"State": "FAILED", "StateChangeReason": str(error)}
                return {"QueryExecutionId": name}

            def GetQueryExecution(self, asked: dict) -> dict:
                return {"QueryExecution": {"Status": states[asked["QueryExecutionId"]], "Statistics": {"TotalExecutionTimeInMillis": 1}}}

            def StopQueryExecution(self, asked: dict) -> dict:
                stopped.append(asked["QueryExecutionId"])
                return {}

            def log_message(self, *_) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Athena":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()


def make_history(
    engine: Engine, first: str, last: str = "", stack: str = STACK, refusing: bool = False
) -> subprocess.CompletedProcess:
    """What docs/history.md has the operator do."""
    credentials = {name.upper(): value for name, value in KEYS.items() if name != "region_name"}
    with Athena(engine, refusing) as athena:
        urls = {"AWS_ENDPOINT_URL": engine.aws_url, "AWS_ENDPOINT_URL_ATHENA": athena.url}
        done = subprocess.run(
            ["make", "--no-print-directory", "history"],
            cwd=ROOT,
            env={**os.environ, **credentials, **urls, "AWS_REGION": REGION, "STACK": stack, "FROM": first, "TO": last},
            capture_output=True,
            text=True,
            check=False,
        )
    # Of what it no longer looks at, nothing may go on.
    equal("statements that were stopped", athena.stopped, list(athena.states) if refusing else [])
    return done


def tomorrow() -> datetime.date:
    return now().date() + datetime.timedelta(days=1)


def merge(
    engine: Engine, first: str = FIRST, last: str = "", kept: str = "0001-01-01", mistake: tuple[str, str] | None = None
) -> None:
    sql = (ROOT / "queries/history/merge.sql").read_text(encoding="utf-8")
    if mistake:
        right, wrong = mistake
        if right not in sql:
            raise AssertionError(f"the merge has no {right!r}")
        sql = sql.replace(right, wrong)
    for name, day in [("From", first), ("To", last or tomorrow()), ("Kept", kept)]:
        sql = sql.replace("${" + name + "}", f"DATE '{day}'")
    run(engine, sql)


def fill_history(engine: Engine) -> None:
    """Makes the table, with all that the lake has."""
    scheduled(engine, "Create")
    merge(engine, engine.template.values["FirstDay"])


def found(engine: Engine) -> list[list]:
    """All rows of the table, in an order."""
    return sorted(engine.query(f"SELECT {', '.join(tables.History._fields)} FROM history").rows, key=tables.order)


def check_rows(engine: Engine, rows: list[tables.History]) -> None:
    equal("rows of history", found(engine), sorted(map(list, rows), key=tables.order))


def objects(engine: Engine) -> list[str]:
    pages = engine.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="history/")
    return [it["Key"] for page in pages for it in page.get("Contents", [])]


class Gate:
    """Holds the next commit of the table up, between its files of rows and its new state, until it is let go."""

    def __enter__(self) -> "Gate":
        self.reached, self.go = threading.Event(), threading.Event()
        put = self.put = moto.s3.models.S3Backend.put_object

        def held(backend, bucket_name, key_name, *arguments, **more):
            if key_name.startswith("history/metadata/") and not self.reached.is_set():
                self.reached.set()
                self.go.wait(60)
            return put(backend, bucket_name, key_name, *arguments, **more)

        moto.s3.models.S3Backend.put_object = held
        return self

    def __exit__(self, *_) -> None:
        self.go.set()
        moto.s3.models.S3Backend.put_object = self.put


def check_killed(engine: Engine, before: list[tables.History]) -> None:
    """A merge that is killed after it has written rows, and before it commits them, leaves the table as it was."""
    files, failed = set(objects(engine)), []

    def killed() -> None:
        try:
            merge(engine)
        except trino.exceptions.Error as error:
            failed.append(str(error))

    with Gate() as gate:
        thread = threading.Thread(target=killed)
        thread.start()
        if not gate.reached.wait(60):
            raise AssertionError("the merge wrote no new state of the table, so it could not be killed")
        (running,) = engine.query(
            "SELECT query_id FROM system.runtime.queries WHERE state NOT IN ('FINISHED', 'FAILED') AND query LIKE 'MERGE %'"
        ).rows
        engine.query(f"CALL system.runtime.kill_query('{running[0]}', 'for a test')")
        gate.go.set()
        thread.join(60)
    equal("what became of the merge", ["for a test" in it for it in failed], [True])
    if not set(objects(engine)) - files:
        raise AssertionError("the merge had written nothing, so nothing was shown")
    check_rows(engine, before)


def holding(engine: Engine, user_id: str) -> list[str]:
    """The files of rows below history/ in which a user stands."""
    files = [key for key in objects(engine) if key.endswith(".parquet")]
    rows = {key: read(engine, key).to_pylist() for key in files}
    return [key for key, its in rows.items() if any(row.get("user_id") == user_id for row in its)]


def rows_of(engine: Engine, name: str, key: str, change) -> tuple[pyarrow.Table, list]:
    """A session's file of a table, changed; and its rows."""
    kind = {"participants": Row, "attendance": tables.Attendance}[name]
    file = change(read(engine, f"{name}/{key}"))
    plain = lambda it: it.replace(tzinfo=None) if isinstance(it, datetime.datetime) else dict(it) if isinstance(it, list) else it
    dt = key.removeprefix("dt=").split("/")[0]
    return file, [kind(*map(plain, row.values()), dt) for row in file.to_pylist()]


def replaced(file: pyarrow.Table, column: str, place: int, value) -> pyarrow.Table:
    values = file[column].to_pylist()
    values[place] = value
    return file.set_column(file.column_names.index(column), column, pyarrow.array(values, file[column].type))


def otherwise(file: pyarrow.Table) -> pyarrow.Table:
    """A session's list, written anew: the first of its people is missing, another one has a user id, one has none any more, and
    one has no participant id."""
    users = file["user_id"].to_pylist()
    nameless = users.index(None)
    named = next(place for place, user in enumerate(users) if place and user)
    file = replaced(replaced(file, "user_id", nameless, "somebody"), "user_id", named, None)
    return replaced(file, "participant_id", WITHOUT_ID, None).slice(1)


def longer(file: pyarrow.Table) -> pyarrow.Table:
    """Its attendance: somebody was there for longer, and of whom has no id nothing is known."""
    file = replaced(file, "connected_ms", 2, file["connected_ms"][2].as_py() + 1)
    for column in ("participant_id", *set(tables.Attendance._fields[:-1]) - set(Row._fields)):
        file = replaced(file, column, WITHOUT_ID, None)
    return file


def without(file: pyarrow.Table, user_id: str) -> pyarrow.Table:
    return file.filter(pyarrow.compute.fill_null(pyarrow.compute.not_equal(file["user_id"], user_id), True))


def is_in(row, key: str) -> bool:
    """Whether a row is of the session of this file."""
    return key.startswith(f"dt={row.dt}/{row.stage_arn.split('/')[1]}_{row.session_id}.")


@contextlib.contextmanager
def changed(engine: Engine, lake: tables.Lake):
    """Meanwhile a session was written anew, one is not collected, and a user was erased from one: the rows that history must
    have then."""
    some = [
        (REWRITTEN, otherwise, longer),
        (UNCOLLECTED, lambda file: file, None),
        (ERASED, lambda file: without(file, "ana"), lambda file: without(file, "ana")),
    ]
    rows = [row for row in lake.history if not any(is_in(row, key) for key, *_ in some)]
    with contextlib.ExitStack() as exits:
        for key, people, attendance in some:
            file, listed = rows_of(engine, "participants", key, people)
            exits.enter_context(other_file(engine, f"participants/{key}", file))
            file, attended = rows_of(engine, "attendance", key, attendance) if attendance else (None, [])
            exits.enter_context(other_file(engine, f"attendance/{key}", file))
            rows += tables.history(listed, attended)
        if sorted(map(tables.order, rows)) == sorted(map(tables.order, lake.history)):
            raise AssertionError("nothing is changed, so nothing would be shown")
        yield rows


def taken_over(lake: tables.Lake, first: str, uncollected: str = "") -> list[tables.History]:
    """What history has of the days from the first on, if one session was not collected yet."""
    attendance = [row for row in lake.attendance if not is_in(row, uncollected)]
    since = lambda rows: [row for row in rows if row.dt >= first]
    return tables.history(since(lake.participants), since(attendance))


def check_history(engine: Engine, lake: tables.Lake) -> None:
    """The table's whole life. At its end it has the lake's rows from FIRST on, but that one session was collected later."""
    scheduled(engine, "Create")
    scheduled(engine, "Create")
    check_windows(engine, lake)
    check_make_history(engine, lake)
    lake.history = taken_over(lake, FIRST)
    check_rows(engine, lake.history)
    print(f"history: {len(lake.history)} rows, every value as IVS knows it", flush=True)

    before = objects(engine)
    scheduled(engine, "Merge")
    equal("make history again", make_history(engine, FIRST).returncode, 0)
    equal("objects after merges that change nothing", objects(engine), before)

    with changed(engine, lake) as rows:
        check_killed(engine, lake.history)
        merge(engine)
        check_rows(engine, rows)
        equal("who is erased from one session stands in others", "ana" in {row.user_id for row in rows}, True)
    merge(engine)
    check_rows(engine, lake.history)
    print("history follows what was written anew, collected late, or erased, and a merge that was killed left it whole", flush=True)

    # Only the window's days are looked at.
    with changed(engine, lake):
        merge(engine, last="2026-10-31")
        check_rows(engine, lake.history)

    # Rows that are there twice, of which one was changed by hand.
    run(engine, f"INSERT INTO history SELECT * FROM history WHERE dt = '{DOUBLED}'")
    run(engine, f"UPDATE history SET connected_ms = 1 WHERE dt = '{DOUBLED}' AND user_id = 'ana'")
    equal("rows that are there twice", len(found(engine)) > len(lake.history), True)
    merge(engine)
    check_rows(engine, lake.history)

    run(engine, "DELETE FROM history WHERE user_id = 'ana'")
    check_rows(engine, [row for row in lake.history if row.user_id != "ana"])
    if not holding(engine, "ana"):
        raise AssertionError("no file has the user any more, so nothing would be shown")
    scheduled(engine, "Optimize")
    scheduled(engine, "Vacuum")
    equal("files with an erased user, after OPTIMIZE and VACUUM", holding(engine, "ana"), [])
    check_rows(engine, [row for row in lake.history if row.user_id != "ana"])

    merge(engine, "2026-11-06", kept="2026-11-06")
    left = [row for row in lake.history if row.dt >= "2026-11-06"]
    check_rows(engine, left)
    if not 0 < len(left) < len(lake.history):
        raise AssertionError("all or nothing has expired, so nothing was shown")
    merge(engine)
    check_rows(engine, lake.history)
    with other_file(engine, f"attendance/{UNCOLLECTED}", None):
        merge(engine)
    lake.history = taken_over(lake, FIRST, UNCOLLECTED)
    check_rows(engine, lake.history)
    print("rows expire, an erased user is in no file after OPTIMIZE and VACUUM, and a merge brings back what the files have", flush=True)


def check_windows(engine: Engine, lake: tables.Lake) -> None:
    """Each schedule takes over its days, and no others; none that have expired, and none before the first day of the tables."""
    ages = sorted({(now().date() - datetime.date.fromisoformat(row.dt)).days for row in lake.participants})
    age = next(it for it in ages if it > 1)
    since = lambda days: str(now().date() - datetime.timedelta(days))
    for name, more, first in [
        ("Merge", {"HistoryDays": str(age)}, since(age)),
        ("Merge", {"HistoryDays": str(age - 1)}, since(age - 1)),
        ("MergeWeekly", {"HistoryDays": "3"}, since(30)),
        ("MergeWeekly", {"HistoryDays": "10", "RetentionDays": str(age - 1)}, since(age - 1)),
        ("Merge", {"HistoryDays": "100", "FirstDay": since(age - 1)}, since(age - 1)),
    ]:
        run(engine, "DELETE FROM history")
        template = Template()
        template.values |= more
        run(engine, template.statements()[name]["QueryString"])
        check_rows(engine, taken_over(lake, first))
    # What has expired goes, and what else lies before the window stays.
    merge(engine)
    template = Template()
    template.values |= {"HistoryDays": "1", "RetentionDays": str(age)}
    run(engine, template.statements()["Merge"]["QueryString"])
    check_rows(engine, taken_over(lake, since(age)))
    run(engine, "DELETE FROM history")


def check_make_history(engine: Engine, lake: tables.Lake) -> None:
    for said, first, last in [
        ("FROM is missing: it must be a day", "", ""),
        ("FROM='2026-02-30' must be a day", "2026-02-30", ""),
        ("TO='1.11.2026' must be a day", FIRST, "1.11.2026"),
        ("FROM=2026-11-02 must not be later than TO=2026-11-01", "2026-11-02", "2026-11-01"),
    ]:
        done = make_history(engine, first, last)
        equal(f"{said!r} in {done.stderr!r}", (done.returncode != 0, said in done.stderr), (True, True))
    done = make_history(engine, FIRST, stack="other")
    equal(f"another stack in {done.stderr!r}", "STACK='other' must name a stack" in done.stderr, True)
    done = make_history(engine, FIRST, refusing=True)
    equal(f"a refusal in {done.stderr!r}", (done.returncode != 0, "AccessDenied" in done.stderr), (True, True))
    done = make_history(engine, "2020-01-01", "2026-09-14")
    said = f"begins with {FIRST_DAY}: there are no older files"
    equal(f"{said!r} in {done.stdout!r}", (done.returncode, said in done.stdout), (0, True))

    # A file that none can read, in the third month: what was done before is there.
    with_broken_files(engine, ["participants"], [datetime.date(2026, 11, 20)], lambda: broken(engine, lake))
    done = make_history(engine, "2026-11-01")
    equal(f"make history {done.stderr!r}", done.returncode, 0)
    months = [line[:24] for line in done.stdout.splitlines() if "is in history" in line]
    equal("its first month", months[0][:10], "2026-11-01")
    equal("its last day", months[-1][14:], str(now().date()))
    # Tomorrow has begun in some places.
    merge(engine)


def broken(engine: Engine, lake: tables.Lake) -> None:
    done = make_history(engine, FIRST)
    said = ["2026-11-01 to 20", " was not taken over: Athena's query ", "broken.parquet", "Go on with FROM=2026-11-01"]
    equal(f"{said} in {done.stderr!r}", (done.returncode != 0, [it in done.stderr for it in said]), (True, [True] * 4))
    check_rows(engine, [row for row in taken_over(lake, FIRST) if row.dt < "2026-11-01"])


# Pieces of merge.sql, and what stands there instead.
MISTAKES = [
    ("who is gone stays", "WHEN MATCHED THEN DELETE\n", ""),
    ("what is new does not come", "found_in = 'files' THEN INSERT", "found_in = 'neither' THEN INSERT"),
    ("what is twice stays", "in_history <> 1", "in_history = 0"),
    ("only who is in participants", "FULL JOIN attended", "LEFT JOIN attended"),
    ("only who is collected", "FULL JOIN attended", "RIGHT JOIN attended"),
    ("stages mixed up", "AND attended.stage_arn = listed.stage_arn", ""),
    ("a row without an id twice", "AND participant_id IS NOT NULL", ""),
    ("a null is never the same", "history.user_id IS NOT DISTINCT FROM difference.user_id", "history.user_id = difference.user_id"),
    ("nothing expires", "OR dt < CAST(${Kept}", "OR dt < CAST(DATE '0001-01-01'"),
    ("the first day left out", "FROM participants\n    WHERE dt BETWEEN CAST(${From}", "FROM participants\n    WHERE dt BETWEEN CAST(${From} + INTERVAL '60' DAY"),
    ("the list's user, if there is one", "if(listed.stage_arn IS NULL, attended.user_id, listed.user_id)", "coalesce(listed.user_id, attended.user_id)"),
]


def break_history(engine: Engine, lake: tables.Lake) -> None:
    """A merge with a mistake in one place: the checks of its rows must notice each."""
    merge(engine)
    lake.history = taken_over(lake, FIRST)
    for what, right, wrong in MISTAKES:

        def check() -> None:
            run(engine, f"INSERT INTO history SELECT * FROM history WHERE dt = '{DOUBLED}'")
            with changed(engine, lake) as rows:
                # What lies before has expired.
                merge(engine, "2026-11-04", kept="2026-11-04", mistake=(right, wrong))
                check_rows(engine, [row for row in rows if row.dt >= "2026-11-04"])

        said = fails(f"merge: {what}", "rows of history: ", check)
        run(engine, "DELETE FROM history")
        merge(engine)
        check_rows(engine, lake.history)
        print(f"  merge, {what}: {said[:100]}", flush=True)
