"""`make athena`: the tables, the views and the queries of template.yaml on Athena's own engine.

The real function exports and collects the sample sessions of local/src/sample.rs, and sweeps; then every value of every row
of every table and view, and every answer of every query, is held against what IVS knows. At the end things are broken on purpose,
and each time a check must fail.
"""

import base64
import collections
import concurrent.futures
import copy
import dataclasses
import datetime
import functools
import http.client
import http.server
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import threading

import pyarrow
import pyarrow.compute

import dashboard
import expected
import history
import mistakes
import tables
from compare import equal, fails, now
from engine import BUCKET, FIRST_DAY, KEYS, REGION, ROOT, SAMPLE, STACK, Engine, Missing, Result, Template, fill, known
from files import other_file, parquet, read, with_broken_files, with_file

QUERIES = ROOT / "queries"
LECTURE = "participants/dt=2026-11-02/Lectures0000_st-Lecture000001.parquet"
LIVES = "dt=2026-11-13/Lives0000000_st-Lives00000001.parquet"
# Those of st-Lives00000001, and of the sessions of drawn events.
HARD_DAYS = ("2026-09-15", "2026-11-13")
# Each table's columns.
COLUMNS = {
    "participants": expected.COLUMNS,
    "participant_events": list(tables.Event._fields),
    "attendance": list(tables.Attendance._fields),
    "sessions": list(tables.Session._fields),
    "stays": list(tables.Stay._fields),
    "publications": list(tables.Publication._fields),
    "subscriptions": list(tables.Subscription._fields),
}
# The queries that take two days and the id of a session.
OF_SESSION = (
    *["who_was_in_session", "users_of_session", "concurrency_of_session", "who_watched_whom", "retention"],
    "arrivals_per_minute",
)
VIEWS = ("stays", "publications", "subscriptions")
TABLES = [name for name in COLUMNS if name not in VIEWS]
# How many checks run side by side. More do not end sooner on two cores.
AT_ONCE = 3
# How every query reads a day.
READS_DAY = r"date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1'))"
# An example that is a number.
NUMBER = r"'[\d.]+'"
# As Athena names them: its varchar has no length, its timestamps are of milliseconds.
ATHENA_TYPES = {
    "string": "varchar",
    "boolean": "boolean",
    "timestamp": "timestamp(3)",
    "int": "integer",
    "bigint": "bigint",
    "map<string,string>": "map(varchar, varchar)",
}


class Query:
    """A file of queries/, with what its head says of it."""

    def __init__(self, path: pathlib.Path):
        self.name = path.stem
        self.sql = path.read_text(encoding="utf-8")
        self.head = [line.removeprefix("--").strip() for line in self.sql.splitlines() if line.startswith("--")]
        self.question = self.head[0]
        # The example of each parameter, as SQL.
        self.examples = re.findall(r"^--   \d+\. .*, e\.g\. ('.*')$", self.sql, re.MULTILINE)
        self.reads_all_days = "Reads all days" in self.sql


def pack() -> list[Query]:
    return [Query(path) for path in sorted(QUERIES.glob("*.sql"))]


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def text_of(value: str) -> str:
    return value[1:-1].replace("''", "'")


def check_table(engine: Engine, table: dict, columns: list[str]) -> None:
    """Columns, types and comments are those of the template."""
    stored, keys = table["StorageDescriptor"]["Columns"], table.get("PartitionKeys", [])
    wanted = [[column["Name"], ATHENA_TYPES[column["Type"]], column["Comment"]] for column in stored + keys]
    name = table["Name"]
    found = engine.query(f"SHOW COLUMNS FROM {name}").rows
    if name in VIEWS:
        # A view's comments are Glue's; the engine has its columns from the definition, and refuses others than its SQL gives.
        wanted = [[name, kind, ""] for name, kind, _ in wanted]
    equal(f"columns of {name}", [[name, kind, comment] for name, kind, _, comment in found], wanted)
    equal(f"columns of {name} that are checked", [name for name, *_ in wanted], columns)


def days_of(table: list[tuple]) -> str:
    """A condition for the days that have rows, because each day costs requests, file or no file."""
    return f"dt IN ({', '.join(literal(day) for day in sorted({row.dt for row in table}))})"


def check_rows(engine: Engine, table: list[tuple], name: str = "participants") -> int:
    """Every value of every row is what IVS knows."""
    found = engine.query(f"SELECT {', '.join(table[0]._fields)} FROM {name} WHERE {days_of(table)}")
    equal("rows", sorted(found.rows, key=tables.order), sorted(map(list, table), key=tables.order))
    return len(found.rows)


def check_order_in_file(engine: Engine, events: list[tables.Event]) -> None:
    """The events of the session that has all difficulties lie in DESIGN's order, each once."""

    def plain(value):
        if isinstance(value, datetime.datetime):
            return value.replace(tzinfo=None)
        return dict(value) if isinstance(value, list) else value

    wanted = [event for event in events if event.session_id in LIVES]
    file = read(engine, f"participant_events/{LIVES}")
    found = [[plain(row[name]) for name in tables.Event._fields[:-1]] for row in file.to_pylist()]
    equal("events in file order", found, [list(event[:-1]) for event in sorted(wanted, key=tables.order_in_file)])


def written(engine: Engine) -> dict[str, datetime.datetime]:
    """When each object of the lake was."""
    pages = engine.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    objects = [it for page in pages for it in page["Contents"]]
    cut = lambda time: time.replace(tzinfo=None, microsecond=time.microsecond // 1000 * 1000)
    return {it["Key"]: cut(it["LastModified"]) for it in objects}


def check_sessions(engine: Engine) -> None:
    """The table of sessions has a row for each, live ones, empty ones and missing ones, too."""
    check_rows(engine, tables.sessions(known(), written(engine)), "sessions")


def check_lake(engine: Engine, lake: tables.Lake) -> None:
    """Every value of every row of every table and view."""
    for name in COLUMNS:
        print(f"{name}: {check_rows(engine, getattr(lake, name), name)} rows, every value as IVS knows it", flush=True)


def check_missing_session(engine: Engine, files: list[Query], lake: tables.Lake) -> None:
    """A session that is missing in the lake has its row, and what became of it is seen there, also by the queries."""
    name = "Twins0000One_st-Twins00000002"
    keys = [f"{table}/dt=2026-11-07/{name}.parquet" for table in ("participants", "participant_events", "attendance")]
    row = lambda: next(row for row in tables.sessions(known(), written(engine)) if row.session_id in name)
    # The lake without the session's rows.
    without = {table: [row for row in getattr(lake, table) if row.session_id not in name] for table in TABLES}

    def check_states(state: str, **rows) -> None:
        check_sessions(engine)
        rows["sessions"] = tables.sessions(known(), written(engine))
        for query in files:
            if query.name in ("session_states", "sessions", "sessions_per_day"):
                found = run(engine, dataclasses.replace(lake, **rows), query, [literal("2026-11-07")] * 2)
                if query.name == "session_states":
                    equal("its state", [it[0] for it in found.rows if it[4] in name], [state])

    for key in keys:
        engine.s3.delete_object(Bucket=BUCKET, Key=key)
    engine.s3.delete_object(Bucket=BUCKET, Key="sessions/dt=2026-11-07/sessions.parquet")
    (answer,) = fill(engine, "sweep")
    equal("sessions that are missing", [answer[name] for name in ("missing", "failing", "enqueued")], [1, 0, 1])
    equal("when it was written", list(row()[6:9]), [None, None, None])
    check_states("missing", **without)
    engine.s3.put_object(Bucket=BUCKET, Key=f"failed/{name}", Body=b"{}")
    (answer,) = fill(engine, "sweep")
    equal("sessions that fail", [answer[name] for name in ("missing", "failing", "enqueued")], [1, 1, 0])
    check_states("failing", **without)
    fill(engine, "export", "collect", "sweep")
    equal("times that are told", [time is not None for time in row()[6:9]], [True, True, True])
    check_states("collected")


def check_days(engine: Engine, lake: tables.Lake) -> None:
    """Days without files, and days that no file can be of, are no errors; and no condition at all reads every day."""
    for condition, meaning in [
        ("dt = '2026-10-01'", "a day without files"),
        ("dt = '2019-05-05'", "a day before the first"),
        ("dt = '2099-01-01'", "a day to come"),
        ("dt = 'yesterday'", "no day"),
    ]:
        for name in COLUMNS:
            equal(f"{name}, {meaning}", engine.query(f"SELECT count(*) FROM {name} WHERE {condition}").rows, [[0]])
    for name in TABLES:
        every = engine.query(f"SELECT count(*), count(DISTINCT dt) FROM {name}").rows
        table = getattr(lake, name)
        equal(f"rows and days of {name} without a condition", every, [[len(table), len({row.dt for row in table})]])


def check_named(files: list[Query], named: dict, database: str) -> None:
    """The template's named queries are the files."""
    by_name = {query["Name"]: query for query in named.values()}
    equal("named queries", sorted(by_name), [file.name for file in files])
    for file in files:
        query = by_name[file.name]
        equal(f"{file.name} in template.yaml", query["QueryString"], file.sql)
        equal(f"the database of {file.name}", query["Database"], database)


def run(engine: Engine, lake: tables.Lake, query: Query, values: list[str]) -> Result:
    """Runs a query, and holds its answer against one that was computed without SQL."""
    compute = getattr(expected, query.name)
    before = now()
    found = engine.query(query.sql, ", ".join(values))
    # The two differ only if an hour or a day began meanwhile.
    wanted = [compute(lake, moment, *map(text_of, values)) for moment in (before, now())]
    if found.rows != wanted[0]:
        equal(f"{query.name} {values}", found.rows, wanted[1])
    return found


def more_values(name: str, lake: tables.Lake) -> list[list[str]]:
    """Beside a query's examples, what is hard for it."""
    # Some of the sample's sessions are of the last days.
    lately, yesterday = (str(now().date() - days * expected.DAY) for days in (9, 1))
    if name in OF_SESSION:
        days = [("2026-11-03", "2026-11-04"), ("2026-11-03", "2026-11-03"), ("2026-11-04", "2026-11-04")]
        values = [(*day, session) for day in days for session in ("st-Midnight00001", "st-Future0000001")]
        values += [("2026-11-06", "2026-11-08", session) for session in ("st-Reconnect0001", "st-Twins00000001")]
        values += [("2026-11-05", "2026-11-10", session) for session in ("st-Target0000001", "st-Target0000002")]
        values += [("2026-11-02", "2026-11-02", session) for session in ("st-Lecture000001", "st-Nobody0000001", "st-Unknown000001")]
        values += [("2026-11-12", "2026-11-13", session) for session in ("st-Live000000001", "st-Lives00000001")]
        values += [("2026-09-15", "2026-09-15", f"st-Random00000{number:02}") for number in (7, 12, 19)]
        values.append(("2026-11-16", "2026-11-16", "st-Seminar000001"))
        # It is not collected yet.
        values.append((yesterday, "9999-12-31", "st-Lately0000001"))
    elif name in ("late_and_early", "gaps"):
        minutes = ("1", "3", "1440")
        values = [("2026-11-13", "2026-11-13", "st-Lives00000001", number) for number in minutes]
        values += [("2026-09-15", "2026-09-15", f"st-Random00000{number:02}", "0") for number in (3, 7, 19)]
        values.append(("2026-11-16", "2026-11-16", "st-Seminar000001", "5"))
        values.append(("2026-11-04", "2026-11-06", "st-Reconnect0001", "0"))
        values += [("2026-11-02", "2026-11-02", session, "3") for session in ("st-Lecture000001", "st-Nobody0000001")]
        values += [("2026-11-03", "2026-11-04", "st-Midnight00001", "0"), ("2026-11-07", "2026-11-07", "st-Twins00000001", "0")]
        values.append((yesterday, "9999-12-31", "st-Lately0000001", "0"))
    elif name in ("attendance_of_user", "events_of_user", "files_of_user"):
        odd = {row.user_id for row in lake.participants if row.session_id == "st-Texts00000001"} - {None}
        values = [("2026-11-04", "2026-11-04", user) for user in sorted(odd)]
        # The names of all tokens of one who exchanged them, of somebody who came several times, and of one who is not collected.
        named = {name for event in lake.participant_events for name in (event.previous_user_id, event.new_user_id)} - {None}
        values += [("2026-11-13", "2026-11-13", user) for user in sorted(named)]
        user_lately = next(row.user_id for row in lake.participants if row.session_id == "st-Lately0000001")
        values += [("2026-11-01", "2026-11-30", user) for user in sorted({"zoe", "host"})]
        values.append((yesterday, "9999-12-31", user_lately))
        values += [("2026-09-15", "2026-09-15", "drawn-0"), (lately, "9999-12-31", "viewer-0")]
    elif name == "history_of_user":
        odd = {row.user_id for row in lake.participants if row.session_id == "st-Texts00000001"} - {None}
        values = [("2026-11-04", "2026-11-04", user) for user in sorted(odd)]
        values += [("2026-09-01", "2026-12-31", user) for user in ("zoe", "host", "student-02", "somebody-else")]
    elif name.startswith("history_"):
        values = [("2026-09-01", "2026-12-31"), ("2026-09-15", "2026-09-15"), ("2026-11-13", "2026-11-13"), ("2026-10-01", "2026-10-02")]
    elif name == "participant_hours":
        keys = ["team", "Team", "", "a.b[0]", "TEAM"]
        values = [("2026-11-12", "2026-11-13", key, "0.0720") for key in keys]
        values += [("2026-11-01", "2026-11-13", "team", rate) for rate in ("0.0000", "0.0001", "0.9999")]
        values += [("2026-10-01", "2026-10-02", "team", "0.0720"), (lately, "9999-12-31", "team", "0.1075")]
    elif name in ("session_states", "sessions", "sessions_per_day", "recordings", "unfinished_participants", "errors", "devices"):
        # A session that nobody joined, one that is live, those of these days, of which two are not collected, and none.
        days = ["2026-11-02", "2026-11-12", "2026-11-13", "2026-10-01"]
        values = [*((day, day) for day in days), ("2026-09-15", "2026-09-15"), ("2026-11-03", "2026-11-04"), (lately, "9999-12-31")]
    elif name == "replicas":
        values = [(day, day) * 2 for day in ("2026-11-05", "2026-11-10", "2026-11-20")]
        values.append((lately, "9999-12-31") * 2)
    elif name in ("sessions_ended_lately", "freshness", "days_compared", "duplicates"):
        values = []
    else:
        values = [("2026-11-03", "2026-11-03"), ("2026-09-15", "2026-09-15"), ("2026-10-01", "2026-10-02"), (lately, "2099-12-31")]
    return [[literal(value) for value in some] for some in values]


def days_asked_for(values: list[str]) -> int:
    """How many days a query lists for these."""
    days = [datetime.date.fromisoformat(text_of(value)) for value in values if re.fullmatch(r"'\d{4}-\d\d-\d\d'", value)]
    return (min(days[1], now().date()) - days[0]).days if days else 0


def side_by_side(check, cases: list) -> None:
    """Does a check of each case that changes nothing, some at a time: the engine and S3's stand-in wait for each other otherwise."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as checks:
        for said in checks.map(check, cases):
            if said:
                print(said, flush=True)


def check_pack(engine: Engine, files: list[Query], lake: tables.Lake) -> None:
    def check(query: Query) -> str:
        equal(f"the examples of {query.name}", len(query.examples), query.sql.count("?"))
        result = run(engine, lake, query, query.examples)
        cases = more_values(query.name, lake)
        for values in cases:
            run(engine, lake, query, values)
        return f"  {query.name:<24} {len(result.rows):>5} rows, {len(cases)} more cases"

    side_by_side(check, files)


def check_malformed_days(engine: Engine, files: list[Query]) -> None:
    """A day that is no date of the form YYYY-MM-DD is refused, also where there is nothing to find."""

    def check(query: Query) -> None:
        days = [place for place, value in enumerate(query.examples) if re.fullmatch(r"'\d{4}-\d\d-\d\d'", value)]
        equal(f"days of {query.name} that are read as all queries read them", query.sql.count(READS_DAY), len(days))
        # Days without files, nobody's rows, and numbers as they are.
        other = [value if re.fullmatch(NUMBER, value) else literal("nobody") for value in query.examples]
        quiet = [literal("2026-10-05") if place in days else value for place, value in enumerate(other)]
        for place in days:
            values = [literal("2026-10-5") if place == at else value for at, value in enumerate(quiet)]
            said = "not YYYY-MM-DD: 2026-10-5"
            fails(f"{query.name} {values}", said, lambda: engine.query(query.sql, ", ".join(values)))

    side_by_side(check, files)
    # All read days in the same words, so one query shows what they refuse.
    query = next(file for file in files if file.name == "files_of_user")
    for malformed in ["01.11.2026", "2026-11-01 ", "2026-11-01T00:00:00Z", "20261101", "2026-11-1", "today", "x 2026-11-01", ""]:
        values = ", ".join(map(literal, [malformed, "2026-11-30", "ana"]))
        fails(f"{query.name} {values}", f"not YYYY-MM-DD: {malformed}", lambda: engine.query(query.sql, values))
    values = ", ".join(map(literal, ["2026-02-30", "2026-11-30", "ana"]))
    fails(f"{query.name} {values}", "Value cannot be cast to date: 2026-02-30", lambda: engine.query(query.sql, values))


def check_malformed_numbers(engine: Engine, files: list[Query]) -> None:
    """A number of another form, or out of its range, is refused, also where there is nothing to find."""

    def check(query: Query) -> None:
        places = [place for place, value in enumerate(query.examples) if re.fullmatch(NUMBER, value)]
        forms = [form for form in re.findall(r"'(not [^']+: )' \|\| \?", query.sql) if "YYYY" not in form]
        equal(f"numbers of {query.name} whose form is looked at", len(forms), len(places))
        quiet = [re.sub(r"\d{4}-\d\d-\d\d", "2026-10-05", value) for value in query.examples]
        for place, form in zip(places, forms):
            malformed = ["", "x", "-1", "+1", " 1", "1 ", "1e1", "05", "99999", "10000000000", "NaN", "\u0665", "0.072", "0,0720"]
            malformed += ["1.0000", ".0720", "0.07200"] if "." in query.examples[place] else ["1441", "5.0"]
            for text in malformed:
                values = [literal(text) if place == at else value for at, value in enumerate(quiet)]
                fails(f"{query.name} {values}", f"{form}{text}", lambda: engine.query(query.sql, ", ".join(values)))

    side_by_side(check, files)


def reads(query: Query, first: datetime.date, last: datetime.date) -> tuple[datetime.date, datetime.date | None]:
    """The first and the last day that a query's head says it reads, if it is asked for the days from `first` to `last`."""
    since = re.search(r"^-- Reads only the days from (\d+) days ago on", query.sql, re.MULTILINE)
    if since:
        return now().date() - int(since[1]) * expected.DAY, None
    around = re.search(r"^-- Reads only the days from 1 to 2, and for the sources (\d+) days before and after", query.sql, re.MULTILINE)
    days = int(around[1]) * expected.DAY if around else 0 * expected.DAY
    return first - days, last + days


def tables_of(sql: str) -> list[str]:
    """The tables that a query reads, by itself and through views."""
    names = set(re.findall(r"(?:FROM|JOIN) (\w+)", sql)) & set(COLUMNS)
    views = [(QUERIES / "views" / f"{name}.sql").read_text(encoding="utf-8") for name in names if name in VIEWS]
    return sorted({name for name in names if name in TABLES}.union(*map(tables_of, views)))


def check_pruning(engine: Engine, files: list[Query], lake: tables.Lake) -> None:
    """Nothing reads a day that it does not have to: files that none can read lie on the days around, and then one on one."""
    first, last = datetime.date(2026, 11, 4), datetime.date(2026, 11, 6)
    for view in VIEWS:
        names = tables_of(f"FROM {view}")
        some = [row for row in getattr(lake, view) if str(first) <= row.dt <= str(last)]
        check = lambda: check_rows(engine, some, view)
        with_broken_files(engine, names, [first - expected.DAY, last + expected.DAY], check)
        for name in names:
            with_broken_files(engine, [name], [first], lambda: fails(f"{view} of {name}", "broken.parquet", check))

    def check_query(query: Query) -> None:
        days = itertools.cycle([literal(first.isoformat()), literal(last.isoformat())])
        values = [next(days) if re.fullmatch(r"'\d{4}-\d\d-\d\d'", value) else value for value in query.examples]
        run(engine, lake, query, values)

    def noticed(query: Query) -> None:
        fails(query.name, "broken.parquet", lambda: check_query(query))

    # Queries that read the same days are run side by side.
    of_days = collections.defaultdict(list)
    for query in files:
        of_days[(datetime.date.fromisoformat(FIRST_DAY), None) if query.reads_all_days else reads(query, first, last)].append(query)
    for (begin, end), queries in of_days.items():
        around = [begin - expected.DAY, *([end + expected.DAY] if end else [])]
        with_broken_files(engine, TABLES, around, lambda: side_by_side(check_query, queries))
        for name in TABLES:
            readers = [query for query in queries if name in tables_of(query.sql)]
            with_broken_files(engine, [name], [begin], lambda: side_by_side(noticed, readers))


def check_readme(engine: Engine) -> None:
    """README's query has the answer that stands below it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    sql, answer = re.search(r"```sql\n(.*?)```\n\n```\n(.*?)```", text, re.DOTALL).groups()
    names, _, *rows = ([cell.strip() for cell in line.split("|")] for line in answer.splitlines())
    found = engine.query(sql)
    equal("columns of README's query", found.names(), names)
    equal("README's query", [["NULL" if value is None else str(value) for value in row] for row in found.rows], rows)


def check_new_column(engine: Engine, name: str, key: str, table: list[tuple]) -> None:
    """A file that was written before the newest column existed reads as null there, and as before everywhere else."""
    newest = COLUMNS[name][-2]
    file = read(engine, f"{name}/{key}")
    equal("the file's last column", file.column_names[-1], newest)
    in_file = lambda row: row.dt in key and (name == "sessions" or row.session_id in key)
    older = [row._replace(**{newest: None}) if in_file(row) else row for row in table]
    if older == table:
        raise AssertionError(f"no row of {name}/{key} has a {newest}, so nothing was shown")
    with_file(engine, f"{name}/{key}", file.drop_columns([newest]), lambda: check_rows(engine, older, name))


def check_duplicates(engine: Engine, files: list[Query]) -> None:
    """The query that must come to nothing finds what is there twice."""
    query = next(file for file in files if file.name == "duplicates")
    for table in ("participants", "attendance", "participant_events"):
        key = f"{table}/dt=2026-11-03/Midnight0000_st-Midnight00001.parquet"
        again = key.replace("2026-11-03", "2026-11-05")
        file = read(engine, key)
        name = [file["stage_arn"][0].as_py(), file["session_id"][0].as_py()]

        def session() -> None:
            both = ", ".join(f"s3://{BUCKET}/{it}" for it in (key, again))
            people = [["participant", *name, f"p{number:011}", 2, both, table] for number in range(4)]
            wanted = [["session", *name, None, 8, both, table], *people]
            equal(f"a session that is twice in {table}", engine.query(query.sql).rows, wanted)

        def participant() -> None:
            wanted = [["participant", *name, "p00000000000", 2, f"s3://{BUCKET}/{key}", table]]
            equal(f"a participant who is twice in {table}", engine.query(query.sql).rows, wanted)

        with_file(engine, again, file, session)
        if table != "participant_events":
            with_file(engine, key, pyarrow.concat_tables([file, file.slice(0, 1)]), participant)


def check_rows_without_id(engine: Engine, files: list[Query]) -> None:
    """Participants whom IVS gives no id are found once by their user, and none is another's duplicate."""
    of_user, duplicates = (next(file for file in files if file.name == name) for name in ("attendance_of_user", "duplicates"))
    key = "dt=2026-11-04/Future000000_st-Future0000001.parquet"

    def nameless(name: str) -> pyarrow.Table:
        file = read(engine, f"{name}/{key}")
        column = file.schema.get_field_index("participant_id")
        return file.set_column(column, file.schema.field(column), pyarrow.nulls(file.num_rows, file.schema.field(column).type))

    both = [(f"{name}/{key}", nameless(name)) for name in ("participants", "attendance")]
    with other_file(engine, *both[0]), other_file(engine, *both[1]):
        for user in ("ben", "cleo"):
            found = engine.query(of_user.sql, ", ".join(map(literal, ["2026-11-04", "2026-11-04", user])))
            places = [found.names().index(name) for name in ("participant_id", "user_id", "state", "minutes")]
            told = [[row[place] for place in places] for row in found.rows]
            equal(f"{user}, without an id", told, [[None, user, "DISCONNECTED", None]])
        equal("duplicates among participants without an id", engine.query(duplicates.sql).rows, [])


# The tables that `make erase` covers.
ERASED = ("participants", "participant_events", "attendance")
DEPLOYED = """{"Parameters": {"Prefix": {"Type": "String", "Default": ""},
                              "ConfirmAfterMinutes": {"Type": "Number", "Default": 60},
                              "DatabaseName": {"Type": "String", "Default": "ivs_attendance"},
                              "FirstDay": {"Type": "String", "Default": "%s"},
                              "RetentionDays": {"Type": "String", "Default": "0"}},
 "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
 "Outputs": {"LakeBucket": {"Value": "%s"}, "HistoryWorkGroup": {"Value": "%s-history"}}}"""


class Refusing:
    """S3 that answers 403 to some requests, and leaves the others to moto: those whose method and path hold these."""

    def __init__(self, engine: Engine, *refusals: tuple[str, str]):
        moto = engine.aws_url.removeprefix("http://")

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if any(self.command == method and part in self.path for method, part in refusals):
                    self.send_response(403)
                    self.end_headers()
                    self.wfile.write(b"<Error><Code>AccessDenied</Code><Message>not allowed</Message></Error>")
                    return
                connection = http.client.HTTPConnection(moto)
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.aws_url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Refusing":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()


def erase(engine: Engine | Refusing, user_id: str, answer: str, given: str = "environment", **more: str) -> subprocess.CompletedProcess:
    """What docs/erasure.md has the operator do, with the answer of files_of_user.sql."""
    files = SAMPLE / "files.csv"
    files.write_text(answer, encoding="utf-8")
    values = {"USER_ID": user_id, "FILES": str(files), "STACK": STACK, **more}
    credentials = {name.upper(): value for name, value in KEYS.items() if name != "region_name"}
    environment = {**os.environ, **credentials, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": engine.aws_url}
    arguments = [f"{name}={value}" for name, value in values.items()]
    return subprocess.run(
        ["make", "--no-print-directory", "erase", *(arguments if given == "arguments" else [])],
        cwd=ROOT,
        env=environment if given == "arguments" else {**environment, **values},
        input=more.get("ANSWER", ""),
        capture_output=True,
        text=True,
        check=False,
    )


def of_all_tables(keys: list[str]) -> list[str]:
    """The files of the same sessions in each table that `make erase` covers."""
    return [key.replace("participants", table, 1) for key in keys for table in ERASED]


def user_columns(body: bytes) -> list[dict]:
    """Whom each row of a file names, as participant or in a token."""
    table = parquet(body)
    columns = [name for name in table.column_names if name.endswith("user_id")]
    return table.select(columns).to_pylist()


@functools.cache
def users_of_version(engine: Engine, key: str, version: str) -> set[str]:
    """The users in a version of a file, which never changes."""
    body = engine.s3.get_object(Bucket=BUCKET, Key=key, VersionId=version)["Body"].read()
    return {user for row in user_columns(body) for user in row.values()}


def versions_with(engine: Engine, user_id: str) -> list[str]:
    """Every version of every file in which the user stands."""
    found = []
    for table in ERASED:
        for version in engine.s3.list_object_versions(Bucket=BUCKET, Prefix=f"{table}/")["Versions"]:
            if user_id in users_of_version(engine, version["Key"], version["VersionId"]):
                found.append(version["Key"])
    return found


def refused(what: str, done: subprocess.CompletedProcess, why: str) -> None:
    if done.returncode == 0 or why not in done.stderr:
        raise AssertionError(f"{what}: {done.returncode}, {done.stdout!r}, {done.stderr!r}; it should have said {why!r}")


def check_erasure(engine: Engine, files: list[Query], lake: tables.Lake) -> None:
    """docs/erasure.md: what it says goes away goes, and what it says comes back comes."""
    table = lake.participants
    query = next(file for file in files if file.name == "files_of_user")
    days = [literal(min(row.dt for row in table)), literal(max(row.dt for row in table))]

    def files_of(user_id: str) -> list[str]:
        return [row[0] for row in engine.query(query.sql, ", ".join([*days, literal(user_id)])).rows]

    def without(rows: list[expected.Row], user_id: str) -> list[expected.Row]:
        return [row for row in rows if row.user_id != user_id]

    fill(engine, "rewrite")
    its_files = files_of("ana")
    keys = [file.removeprefix(f"s3://{BUCKET}/") for file in its_files]
    equal("files with an older version, too", sorted(set(versions_with(engine, "ana"))), sorted(of_all_tables(keys)))
    if len(versions_with(engine, "ana")) <= len(of_all_tables(keys)):
        raise AssertionError("no older version has the user, so nothing was shown")
    head = lambda key: engine.s3.head_object(Bucket=BUCKET, Key=key)
    before = {key: head(key) for key in keys}
    answer = "".join(f'"{file}","1"\n' for file in ["file", *its_files])

    # What is refused, before anything is changed.
    refused("no question answered", erase(engine, "ana", answer), "nothing was changed")
    refused("another stack", erase(engine, "ana", answer, STACK="other"), "STACK='other' must name a stack")
    refused("no address", erase(engine, "ana", "file\nno file\n"), "line 2: 'no file' must hold a file's address")
    refused("another lake", erase(engine, "ana", "s3://x/participants/dt=2026-11-04/a.parquet\n"), "of the stack's lake")
    refused("no UTF-8", erase(engine, "an\udce4", answer, YES="1"), "USER_ID=b'an\\xe4' is no UTF-8: it must be the user id")
    refused("a misspelt user", erase(engine, "aNa", answer, YES="1"), "USER_ID='aNa' is in none of these files")
    lately = next(row for row in table if row.session_id == "st-Lately0000001")
    awaits = f"s3://{BUCKET}/participants/dt={lately.dt}/Daily0000000_st-Lately0000001.parquet"
    both = f"{awaits}\n{its_files[0]}\n"
    refused("a file that awaits its second look", erase(engine, lately.user_id, both, YES="1"), "has not had its second look")
    check_rows(engine, table)

    # What fails, or cannot be read, stops nothing else; it is named, and the rest of her rows goes when it is run again.
    odd = "participants/dt=2026-11-21/Odd000000000_st-Odd0000000001.parquet"
    unreadable = engine.s3.put_object(Bucket=BUCKET, Key=odd, Body=b"PAR1 this is no Parquet PAR1")["VersionId"]
    engine.s3.delete_object(Bucket=BUCKET, Key=odd)
    no_parquet = engine.s3.put_object(Bucket=BUCKET, Key=odd, Body=b"neither is this")["VersionId"]
    more = answer + f"s3://{BUCKET}/{odd}\n"
    refused("nobody in what can be read", erase(engine, "aNa", more, YES="1"), f"{odd} version {unreadable} is no file of the table")
    # The oldest version of the last file.
    stays = engine.s3.list_object_versions(Bucket=BUCKET, Prefix=keys[-1])["Versions"][-1]["VersionId"]
    with Refusing(engine, ("PUT", keys[0].rsplit("/")[-1]), ("DELETE", stays)) as refusing:
        done = erase(refusing, "ana", more, YES="1")
    equal("the exit code when some fails", done.returncode != 0, True)
    for said in [
        f"{keys[0]} cannot be written: ",
        f"{keys[-1]} version {stays} cannot be deleted: ",
        f"{odd} is no file of the table: ",
        f"{odd} version {unreadable} is no file of the table: ",
    ]:
        equal(f"times that {done.stderr!r} says {said!r}", done.stderr.count(said), 1)
    equal(f"{done.stdout!r} says what went", f"in {len(of_all_tables(keys[1:]))} files" in done.stdout, True)
    for version in (unreadable, no_parquet):
        engine.s3.delete_object(Bucket=BUCKET, Key=odd, VersionId=version)
    equal("files in which she still is", set(versions_with(engine, "ana")), {*of_all_tables(keys[:1]), keys[-1]})
    equal("files of the user", files_of("ana"), [its_files[0]])

    # A deleted file, too, of which Athena knows nothing.
    deleted = "participants/dt=2026-11-20/Gone00000000_st-Gone000000001.parquet"
    engine.s3.copy_object(Bucket=BUCKET, Key=deleted, CopySource={"Bucket": BUCKET, "Key": keys[0]})
    engine.s3.delete_object(Bucket=BUCKET, Key=deleted)
    left_over = of_all_tables(keys[:1])
    bodies = [engine.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in left_over]
    rows = sum("ana" in row.values() for body in bodies for row in user_columns(body))
    done = erase(engine, "ana", answer, ANSWER="y\n")
    equal("make erase", (done.returncode, done.stderr), (0, ""))
    left = without(table, "ana")
    said = f"erased {rows} rows of 'ana' in {len(left_over)} files"
    equal(f"{said!r} in {done.stdout!r}", said in done.stdout, True)
    equal("versions with the user", versions_with(engine, "ana"), [])
    equal("files of the user", files_of("ana"), [])
    check_rows(engine, left)
    for key in keys:
        after = head(key)
        people = sum(row.dt in key and row.session_id in key for row in left)
        equal(f"the metadata of {key}", after["Metadata"], {**before[key]["Metadata"], "participants": str(people)})
        equal(f"the content type of {key}", after["ContentType"], before[key]["ContentType"])

    # Others, whose ids look much like hers, and break what does not quote.
    for user_id, given in [("ana$1", "arguments"), (" ana", "environment"), ("O'Brien \"the\" \\ 'Chief'", "environment")]:
        done = erase(engine, user_id, "\n".join(files_of(user_id)), given, YES="1")
        left = without(left, user_id)
        equal(f"make erase {user_id!r}", (done.returncode, done.stderr, versions_with(engine, user_id)), (0, "", []))
        check_rows(engine, left)

    # Neither a request nor a sweep brings anything back.
    answers = fill(engine, "export", "sweep")
    equal("outcomes afterwards", {answer["outcome"] for answer in answers[:-1]}, {"up_to_date", "still_live"})
    equal("what the sweep finds to do", [answers[-1][name] for name in ("missing", "due", "enqueued")], [0, 0, 0])
    check_rows(engine, left)
    # The session's file as a whole: the sweep does.
    engine.s3.delete_object(Bucket=BUCKET, Key=keys[0])
    (answer,) = fill(engine, "sweep")
    equal("a file that is gone", [answer[name] for name in ("missing", "enqueued")], [1, 1])
    # And so does writing anew what IVS still lists, and collecting it once more.
    fill(engine, "rewrite", "recollect")
    for name in ERASED:
        check_rows(engine, getattr(lake, name), name)


def break_on_purpose(
    engine: Engine,
    files: list[Query],
    template: Template,
    lake: tables.Lake,
) -> None:
    """What these checks are for, done wrong: each must be noticed."""
    table = lake.participants
    inputs, named = table_inputs(template), template.of_type("AWS::Athena::NamedQuery")

    def notice(what: str, how: str, check) -> None:
        print(f"  {what}: {fails(what, how, check)}")

    def with_table(name: str, change, of: str = "participants") -> None:
        wrong = copy.deepcopy(inputs[of])
        wrong["Name"] = name
        change(wrong)
        engine.glue.create_table(DatabaseName=engine.database, TableInput=wrong)

    def column_type(wrong: dict) -> None:
        next(it for it in wrong["StorageDescriptor"]["Columns"] if it["Name"] == "published")["Type"] = "string"

    def format_of_day(wrong: dict) -> None:
        wrong["Parameters"]["projection.dt.format"] = "yyyy/MM/dd"

    def first_day(wrong: dict) -> None:
        wrong["Parameters"]["projection.dt.range"] = "2026-11-03,NOW+1DAY"

    with_table("unchanged", lambda _: None)
    check_rows(engine, table, "unchanged")
    for name, what, how, change in [
        ("typed_wrongly", "a column typed wrongly", "Unsupported Trino column type (varchar) for Parquet column", column_type),
        ("formatted_wrongly", "a wrong format of the projection", "Column projection for column 'dt' failed", format_of_day),
        ("ranging_wrongly", "a range that begins too late", "rows: ", first_day),
    ]:
        with_table(name, change)
        notice(what, how, lambda: check_rows(engine, table, name))

    def no_map(wrong: dict) -> None:
        next(it for it in wrong["StorageDescriptor"]["Columns"] if it["Name"] == "attributes")["Type"] = "string"

    def with_attendance(column: str, wrong, what: str, how: str) -> None:
        key = f"attendance/{LIVES}"
        file = read(engine, key)
        file = file.set_column(file.column_names.index(column), column, wrong(file[column]))
        with_file(engine, key, file, lambda: notice(what, how, lambda: check_rows(engine, lake.attendance, "attendance")))

    with_table("attended_wrongly", no_map, "attendance")
    how = "GroupColumnIO cannot be cast to class"
    notice("a map typed wrongly", how, lambda: check_rows(engine, lake.attendance, "attended_wrongly"))
    more = lambda column: pyarrow.compute.add(column, pyarrow.scalar(1, column.type))
    with_attendance("connected_ms", more, "a millisecond too much", "instead of")
    other_key = lambda column: pyarrow.array(
        [it and [("other", value) for _, value in it] for it in column.to_pylist()], column.type
    )
    with_attendance("attributes", other_key, "another key of a map", "{'other': 'guest'} instead of")

    key = f"participant_events/{LIVES}"
    file = read(engine, key)
    check = lambda: check_rows(engine, lake.participant_events, "participant_events")
    with_file(engine, key, file.slice(0, file.num_rows - 1), lambda: notice("a lost event", "rows: ", check))
    check = lambda: check_order_in_file(engine, lake.participant_events)
    how = "events in file order: row 0: "
    swapped = file.take([1, 0, *range(2, file.num_rows)])
    with_file(engine, key, swapped, lambda: notice("events in another order", how, check))

    file = read(engine, LECTURE)
    fewer_rows = file.slice(0, file.num_rows - 1)
    with_file(engine, LECTURE, fewer_rows, lambda: notice("a lost row", "rows: ", lambda: check_rows(engine, table)))
    wrong = file.set_column(5, "user_id", pyarrow.array(["x", *file["user_id"].to_pylist()[1:]]))
    with_file(engine, LECTURE, wrong, lambda: notice("another user id", "'x' instead of", lambda: check_rows(engine, table)))
    check_rows(engine, table)

    renamed = copy.deepcopy(named)
    next(iter(renamed.values()))["Name"] = "arrivals"
    notice("a query with a wrong name", "'arrivals' instead of", lambda: check_named(files, renamed, engine.database))
    changed = copy.deepcopy(named)
    next(iter(changed.values()))["QueryString"] += " "
    notice("a named query that is not the file", "in template.yaml", lambda: check_named(files, changed, engine.database))
    fewer = copy.deepcopy(next(file for file in files if file.name == "sessions_per_day"))
    fewer.sql = fewer.sql.replace("count(*) AS participants", "count(user_id) AS participants")
    notice("a query that counts wrongly", "row 2: ", lambda: run(engine, lake, fewer, fewer.examples))


def one_line(sql: str) -> str:
    """SQL as the template has it in a view: without comments, and in a single line."""
    return " ".join(" ".join(line for line in sql.splitlines() if not line.startswith("--")).split())


def mistaken(sql: str, what: str, right: str, wrong: str) -> str:
    equal(f"pieces of SQL where {what!r} belongs", sql.count(right), 1)
    return sql.replace(right, wrong)


def check_mistakes(engine: Engine, files: list[Query], template: Template, lake: tables.Lake) -> None:
    """Views and queries with a mistake in one place: the checks of their rows must notice each."""
    inputs = table_inputs(template)

    def check_query(mistake: tuple[str, str, str, str]) -> str:
        name, what, right, wrong = mistake
        query = copy.copy(next(file for file in files if file.name == name))
        query.sql = mistaken(query.sql, what, right, wrong)

        def check() -> None:
            for values in sorted([query.examples, *more_values(name, lake)], key=days_asked_for):
                run(engine, lake, query, values)

        return f"  {name}, {what}: {fails(f'{name}: {what}', f'{name} [', check)[:100]}"

    def check_view(mistake: tuple[str, str, str, str]) -> str:
        name, what, right, wrong = mistake
        view = name.removeprefix("views/")
        marked = re.fullmatch(r"/\* Presto View: (\S+) \*/", inputs[view]["ViewOriginalText"])
        definition = json.loads(base64.b64decode(marked[1]))
        definition["originalSql"] = mistaken(one_line(definition["originalSql"]), what, one_line(right), wrong)
        text = base64.b64encode(json.dumps(definition).encode()).decode()
        changed = {**inputs[view], "ViewOriginalText": f"/* Presto View: {text} */"}
        engine.glue.update_table(DatabaseName=engine.database, TableInput=changed)
        rows = [row for row in getattr(lake, view) if row.dt in HARD_DAYS]
        noticed = fails(f"{name}: {what}", "rows: ", lambda: check_rows(engine, rows, view))
        engine.glue.update_table(DatabaseName=engine.database, TableInput=inputs[view])
        return f"  {name}, {what}: {noticed[:100]}"

    for mistake in mistakes.VIEW_MISTAKES:
        print(check_view(mistake), flush=True)
    side_by_side(check_query, [*mistakes.SESSION_MISTAKES, *mistakes.REPORT_MISTAKES])


def check_presence(engine: Engine, lake: tables.Lake) -> None:
    """The views come to the times of attendance, which the function computed, for every participant."""
    names = "dt, stage_arn, session_id, participant_id"
    rows = lambda sql: engine.query(f"{sql} WHERE {days_of(lake.attendance)}").rows
    for view, column, begin, end in [
        ("stays", "connected_ms", "joined_at", "left_at"),
        ("publications", "publish_ms", "started_at", "stopped_at"),
        ("subscriptions", "watch_ms", "started_at", "stopped_at"),
    ]:
        who = names.replace("participant_id", "viewer") if view == "subscriptions" else names
        spans = collections.defaultdict(list)
        for *name, began, ended in rows(f"SELECT {who}, {begin}, {end} FROM {view}"):
            spans[tuple(name)].append(tables.Span(began, ended, False))
        total = lambda some: sum((end - begin) // tables.MILLISECOND for begin, end in tables.union(some))
        attended = rows(f"SELECT {names}, {column} FROM attendance")
        found = [[*name, total(spans[tuple(name)])] for *name, _ in attended]
        equal(f"{column} by the view {view}", found, attended)
        print(f"{view}: {column} of {len(attended)} participants as in attendance", flush=True)


def table_inputs(template: Template) -> dict[str, dict]:
    """The tables of the template, by their names."""
    inputs = [table["TableInput"] for table in template.of_type("AWS::Glue::Table").values()]
    return {it["Name"]: it for it in inputs}


def main() -> None:
    template, files = Template(), pack()
    # Nobody may ask it for the loopback address: engine.py sees to that.
    os.environ |= dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"], "http://127.0.0.1:9")
    print("tables and queries of template.yaml on Trino, over moto", flush=True)
    check_named(files, template.of_type("AWS::Athena::NamedQuery"), template.values["DatabaseName"])
    with Engine(template) as engine:
        *answers, swept = fill(engine, "export", "collect", "sweep")
        today = datetime.datetime.fromisoformat(engine.today).replace(tzinfo=None)
        lake = tables.lake(known(), expected.rows(known()), today, written(engine))
        exports, collections = answers[: len(known())], answers[len(known()) :]
        ended = [session["endTime"] is not None for session in known()]
        final = [tables.is_final(session, today) for session in known()]
        outcomes = ["exported" if has_ended else "still_live" for has_ended in ended]
        equal("outcomes", [answer["outcome"] for answer in exports], outcomes)
        outcomes = [{"exported": "collected" if it else "not_due"}.get(outcome, outcome) for outcome, it in zip(outcomes, final)]
        equal("outcomes of collections", [answer["outcome"] for answer in collections], outcomes)
        equal("what the sweep found to do", [swept[name] for name in ("live", "missing", "enqueued", "failed")], [1, 0, 0, 0])
        equal("what the sweep found to collect", swept["attendance"]["missing"], 0)
        print(f"exported {sum(ended)} sessions of {len(lake.participants)} participants by the real function", flush=True)
        print(f"collected {sum(final)} sessions with {len(lake.participant_events)} events", flush=True)
        engine.wait()
        for name, it in table_inputs(template).items():
            check_table(engine, it, COLUMNS[name])
            print(f"{name}: {len(COLUMNS[name])} columns as the template has them", flush=True)
        check_lake(engine, lake)
        check_presence(engine, lake)
        check_order_in_file(engine, lake.participant_events)
        print("events lie in their order", flush=True)
        engine.cloudformation.create_stack(StackName=STACK, TemplateBody=DEPLOYED % (FIRST_DAY, BUCKET, STACK))
        history.check_history(engine, lake)
        check_missing_session(engine, files, lake)
        print("a session that is missing, or fails, is seen in the table of sessions", flush=True)
        check_days(engine, lake)
        print("days without files, out of range, and all days", flush=True)
        check_new_column(engine, "participants", "dt=2026-11-04/Future000000_st-Future0000001.parquet", lake.participants)
        check_new_column(engine, "participant_events", LIVES, lake.participant_events)
        check_new_column(engine, "attendance", LIVES, lake.attendance)
        check_new_column(engine, "sessions", "dt=2026-11-07/sessions.parquet", tables.sessions(known(), written(engine)))
        print("a file without the newest column of its table reads as null there", flush=True)
        check_duplicates(engine, files)
        print("duplicates are found", flush=True)
        check_rows_without_id(engine, files)
        print("participants without an id are found once each", flush=True)
        lake.sessions = tables.sessions(known(), written(engine))
        check_pruning(engine, files, lake)
        print("no query reads a day that it was not asked for", flush=True)
        check_readme(engine)
        print("README's query has the answer that README shows", flush=True)
        check_malformed_days(engine, files)
        print("every query refuses a day that is no date of the form YYYY-MM-DD", flush=True)
        check_malformed_numbers(engine, files)
        print("and a number of another form", flush=True)
        check_erasure(engine, files, lake)
        print("a user's rows are erased, and come back only as docs/erasure.md says", flush=True)
        print("broken on purpose, and noticed:")
        break_on_purpose(engine, files, template, lake)
        print(f"the pack, {len(files)} queries, each as a file and as a named query, against the same without SQL:")
        fill(engine, "sweep")
        lake.sessions = tables.sessions(known(), written(engine))
        check_pack(engine, files, lake)
        # Not before the pack: what fails already would fail with a mistake, too.
        print("views and queries with a mistake, each noticed:")
        check_mistakes(engine, files, template, lake)
        print("the merge of history broken on purpose, and noticed:")
        history.break_history(engine, lake)
        print("the dashboard for Grafana, each variable and panel, against the same without SQL:")
        dashboard.check_dashboard(engine, lake)
        print("the dashboard broken on purpose, and noticed:")
        dashboard.break_dashboard(engine, lake)


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, Missing, OSError) as error:
        sys.exit(f"make athena: {error}")
