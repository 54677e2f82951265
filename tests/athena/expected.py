"""What the queries must come to, from what IVS knows and without SQL: a function for each file in queries/.

Each takes the rows of all tables and views (tables.Lake), the time, and the parameters.
"""

import bisect
import collections
import dataclasses
import datetime
import decimal
import itertools
import json
import re

DAY = datetime.timedelta(days=1)
MINUTE = datetime.timedelta(minutes=1)
MILLISECOND = datetime.timedelta(milliseconds=1)
RECORDING = ("STARTING", "ACTIVE", "STOPPING")

# Each column's member of the API, in the table's order; those of the session come first.
MEMBERS = {
    "participant_id": "participantId",
    "user_id": "userId",
    "state": "state",
    "first_join_time": "firstJoinTime",
    "published": "published",
    "recording_state": "recordingState",
    "replication_type": "replicationType",
    "replication_state": "replicationState",
    "source_stage_arn": "sourceStageArn",
    "source_session_id": "sourceSessionId",
    "redundant_ingest": "redundantIngest",
    "ingest_configuration_arn": "ingestConfigurationArn",
}
COLUMNS = ["stage_arn", "session_id", "session_start_time", "session_end_time", *MEMBERS, "dt"]


class Row(collections.namedtuple("Row", COLUMNS)):
    # Its row of the table `attendance`, if its session was collected.
    attendance = None


def instant(text: str | None) -> datetime.datetime | None:
    """A time of the API in UTC, cut to milliseconds."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+-\d+-\d+T\d+:\d+:\d+)(?:\.(\d+))?Z", text)
    milliseconds = int((match[2] or "").ljust(3, "0")[:3])
    return datetime.datetime.fromisoformat(match[1]) + datetime.timedelta(milliseconds=milliseconds)


def rows(known: list[dict]) -> list[Row]:
    """The table: a row for each participant of each session that has ended."""
    table = []
    for session in known:
        if session["endTime"] is None:
            continue
        start, end = instant(session["startTime"]), instant(session["endTime"])
        for participant in session["participants"]:
            values = {column: participant.get(member) for column, member in MEMBERS.items()}
            values["first_join_time"] = instant(values["first_join_time"])
            # The SDK does not tell an absent boolean from false.
            values["published"] = bool(values["published"])
            values["redundant_ingest"] = bool(values["redundant_ingest"])
            table.append(
                Row(
                    stage_arn=session["stageArn"],
                    session_id=session["sessionId"],
                    session_start_time=start,
                    session_end_time=end,
                    dt=start.date().isoformat(),
                    **values,
                )
            )
    return table


def grouped(table: list[Row], *names: str) -> dict[tuple, list[Row]]:
    """The rows by their values in some columns, in the order of these."""
    groups = collections.defaultdict(list)
    for row in table:
        groups[tuple(getattr(row, name) for name in names)].append(row)
    return dict(sorted(groups.items()))


def started(table: list[Row], first: str, last: str) -> list[Row]:
    return [row for row in table if first <= row.dt <= last]


def users(table: list[Row]) -> set[str]:
    return {row.user_id for row in table if row.user_id}


def publishers(table: list[Row]) -> int:
    return sum(row.published for row in table)


def by_join(table: list[Row]) -> list[Row]:
    """In the order of joining; of whom there is no time, last."""
    return sorted(
        table,
        key=lambda row: (row.first_join_time is None, row.first_join_time or datetime.datetime.min, row.participant_id),
    )


def is_collected(row: Row) -> bool:
    """Whether IVS was asked when the participant was there."""
    return row.attendance is not None and row.attendance.connected_ms is not None


def percent(part: int, whole: int) -> int | None:
    return 100 * part // whole if whole else None


def session_ms(row) -> int:
    return (row.session_end_time - row.session_start_time) // MILLISECOND


def left_at(stays, *rows) -> datetime.datetime | None:
    """The latest end of somebody's stays and leavings."""
    ends = [stay.left_at for stay in stays] + [row.attendance.last_leave_time for row in rows]
    return max(filter(None, ends), default=None)


def person(row) -> tuple:
    """Who it is: a user with all participants, or a participant of whom there is no user id."""
    return (row.user_id,) if row.user_id else (row.user_id, row.participant_id)


def there_at(stays: list, now: datetime.datetime) -> list:
    return [stay for stay in stays if stay.joined_at <= now < stay.left_at]


class Counter:
    """How many stays there are at an instant."""

    def __init__(self, stays: list):
        # Who leaves at the instant of joining is never there.
        self.stays = [stay for stay in stays if stay.joined_at < stay.left_at]
        self.begins = sorted(stay.joined_at for stay in self.stays)
        self.ends = sorted(stay.left_at for stay in self.stays)

    def at(self, instant: datetime.datetime) -> int:
        return bisect.bisect_right(self.begins, instant) - bisect.bisect_right(self.ends, instant)

    def most(self, begin: datetime.datetime, end: datetime.datetime) -> int:
        """In a stretch without its end. More are there only after somebody joined."""
        joins = self.begins[bisect.bisect_left(self.begins, begin) : bisect.bisect_left(self.begins, end)]
        return max(map(self.at, {begin, *joins}))


def covered_ms(stays: list, times: int = 1) -> int:
    """How long at least so many of the stays went on at once."""
    borders = sorted({border for stay in stays for border in (stay.joined_at, stay.left_at)})
    stretches = zip(borders, borders[1:])
    return sum((end - begin) // MILLISECOND for begin, end in stretches if len(there_at(stays, begin)) >= times)


def by_participant(rows: list) -> dict[tuple, list]:
    return grouped(rows, "dt", "stage_arn", "session_id", "participant_id")


def in_session(rows: list, first: str, last: str, session_id: str) -> dict[tuple, list]:
    """The rows of sessions with this id, by stage."""
    return grouped([row for row in started(rows, first, last) if row.session_id == session_id], "stage_arn")


def who_was_in_session(lake, now, first, last, session_id):
    found = []
    stays = by_participant(started(lake.stays, first, last))
    for people in in_session(lake.participants, first, last, session_id).values():
        for row in by_join(people):
            attended = row.attendance
            left, minutes, inferred, share, times = [None] * 5
            if is_collected(row):
                its = stays.get((row.dt, row.stage_arn, row.session_id, row.participant_id), [])
                left = left_at(its, row)
                minutes = attended.connected_ms // 60_000
                inferred = attended.join_inferred or attended.leave_inferred
                share = percent(attended.connected_ms, session_ms(row))
                times = len(its)
            found.append(
                [
                    *[row.stage_arn, row.session_id, row.participant_id, row.user_id],
                    *[row.first_join_time, left, minutes, inferred],
                    *[row.published, row.recording_state, row.state, row.session_end_time, share, times],
                ]
            )
    return found


def users_of_session(lake, now, first, last, session_id):
    found = []
    stays = in_session(lake.stays, first, last, session_id)
    for (stage_arn,), people in in_session(lake.participants, first, last, session_id).items():
        of_person = collections.defaultdict(list)
        for row in people:
            of_person[person(row)].append(row)
        spans_of = collections.defaultdict(list)
        for stay in stays.get((stage_arn,), []):
            spans_of[person(stay)].append(stay)
        for who, its in of_person.items():
            its = by_join(its)
            joined = min((row.first_join_time for row in its if row.first_join_time), default=None)
            ids = ", ".join(row.participant_id for row in its)
            left, times, minutes, of_all, share, inferred = [None] * 6
            if all(map(is_collected, its)):
                spans = spans_of[who]
                times, left = len(spans), left_at(spans, *its)
                together = covered_ms(spans)
                minutes, share = together // 60_000, percent(together, session_ms(its[0]))
                of_all = sum(row.attendance.connected_ms for row in its) // 60_000
                inferred = any(row.attendance.join_inferred or row.attendance.leave_inferred for row in its)
            found.append(
                [
                    *[stage_arn, session_id, who[0], len(its), ids, times],
                    *[joined, left, minutes, of_all, share, inferred],
                ]
            )
    return sorted(found, key=lambda row: (row[0], row[6] is None, row[6] or now, row[4]))


def concurrency_of_session(lake, now, first, last, session_id):
    found = []
    people = in_session(lake.participants, first, last, session_id)
    for (stage_arn,), stays in in_session(lake.stays, first, last, session_id).items():
        counter = Counter(stays)
        if not counter.stays:
            continue
        there, last_leave = counter.at, counter.ends[-1]
        minute_of = lambda instant: instant.replace(second=0, microsecond=0)
        minutes = collections.defaultdict(set)
        minute = minute_of(counter.begins[0])
        while minute < last_leave:
            minutes[minute].add(minute)
            minute += MINUTE
        for instant in {*counter.begins, *counter.ends} - {last_leave}:
            minutes[minute_of(instant)].add(instant)
        missing = sum(not is_collected(row) for row in people[stage_arn,])
        rows = []
        for minute, instants in sorted(minutes.items()):
            most = max(map(there, instants))
            rows.append([stage_arn, minute, there(minute), most, min(at for at in instants if there(at) == most), False, missing])
        next(row for row in rows if row[3] == max(row[3] for row in rows))[5] = True
        found += rows
    return found


def concurrency_of_days(lake, now, first, last):
    counter = Counter(started(lake.stays, first, last))
    there = counter.at
    days = collections.defaultdict(set)
    for stay in counter.stays:
        day = datetime.datetime.combine(stay.joined_at, datetime.time())
        days[day].add(stay.joined_at)
        # Those that went on overnight.
        while (day := day + DAY) < stay.left_at:
            days[day].add(day)
    missing = collections.Counter(row.dt for row in started(lake.participants, first, last) if not is_collected(row))
    found = []
    for day in {*(day.date() for day in days), *map(datetime.date.fromisoformat, missing)}:
        if not first <= day.isoformat() <= min(last, (now.date() + DAY).isoformat()):
            continue
        most, at, sessions, stages = [None] * 4
        if instants := days.get(datetime.datetime.combine(day, datetime.time())):
            at = min(instants, key=lambda instant: (-there(instant), instant))
            most = there(at)
            its = there_at(counter.stays, at)
            sessions, stages = len(grouped(its, "stage_arn", "session_id")), len(grouped(its, "stage_arn"))
        found.append([day, most, at, sessions, stages, missing[day.isoformat()]])
    return sorted(found, key=lambda row: row[0])


def who_watched_whom(lake, now, first, last, session_id):
    found = []
    people = in_session(lake.participants, first, last, session_id)
    for (stage_arn,), spans in in_session(lake.subscriptions, first, last, session_id).items():
        user_ids = {row.participant_id: row.user_id for row in people[stage_arn,]}
        of_both = collections.defaultdict(list)
        for span in spans:
            of_both[span.viewer, span.publisher].append(span)
        for (viewer, publisher), its in of_both.items():
            watched = sum((span.stopped_at - span.started_at for span in its), 0 * DAY)
            found.append(
                [
                    *[stage_arn, viewer, user_ids[viewer], publisher, user_ids.get(publisher)],
                    *[watched // MINUTE, len(its)],
                    *[min(span.started_at for span in its), max(span.stopped_at for span in its)],
                    any(span.inferred for span in its),
                ]
            )
    return sorted(found, key=lambda row: (row[0], row[1], row[3] is None, row[3]))


def late_and_early(lake, now, first, last, session_id, minutes):
    found = []
    after = int(minutes) * MINUTE
    stays = by_participant([stay for stay in started(lake.stays, first, last) if not stay.while_publishing])
    for people in in_session(lake.participants, first, last, session_id).values():
        rows = []
        for row in people:
            its = stays.get((row.dt, row.stage_arn, row.session_id, row.participant_id), [])
            joined = row.first_join_time or min((stay.joined_at for stay in its), default=None)
            if row.replication_type == "REPLICA" or joined is None:
                continue
            left, inferred = None, None
            if is_collected(row):
                inferred = row.attendance.join_inferred or row.attendance.leave_inferred
                left = left_at(its, row)
            late_by = max(joined, row.session_start_time) - row.session_start_time
            early_by = left and row.session_end_time - min(left, row.session_end_time)
            if late_by > after or (left and early_by > after):
                rows.append(
                    [
                        *[row.stage_arn, row.participant_id, row.user_id, joined, left],
                        *[late_by > after, left and early_by > after, late_by // MINUTE, left and early_by // MINUTE, inferred],
                    ]
                )
        found += sorted(rows, key=lambda row: (row[3], row[1]))
    return found


def retention(lake, now, first, last, session_id):
    found = []
    people = in_session(lake.participants, first, last, session_id)
    for (stage_arn,), stays in in_session(lake.stays, first, last, session_id).items():
        stays = [stay for stay in stays if not stay.while_publishing]
        missing = sum(not is_collected(row) for row in people[stage_arn,])
        everybody = {stay.participant_id for stay in stays}
        for quarter in (1, 2, 3) if stays else ():
            instant = stays[0].session_start_time + session_ms(stays[0]) * quarter // 4 * MILLISECOND
            there = there_at(stays, instant)
            still = {stay.participant_id for stay in there}
            share = percent(len(still), len(everybody))
            found.append([stage_arn, 25 * quarter, instant, len(still), len(everybody), share, len(users(there)), missing])
    return found


def gaps(lake, now, first, last, session_id, minutes):
    found = []
    for (stage_arn,), stays in in_session(lake.stays, first, last, session_id).items():
        people = {row.participant_id: row for row in in_session(lake.participants, first, last, session_id)[stage_arn,]}
        of_person = collections.defaultdict(list)
        for stay in stays:
            if not stay.while_publishing:
                of_person[person(stay)].append(stay)
        for who, its in of_person.items():
            attended = [people[stay.participant_id].attendance for stay in its]
            inferred = any(it.join_inferred or it.leave_inferred for it in attended)
            for back in {stay.joined_at for stay in its}:
                before = [stay.left_at for stay in its if stay.joined_at < back]
                # Whoever is there when they come back was never away.
                if before and max(before) < back and back - max(before) > int(minutes) * MINUTE:
                    name = min(stay.participant_id for stay in its if stay.joined_at == back)
                    away = max(before)
                    found.append([stage_arn, who[0], name, away, back, (back - away) // MINUTE, inferred])
    return sorted(found, key=lambda row: (row[0], row[3], row[4], row[2]))


def open_ends(lake, now, first, last):
    found = []
    stays = by_participant(started(lake.stays, first, last))
    rows = [row for row in started(lake.participants, first, last) if is_collected(row)]
    for row in rows:
        its = sorted(stays.get((row.dt, row.stage_arn, row.session_id, row.participant_id), []), key=lambda stay: stay.joined_at)
        name = [row.dt, row.stage_arn, row.session_id, row.participant_id, row.user_id]
        open_stays = [stay for stay in its if stay.inferred]
        ends = [stay for stay in open_stays if stay.while_publishing or (row.attendance.leave_inferred and stay is its[-1])]
        beginnings = [stay for stay in open_stays if stay not in ends]
        if row.attendance.join_inferred and not beginnings:
            found.append((row, [*name, "beginning", *[None] * 5]))
        for side, spans in (("beginning", beginnings), ("end", ends)):
            for stay in spans:
                assumed = stay.joined_at if side == "beginning" else stay.left_at
                minutes = (stay.left_at - stay.joined_at) // MINUTE
                found.append((row, [*name, side, assumed, stay.joined_at, stay.left_at, minutes, stay.while_publishing]))
    found.sort(key=lambda it: (*it[1][1:4], it[1][5], it[1][7] or now))
    found.sort(key=lambda it: it[0].session_start_time, reverse=True)
    return [row for _, row in found]


def arrivals_per_minute(lake, now, first, last, session_id):
    found = []
    here = [row for row in started(lake.participants, first, last) if row.session_id == session_id]
    for (stage_arn,), people in grouped(here, "stage_arn").items():
        minutes = collections.Counter(
            row.first_join_time and row.first_join_time.replace(second=0, microsecond=0) for row in people
        )
        order = sorted(minute for minute in minutes if minute) + [None] * (None in minutes)
        so_far = itertools.accumulate(minutes[minute] for minute in order)
        found += [[stage_arn, minute, minutes[minute], total] for minute, total in zip(order, so_far)]
    return found


def returning_users(lake, now, first, last):
    found = []
    there = [row for row in started(lake.participants, first, last) if row.user_id and row.replication_type != "REPLICA"]
    for (user_id,), people in grouped(there, "user_id").items():
        attended = len(grouped(people, "stage_arn", "session_id"))
        joins = [row.first_join_time for row in people if row.first_join_time]
        if attended > 1:
            found.append([user_id, attended, len(grouped(people, "dt")), min(joins, default=None), max(joins, default=None)])
    return sorted(found, key=lambda row: row[1], reverse=True)


def reconnects(lake, now, first, last):
    named = [row for row in started(lake.participants, first, last) if row.user_id]
    by_user = ["dt", "stage_arn", "session_id", "user_id"]
    stays = grouped([stay for stay in started(lake.stays, first, last) if stay.user_id], *by_user)
    found = []
    for name, people in grouped(named, *by_user).items():
        if len(people) > 1:
            joins = [row.first_join_time for row in people if row.first_join_time]
            ids = ", ".join(row.participant_id for row in by_join(people))
            together = covered_ms(stays.get(name, []), 2) if all(map(is_collected, people)) else None
            at_once = None if together is None else together > 0
            seconds = None if together is None else together // 1000
            found.append([*name, len(people), min(joins, default=None), max(joins, default=None), ids, at_once, seconds])
    return sorted(found, key=lambda row: (*row[:3], -row[4], row[3]))


def replicas(lake, now, before, until, first, last):
    week_before = (datetime.date.fromisoformat(before) - 7 * DAY).isoformat()
    week_after = min(until, "9999-12-24")
    week_after = (datetime.date.fromisoformat(week_after) + 7 * DAY).isoformat()
    sources = grouped(started(lake.participants, week_before, week_after), "stage_arn", "session_id")
    found = [
        [
            *[row.dt, row.stage_arn, row.session_id, row.participant_id, row.user_id, row.replication_state],
            *[row.source_stage_arn, row.source_session_id],
            len(sources.get((row.source_stage_arn, row.source_session_id), [])) or None,
        ]
        for row in started(lake.participants, first, last)
        if row.replication_type == "REPLICA"
    ]
    return sorted(found, key=lambda row: row[:4])


def days_compared(lake, now):
    days = grouped(lake.participants, "dt")
    found = []
    for back in range(28):
        day = now.date() - back * DAY
        people = days.get((day.isoformat(),), [])
        before = len(days.get(((day - 7 * DAY).isoformat(),), []))
        # Cut towards zero, as SQL divides whole numbers.
        change = int(100 * (len(people) - before) / before) if before else None
        counts = [len(grouped(people, "stage_arn", "session_id")), len(people), before, change]
        found.append([day, day.strftime("%A"), *counts])
    return found


def duplicates(lake, now):
    return []


def files_of_user(lake, now, first, last, user_id):
    attended = [row for row in started(lake.participants, first, last) if row.user_id == user_id]
    found = [
        [f"s3://attendance-lake/participants/dt={dt}/{stage_arn.split('/')[1]}_{session_id}.parquet", len(people)]
        for (dt, stage_arn, session_id), people in grouped(attended, "dt", "stage_arn", "session_id").items()
    ]
    return sorted(found)


def nulls_last(*values) -> tuple:
    """A key for sorting."""
    return tuple((value is None, "" if value is None else value) for value in values)


def last_left(lake) -> dict[tuple, datetime.datetime]:
    """When each participant left for the last time."""
    left = {}
    for row in lake.participants:
        if row.attendance and row.attendance.last_leave_time:
            left[row.stage_arn, row.session_id, row.participant_id] = row.attendance.last_leave_time
    for stay in lake.stays:
        name = (stay.stage_arn, stay.session_id, stay.participant_id)
        left[name] = max(left.get(name, stay.left_at), stay.left_at)
    return left


def every_session(lake, first, last) -> list[tuple]:
    """All sessions of some days that a sweep or the table of participants tells of: the name, the participants, and the row of
    the table of sessions, if there is one."""
    people = grouped(started(lake.participants, first, last), "stage_arn", "session_id")
    known = {(row.stage_arn, row.session_id): row for row in started(lake.sessions, first, last)}
    return [(name, people.get(name, []), known.get(name)) for name in sorted({*people, *known})]


def counts(people: list[Row], known) -> list[int | None]:
    """Of participants, users, people without a user id, and publishers."""
    if not people and not known.participants_written_time:
        return [None] * 4
    return [len(people), len(users(people)), sum(not row.user_id for row in people), publishers(people)]


def sessions(lake, now, first, last):
    found = []
    for name, people, known in every_session(lake, first, last):
        one = people[0] if people else known
        start, end = one.session_start_time, one.session_end_time
        minutes = int((end - start).total_seconds() // 60) if end else None
        found.append([one.dt, *name, start, end, minutes, *counts(people, known), known and known.stage_name])
    return sorted(found, key=lambda row: row[3], reverse=True)


def sessions_ended_lately(lake, now):
    since = (now.date() - 8 * DAY).isoformat()
    found = []
    for name, people, known in every_session(lake, since, "9999-12-31"):
        one = people[0] if people else known
        if one.session_end_time and one.session_end_time > now - DAY:
            participants, _, _, published = counts(people, known)
            times = [one.session_end_time, one.session_start_time]
            found.append([*times, *name, participants, published, known and known.stage_name])
    return sorted(found, key=lambda row: row[0], reverse=True)


def sessions_per_day(lake, now, first, last):
    days = collections.defaultdict(list)
    for name, people, known in every_session(lake, first, last):
        days[(people[0] if people else known).dt].append((name, people, known))
    found = []
    for dt, its in sorted(days.items()):
        everybody = [row for _, people, _ in its for row in people]
        sessions_and_stages = [len(its), len({stage_arn for (stage_arn, _), _, _ in its})]
        with_people = sum(bool(people) for _, people, _ in its)
        of_people = [len(everybody), len(users(everybody)), publishers(everybody)]
        if not any(people or known.participants_written_time for _, people, known in its):
            of_people = [None] * 3
        found.append([dt, *sessions_and_stages, *of_people, with_people])
    return found


def publishers_and_viewers(lake, now, first, last):
    found = []
    for name, people in grouped(started(lake.participants, first, last), "dt", "stage_arn", "session_id").items():
        named = sorted(users([row for row in people if row.published]))
        attendances = [row.attendance for row in people if row.attendance]
        total = lambda column: sum(getattr(it, column) for it in attendances) // 60_000 if attendances else None
        row = [*name, publishers(people), len(people) - publishers(people)]
        # Over nobody, the aggregate is null.
        found.append([*row, ", ".join(named) if named else None, total("publish_ms"), total("watch_ms")])
    return sorted(found, key=lambda row: row[0], reverse=True)


def recordings(lake, now, first, last):
    results = {"FAILED": "failed", "STOPPED": "recorded", **dict.fromkeys(RECORDING, "unfinished")}
    found = []
    for row in started(lake.participants, first, last):
        if row.recording_state not in (None, "DISABLED"):
            it = row.attendance
            names = [row.dt, row.stage_arn, row.session_id, row.participant_id, row.user_id, row.recording_state]
            place = [it.recording_s3_bucket_name, it.recording_s3_prefix] if it else [None, None]
            found.append([results.get(row.recording_state, "unknown"), *names, *place])
    return sorted(found, key=lambda row: (row[0] != "failed", *row[1:5]))


def unfinished_participants(lake, now, first, last):
    left = last_left(lake)
    found = [
        [
            *[row.dt, row.stage_arn, row.session_id, row.participant_id, row.user_id],
            *[row.state and row.state == "CONNECTED", row.recording_state and row.recording_state in RECORDING],
            *[row.session_end_time, left.get((row.stage_arn, row.session_id, row.participant_id))],
            row.attendance and row.attendance.leave_inferred,
        ]
        for row in started(lake.participants, first, last)
        if row.state == "CONNECTED" or row.recording_state in RECORDING
    ]
    return sorted(found, key=lambda row: row[:4])


def freshness(lake, now):
    since = (now.date() - 30 * DAY).isoformat()
    lately = started(lake.participants, since, "9999-12-31")
    newest = max(row.session_end_time for row in lately)
    known = [row.session_end_time for row in started(lake.sessions, since, "9999-12-31") if row.session_end_time]
    return [
        [
            *[newest, int((now - newest).total_seconds() // 3600), max(row.session_start_time for row in lately)],
            *[len(grouped(lately, "stage_arn", "session_id")), len(lately), max(known)],
            max(row.session_end_time for row in lately if row.attendance),
        ]
    ]


def attendance_of_user(lake, now, first, last, user_id):
    left, found = last_left(lake), []
    its = [row for row in started(lake.participants, first, last) if row.user_id == user_id]
    for _, people in grouped(its, "session_start_time", "stage_arn", "session_id").items():
        for row in by_join(people):
            told = [None] * 24
            if row.attendance:
                # What participants has, too, and the day.
                more = [value for name, value in row.attendance._asdict().items() if name not in COLUMNS]
                name = (row.stage_arn, row.session_id, row.participant_id)
                told = [left.get(name), row.attendance.connected_ms // 60_000, *more]
            found.append([*row, *told])
    return found


def events_of_user(lake, now, first, last, user_id):
    text = lambda attributes: None if attributes is None else json.dumps(attributes, sort_keys=True, ensure_ascii=False)

    def key(event):
        names = [event.session_start_time, event.stage_arn, event.session_id, event.participant_id]
        # From event_time on; its two maps are the last columns before the day.
        return names, nulls_last(*event[6:-3], *map(text, event[-3:-1]))

    its = [
        event
        for event in started(lake.participant_events, first, last)
        if user_id in (event.user_id, event.previous_user_id, event.new_user_id)
    ]
    return [list(event) for event in sorted(its, key=key)]


def errors(lake, now, first, last):
    attendances = {(row.stage_arn, row.session_id, row.participant_id): row for row in lake.attendance}
    people = collections.defaultdict(list)
    for event in started(lake.participant_events, first, last):
        if event.name and event.name.endswith("_ERROR"):
            name = (event.stage_arn, event.session_id, event.participant_id)
            it = attendances[name]
            major = it.browser_version and it.browser_version.partition(".")[0]
            people[event.name, event.error_code, it.browser_name, major, it.os_name, it.sdk_version].append(name)
    found = [[*what, len(who), len(set(who)), len({name[:2] for name in who})] for what, who in people.items()]
    return sorted(found, key=lambda row: (-row[6], -row[7], nulls_last(*row[:6])))


def devices(lake, now, first, last):
    properties = {
        "browser": "browser_name",
        "operating system": "os_name",
        "SDK version": "sdk_version",
        "provider": "isp_name",
        "protocol": "protocol",
    }
    its, found = started(lake.attendance, first, last), []
    for name, column in properties.items():
        some = []
        for value in {getattr(row, column) for row in its}:
            people = [row.errors for row in its if getattr(row, column) == value]
            asked = [errors for errors in people if errors is not None]
            failed = sum(errors > 0 for errors in asked) if asked else None
            some.append([name, value, len(people), len(asked), failed])
        found += sorted(some, key=lambda row: (-row[2], nulls_last(row[1])))
    return found


def cut(milliseconds: int, factor: decimal.Decimal, digits: int) -> decimal.Decimal:
    """Hours times a factor, to so many digits after the point."""
    exact = decimal.Decimal(milliseconds) * factor / 3_600_000
    return exact.quantize(decimal.Decimal(1).scaleb(-digits), rounding=decimal.ROUND_DOWN)


def participant_hours(lake, now, first, last, key, rate):
    rows = collections.defaultdict(list)
    for name, people, known in every_session(lake, first, last):
        dt = (people[0] if people else known).dt
        stage = [known.stage_name, (known.stage_tags or {}).get(key)] if known else [None, None]
        rows[dt, name[0], *stage].append((people, known))
    found = []
    for (dt, *stage), its in rows.items():
        everybody = [row for people, _ in its for row in people]
        told = [row.attendance.connected_ms for row in everybody if row.attendance]
        not_collected = [
            not any(row.attendance for row in people) and not (known and known.attendance_written_time)
            for people, known in its
        ]
        hours = cut(sum(told), decimal.Decimal(1), 2) if told else None
        price = cut(sum(told), decimal.Decimal(rate), 4) if told else None
        # Of sessions without participants there is no number.
        numbers = [len(everybody), len(its), sum(not_collected), len(everybody) - len(told)]
        if not everybody:
            numbers[0] = numbers[3] = None
        found.append([dt, *stage, hours, *numbers, price])
    return sorted(sorted(found, key=lambda row: (row[1], nulls_last(*row[2:4]))), key=lambda row: row[0], reverse=True)


def session_states(lake, now, first, last):
    people = grouped(started(lake.participants, first, last), "stage_arn", "session_id")
    found = []
    for row in started(lake.sessions, first, last):
        its = people.get((row.stage_arn, row.session_id), [])
        end = max(filter(None, [row.session_end_time, *(it.session_end_time for it in its)]), default=None)
        written = [time for time in (row.participants_written_time, row.attendance_written_time) if time]
        failed, number = row.failed_time, len(its) or None
        if not end:
            state = "live"
        elif failed and failed > max([end, now - DAY, *written]):
            state = "failing"
        elif not its and not row.participants_written_time:
            state = "missing"
        elif not its:
            state, number = "empty", 0
        elif not row.attendance_written_time and not its[0].attendance:
            state = "exported"
        else:
            state = "collected"
        names = [row.dt, row.stage_arn, row.stage_name, row.session_id, row.session_start_time, end]
        found.append([state, *names, number, row.participants_written_time, row.attendance_written_time, failed])
    order = ["failing", "missing", "exported", "live", "empty", "collected"]
    found.sort(key=lambda row: (row[2], row[4]))
    found.sort(key=lambda row: row[5], reverse=True)
    return sorted(found, key=lambda row: order.index(row[0]))


def month(row) -> datetime.date:
    return datetime.date.fromisoformat(row.dt).replace(day=1)


def totals(people: list) -> list:
    """How many sessions and participants, their hours, and how many have none."""
    told = [row.connected_ms for row in people if row.connected_ms is not None]
    sessions = len({(row.stage_arn, row.session_id) for row in people})
    return [sessions, len(people), cut(sum(told), decimal.Decimal(1), 2) if told else None, len(people) - len(told)]


def history_months(lake, now, first, last):
    found = []
    for when in {month(row) for row in started(lake.history, first, last)}:
        people = [row for row in started(lake.history, first, last) if month(row) == when]
        sessions, *numbers = totals(people)
        found.append([when, sessions, len(users([row for row in people if row.replication_type != "REPLICA"])), *numbers])
    return sorted(found, reverse=True)


def history_stages(lake, now, first, last):
    found = []
    for when, stage in {(month(row), row.stage_arn) for row in started(lake.history, first, last)}:
        people = [row for row in started(lake.history, first, last) if (month(row), row.stage_arn) == (when, stage)]
        told = [row.connected_ms for row in people if row.connected_ms is not None]
        found.append(([-when.toordinal(), not told, -sum(told), stage], [when, stage, *totals(people)]))
    return [row for _, row in sorted(found)]


def history_returning_users(lake, now, first, last):
    return returning_users(dataclasses.replace(lake, participants=lake.history), now, first, last)


def history_devices(lake, now, first, last):
    return devices(dataclasses.replace(lake, attendance=lake.history), now, first, last)


def history_of_user(lake, now, first, last, user_id):
    its = [row for row in started(lake.history, first, last) if row.user_id == user_id]
    its.sort(key=lambda row: (row.session_start_time, row.stage_arn, row.session_id, *nulls_last(row.first_join_time), row.participant_id))
    minutes = lambda row: None if row.connected_ms is None else row.connected_ms // 60_000
    return [
        [
            *[row.dt, row.stage_arn, row.session_id, row.participant_id, row.first_join_time, row.last_leave_time],
            *[minutes(row), row.join_inferred, row.leave_inferred, row.errors],
        ]
        for row in its
    ]


def history_compared(lake, now, first, last):
    found = []
    for day in sorted({row.dt for row in lake.participants + lake.history}):
        some = [started(started(rows, first, last), day, day) for rows in (lake.participants, lake.history, lake.attendance)]
        # Nobody in the sample is in attendance only.
        listed, kept, attended = some
        collected = [sum(row.events is not None for row in rows) for rows in (attended, kept)]
        if len(listed) != len(kept) or collected[0] != collected[1]:
            found.append([day, len(listed), len(kept), *collected])
    return found
