"""What the tables of collections and of sweeps must hold, from what IVS knows: without SQL, and without the function's code.

Events are put in order and stripped of repetitions here, and how long somebody was there is found by a walk over the
instants at which something happened.
"""

import collections
import dataclasses
import datetime

from expected import Row, instant

CONFIRM_AFTER = datetime.timedelta(minutes=60)
MILLISECOND = datetime.timedelta(milliseconds=1)

SESSION = ["stage_arn", "session_id", "session_start_time", "session_end_time"]
# What a TOKEN_EXCHANGED tells of its two tokens.
TOKEN = ["user_id", "capabilities", "expiration_time", "attributes"]
# Each column's member of GetParticipant, in the table's order.
DETAILS = {
    "browser_name": "browserName",
    "browser_version": "browserVersion",
    "os_name": "osName",
    "os_version": "osVersion",
    "sdk_version": "sdkVersion",
    "isp_name": "ispName",
    "protocol": "protocol",
    "recording_s3_bucket_name": "recordingS3BucketName",
    "recording_s3_prefix": "recordingS3Prefix",
}

Event = collections.namedtuple(
    "Event",
    [
        *[*SESSION, "participant_id", "user_id", "event_time", "name", "remote_participant_id", "error_code", "replica"],
        *["destination_stage_arn", "destination_session_id"],
        *[f"{which}_{member}" for member in TOKEN for which in ("previous", "new")],
        "dt",
    ],
)
Attendance = collections.namedtuple(
    "Attendance",
    [
        *[*SESSION, "participant_id", "user_id", "first_join_time", "published", "last_leave_time", "last_event_time"],
        *["connected_ms", "watch_ms", "publish_ms", "joins", "publish_starts", "publishers_watched", "errors", "events"],
        *["join_inferred", "leave_inferred", "attributes", *DETAILS, "dt"],
    ],
)
# Everybody of participants and of attendance.
HISTORY = [*Row._fields[:-1], *[name for name in Attendance._fields if name not in Row._fields], "dt"]
History = collections.namedtuple("History", HISTORY)
Session = collections.namedtuple(
    "Session",
    [
        *["stage_arn", "stage_name", "stage_tags", "session_id", "session_start_time", "session_end_time"],
        *["participants_written_time", "attendance_written_time", "failed_time", "dt"],
    ],
)

# The views.
STAY_OF = [*SESSION, "participant_id", "user_id"]
Stay = collections.namedtuple("Stay", ["dt", *STAY_OF, "joined_at", "left_at", "inferred", "while_publishing"])
Publication = collections.namedtuple("Publication", ["dt", *STAY_OF, "started_at", "stopped_at", "inferred"])
Subscription = collections.namedtuple(
    "Subscription",
    ["dt", *SESSION, "viewer", "viewer_user_id", "publisher", "started_at", "stopped_at", "inferred"],
)
# A stretch of time; whether an event is missing that should tell of its beginning or end.
Span = collections.namedtuple("Span", ["begin", "end", "inferred"])


@dataclasses.dataclass
class Lake:
    """The rows of all tables and views."""

    participants: list[Row]
    participant_events: list[Event]
    attendance: list[Attendance]
    stays: list[Stay]
    publications: list[Publication]
    subscriptions: list[Subscription]
    sessions: list[Session]
    # What was taken over into it.
    history: list[History] = dataclasses.field(default_factory=list)


# The order of the events of one instant. Other names follow by their text, and none is last.
NAMES = [
    *["JOINED", "TOKEN_EXCHANGED", "REPLICATION_STARTED", "PUBLISH_STARTED", "SUBSCRIBE_STARTED", "JOIN_ERROR", "PUBLISH_ERROR"],
    *["SUBSCRIBE_ERROR", "SUBSCRIBE_STOPPED", "PUBLISH_STOPPED", "REPLICATION_STOPPED", "LEFT"],
]


def comparable(value) -> tuple:
    """Nulls come first; maps are compared by their entries."""
    if value is None:
        return (0,)
    return (1, tuple(sorted(value.items())) if isinstance(value, dict) else value)


def order(row) -> tuple:
    return tuple(map(comparable, row))


def order_in_file(event: Event) -> tuple:
    """By participant, time (none is last), name, and then all other columns."""
    if event.name is None:
        name = (len(NAMES) + 1, "")
    elif event.name in NAMES:
        name = (NAMES.index(event.name), "")
    else:
        name = (len(NAMES), event.name)
    return event.participant_id, event.event_time is None, comparable(event.event_time), name, order(event)


def of_token(token: dict | None) -> list:
    """A token's members, as columns."""
    token = token or {}
    capabilities = token.get("capabilities")
    return [
        token.get("userId"),
        None if capabilities is None else ",".join(capabilities),
        instant(token.get("expirationTime")),
        token.get("attributes"),
    ]


def events_of(row: Row, participant: dict) -> list[Event]:
    """A participant's events in file order, each once."""
    found = {}
    for event in participant["events"]:
        tokens = [of_token(event.get("previousToken")), of_token(event.get("newToken"))]
        columns = Event(
            *[getattr(row, name) for name in [*SESSION, "participant_id", "user_id"]],
            *[instant(event.get("eventTime")), event.get("name"), event.get("remoteParticipantId"), event.get("errorCode")],
            # The SDK does not tell an absent boolean from false.
            bool(event.get("replica")),
            *[event.get("destinationStageArn"), event.get("destinationSessionId")],
            *[member for both in zip(*tokens) for member in both],
            row.dt,
        )
        found[order_in_file(columns)] = columns
    return [found[key] for key in sorted(found)]


class Life:
    """A participant's events by the instants at which they happened."""

    def __init__(self, events: list[Event], session_end: datetime.datetime, first_join: datetime.datetime | None):
        self.events = events
        self.session_end = session_end
        # How often what happened, at each instant.
        self.at = collections.defaultdict(collections.Counter)
        for event in events:
            if event.event_time is not None:
                what = (event.name, event.remote_participant_id) if "SUBSCRIBE" in (event.name or "") else event.name
                self.at[event.event_time][what] += 1
        self.last = max(self.at, default=None)
        self.find_stays(first_join)
        borders = {border for stay in self.stays for border in stay[:2]}
        self.instants = sorted({*self.at, *borders, max(filter(None, [session_end, self.last]))})

    def find_stays(self, first_join: datetime.datetime | None) -> None:
        """Counts how many connections are open, instant after instant."""
        self.stays, connections, begin, strays = [], 0, None, []
        changes = [now for now in sorted(self.at) if self.at[now]["JOINED"] or self.at[now]["LEFT"]]
        for now in changes:
            if connections == 0:
                begin = now
            connections += self.at[now]["JOINED"]
            left = self.at[now]["LEFT"]
            if connections and left >= connections:
                self.stays.append(Span(begin, now, False))
            if left > connections:
                strays.append(now)
            connections = max(0, connections - left)
        if connections:
            self.stays.append(Span(begin, max(self.session_end, changes[-1]), True))
        self.connects = bool(changes)
        self.join_inferred = bool(strays)
        self.leave_inferred = connections > 0
        # The first LEFT without a JOINED tells of a stay since the first join, unless another lies before.
        leave = next((stray for stray in strays if first_join and first_join < stray), None)
        if leave and not any(stay.begin < stay.end and stay.begin < leave for stay in self.stays):
            self.stays.append(Span(first_join, leave, True))

    def stay_at(self, now: datetime.datetime) -> Span | None:
        """The stay that an instant belongs to: one that has a length, if there is any."""
        around = [stay for stay in self.stays if stay.begin <= now <= stay.end]
        return max(around, key=lambda stay: stay.end - stay.begin, default=None)

    def while_on(self, start, stop, lasts: bool = False) -> list[Span]:
        """When something goes on, without the gaps. If it begins outside every stay and never stops, it `lasts` until the
        end, or has no length."""
        last_stop = max((now for now in self.at if self.at[now][stop]), default=None)
        count, outside, found = 0, False, []
        for now, then in zip(self.instants, [*self.instants[1:], None]):
            what = self.at.get(now, collections.Counter())
            goes_on = found and found[-1].end == now
            if what[start] and not goes_on:
                found.append(Span(now, now, True))
            stay = self.stay_at(now)
            open_before = count + what[start] > 0 if stay else False
            if stay:
                count = max(0, count + what[start] - what[stop])
            elif what[start]:
                outside = lasts or (last_stop is not None and now <= last_stop)
            # A stop ends what was open there, and what began outside every stay.
            if what[stop] and (outside or (open_before and not count)):
                found[-1] = found[-1]._replace(inferred=False)
            if what[stop]:
                outside = False
            if stay and now == stay.end:
                count = 0
            if (count or outside) and then:
                found[-1] = Span(found[-1].begin, then, True)
        return found

    def count(self, *names: str) -> int:
        return sum(event.name in names for event in self.events)

    def latest(self, *names: str) -> datetime.datetime | None:
        times = [event.event_time for event in self.events if event.event_time and event.name in names]
        return max(times, default=None)


def length(spans: list[Span]) -> int:
    """In milliseconds, of spans that have no instant in common but their ends."""
    return sum((span.end - span.begin) // MILLISECOND for span in spans)


def union(spans: list[Span]) -> list[tuple]:
    """Disjoint stretches that cover the same instants, each from its first to its last."""
    found = []
    for span in sorted(spans):
        if found and span.begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], span.end))
        else:
            found.append((span.begin, span.end))
    return found


def views_of(row: Row, life: Life) -> tuple[list[Stay], list[Publication], list[Subscription]]:
    """A participant's rows of the views."""
    session = [row.dt, *[getattr(row, name) for name in SESSION]]
    publishing = life.while_on("PUBLISH_STARTED", "PUBLISH_STOPPED", row.replication_type == "REPLICA")
    # Without JOINED and LEFT it is there while it is published.
    stays = life.stays if life.connects else publishing
    publishers = {event.remote_participant_id for event in life.events if event.name == "SUBSCRIBE_STARTED"}
    return (
        [Stay(*session, row.participant_id, row.user_id, *stay, not life.connects) for stay in stays],
        [Publication(*session, row.participant_id, row.user_id, *span) for span in publishing],
        [
            Subscription(*session, row.participant_id, row.user_id, publisher, *span)
            for publisher in publishers
            for span in life.while_on(("SUBSCRIBE_STARTED", publisher), ("SUBSCRIBE_STOPPED", publisher))
        ],
    )


def attendance_of(row: Row, participant: dict, life: Life, stays, publications, subscriptions) -> Attendance:
    publishers = {event.remote_participant_id for event in life.events if event.name == "SUBSCRIBE_STARTED"}
    leave_inferred = life.leave_inferred
    if not life.connects:
        started, stopped = life.latest("PUBLISH_STARTED"), life.latest("PUBLISH_STOPPED")
        leave_inferred = started is not None and (stopped is None or started > stopped)
    spans = lambda rows, begin, end: [Span(getattr(it, begin), getattr(it, end), it.inferred) for it in rows]
    watching = union(spans(subscriptions, "started_at", "stopped_at"))
    details = participant["details"] or {}
    return Attendance(
        *[getattr(row, name) for name in [*SESSION, "participant_id", "user_id", "first_join_time", "published"]],
        *[life.latest("LEFT"), life.last],
        length(spans(stays, "joined_at", "left_at")),
        length([Span(*stretch, None) for stretch in watching]),
        length(spans(publications, "started_at", "stopped_at")),
        *[life.count("JOINED"), life.count("PUBLISH_STARTED"), len(publishers - {None})],
        *[sum((event.name or "").endswith("_ERROR") for event in life.events), len(life.events)],
        *[life.join_inferred, leave_inferred],
        None if participant["details"] is None else details.get("attributes", {}),
        *[details.get(member) for member in DETAILS.values()],
        row.dt,
    )


def is_final(session: dict, now: datetime.datetime) -> bool:
    """Whether the list of participants that is written now is final, so that the session can be collected."""
    return session["endTime"] is not None and instant(session["endTime"]) + CONFIRM_AFTER <= now


def lake(known: list[dict], rows: list[Row], now: datetime.datetime, written: dict[str, datetime.datetime]) -> Lake:
    """All that the lake holds once the sessions that can be collected are. The rows of participants get theirs of attendance,
    too. `written` tells when each object was."""
    by_name = {(row.stage_arn, row.session_id, row.participant_id): row for row in rows}
    found = Lake(rows, [], [], [], [], [], sessions(known, written))
    for session in known:
        if not is_final(session, now):
            continue
        for participant in session["participants"]:
            row = by_name[session["stageArn"], session["sessionId"], participant["participantId"]]
            life = Life(events_of(row, participant), row.session_end_time, row.first_join_time)
            stays, publications, subscriptions = views_of(row, life)
            row.attendance = attendance_of(row, participant, life, stays, publications, subscriptions)
            found.participant_events += life.events
            found.attendance.append(row.attendance)
            found.stays += stays
            found.publications += publications
            found.subscriptions += subscriptions
    return found


def history(participants: list[Row], attendance: list[Attendance]) -> list[History]:
    """The rows of both together. Who is in attendance only has what that tells."""
    name = lambda row: (row.dt, row.stage_arn, row.session_id, row.participant_id)
    attended = {name(row): row._asdict() for row in attendance}
    found = [{**attended.pop(name(row), {}), **row._asdict()} for row in participants]
    return [History(*[row.get(column) for column in HISTORY]) for row in [*found, *attended.values()]]


def stem(session: dict) -> str:
    """The name of a session's files."""
    return f"{session['stageArn'].split('/')[1]}_{session['sessionId']}"


def sessions(known: list[dict], written: dict[str, datetime.datetime]) -> list[Session]:
    """What sweeps know. `written` tells when each object of the lake was."""
    found = []
    for session in known:
        start, name = instant(session["startTime"]), stem(session)
        dt = start.date().isoformat()
        failed = [written.get(f"failed/{name}"), written.get(f"failed/collect/{name}")]
        found.append(
            Session(
                # Of a stage without a name IVS sends an empty one, or none.
                *[session["stageArn"], session["stageName"] or "", session["stageTags"] or {}],
                *[session["sessionId"], start, instant(session["endTime"])],
                written.get(f"participants/dt={dt}/{name}.parquet"),
                written.get(f"attendance/dt={dt}/{name}.parquet"),
                max(filter(None, failed), default=None),
                dt,
            )
        )
    return found
