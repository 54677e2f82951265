#!/usr/bin/env python3
"""Takes days over into the table history of a deployed stack, month by month: `make history` calls it. See docs/history.md.

It runs the statements that the stack's schedules run, queries/history/create.sql and merge.sql, in the same workgroup, one
after the other. Each month is one commit, and a month that is there already is left as it is. So you may stop it, and start
again at any day. Days before the stack's FirstDay, and those that have expired by RetentionDays, are left out.

The environment says the rest: STACK, FROM and TO, the first and the last day as YYYY-MM-DD; TO may be left out, and means
today. The usual variables of the AWS SDKs count, too.
"""

import datetime
import os
import pathlib
import re
import sys
import time

from erase import REFUSED, Lake, Problem

STATEMENTS = pathlib.Path(__file__).resolve().parents[1] / "queries" / "history"
DAY = datetime.timedelta(days=1)
RULE = "must be a day that there is, as YYYY-MM-DD, such as 2026-01-31"
LOOK_EVERY_SECONDS = 2


def day(name: str, otherwise: datetime.date | None = None) -> datetime.date:
    text = os.environ.get(name, "")
    if not text and otherwise:
        return otherwise
    if not text:
        raise Problem(f"{name} is missing: it {RULE}")
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.date.fromisoformat(text)
    except ValueError:
        pass
    raise Problem(f"{name}={text!r} {RULE}")


def months(first: datetime.date, last: datetime.date) -> list[tuple[datetime.date, datetime.date]]:
    """The days from the first to the last, cut at the ends of months."""
    found = []
    while first <= last:
        next_month = (first.replace(day=1) + 31 * DAY).replace(day=1)
        found.append((first, min(last, next_month - DAY)))
        first = next_month
    return found


def statement(name: str, **values: str) -> str:
    """A file of queries/history/, with its placeholders filled in."""
    lines = (STATEMENTS / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    # As the template has it, without comments.
    text = "\n".join(line for line in lines if not line.startswith("--"))
    for placeholder, value in values.items():
        text = text.replace("${" + placeholder + "}", value)
    return text


class Athena:
    """Where a stack's history is updated."""

    def __init__(self, lake: Lake, stack: str):
        if "HistoryWorkGroup" not in lake.outputs:
            raise Problem(f"the stack {stack!r} has no history; deploy it with History=ENABLED first")
        self.workgroup, self.database = lake.outputs["HistoryWorkGroup"], lake.parameters["DatabaseName"]
        self.athena = lake.session.client("athena")

    def run(self, sql: str) -> float:
        """Runs a statement to its end: the seconds that Athena worked on it."""
        query = self.athena.start_query_execution(
            QueryString=sql, QueryExecutionContext={"Database": self.database}, WorkGroup=self.workgroup
        )["QueryExecutionId"]
        try:
            while True:
                found = self.athena.get_query_execution(QueryExecutionId=query)["QueryExecution"]
                state = found["Status"]["State"]
                if state == "SUCCEEDED":
                    return found.get("Statistics", {}).get("TotalExecutionTimeInMillis", 0) / 1000
                if state in ("FAILED", "CANCELLED"):
                    reason = found["Status"].get("StateChangeReason", "Athena gave no reason")
                    raise Problem(f"Athena's query {query} is {state}: {reason}")
                time.sleep(LOOK_EVERY_SECONDS)
        except (*REFUSED, KeyboardInterrupt):
            # Nobody waits for its end any more, and the next one must not meet it.
            self.athena.stop_query_execution(QueryExecutionId=query)
            raise


def main() -> None:
    name = os.environ.get("STACK", "")
    today = datetime.datetime.now(datetime.UTC).date()
    first = day("FROM")
    last = day("TO", today)
    if last < first:
        raise Problem(f"FROM={first} must not be later than TO={last}")
    lake = Lake(name)
    athena = Athena(lake, name)
    earliest = datetime.date.fromisoformat(lake.parameters["FirstDay"])
    kept = datetime.date.min
    if lake.parameters["RetentionDays"] != "0":
        kept = today - int(lake.parameters["RetentionDays"]) * DAY
    if first < max(earliest, kept):
        first = max(earliest, kept)
        print(f"begins with {first}: there are no older files, or they expire", flush=True)
    # Nobody starts a session later.
    last = min(last, today + DAY)
    again = f"FROM={{}} TO={last}" if os.environ.get("TO") else "FROM={}"
    athena.run(statement("create", LakeBucket=lake.bucket, Prefix=lake.prefix))
    for begin, end in months(first, last):
        try:
            seconds = athena.run(statement("merge", From=f"DATE '{begin}'", To=f"DATE '{end}'", Kept=f"DATE '{kept}'"))
        except (*REFUSED, Problem) as error:
            raise Problem(f"{begin} to {end} was not taken over: {error}. Go on with {again.format(begin)}")
        except KeyboardInterrupt:
            raise Problem(f"{begin} to {end} was stopped. Go on with {again.format(begin)}")
        print(f"{begin} to {end} is in history ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"make history: {problem}")
    except REFUSED as error:
        sys.exit(f"make history: {error}")
    except KeyboardInterrupt:
        sys.exit("make history: interrupted before it began")
