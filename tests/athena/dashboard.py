"""dashboards/grafana.json on Athena's own engine: what each panel and variable shows, without Grafana.

`make athena` calls check_dashboard. Macros and variables are put into the SQL here as Grafana's documentation says: see
dashboards/grafana.py. What must come of it is computed from the lake's rows, without SQL.
"""

import collections
import dataclasses
import datetime
import enum
import importlib.util
import itertools
import json
import re
import typing

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

import expected
import tables
from compare import equal, fails, now
from engine import ROOT, Engine

FILE = ROOT / "dashboards" / "grafana.json"
PLUGIN = "grafana-athena-datasource"
ALL = "all stages"
ARN = "arn:aws:ivs:us-west-2:123456789012:stage/StageOne"
MINUTE = datetime.timedelta(minutes=1)
# What the data source makes a time, a number, a truth value or text of. Of a decimal it makes text.
TIME, NUMBERS, OTHERS = "timestamp(3)", {"integer", "bigint", "double"}, {"varchar", "boolean"}


class View(typing.NamedTuple):
    """What somebody looks at: a time range, stages (ALL or ARNs) and a session, as (day, ARN, id)."""

    begin: datetime.datetime
    end: datetime.datetime
    stages: object = ALL
    session: tuple[str, str, str] | None = None

    def days(self) -> tuple[str, str]:
        return self.begin.date().isoformat(), self.end.date().isoformat()

    def shown(self, rows: list) -> list:
        """The rows of the range and the stages."""
        first, last = self.days()
        return [row for row in rows if first <= row.dt <= last and (self.stages == ALL or row.stage_arn in self.stages)]

    def of_session(self, rows: list) -> list:
        first, last = self.days()
        return [row for row in rows if first <= row.dt <= last and (row.dt, row.stage_arn, row.session_id) == self.session]


def quoted(values: list[str]) -> str:
    """The format `sqlstring` ("Variable syntax")."""
    return ",".join("'" + value.replace("'", "''") + "'" for value in values)


def filled(sql: str, view: View, all_value: str) -> str:
    """The SQL that reaches Athena: Grafana puts in the variables first, and the data source the macros."""
    # A custom value for all is put in as it is ("Variable selection options").
    stages = all_value if view.stages == ALL else quoted(view.stages)
    values = {"stage": stages, "session": quoted([" ".join(view.session or ())])}
    sql = re.sub(r"\$\{(\w+):sqlstring\}", lambda match: values[match[1]], sql)
    # "Amazon Athena query editor": the range's beginning and end in this format, with the quotes of the format.
    for macro, time in [("From", view.begin), ("To", view.end)]:
        sql = sql.replace(f"$__rawTime{macro}('yyyy-MM-dd')", f"'{time:%Y-%m-%d}'")
    if "$" in sql:
        raise AssertionError(f"a variable or a macro is left: {sql}")
    return sql


def label(name: str | None, stage_arn: str) -> str:
    stage = stage_arn.split("/")[1]
    return f"{name} ({stage})" if name else stage


def last_names(sessions: list[tables.Session]) -> dict[str, str]:
    """Each stage's label, by the name that its latest session has."""
    ordered = sorted(sessions, key=lambda row: row.session_start_time)
    return {row.stage_arn: label(row.stage_name, row.stage_arn) for row in ordered}


def midnight(day: str | datetime.date) -> datetime.datetime:
    return datetime.datetime.fromisoformat(str(day))


def stages(lake: tables.Lake, view: View) -> list[list]:
    names = last_names(view._replace(stages=ALL).shown(lake.sessions))
    return sorted([name, stage_arn] for stage_arn, name in names.items())


def sessions(lake: tables.Lake, view: View) -> list[list]:
    ended = [row for row in view.shown(lake.sessions) if row.session_end_time]
    found = []
    for row in sorted(ended, key=lambda row: (-row.session_start_time.timestamp(), row.dt, row.stage_arn, row.session_id)):
        text = f"{row.session_start_time:%Y-%m-%d %H:%M} {label(row.stage_name, row.stage_arn)} {row.session_id}"
        more = "" if row.attendance_written_time else ", not collected"
        found.append([text + more, f"{row.dt} {row.stage_arn} {row.session_id}"])
    return found


def sessions_a_day(lake: tables.Lake, view: View) -> list[list]:
    days = collections.Counter(row.dt for row in view.shown(lake.sessions))
    return [[midnight(day), count] for day, count in sorted(days.items())]


def people_a_day(lake: tables.Lake, view: View) -> list[list]:
    days = expected.grouped(view.shown(lake.participants), "dt")
    return [[midnight(day), len(people), len(expected.users(people)) or None] for (day,), people in days.items()]


def peak_a_day(lake: tables.Lake, view: View) -> list[list]:
    counter, (first, last) = expected.Counter(view.shown(lake.stays)), map(midnight, view.days())
    days = [first + number * expected.DAY for number in range((last - first).days + 1)]
    found = [[day, counter.most(day, day + expected.DAY)] for day in days]
    return [row for row in found if row[1]]


def hours_a_day(lake: tables.Lake, view: View) -> list[list]:
    known = view.shown(lake.attendance)
    total = lambda rows: sum(times) if (times := [row.connected_ms for row in rows if row.connected_ms is not None]) else None
    of_stage = {stage_arn: total(rows) for (stage_arn,), rows in expected.grouped(known, "stage_arn").items()}
    order = sorted(of_stage, key=lambda stage_arn: (of_stage[stage_arn] is None, -(of_stage[stage_arn] or 0), stage_arn))
    names = last_names(view._replace(stages=ALL).shown(lake.sessions))
    shown = {stage_arn: names[stage_arn] if place < 10 else "all other stages" for place, stage_arn in enumerate(order)}
    groups = collections.defaultdict(list)
    for row in known:
        groups[row.dt, shown[row.stage_arn]].append(row)
    hours = lambda rows: None if (all_of_it := total(rows)) is None else all_of_it / 3_600_000
    return [[midnight(day), stage, hours(rows)] for (day, stage), rows in sorted(groups.items())]


def errors(lake: tables.Lake, view: View) -> list[list]:
    groups = collections.defaultdict(list)
    for event in view.shown(lake.participant_events):
        if (event.name or "").endswith("_ERROR"):
            groups[event.name, event.error_code].append(event)
    found = []
    for (name, code), events in groups.items():
        people = {(event.stage_arn, event.session_id, event.participant_id) for event in events}
        found.append([name, code, len(events), len(people), len({person[:2] for person in people})])
    return sorted(found, key=lambda row: (-row[2], row[0], row[1] is None, row[1]))


def curve(lake: tables.Lake, view: View) -> list[list]:
    counter = expected.Counter(view.of_session(lake.stays))
    if not counter.stays:
        return []
    start = counter.stays[0].session_start_time
    length = counter.ends[-1] - counter.begins[0]
    # So few minutes that there are no more than a day's points.
    minutes = next(number for number in itertools.count(1) if number * 1440 * MINUTE >= length)
    number = (counter.begins[0] - start) // (minutes * MINUTE)
    found = []
    while (begin := start + number * minutes * MINUTE) < counter.ends[-1]:
        end = begin + minutes * MINUTE
        found.append([number * minutes, counter.most(max(begin, counter.begins[0]), end)])
        number += 1
    return found


def people_of_session(lake: tables.Lake, view: View) -> list[list]:
    if not view.session:
        return []
    people = expected.who_was_in_session(lake, None, *view.days(), view.session[2])
    return [row[3:1:-1] + row[4:8] for row in people if row[0] == view.session[1] and view.of_session(lake.participants)]


def state(row: tables.Session, now: datetime.datetime) -> str:
    if row.session_end_time is None:
        return "live"
    written = [time for time in (row.participants_written_time, row.attendance_written_time) if time]
    if row.failed_time and now - row.failed_time < expected.DAY and all(time < row.failed_time for time in written):
        return "failing"
    if row.participants_written_time is None:
        return "missing"
    return "collected" if row.attendance_written_time else "exported"


def states_counted(lake: tables.Lake, view: View) -> list[list]:
    states = collections.Counter(state(row, now()) for row in view.shown(lake.sessions))
    return [[states[it] for it in ("failing", "missing", "exported", "collected", "live")]] if states else []


def not_collected(lake: tables.Lake, view: View) -> list[list]:
    found = []
    for row in sorted(view.shown(lake.sessions), key=lambda row: (-row.session_start_time.timestamp(), row.stage_arn, row.session_id)):
        if (its_state := state(row, now())) in ("failing", "missing", "exported"):
            name = label(row.stage_name, row.stage_arn)
            found.append([its_state, name, row.session_id, row.session_start_time, row.session_end_time, row.failed_time])
    return sorted(found, key=lambda row: row[0])


# What each panel and variable shows: its columns with their types, and its rows.
SHOWN = {
    "stage": ({"text": "varchar", "value": "varchar"}, stages),
    "session": ({"text": "varchar", "value": "varchar"}, sessions),
    "Sessions a day": ({"day": TIME, "sessions": "bigint"}, sessions_a_day),
    "People a day": ({"day": TIME, "participants": "bigint", "users": "bigint"}, people_a_day),
    "Most participants connected at once": ({"day": TIME, "connected_at_once": "bigint"}, peak_a_day),
    "Participant-hours a day, by stage": ({"day": TIME, "stage": "varchar", "hours": "double"}, hours_a_day),
    "Errors": (
        {"error": "varchar", "code": "varchar", "errors": "bigint", "participants": "bigint", "sessions": "bigint"},
        errors,
    ),
    "Participants connected, minute by minute": ({"minute": "bigint", "connected_at_once": "bigint"}, curve),
    "Who attended the chosen session": (
        {
            **{"user_id": "varchar", "participant_id": "varchar", "joined": TIME, "left_at": TIME},
            **{"minutes": "bigint", "inferred": "boolean"},
        },
        people_of_session,
    ),
    "Sessions by state": (
        dict.fromkeys(["failing", "missing", "exported", "collected", "live"], "bigint"),
        states_counted,
    ),
    "Sessions that are failing, missing or not collected": (
        {
            **{"state": "varchar", "stage": "varchar", "session_id": "varchar"},
            **{"started": TIME, "ended": TIME, "last_failed": TIME},
        },
        not_collected,
    ),
}


def fits(value, kind, where: str) -> None:
    """Fails if a value is not of the type that the SDK's model gives it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Union:
        if value is None and type(None) in arguments:
            return
        arguments = [it for it in arguments if it is not type(None)]
        # The one of which it says more.
        if len(arguments) == 1 or type(value) in arguments:
            return fits(value, type(value) if type(value) in arguments else arguments[0], where)
        for one in arguments:
            try:
                return fits(value, one, where)
            except AssertionError:
                continue
        raise AssertionError(f"{where}: {value!r} is none of {arguments}")
    if origin is typing.Literal:
        right = value in arguments
    elif origin is list:
        right = isinstance(value, list)
        for number, item in enumerate(value if right else []):
            fits(item, arguments[0], f"{where}[{number}]")
    elif origin is dict:
        right = isinstance(value, dict)
        for name, item in value.items() if right else ():
            fits(item, arguments[1], f"{where}.{name}")
    elif kind in (object, typing.Any):
        right = True
        if hasattr(value, "to_json"):
            check_model(value, where)
    elif issubclass(kind, enum.Enum):
        right = value in {it.value for it in kind}
    elif kind is float:
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif kind in (bool, int, str, type(None)):
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    else:
        right = isinstance(value, kind)
        if right:
            check_model(value, where)
    if not right:
        raise AssertionError(f"{where}: {value!r} is no {kind}")


def check_model(model, where: str) -> None:
    """Every member of a model that the SDK read is of its type. Its reader takes whatever stands there."""
    for name, kind in typing.get_type_hints(type(model)).items():
        fits(getattr(model, name), kind, f"{where}.{name}")


def check_schema(page: dict) -> None:
    """Grafana's schema of dashboards is that of the models in grafana-foundation-sdk: no member that they do not know, and no
    value of another type."""
    register_default_plugins()
    model = Dashboard.from_json(page)
    check_model(model, "dashboard")
    again = json.loads(JSONEncoder().encode(model))
    if again != page:
        raise AssertionError(f"Grafana's schema does not know all of it: {differing(page, again)}")


def differing(one, other, where: str = "dashboard") -> str:
    """The first place in which two documents differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            if one.get(name, ...) != other.get(name, ...):
                return differing(one.get(name, ...), other.get(name, ...), f"{where}.{name}")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other)):
            if pair[0] != pair[1]:
                return differing(*pair, f"{where}[{number}]")
    return f"{where}: {one!r}, {other!r}"


def check_made(text: str) -> None:
    """The file is what the script makes."""
    path = ROOT / "dashboards" / "grafana.py"
    spec = importlib.util.spec_from_file_location("grafana_dashboard", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    if text != script.made():
        raise AssertionError("dashboards/grafana.json is not what dashboards/grafana.py makes: run `make dashboard`")


def asking(page: dict) -> dict[str, dict]:
    """The panels and variables that ask Athena, by title and name."""
    panels = {it["title"]: it for it in page["panels"] if it["type"] not in ("row", "text")}
    variables = {it["name"]: it for it in page["templating"]["list"] if it["type"] == "query"}
    return variables | panels


def query_of(one: dict) -> dict:
    (query,) = one["targets"] if "targets" in one else [one["query"]]
    return query


def check_panel(one: dict, columns: dict[str, str]) -> None:
    """What a panel says of its columns is of columns that it has, and their types are such that it can show them."""
    title = one.get("title", one.get("name"))
    if one["datasource"] != {"type": PLUGIN, "uid": "${datasource}"}:
        raise AssertionError(f"{title} asks {one['datasource']}")
    if odd := set(columns.values()) - {TIME} - NUMBERS - OTHERS:
        raise AssertionError(f"{title} has columns of types that are shown as text, or not at all: {odd}")
    if "fieldConfig" not in one:
        return
    named = [it["matcher"]["options"] for it in one["fieldConfig"]["overrides"] if it["matcher"]["id"] == "byName"]
    named += [it for it in [one["options"].get("xField")] if it]
    if unknown := set(named) - set(columns):
        raise AssertionError(f"{title} names columns that it does not have: {unknown}")
    for member in (one.get("description"), one["fieldConfig"]["defaults"].get("noValue")):
        if not member:
            raise AssertionError(f"{title} does not say what it shows, or what an empty answer means")
    kinds = list(columns.values())
    if one["type"] == "timeseries" and (kinds[0] != TIME or not set(kinds[1:]) & NUMBERS):
        raise AssertionError(f"{title} draws {columns} over time")
    # Text makes a line of each value, if the data source is told that it is a time series.
    if one["type"] == "timeseries" and ("varchar" in kinds) != (query_of(one)["format"] == 0):
        raise AssertionError(f"{title} asks for the wrong format")
    if one["type"] in ("trend", "stat") and set(kinds) - NUMBERS:
        raise AssertionError(f"{title} draws {columns}")


def check_reads(engine: Engine, title: str, sql: str, view: View) -> None:
    """Every table is read on the days of the range only: what the engine plans to read."""
    plan = json.loads(engine.query(f"EXPLAIN (TYPE IO, FORMAT JSON) {sql}").rows[0][0])
    first, last = view.days()
    for read in plan["inputTableColumnInfos"]:
        name = read["table"]["schemaTable"]["table"]
        columns = read["constraint"]["columnConstraints"]
        ranges = [it for column in columns if column["columnName"] == "dt" for it in column["domain"]["ranges"]]
        if not ranges or not all(first <= it["low"].get("value", "") <= it["high"].get("value", "~") <= last for it in ranges):
            raise AssertionError(f"{title}, table {name}: reads other days than {first} to {last}: {ranges}")


def views(lake: tables.Lake) -> list[View]:
    """What is looked at: ranges, stages and sessions in which something can go wrong."""
    at = datetime.datetime.fromisoformat
    month, day = (at("2026-11-01T00:00"), at("2026-11-30T18:40:07")), (at("2026-11-04T09:15"), at("2026-11-04T10:15"))
    of = {row.session_id: (row.dt, row.stage_arn, row.session_id) for row in lake.sessions}
    twins = sorted({row.stage_arn for row in lake.sessions if row.session_id == "st-Twins00000001"})
    live = [row.stage_arn for row in lake.sessions if row.session_end_time is None]
    names = [
        *["st-Lecture000001", "st-Nobody0000001", "st-Lives00000001", "st-LongOne000001", "st-Ahead00000001"],
        *["st-Target0000002", "st-Reconnect0001", "st-Unfinished001", "st-Texts00000001"],
    ]
    found = [View(*month, session=of[name]) for name in names]
    # One id on two stages.
    found += [View(*month, stages=[arn], session=("2026-11-07", arn, "st-Twins00000001")) for arn in twins]
    # A range within a day, and one that a session reaches into, or out of.
    found += [View(*day, session=of["st-Texts00000001"]), View(*day, session=of["st-Lecture000001"])]
    found += [View(at("2026-11-10T12:00"), at("2026-11-10T23:59:59"), session=of["st-Target0000002"])]
    found += [View(at("2026-11-11T00:00"), at("2026-11-12T23:59:59"), stages=live)]
    lately = at(of["st-Lately0000001"][0])
    found += [View(lately - expected.DAY, lately + expected.DAY, session=of["st-Lately0000001"])]
    # Nothing there; nothing chosen; and what would be SQL if it were not quoted.
    found += [View(at("2026-10-01T00:00"), at("2026-10-02T00:00")), View(*month, stages=["x' OR 'all' IN ('all"])]
    found += [View(*month, stages=twins, session=("2026-11-07", "' OR ''='", "st-Twins00000001"))]
    return found


def check_answer(engine: Engine, lake: tables.Lake, title: str, sql: str, view: View) -> int:
    """One look at one panel: its columns, and every value of its rows. Gives their number."""
    columns, compute = SHOWN[title]
    found = engine.query(sql)
    # A varchar has a length here where Trino knows it.
    kinds = {name: re.sub(r"^varchar\(\d+\)$", "varchar", kind) for name, kind in found.columns}
    equal(f"{title}, columns", kinds, columns)
    equal(f"{title}, {view.days()}, {view.stages}, {view.session}", found.rows, compute(lake, view))
    return len(found.rows)


def check_looks(engine: Engine, lake: tables.Lake, page: dict, title: str) -> tuple[int, int]:
    """All looks at a panel: how many there are, and the most rows of one."""
    sql, all_value = query_of(asking(page)[title])["rawSQL"], custom_all(page)
    looks = {filled(sql, view, all_value): view for view in reversed(views(lake))}
    rows, planned = 0, set()
    for text, view in reversed(looks.items()):
        # Once for a month, and once for a range within a day.
        if view.days() not in planned and len(planned) < 2:
            planned.add(view.days())
            check_reads(engine, title, text, view)
        rows = max(rows, check_answer(engine, lake, title, text, view))
    if not rows:
        raise AssertionError(f"{title}, all looks: always empty, so nothing was shown")
    return len(looks), rows


def custom_all(page: dict) -> str:
    return next(it["allValue"] for it in page["templating"]["list"] if it["name"] == "stage")


def odd_sessions(time: datetime.datetime) -> list[tables.Session]:
    """Sessions in every state, of a stage that was renamed, of two with one name, and of one without."""
    hours = lambda number: time - number * datetime.timedelta(hours=1)
    rows = [
        # Written, collected and failed so many hours ago.
        ("StageOne", "Maths", "st-Done", 20, 19, None),
        ("StageOne", "Sums", "st-DoneAfterFailing", 20, 2, 3),
        ("StageTwo", "Maths", "st-NotCollected", 2, None, None),
        ("StageTwo", "Maths", "st-FailingToBeCollected", 5, None, 3),
        ("StageTwo", "Maths", "st-FailedLongAgo", 40, None, 30),
        ("StageSix", "", "st-Missing", None, None, None),
        ("StageSix", "", "st-Failing", None, None, 2),
        ("StageSix", "", "st-MissingSinceLongAgo", None, None, 25),
        ("Stage0It", "L'été", "st-FailedBetween", 10, 2, 5),
        ("Stage0It", None, "st-Nameless", 10, 2, None),
    ]
    found = []
    for number, (stage, name, session_id, *written) in enumerate(rows):
        start = midnight("2026-11-05") + number * datetime.timedelta(hours=1)
        times = [None if it is None else hours(it).replace(microsecond=0) for it in written]
        found.append(
            tables.Session(ARN.removesuffix("StageOne") + stage, name, None, session_id, start, start + MINUTE, *times, start.date().isoformat())
        )
    return [*found, found[0]._replace(session_id="st-Live", session_end_time=None, attendance_written_time=None)]


def odd_people() -> list[tables.Attendance]:
    """Two days with people who have no user id, and one on which nobody has any."""
    people = [("2026-11-04", "ana"), ("2026-11-04", ""), ("2026-11-05", None), ("2026-11-05", ""), ("2026-11-06", "ana")]
    of = lambda **values: tables.Attendance(**{**dict.fromkeys(tables.Attendance._fields), **values})
    return [of(dt=dt, stage_arn=ARN, user_id=user_id) for dt, user_id in people]


def odd_errors() -> list[tables.Event]:
    """Errors without a code, participants of two sessions with one id, and events that are no errors."""
    events = [
        *[("st-One", "p1", "JOIN_ERROR", None), ("st-One", "p1", "JOIN_ERROR", "B"), ("st-Two", "p1", "JOIN_ERROR", None)],
        *[("st-One", "p1", "JOIN_ERROR", "A"), ("st-One", "p2", "JOIN_ERROR", "A"), ("st-One", "p1", "JOINED", None)],
        *[("st-One", "p1", None, "A"), ("st-One", "p1", "ERROR", "A"), ("st-One", "p1", "A_ERROR_OF_IT", "A")],
    ]
    names = ("session_id", "participant_id", "name", "error_code")
    of = lambda **values: tables.Event(**{**dict.fromkeys(tables.Event._fields), **values})
    return [of(dt="2026-11-05", stage_arn=ARN, **dict(zip(names, event))) for event in events]


def values_of(name: str, rows: list) -> str:
    """A table of these rows, in SQL."""

    def literal(column: str, value) -> str:
        kind = TIME if column.endswith("_time") else "map(varchar, varchar)" if column == "stage_tags" else "varchar"
        return f"CAST({'NULL' if value is None else quoted([str(value)])} AS {kind})"

    lines = ", ".join(f"({', '.join(map(literal, row._fields, row))})" for row in rows)
    return f"(VALUES {lines}) AS {name} ({', '.join(rows[0]._fields)})"


def check_odd(engine: Engine, lake: tables.Lake, page: dict) -> None:
    """What the lake has none of, or only at times: with tables of it instead of the lake's."""
    odd = dataclasses.replace(lake, sessions=odd_sessions(now()), participants=odd_people(), participant_events=odd_errors())
    view = View(midnight("2026-11-04"), midnight("2026-11-05"))
    for name, title in [
        *[("sessions", title) for title in ("stage", "session", "Sessions by state")],
        ("sessions", "Sessions that are failing, missing or not collected"),
        ("participants", "People a day"),
        ("participant_events", "Errors"),
    ]:
        sql = filled(query_of(asking(page)[title])["rawSQL"], view, custom_all(page))
        text = sql.replace(f"FROM {name}\n", f"FROM {values_of(name, getattr(odd, name))}\n")
        check_answer(engine, odd, title, text, view)


def check_dashboard(engine: Engine, lake: tables.Lake) -> None:
    """All of it. The rows of `sessions` must be those that the last sweep wrote."""
    text = FILE.read_text(encoding="utf-8")
    check_made(text)
    page = json.loads(text)
    check_page(page)
    check_odd(engine, lake, page)
    for title in SHOWN:
        looks, rows = check_looks(engine, lake, page, title)
        print(f"  {title:<52} {looks:>3} looks, up to {rows:>5} rows", flush=True)


def check_page(page: dict) -> None:
    """What can be said without an answer."""
    check_schema(page)
    if asking(page).keys() != SHOWN.keys():
        raise AssertionError(f"panels and variables that are not checked, or not there: {asking(page).keys() ^ SHOWN.keys()}")
    identities = [it["id"] for it in page["panels"]]
    if len(set(identities)) < len(identities) or page["timezone"] != "utc":
        raise AssertionError("panels need an id each, and times are UTC")
    for title, one in asking(page).items():
        check_panel(one, SHOWN[title][0])


# Where, what is wrong, and the text that another takes the place of: the check must notice each.
MISTAKES = [
    ("Sessions a day", "sessions of live stages are left out", "GROUP BY dt", "AND session_end_time IS NOT NULL\nGROUP BY dt"),
    ("Sessions a day", "the stage is forgotten", "stage_arn IN (${stage:sqlstring}) OR", "stage_arn IS NOT NULL OR"),
    ("Sessions a day", "the last day is left out", "AND $__rawTimeTo", "AND '2026-11-29' AND dt < $__rawTimeTo"),
    ("People a day", "empty user ids are users", "nullif(user_id, '')", "user_id"),
    ("People a day", "0 users where they are not known", "nullif(count(DISTINCT nullif(user_id, '')), 0)", "count(DISTINCT nullif(user_id, ''))"),
    ("Most participants connected at once", "the day of the session's start", "date(date_add('millisecond', -1, next_instant))", "date(instant)"),
    ("Participant-hours a day, by stage", "a stage too many", "place > 10", "place > 11"),
    ("Participant-hours a day, by stage", "whole hours", "3600000e0", "3600000"),
    ("Errors", "participants of two sessions with one id are one", "ROW(stage_arn, session_id, participant_id)", "participant_id"),
    ("Errors", "days after the range", "AND $__rawTimeTo('yyyy-MM-dd')", "AND '9999-12-31'"),
    ("Participants connected, minute by minute", "who leaves is still there", "ARRAY[joined_ms, left_ms]", "ARRAY[joined_ms, left_ms + 1]"),
    ("Participants connected, minute by minute", "two stages with one session id", "AND stage_arn = split_part(${session:sqlstring}, ' ', 2)", ""),
    ("Who attended the chosen session", "the last leaving, though a stay ends later", "coalesce(greatest(last_end, last_leave_time), last_end, last_leave_time)", "last_leave_time"),
    ("Sessions by state", "a failure that success followed", "> coalesce(attendance_written_time,", "> coalesce(NULL,"),
    ("Sessions by state", "a failure of long ago", "INTERVAL '1' DAY", "INTERVAL '2' DAY"),
    ("session", "a session that is live", "AND session_end_time IS NOT NULL", ""),
    ("stage", "the first name instead of the last", "max_by", "min_by"),
]


def break_dashboard(engine: Engine, lake: tables.Lake) -> None:
    """The dashboard, done wrong: each must be noticed."""
    text = FILE.read_text(encoding="utf-8")

    def notice(what: str, how: str, check) -> None:
        print(f"  {what}: {fails(what, how, check)}", flush=True)

    notice("a file that was changed by hand", "run `make dashboard`", lambda: check_made(text.replace('"bars"', '"line"')))
    for what, how, old, new in [
        ("a member that Grafana does not know", "Grafana's schema does not know", '"noValue"', '"emptyValue"'),
        ("a value that Grafana does not know", "stripes", '"drawStyle": "bars"', '"drawStyle": "stripes"'),
        ("a number that is text", "'41' is no", '"schemaVersion": 41', '"schemaVersion": "41"'),
        ("a column that is not there", "names columns that it does not have", '"xField": "minute"', '"xField": "minutes"'),
        ("a panel that says nothing of an empty answer", "does not say what it shows", '"noValue": "No session started in this time range."', '"noValue": ""'),
    ]:
        changed = text.replace(old, new)
        if changed == text:
            raise AssertionError(f"{old!r} is not in the dashboard")
        notice(what, how, lambda: check_page(json.loads(changed)))
    for title, what, old, new in MISTAKES:
        wrong = json.loads(text)
        query = query_of(asking(wrong)[title])
        if old not in query["rawSQL"]:
            raise AssertionError(f"{old!r} is not in the SQL of {title}")
        query["rawSQL"] = query["rawSQL"].replace(old, new)

        def check() -> None:
            check_odd(engine, lake, wrong)
            check_looks(engine, lake, wrong, title)

        # Not an error of the engine, which would say nothing of the check.
        notice(f"{title}: {what}", f"{title}, ", check)
