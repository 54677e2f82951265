#!/usr/bin/env python3
"""Makes the report of one session: one HTML file that needs nothing but a browser. The Makefile calls it.

It reads the session's files of `attendance`, `participant_events` and `participants`, and the stage's name from `sessions`.
Stays come from the events (tools/presence.py), and each participant's totals are compared with `attendance`: where they
differ, there is no report. What the page looks like stands in tools/report.html. Jinja escapes every string there, because
ids, names and codes come from strangers.

The environment says the rest: SESSION; LAKE (a folder that holds the lake), or else STACK and STAGE on a deployed stack;
OUT (the file to write).
"""

import collections
import concurrent.futures
import datetime
import os
import sys
from pathlib import Path
from typing import NamedTuple

import jinja2
import pyarrow
import pyarrow.parquet

from operate import SESSION_ID, SESSION_RULE, STAGE_ARN, STAGE_RULE, given
from presence import Interval, Presence, presence, union
from region import Problem, settle_by_boto3

TABLES = ("attendance", "participant_events", "participants")
# The time line has so many rows, the curve so many steps, and the table so many rows until a person asks for all.
ROWS_SHOWN, STEPS_SHOWN, TABLE_ROWS_SHOWN = 300, 480, 500
# Stays of one user that overlap stand below each other in so many lanes.
LANES_AT_MOST = 6
LANE_PIXELS = 14
# In percent of the time line, so that a stay without a length is seen.
NARROWEST = 0.25
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
STEPS = [*(it * SECOND for it in (1, 2, 5, 10, 15, 30)), *(it * MINUTE for it in (1, 2, 5, 10, 15, 30))]
STEPS += [*(it * HOUR for it in (1, 2, 3, 6, 12)), *(it * DAY for it in (1, 2, 5, 10, 20, 50, 100))]
TICKS_AT_MOST = 6
READERS = 16


class FolderLake:
    """A lake in a folder."""

    def __init__(self, folder: str):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise Problem(f"LAKE={folder!r} must be a folder that holds the lake: attendance/, participant_events/, …")

    def find(self, table: str, session: str, stage: str | None) -> list[str]:
        """The keys of a session's files of a table: more than one if sessions of two stages have the same id."""
        stage_id = stage.rsplit("/", 1)[1] if stage else "*"
        paths = self.folder.glob(f"{table}/dt=*/{stage_id}_{session}.parquet")
        return sorted(path.relative_to(self.folder).as_posix() for path in paths)

    def read(self, key: str) -> bytes | None:
        try:
            return (self.folder / key).read_bytes()
        except FileNotFoundError:
            return None

    def name(self, key: str = "") -> str:
        return str(self.folder / key)


class StackLake:
    """The lake of a deployed stack."""

    def __init__(self, stack: str):
        # Like botocore, which it imports, it takes a second that a folder does not need.
        import erase

        settle_by_boto3()
        try:
            self.lake = erase.Lake(stack)
        except erase.Problem as problem:
            raise Problem(str(problem))
        self.refused = erase.REFUSED

    def find(self, table: str, session: str, stage: str | None) -> list[str]:
        """Nothing tells the day on which a session started, so each day that the table has is looked at, the newest first."""
        stage_id, folder = stage.rsplit("/", 1)[1], f"{self.lake.prefix}{table}/"
        try:
            pages = self.lake.s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.lake.bucket, Prefix=f"{folder}dt=", Delimiter="/"
            )
            days = [day["Prefix"] for page in pages for day in page.get("CommonPrefixes", [])]
        except self.refused as error:
            raise Problem(f"the days below {self.name(folder)} cannot be listed: {error}")
        keys = [f"{day}{stage_id}_{session}.parquet" for day in sorted(days, reverse=True)]
        with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
            for first in range(0, len(keys), READERS):
                some = keys[first : first + READERS]
                found = [key for key, there in zip(some, readers.map(self.exists, some)) if there]
                if found:
                    return [key.removeprefix(self.lake.prefix) for key in found]
        return []

    def exists(self, key: str) -> bool:
        try:
            self.lake.s3.head_object(Bucket=self.lake.bucket, Key=key)
        except self.refused as error:
            if getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
                return False
            raise Problem(f"{self.lake.name(key)} cannot be looked at: {error}")
        return True

    def read(self, key: str) -> bytes | None:
        key = self.lake.prefix + key
        try:
            return self.lake.s3.get_object(Bucket=self.lake.bucket, Key=key)["Body"].read()
        except self.refused as error:
            if getattr(error, "response", {}).get("Error", {}).get("Code") == "NoSuchKey":
                return None
            raise Problem(f"{self.lake.name(key)} cannot be read: {error}")

    def name(self, key: str = "") -> str:
        return self.lake.name(self.lake.prefix + key)


Lake = FolderLake | StackLake


def read(lake: Lake, key: str) -> pyarrow.Table | None:
    file = lake.read(key)
    if file is None:
        return None
    try:
        # Not read_table, which takes a folder's name, dt=…, for a column.
        # As tools/erase.py: no thread of Arrow that could abort the process at its end.
        return pyarrow.parquet.ParquetFile(pyarrow.BufferReader(file)).read(use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise Problem(f"{lake.name(key)} is no file of the table: {error}")


def column(table: pyarrow.Table, name: str) -> list:
    """A column's values, times as whole milliseconds since 1970."""
    if name not in table.column_names:
        return [None] * table.num_rows
    values = table[name]
    return (values.cast(pyarrow.int64()) if pyarrow.types.is_timestamp(values.type) else values).to_pylist()


class Participant(NamedTuple):
    """A row of `attendance` with its stays. One that IVS was not asked about has none."""

    row: int
    id: str | None
    user: str | None
    is_replica: bool
    presence: Presence
    # Times of the participant's events, in order.
    times: list[int]
    # Time, name and code of each error.
    errors: list[tuple]

    def label(self) -> str:
        return self.id or "without id"


class Session:
    """What the lake holds of a session."""

    def __init__(self, lake: Lake, key: str):
        self.key = key
        tables = {}
        for name in TABLES:
            its_key = key.replace("attendance/", f"{name}/", 1)
            tables[name] = read(lake, its_key)
            if tables[name] is None:
                raise Problem(f"{lake.name(its_key)} is missing, though {lake.name(key)} is there")
        self.attendance, self.events = tables["attendance"], tables["participant_events"]
        replication = zip(column(tables["participants"], "participant_id"), column(tables["participants"], "replication_type"))
        self.replicas = {participant for participant, kind in replication if kind == "REPLICA"}
        day, name = key.split("/")[1:]
        self.stage_id, self.id = name.removesuffix(".parquet").rsplit("_", 1)
        self.stage_arn = self.stage_name = None
        # A session without participants tells its times only here.
        self.start, self.end = None, None
        sessions = read(lake, f"sessions/{day}/sessions.parquet")
        if sessions is not None:
            wanted = ("stage_arn", "session_id", "stage_name", "session_start_time", "session_end_time")
            for arn, session, stage_name, start, end in zip(*(column(sessions, it) for it in wanted)):
                if session == self.id and arn.rsplit("/", 1)[-1] == self.stage_id:
                    self.stage_arn, self.stage_name, self.start, self.end = arn, stage_name, start, end
        if self.attendance.num_rows:
            wanted = ("stage_arn", "session_start_time", "session_end_time")
            self.stage_arn, self.start, self.end = (column(self.attendance, it)[0] for it in wanted)
        if self.start is None or self.end is None:
            raise Problem(f"the session {self.id!r} has no participants, and no row with its times in the table sessions")
        self.people = self.find_people(lake)

    def find_people(self, lake: Lake) -> list[Participant]:
        events = collections.defaultdict(list)
        wanted = ("participant_id", "event_time", "name", "error_code")
        for participant, *event in zip(*(column(self.events, it) for it in wanted)):
            events[participant].append(event)
        people = []
        wanted = ("participant_id", "user_id", "first_join_time", "session_end_time")
        totals = ("connected_ms", "publish_ms", "joins", "errors", "events")
        for row, ((participant, user, first_join, end), stored) in enumerate(
            zip(
                zip(*(column(self.attendance, it) for it in wanted)),
                zip(*(column(self.attendance, it) for it in totals)),
            )
        ):
            # A row without an id is not asked for.
            its = events.pop(participant, []) if participant is not None else []
            errors = [event for event in its if (event[1] or "").endswith("_ERROR")]
            is_replica = participant in self.replicas
            found = presence([(name, time) for time, name, _ in its], end, first_join, is_replica)
            if stored[0] is not None or its:
                counted = (
                    sum(stay.milliseconds() for stay in found.stays),
                    sum(each.milliseconds() for each in found.publishing),
                    sum(name == "JOINED" for _, name, _ in its),
                    len(errors),
                    len(its),
                )
                for name, mine, its_own in zip(totals, counted, stored):
                    if mine != its_own:
                        raise disagree(lake, self.key, participant, name, mine, its_own)
            times = sorted(time for time, _, _ in its if time is not None)
            people.append(Participant(row, participant, user, is_replica, found, times, errors))
        if events:
            participant = next(iter(events))
            raise disagree(lake, self.key, participant, "events", len(events[participant]), None)
        return people


def disagree(lake: Lake, key: str, participant: str, name: str, events_say: int, attendance_says: int | None) -> Problem:
    return Problem(
        f"{lake.name(key)} and the session's events disagree: {name} of the participant {participant!r} is "
        f"{attendance_says}, and by the events {events_say}. If the session is being collected anew, try again when that is done"
    )


class Row(NamedTuple):
    """A user, or a participant without a user id."""

    user: str | None
    people: list[Participant]

    def stays(self) -> list[tuple[Interval, Participant]]:
        stays = [(stay, participant) for participant in self.people for stay in participant.presence.stays]
        return sorted(stays, key=lambda it: it[0])

    def milliseconds(self) -> int:
        """How long at least one of the participants was connected."""
        return sum(each.milliseconds() for each in union([stay for stay, _ in self.stays()]))

    def begin(self) -> int:
        times = [stay.begin for stay, _ in self.stays()[:1]]
        times += [time for participant in self.people for time, _, _ in participant.errors if time is not None]
        return min(times)


def rows_of(people: list[Participant]) -> list[Row]:
    """The users who were there or had an error, with their participants. An empty user id is nobody's."""
    rows = {}
    for participant in people:
        if participant.presence.stays or any(time is not None for time, _, _ in participant.errors):
            key = ("user", participant.user) if participant.user else ("participant", participant.row)
            rows.setdefault(key, Row(participant.user or None, [])).people.append(participant)
    return list(rows.values())


def concurrency(people: list[Participant]) -> list[tuple[int, int]]:
    """From each instant on, so many participants were connected."""
    changes = collections.Counter()
    for participant in people:
        for stay in participant.presence.stays:
            changes[stay.begin] += 1
            changes[stay.end] -= 1
    connected, curve = 0, []
    for time in sorted(changes):
        connected += changes[time]
        # Where one goes as another comes, nothing changes.
        if not curve or curve[-1][1] != connected:
            curve.append((time, connected))
    return curve


def highest_in_each(curve: list[tuple[int, int]], begin: int, step: int, steps: int) -> list[int]:
    """The highest number of participants in each of so many stretches of time."""
    highest, index, connected = [], 0, 0
    for number in range(steps):
        most, until = connected, begin + (number + 1) * step
        while index < len(curve) and curve[index][0] < until:
            time, connected = curve[index]
            # One that begins with the stretch says nothing of what was before.
            most = connected if time == begin + number * step else max(most, connected)
            index += 1
        highest.append(most)
    return highest


class Axis:
    """Time, from the left to the right."""

    def __init__(self, begin: int, end: int):
        self.begin, self.end = begin, max(end, begin + SECOND)

    def percent(self, time: int) -> float:
        return round(100 * (time - self.begin) / (self.end - self.begin), 3)

    def step(self, at_most: int) -> int:
        span = self.end - self.begin
        return next((step for step in STEPS if span / step <= at_most), span)

    def ticks(self) -> list[dict]:
        step = self.step(TICKS_AT_MOST)
        times = range(-(-self.begin // step) * step, self.end + 1, step)
        # A label at an edge does not fit below the middle of its line.
        anchors = [(self.percent(it), it) for it in times]
        return [
            {"x": x, "label": day_of(it) if it % DAY == 0 else clock(it, step < MINUTE),
             "anchor": "start" if x < 4 else "end" if x > 96 else "middle"}
            for x, it in anchors
        ]  # fmt: skip


def utc(time: int) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=time)


def clock(time: int, with_seconds: bool = True) -> str:
    return f"{utc(time):%H:%M:%S}" if with_seconds else f"{utc(time):%H:%M}"


def day_of(time: int) -> str:
    return f"{utc(time).day} {utc(time):%b}"


def duration(milliseconds: int) -> str:
    seconds = round(milliseconds / SECOND)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class Times:
    """How instants are written: with their day if the session has more than one."""

    def __init__(self, axis: Axis):
        self.one_day = axis.begin // DAY == axis.end // DAY

    def __call__(self, time: int) -> str:
        return clock(time) if self.one_day else f"{day_of(time)} {clock(time)}"

    def span(self, each: Interval) -> str:
        begin = self(each.begin) + (" (inferred)" if each.begin_inferred else "")
        return f"{begin} to {self(each.end)}" + (" (inferred)" if each.end_inferred else "")


def bar(axis: Axis, begin: int, end: int, **more) -> dict:
    x = axis.percent(begin)
    width = max(NARROWEST, round(axis.percent(end) - x, 3))
    return {"x": round(min(x, 100 - width), 3), "width": width, **more}


def unknown_stretch(stay: Interval, times: list[int]) -> list[tuple[int, int]]:
    """The stretches of a stay in which no event says that the participant was there."""
    within = [time for time in times if stay.begin <= time <= stay.end]
    stretches = []
    if stay.begin_inferred:
        stretches.append((stay.begin, within[0] if within else stay.end))
    if stay.end_inferred:
        stretches.append((within[-1] if within else stay.begin, stay.end))
    return stretches


def drawn(row: Row, axis: Axis, times: Times) -> dict:
    """A row of the time line: its bars, and the same in words."""
    ends, bars, lane_of = [], [], {}
    for stay, participant in row.stays():
        free = [lane for lane, end in enumerate(ends) if end <= stay.begin]
        if free:
            lane = free[0]
        elif len(ends) < LANES_AT_MOST:
            lane = len(ends)
            ends.append(0)
        else:
            lane = LANES_AT_MOST - 1
        ends[lane] = max(ends[lane], stay.end)
        lane_of.setdefault(participant.row, lane)
        top = lane * LANE_PIXELS
        bars.append(bar(axis, stay.begin, stay.end, y=top + 4, height=8, kind="stay", title=times.span(stay)))
        for each in participant.presence.publishing:
            begin, end = max(stay.begin, each.begin), min(stay.end, each.end)
            if begin < end or (begin == end == each.begin):
                title = f"published {times.span(each)}"
                bars.append(bar(axis, begin, end, y=top + 2, height=12, kind="publishing", title=title))
        for begin, end in unknown_stretch(stay, participant.times):
            title = f"no event from {times(begin)} to {times(end)}"
            bars.append(bar(axis, begin, end, y=top + 1, height=14, kind="inferred", title=title))
    marks, words = [], []
    for participant in row.people:
        top = lane_of.get(participant.row, 0) * LANE_PIXELS
        said = [times.span(stay) for stay in participant.presence.stays]
        for each in participant.presence.publishing:
            said.append(f"published {times.span(each)}")
            if not any(stay.begin <= each.begin <= stay.end for stay in participant.presence.stays):
                title = f"published {times.span(each)}, in no stay"
                bars.append(bar(axis, each.begin, each.end, y=top + 2, height=12, kind="publishing", title=title))
        for time, name, code in participant.errors:
            if time is not None:
                title = f"{times(time)} {name} {code or 'without a code'}"
                marks.append({"x": axis.percent(time), "y": top + 8, "title": title})
                said.append(title)
        kind = " (replica)" if participant.is_replica else ""
        words.append({"id": participant.label() + kind, "said": said})
    return {
        "user": row.user,
        "id": None if row.user else row.people[0].label(),
        "bars": bars,
        "marks": marks,
        "words": words,
        "height": max(1, len(ends)) * LANE_PIXELS + 4,
        "connected": duration(row.milliseconds()),
    }


def curve_drawn(curve: list[tuple[int, int]], axis: Axis, times: Times) -> dict:
    """The curve of concurrency: the path, the peak, the scale, and the same in a table."""
    peak_at, peak = max(curve, key=lambda it: (it[1], -it[0]), default=(axis.begin, 0))
    steps, note = curve, None
    if len(curve) > STEPS_SHOWN:
        step = max(SECOND, -(-(axis.end - axis.begin) // STEPS_SHOWN))
        count = -(-(axis.end - axis.begin) // step)
        steps = [(axis.begin + it * step, most) for it, most in enumerate(highest_in_each(curve, axis.begin, step, count))]
        note = f"Each step shows the highest number of some {step / SECOND:.0f} seconds."
    top = scale(peak)
    # In a space of 1,000 by 1,000, which the page stretches.
    points = [(round(axis.percent(time) * 10, 1), round(1000 - 1000 * connected / top[-1], 1)) for time, connected in steps]
    path = "M0 1000" + "".join(f"H{x:g}V{y:g}" for x, y in points) + "H1000V1000"
    step = axis.step(24)
    first = axis.begin // step * step
    highest = highest_in_each(curve, first, step, -(-(axis.end - first) // step))
    return {
        "path": path,
        "peak": peak,
        "peak_at": times(peak_at),
        "peak_x": axis.percent(peak_at),
        "peak_y": round(100 - 100 * peak / top[-1], 2),
        "scale": [{"label": f"{it:,}", "y": round(100 - 100 * it / top[-1], 2)} for it in top],
        "note": note,
        "table": [(times(first + it * step), most) for it, most in enumerate(highest)],
        "table_step": duration(step),
    }


def scale(most: int) -> list[int]:
    """Round numbers from 0 to at least the peak, five at most."""
    step = next(it * 10**power for power in range(12) for it in (1, 2, 5) if most <= 4 * it * 10**power)
    return list(range(0, max(most, 1) + step, step))[: 2 + max(most - 1, 0) // step]


def errors_by_code(people: list[Participant], times: Times) -> list[dict]:
    found = collections.defaultdict(list)
    for participant in people:
        for time, name, code in participant.errors:
            found[name, code].append((time, participant.row))
    lines = []
    for (name, code), each in sorted(found.items(), key=lambda it: (-len(it[1]), it[0][0], it[0][1] or "")):
        known = [time for time, _ in each if time is not None]
        lines.append({
            "code": code, "name": name, "events": len(each), "participants": len({row for _, row in each}),
            "first": times(min(known)) if known else None, "last": times(max(known)) if known else None,
        })  # fmt: skip
    return lines


def table_data(session: Session, axis: Axis, times: Times) -> dict:
    """All columns of `attendance`, and beside them what the page shows of a row. Text that repeats is kept once."""
    columns = []
    for field in session.attendance.schema:
        values, kind = column(session.attendance, field.name), "text"
        if pyarrow.types.is_timestamp(field.type):
            kind, values = "time", [None if value is None else value - session.start for value in values]
        elif pyarrow.types.is_integer(field.type):
            kind = "number"
        elif pyarrow.types.is_boolean(field.type):
            kind = "flag"
        elif pyarrow.types.is_map(field.type):
            kind, values = "map", [None if value is None else sorted(value) for value in values]
        columns.append({"name": field.name, "kind": kind, **shared(values, kind)})
    lefts = [max((stay.end for stay in it.presence.stays), default=None) for it in session.people]
    lefts = [None if left is None else left - session.start for left in lefts]
    return {
        "columns": columns,
        "left": lefts,
        "stays": [len(it.presence.stays) for it in session.people],
        "count": len(session.people),
        "start": session.start,
        "length": session.end - session.start,
        "one_day": times.one_day,
        "shown": TABLE_ROWS_SHOWN,
        "file": f"attendance-{session.id}.csv",
    }


def shared(values: list, kind: str) -> dict:
    """The values, or where they repeat each of them once, and for each row which one."""
    if kind in ("number", "flag"):
        return {"values": values}
    index = {}
    rows = [index.setdefault(str(value) if kind == "map" else value, len(index)) for value in values]
    if 2 * len(index) > len(values):
        return {"values": values}
    each = {}
    for row, value in zip(rows, values):
        each.setdefault(row, value)
    return {"each": list(each.values()), "rows": rows}


def context(session: Session) -> dict:
    """What the page is made of."""
    people = session.people
    stays = [stay for participant in people for stay in participant.presence.stays]
    error_times = [time for participant in people for time, _, _ in participant.errors if time is not None]
    begins = [session.start, *(stay.begin for stay in stays), *error_times]
    ends = [session.end, *(stay.end for stay in stays), *error_times]
    axis = Axis(min(begins), max(ends))
    times = Times(axis)
    rows = rows_of(people)
    shown = sorted(rows, key=lambda row: -row.milliseconds())[:ROWS_SHOWN]
    shown.sort(key=lambda row: (row.begin(), row.user or ""))
    asked = [value is not None for value in column(session.attendance, "connected_ms")]
    return {
        "stage_name": session.stage_name or None,
        "stage_id": session.stage_id,
        "stage_arn": session.stage_arn,
        "session": session.id,
        "start": f"{utc(session.start):%Y-%m-%d %H:%M:%S}",
        "end": f"{utc(session.end):%Y-%m-%d %H:%M:%S}" if not times.one_day else clock(session.end),
        "length": duration(session.end - session.start),
        "participants": len(people),
        "users": len({it.user for it in people if it.user}),
        "without_user": sum(not it.user for it in people),
        "hours": f"{sum(stay.milliseconds() for stay in stays) / HOUR:,.2f}",
        "not_asked": len(people) - sum(asked),
        "inferred": sum(any(stay.end_inferred or stay.begin_inferred for stay in it.presence.stays) for it in people),
        "curve": curve_drawn(concurrency(people), axis, times),
        "ticks": axis.ticks(),
        "rows": [drawn(row, axis, times) for row in shown],
        "rows_in_all": len(rows),
        "errors": errors_by_code(people, times),
        "data": table_data(session, axis, times),
    }


def find(lake: Lake, session: str, stage: str | None) -> str:
    """The key of the session's file of `attendance`."""
    found = lake.find("attendance", session, stage)
    if len(found) == 1:
        return found[0]
    if found:
        stages = ", ".join(key.rsplit("/", 1)[1].rsplit("_", 1)[0] for key in found)
        raise Problem(f"SESSION={session!r} is in the lake for more than one stage, so give STAGE, too: {stages}")
    of_stage = f" of STAGE={stage!r}" if stage else ""
    if lake.find("participants", session, stage):
        raise Problem(
            f"SESSION={session!r}{of_stage} is in {lake.name()}, but was not collected yet, which happens some 90 minutes "
            "after its end, and for large sessions hours later; `make collect` asks for it"
        )
    raise Problem(f"SESSION={session!r}{of_stage} is not in {lake.name()}: no file of the table attendance is named so")


def visible(text: str) -> str:
    """Control characters as pictures of themselves: HTML knows no way to write them."""
    return "".join(chr(0x2400 + ord(it)) if ord(it) < 0x20 else "␡" if it == "\x7f" else it for it in text)


def page(session: Session) -> str:
    folder = jinja2.FileSystemLoader(Path(__file__).resolve().parent)
    environment = jinja2.Environment(
        loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )  # fmt: skip
    return environment.get_template("report.html").render(context(session))


def main() -> None:
    session = given("SESSION", SESSION_ID, SESSION_RULE)
    stage = os.environ.get("STAGE") or None
    folder = os.environ.get("LAKE")
    if stage or not folder:
        stage = given("STAGE", STAGE_ARN, f"{STAGE_RULE}; or, without a stack, give LAKE, a folder that holds the lake")
    lake = FolderLake(folder) if folder else StackLake(os.environ.get("STACK", ""))
    made = page(Session(lake, find(lake, session, stage)))
    out = Path(os.environ.get("OUT") or f"report-{session}.html")
    try:
        out.write_text(made, encoding="utf-8")
    except OSError as error:
        raise Problem(f"OUT={str(out)!r} cannot be written: {error}")
    print(f"{out} ({len(made.encode()) / 1e6:.1f} MB) opens in any browser. It holds user ids, so mind to whom you send it.")


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt:
        sys.exit("\nerror: interrupted")
