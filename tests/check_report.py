#!/usr/bin/env python3
"""Holds `make report` against the model of tests/athena/: every number of the page, and that strangers' strings do nothing.

Usage: python3 tests/check_report.py FOLDER [PEOPLE]; it leaves lakes and pages there. tests/report.rs calls it.
"""

import collections
import datetime
import html.parser
import itertools
import json
import logging
import os
import pathlib
import random
import re
import subprocess
import sys

import boto3
import pyarrow
import pyarrow.parquet
from moto.server import ThreadedMotoServer

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/athena"), str(ROOT / "tools")]
sys.dont_write_bytecode = True
import expected  # noqa: E402
import presence  # noqa: E402
import tables  # noqa: E402

STAGE, SESSION = "arn:aws:ivs:us-west-2:123456789012:stage/AbCdef1G2hij", "st-1CVugbu2cf2n8"
START = datetime.datetime(2026, 11, 6, 18, 0, 0, 250_000)
END = START + datetime.timedelta(minutes=90)
EPOCH = datetime.datetime(1970, 1, 1)
MILLISECOND = datetime.timedelta(milliseconds=1)
HOSTILE = [
    "<img src=x onerror=document.title='taken'>",
    "</script><script>document.title='taken'</script>",
    "</title></svg><style>*{display:none}</style>",
    "\"><svg onload=document.title='taken'>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202eright to left",
    "\u05d0\u05d1\u05d2 123",
    "&lt;b&gt; &amp;",
    "=HYPERLINK(\"https://example.com\")",
    "line\nbreak\x00\x1b[31m",
    "x" * 128,
    "__proto__",
]


def written(time: datetime.datetime | None) -> str | None:
    """A time as the API writes it."""
    return time and time.isoformat(timespec="milliseconds") + "Z"


def history(random: random.Random, publishes: bool) -> list[dict]:
    """Events of a participant: joined and left some times, with gaps in what IVS tells."""
    # So coarse that one often leaves as another comes.
    seconds = sorted(random.randrange(-60, 90 * 60 + 60, 20) for _ in range(2 * random.randint(1, 3)))
    events = []
    for joined, left in zip(seconds[::2], seconds[1::2]):
        events += [(joined, "JOINED"), (left, "LEFT")]
        if publishes:
            events += [(random.randint(joined, left), "PUBLISH_STARTED"), (random.randint(joined, left + 90), "PUBLISH_STOPPED")]
        elif random.random() < 0.8:
            events += [(joined, "SUBSCRIBE_STARTED"), (left, "SUBSCRIBE_STOPPED")]
    if random.random() < 0.1:
        code = random.choice(["QUOTA_EXCEEDED", "BITRATE_EXCEEDED", HOSTILE[0], None])
        events.append((random.choice(seconds), random.choice(["PUBLISH_ERROR", "JOIN_ERROR"]) if code else "SUBSCRIBE_ERROR"))
    # IVS promises none of them.
    events = [event for event in events if random.random() > 0.05]
    found = []
    for second, name in events:
        event = {"name": name, "eventTime": written((START + datetime.timedelta(seconds=second)).replace(microsecond=0))}
        if "SUBSCRIBE" in name:
            event["remoteParticipantId"] = f"p{random.randrange(3):011}"
        if name.endswith("_ERROR") and code:
            event["errorCode"] = code
        found.append(event)
    if random.random() < 0.02:
        found.append({"name": "JOINED"})
    random.shuffle(found)
    return found


def known(people: int, seed: int) -> dict:
    """A session as IVS knows it."""
    dice = random.Random(seed)
    participants = []
    for number in range(people):
        publishes = number % 17 == 0
        events = history(dice, publishes) if dice.random() > 0.02 else []
        times = [event["eventTime"] for event in events if "eventTime" in event]
        user = HOSTILE[number] if number < len(HOSTILE) else dice.choice([f"user-{dice.randrange(people)}"] * 8 + ["", None])
        details = {"browserName": dice.choice(["Chrome", "Safari"]), "osName": dice.choice(HOSTILE[:2]), "attributes": {"role": HOSTILE[0]}}
        participants.append({
            "participantId": f"p{number:011}",
            "userId": user,
            "firstJoinTime": min(times, default=written(START)),
            "published": publishes,
            "replicationType": "REPLICA" if number % 29 == 0 else "NONE",
            "events": events,
            "details": details if number % 5 else None,
        })  # fmt: skip
    return {
        "stageArn": STAGE, "stageName": HOSTILE[1] + "\u202e", "stageTags": {}, "sessionId": SESSION,
        "startTime": written(START), "endTime": written(END), "participants": participants,
    }  # fmt: skip


def arrow(rows: list, fields: tuple[str, ...]) -> pyarrow.Table:
    """A file's table, with the types of the function's."""
    columns = {}
    for index, name in enumerate(fields):
        values = [row[index] for row in rows]
        if name.endswith("_time"):
            kind = pyarrow.timestamp("ms", tz="UTC")
        elif name.endswith("_ms"):
            kind = pyarrow.int64()
        elif name in ("joins", "publish_starts", "publishers_watched", "errors", "events"):
            kind = pyarrow.int32()
        elif name.endswith("attributes") or name.endswith("tags"):
            kind = pyarrow.map_(pyarrow.string(), pyarrow.string())
            values = [None if value is None else list(value.items()) for value in values]
        elif name in ("published", "replica", "redundant_ingest", "join_inferred", "leave_inferred"):
            kind = pyarrow.bool_()
        else:
            kind = pyarrow.string()
        columns[name] = pyarrow.array(values, kind)
    columns.pop("dt")
    return pyarrow.table(columns)


class Lake:
    """A folder with a session's files, and the rows that the model says."""

    def __init__(self, folder: pathlib.Path, session: dict):
        self.folder, self.session = folder, session
        self.rows = expected.rows([session])
        lake = tables.lake([session], self.rows, END + datetime.timedelta(days=1), {})
        self.events, self.attendance, self.views = lake.participant_events, lake.attendance, lake
        self.put("participants", self.rows, expected.COLUMNS)
        self.put("participant_events", self.events, tables.Event._fields)
        self.put("attendance", self.attendance, tables.Attendance._fields)
        self.put("sessions", lake.sessions, tables.Session._fields, "sessions")

    def put(self, table: str, rows: list, fields: tuple[str, ...], stem: str | None = None) -> None:
        path = self.path(table, stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(arrow(rows, fields), path)

    def path(self, table: str, stem: str | None = None) -> pathlib.Path:
        return self.folder / table / "dt=2026-11-06" / f"{stem or tables.stem(self.session)}.parquet"

    def lives(self) -> dict[str, tables.Life]:
        by_id = collections.defaultdict(list)
        for event in self.events:
            by_id[event.participant_id].append(event)
        return {row.participant_id: tables.Life(by_id[row.participant_id], END, row.first_join_time) for row in self.rows}

    def stays(self) -> dict[str, list[tables.Span]]:
        """By participant."""
        found = {row.participant_id: [] for row in self.rows}
        for stay in self.views.stays:
            found[stay.participant_id].append(tables.Span(stay.joined_at, stay.left_at, stay.inferred))
        return found


def report(lake: Lake, **more: str) -> subprocess.CompletedProcess:
    names = {"LAKE": str(lake.folder), "SESSION": SESSION, "OUT": str(lake.folder / "report.html"), **more}
    environment = {name: value for name, value in os.environ.items() if name != "STAGE"}
    program = [sys.executable, "-B", str(ROOT / "tools/report.py")]
    return subprocess.run(program, env=environment | names, capture_output=True, text=True, check=False)


def covered(stays: list[tables.Span]) -> int:
    """How many milliseconds at least one of the stays lasts."""
    return tables.length([tables.Span(*stretch, False) for stretch in tables.union(stays)])


class Page(html.parser.HTMLParser):
    """The elements of a page, as a browser would have them without the script."""

    def __init__(self, text: str):
        super().__init__()
        self.text, self.open, self.tags, self.classes = text, [], collections.Counter(), collections.Counter()
        self.attributes, self.by_id, self.rows = collections.defaultdict(set), collections.defaultdict(str), []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        for name, value in attributes:
            self.attributes[name].add(value)
        attributes = dict(attributes)
        self.classes[attributes.get("class")] += tag in ("rect", "use")
        self.classes["mark"] += tag == "use" and attributes.get("href") == "#mark"
        if tag not in ("meta", "input", "col", "br"):
            self.open.append((tag, attributes.get("id")))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open[-1][0] == tag, (tag, self.open)
        self.open.pop()

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in ("meta", "input", "col", "br"):
            self.open.pop()

    def handle_data(self, data):
        for _, name in self.open:
            if name:
                self.by_id[name] += data
        if any(tag in ("td", "th") for tag, _ in self.open) and not any(tag in ("title", "text") for tag, _ in self.open):
            self.rows[-1][-1] += data

    def number(self, name: str) -> str:
        return re.match(r"[\d,.]+", self.by_id[name])[0].replace(",", "")


def equal(what: str, found, wanted) -> None:
    if found != wanted:
        sys.exit(f"{what}: {found!r} must be {wanted!r}")


def check_page(lake: Lake) -> Page:
    done = report(lake)
    equal("the report's exit code", (done.returncode, done.stderr), (0, ""))
    page = Page((lake.folder / "report.html").read_text())

    stays = lake.stays()
    users = {row.user_id for row in lake.rows if row.user_id}
    equal("participants", page.number("participants"), str(len(lake.rows)))
    equal("users", page.number("users"), str(len(users)))
    length = sum((tables.length(each) for each in stays.values()), 0)
    equal("participant-hours", page.number("hours"), f"{length / 3_600_000:.2f}")
    # The most is reached where somebody comes.
    every = [stay for each in stays.values() for stay in each if stay.begin < stay.end]
    begins = collections.Counter(stay.begin for stay in every)
    ends = collections.Counter(stay.end for stay in every)
    peak, at, connected = 0, None, 0
    for now in sorted({*begins, *ends}):
        connected += begins[now] - ends[now]
        peak, at = (connected, now) if connected > peak else (peak, at)
    equal("peak", page.number("peak"), str(peak))
    equal("its instant", re.search(r"at (\d+:\d+:\d+)", page.by_id["peak"])[1], f"{at:%H:%M:%S}")

    errors = collections.defaultdict(list)
    for event in lake.events:
        if event.name.endswith("_ERROR"):
            errors[event.error_code or "none", event.name].append(event)
    wanted = {
        (*key, str(len(each)), str(len({event.participant_id for event in each}))) for key, each in errors.items()
    }
    first = next(number for number, row in enumerate(page.rows) if row[:1] == ["Code"])
    equal("errors", {tuple(row[:4]) for row in page.rows[first + 1 :] if len(row) == 6}, wanted)

    check_data(lake, page)
    check_harmless(lake, page)
    return page


def check_curve(lake: Lake, page: Page) -> None:
    """The curve as a table: the most in each stretch, found at its begin and wherever somebody comes."""
    every = [stay for each in lake.stays().values() for stay in each]
    first = next(number for number, row in enumerate(page.rows) if row and row[0].startswith("From (each "))
    hours, minutes, seconds = map(int, re.search(r"(\d+):(\d+):(\d+)", page.rows[first][0]).groups())
    step = datetime.timedelta(hours=hours, minutes=minutes, seconds=seconds)
    lines = list(itertools.takewhile(lambda row: len(row) == 2, page.rows[first + 1 :]))
    assert len(lines) > 10, lines
    for clock, most in lines:
        now = datetime.datetime.fromisoformat(f"2026-11-06T{clock}")
        instants = [now, *(stay.begin for stay in every if now < stay.begin < now + step)]
        highest = max(sum(stay.begin <= it < stay.end for stay in every) for it in instants)
        equal(f"the most from {clock} on", int(most.replace(",", "")), highest)


def check_data(lake: Lake, page: Page) -> None:
    """The data of the table and of the CSV are the rows of `attendance`."""
    data = json.loads(page.by_id["data"])
    start = (START - EPOCH) // MILLISECOND
    equal("the start in the data", data["start"], start)
    found = {}
    for column in data["columns"]:
        values = column["values"] if "values" in column else [column["each"][row] for row in column["rows"]]
        if column["kind"] == "time":
            values = [value if value is None else EPOCH + (start + value) * MILLISECOND for value in values]
        if column["kind"] == "map":
            values = [value if value is None else dict(value) for value in values]
        found[column["name"]] = values
    names = [name for name in tables.Attendance._fields if name != "dt"]
    equal("columns of the data", list(found), names)
    for number, row in enumerate(lake.attendance):
        equal(f"row {number} of the data", [found[name][number] for name in names], list(row)[:-1])
    lefts = [max((stay.end for stay in stays), default=None) for stays in lake.stays().values()]
    found = [left if left is None else EPOCH + (start + left) * MILLISECOND for left in data["left"]]
    gone = [(one, other) for one, other, life in zip(found, lefts, lake.lives().values()) if one != other and life.connects]
    equal("when they left", gone, [])


def check_harmless(lake: Lake, page: Page) -> None:
    """Strangers' strings make no element and no attribute, and nothing is loaded."""
    elements = {
        *("html", "head", "meta", "title", "style", "body", "svg", "defs", "pattern", "path", "symbol", "line", "header", "h1"),
        *("bdi", "p", "dl", "div", "dt", "dd", "small", "main", "h2", "figure", "text", "desc", "use", "circle", "figcaption"),
        *("details", "summary", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "rect", "label", "input", "colgroup"),
        *("col", "span", "noscript", "select", "option", "a", "button", "script", "strong"),
    }
    equal("elements that are not the template's", set(page.tags) - elements, set())
    equal("scripts", page.tags["script"], 2)
    equal("attributes that run", [name for name in page.attributes if name.startswith("on") or name == "src"], [])
    equal("links out of the page", [value for value in page.attributes["href"] if not value.startswith("#")], [])
    # Quoted ids aside, only the CSV's own object is an address.
    template = (ROOT / "tools/report.html").read_text()
    equal("addresses in the template", re.findall(r"https?:|url\((?!#)|@import|fetch\(|XMLHttp|import\(", template), [])
    for values in page.attributes.values():
        for value in values:
            assert not any(text[:12] in (value or "") for text in HOSTILE), value
    for user in {row.user_id for row in lake.rows[: len(HOSTILE)]}:
        # As the parser gives it back, so that it was escaped.
        shown = "".join(chr(0x2400 + ord(it)) if ord(it) < 32 else it for it in user)
        if len(page.rows) < 300:
            assert any(shown in cell for row in page.rows for cell in row), user
    assert "49{% raw" not in page.text and "taken" in page.by_id["data"]


def check_refusals(lake: Lake) -> None:
    def refused(what: str, why: str, **more: str) -> None:
        done = report(lake, OUT=str(lake.folder / "refused.html"), **more)
        equal(f"{what} in what was said", (why in done.stderr, done.returncode, "Traceback" in done.stderr), (True, 1, False))
        equal(f"{what} made a page", (lake.folder / "refused.html").exists(), False)

    refused("an unknown session", "SESSION='st-Unknown000000' is not in", SESSION="st-Unknown000000")
    refused("a malformed session", "SESSION='st-*' must be", SESSION="st-*")
    refused("another stage", "stage/Other0000000'", STAGE="arn:aws:ivs:us-west-2:123456789012:stage/Other0000000")
    refused("a missing folder", "LAKE='nowhere' must be a folder", LAKE="nowhere")

    wrong = [row._replace(connected_ms=row.connected_ms + 1) for row in lake.attendance[-1:]]
    lake.put("attendance", [*lake.attendance[:-1], *wrong], tables.Attendance._fields)
    refused("a total that is not the events'", f"connected_ms of the participant {wrong[0].participant_id!r}")
    lake.put("attendance", lake.attendance[:-1], tables.Attendance._fields)
    refused("events of somebody without a row", f"events of the participant {wrong[0].participant_id!r}")
    lake.put("attendance", lake.attendance, tables.Attendance._fields)

    events = lake.path("participant_events")
    file = events.read_bytes()
    events.write_bytes(file[:100])
    refused("a broken file", "is no file of the table")
    events.unlink()
    refused("a missing file", "is missing, though")
    events.write_bytes(file)
    other = lake.path("attendance", f"Other0000000_{SESSION}")
    other.write_bytes(lake.path("attendance").read_bytes())
    refused("a session of two stages", "AbCdef1G2hij, Other0000000")
    other.unlink()
    file = lake.path("attendance").read_bytes()
    lake.path("attendance").unlink()
    refused("a session not collected yet", "was not collected yet")
    lake.path("attendance").write_bytes(file)


def check_stack(lake: Lake) -> None:
    """On a deployed stack, whose files lie below a prefix, among those of other days."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    # A line for each request is of no use.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    moto.start()
    host, port = moto.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "made", "AWS_SECRET_ACCESS_KEY": "up", "NO_PROXY": host, "no_proxy": host}
    where = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_REGION": "us-west-2", **keys}
    os.environ.update(where)
    template = {
        "Parameters": {"Prefix": {"Type": "String"}, "ConfirmAfterMinutes": {"Type": "String"}},
        "Resources": {"Lake": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "lake"}}},
        "Outputs": {"LakeBucket": {"Value": {"Ref": "Lake"}}},
    }
    parameters = [("Prefix", "team/"), ("ConfirmAfterMinutes", "60")]
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters]
    client = boto3.Session(region_name="us-west-2").client
    client("cloudformation").create_stack(StackName="made-up", TemplateBody=json.dumps(template), Parameters=parameters)
    s3, out = client("s3"), lake.folder / "stack.html"
    for path in lake.folder.glob("*/dt=*/*.parquet"):
        s3.put_object(Bucket="lake", Key=f"team/{path.relative_to(lake.folder).as_posix()}", Body=path.read_bytes())
    for day in range(1, 40):
        date = START.date() + datetime.timedelta(days=day - 20)
        s3.put_object(Bucket="lake", Key=f"team/attendance/dt={date}/AbCdef1G2hij_st-Another000000.parquet", Body=b"")
    of_stack = {"LAKE": "", "STACK": "made-up", "STAGE": STAGE, "OUT": str(out)}
    done = report(lake, **of_stack)
    equal("the exit code on a stack", (done.returncode, done.stderr), (0, ""))
    equal("what a stack's report says first", done.stdout.split("\n")[0], "Account 123456789012, region us-west-2, stack made-up")
    equal("the report of a stack", out.read_text() == (lake.folder / "report.html").read_text(), True)
    for name, more, why in [
        ("an unknown session", {"SESSION": "st-Unknown000000"}, f"SESSION='st-Unknown000000' of STAGE='{STAGE}' is not in s3://lake/team/"),
        ("no stage", {"STAGE": ""}, "STAGE is missing"),
        ("an unknown stack", {"STACK": "other"}, "STACK='other' must name a stack"),
    ]:
        done = report(lake, **of_stack | more)
        equal(f"{name} in what was said", (why in done.stderr, "Traceback" in done.stderr), (True, False))
    moto.stop()


def check_walk(histories: int) -> None:
    """tools/presence.py and the walk over instants agree, tie for tie."""
    dice = random.Random(7)
    names = ["JOINED", "LEFT", "PUBLISH_STARTED", "PUBLISH_STOPPED", "SUBSCRIBE_ERROR"]
    plain = tables.Event(*[None] * len(tables.Event._fields))
    for _ in range(histories):
        only = dice.choice([names, names, names[:2], names[2:]])
        times = [dice.choice([None, *[START + datetime.timedelta(seconds=dice.randrange(12))] * 20]) for _ in range(dice.randrange(9))]
        events = [plain._replace(name=dice.choice(only), event_time=time) for time in times]
        end = START + datetime.timedelta(seconds=dice.randrange(14))
        first_join = dice.choice([None, START + datetime.timedelta(seconds=dice.randrange(12))])
        replica = dice.random() < 0.3
        life = tables.Life(events, end, first_join)
        publishing = life.while_on("PUBLISH_STARTED", "PUBLISH_STOPPED", replica)
        wanted = tables.length(life.stays if life.connects else publishing), tables.length(publishing)

        def whole(time):
            return time and (time - EPOCH) // MILLISECOND

        pairs = [(event.name, whole(event.event_time)) for event in events]
        found = presence.presence(pairs, whole(end), whole(first_join), replica)
        totals = tuple(sum(each.milliseconds() for each in intervals) for intervals in found)
        equal(f"connected and published by {pairs}, {whole(end)}, {whole(first_join)}, {replica}", totals, wanted)
        stopped = {time for name, time in pairs if name == "PUBLISH_STOPPED"}
        untold = [each for each in found.publishing if not each.end_inferred and each.end not in stopped]
        equal("ends of publishing that no stop states", untold, [])
        if life.connects:
            stays = [(whole(stay.begin), whole(stay.end)) for stay in sorted(life.stays)]
            equal("stays", [(stay.begin, stay.end) for stay in found.stays], stays)
            equal("an inferred end", any(stay.end_inferred for stay in found.stays), life.leave_inferred)


def main(folder: str, people: str = "10000") -> None:
    folder = pathlib.Path(folder)
    check_walk(20_000)
    few = Lake(folder / "few", known(120, 1))
    page = check_page(few)
    equal("errors on the time line", page.classes["mark"] - 1, sum(event.name.endswith("_ERROR") for event in few.events))
    check_curve(few, page)
    check_refusals(few)

    check_stack(few)

    none = Lake(folder / "none", known(0, 1))
    done = report(none)
    equal("the report of an empty session", (done.returncode, done.stderr), (0, ""))

    many = Lake(folder / "many", known(int(people), 2))
    page = check_page(many)
    rows = page.text.count('<th scope="row">')
    equal("rows of the time line", rows, 300)
    assert "<strong>Shown are the 300 who were connected longest" in page.text
    stays_of = collections.defaultdict(list)
    for row, stays in zip(many.rows, many.stays().values()):
        stays_of[row.user_id or row.participant_id] += stays
    longest = sum(sorted(map(covered, stays_of.values()))[-300:])
    shown = sum(
        sum(int(it) * 60**place for place, it in enumerate(reversed(row[2].split(":"))))
        for row in page.rows if len(row) == 3 and re.fullmatch(r"\d+:\d\d:\d\d", row[2])
    )  # fmt: skip
    # Each is rounded to a second.
    assert abs(shown - longest / 1000) <= 300, (shown, longest)
    equal("the page of many is below 5 MB", len(page.text.encode()) < 5_000_000, True)
    print("the reports are what the model says")


if __name__ == "__main__":
    main(*sys.argv[1:])
