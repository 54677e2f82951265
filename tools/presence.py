"""How the events of one participant become stays and publishing: the rules of src/presence.rs, where they are explained.

Only what tools/report.py draws: watching is left out. Times are whole milliseconds since 1970. tests/check_report.py holds
it against the walk of tests/athena/tables.py, and each report against its file of `attendance`.
"""

import bisect
import itertools
from typing import NamedTuple

BEGIN, END = 0, 1


class Interval(NamedTuple):
    """A stretch of time, half-open. Its length can be zero."""

    begin: int
    end: int
    # No JOINED states `begin`, or no LEFT (or no stop) states `end`.
    begin_inferred: bool = False
    end_inferred: bool = False

    def milliseconds(self) -> int:
        return self.end - self.begin


class Presence(NamedTuple):
    stays: list[Interval]
    publishing: list[Interval]


def presence(events: list[tuple], session_end: int, first_join: int | None, is_replica: bool) -> Presence:
    """`events` are pairs of name and time of one participant, in any order; both may be None."""
    connection = sorted_steps(events, "JOINED", "LEFT")
    stays, unmatched = count_depth(connection, session_end)
    stays += stay_before(unmatched, stays, first_join)
    stays.sort()
    owners = Owners(stays)
    open_end = None
    if is_replica:
        open_end = max([session_end, *(time for _, time in events if time is not None)])
    publishing = activity(sorted_steps(events, "PUBLISH_STARTED", "PUBLISH_STOPPED"), owners, open_end)
    return Presence(stays if connection else publishing, publishing)


def sorted_steps(events: list[tuple], begin: str, end: str) -> list[tuple[int, int]]:
    """Time and kind of change. At equal times beginnings come first."""
    changes = {begin: BEGIN, end: END}
    return sorted((time, changes[name]) for name, time in events if name in changes and time is not None)


def count_depth(steps: list[tuple[int, int]], end: int) -> tuple[list[Interval], list[int]]:
    """The intervals in which the depth is above 0, and the times of the ends at depth 0."""
    intervals, unmatched, depth, begin = [], [], 0, end
    for time, change in steps:
        if change == BEGIN:
            begin = begin if depth else time
            depth += 1
        elif depth == 0:
            unmatched.append(time)
        else:
            depth -= 1
            if depth == 0:
                intervals.append(Interval(begin, time))
    if depth:
        intervals.append(Interval(begin, max(end, steps[-1][0]), end_inferred=True))
    return intervals, unmatched


def stay_before(unmatched: list[int], stays: list[Interval], first_join: int | None) -> list[Interval]:
    """The stay that the first unmatched LEFT after the first join ends, unless a stay with a length lies before it."""
    leave = next((time for time in unmatched if first_join is not None and first_join < time), None)
    if leave is None or any(stay.begin < stay.end and stay.begin < leave for stay in stays):
        return []
    return [Interval(first_join, leave, begin_inferred=True)]


class Owners:
    """The stays, prepared to find the one that an instant belongs to."""

    def __init__(self, stays: list[Interval]):
        parts = [stay for stay in stays if stay.milliseconds()], [stay for stay in stays if not stay.milliseconds()]
        self.parts = [(part, [stay.begin for stay in part]) for part in parts]

    def stay_at(self, time: int) -> Interval | None:
        for stays, begins in self.parts:
            begun = bisect.bisect_right(begins, time)
            if begun and time <= stays[begun - 1].end:
                return stays[begun - 1]
        return None


def activity(steps: list[tuple[int, int]], owners: Owners, open_end: int | None) -> list[Interval]:
    """The union of publishing. What begins outside every stay and never stops ends at `open_end`, or else has no length."""
    intervals = []
    for stay, group in itertools.groupby(steps, lambda step: owners.stay_at(step[0])):
        if stay:
            intervals += count_depth(list(group), stay.end)[0]
    next_stop = None
    for time, change in reversed(steps):
        if change == END:
            next_stop = time
        elif owners.stay_at(time) is None:
            end = next(it for it in (next_stop, open_end, time) if it is not None)
            intervals.append(Interval(time, end, end_inferred=next_stop is None))
    return union(intervals)


def union(intervals: list[Interval]) -> list[Interval]:
    """Intervals that overlap or touch become one. Its end is inferred if that of each part that reaches it is."""
    merged: list[Interval] = []
    for each in sorted(intervals):
        if not merged or each.begin > merged[-1].end:
            merged.append(each)
        elif each.end == merged[-1].end:
            merged[-1] = merged[-1]._replace(end_inferred=merged[-1].end_inferred and each.end_inferred)
        elif each.end > merged[-1].end:
            merged[-1] = merged[-1]._replace(end=each.end, end_inferred=each.end_inferred)
    return merged
