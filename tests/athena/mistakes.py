"""Mistakes in views and queries, which the checks of `make athena` must notice.

Each is the name of a file in queries/, what is wrong, a piece of its SQL, and what stands there instead. A piece stands
once in its file. Of a view, spaces and ends of lines count alike.
"""

VIEW_MISTAKES = [
    ("views/stays", "an end at depth 0 ends a stay", "depth_joined > 0 AND depth = 0", "depth_joined >= 0 AND gone > 0 AND depth = 0"),
    (
        "views/stays",
        "a depth below 0",
        """balance - least(
          0,
          min(balance) OVER (PARTITION BY dt, stage_arn, session_id, participant_id ORDER BY instant)
        ) AS depth""",
        "balance AS depth",
    ),
    ("views/stays", "LEFT before JOINED at equal times", "joined + lag(depth, 1, 0) OVER (", "lag(depth, 1, 0) OVER ("),
    ("views/stays", "cut at the session's end", "if(depth = 0, instant, greatest(session_end_time, instant))", "least(instant, session_end_time)"),
    ("views/stays", "an open stay ends with its last event", "greatest(session_end_time, instant)) AS ended_at", "instant) AS ended_at"),
    ("views/stays", "a LEFT at the first join", "instant > first_join_time", "instant >= first_join_time"),
    ("views/stays", "an inferred stay beside another", "coalesce(first_begun_at >= instant, true)", "true"),
    ("views/stays", "no end of replicas", "coalesce(next_stop, open_end, instant)", "coalesce(next_stop, instant)"),
    ("views/stays", "publishing beside stays", "last_change IS NULL AND started > 0", "started > 0"),
    ("views/stays", "a stop at the same instant", "ROWS BETWEEN CURRENT ROW AND", "ROWS BETWEEN 1 FOLLOWING AND"),
    ("views/stays", "stages mixed up", "AND people.stage_arn = changes.stage_arn", ""),
    ("views/stays", "replicas unknown", "'REPLICA'", "'SOURCE'"),
    ("views/publications", "a stay without its last instant", "instant BETWEEN joined_at AND left_at", "instant >= joined_at AND instant < left_at"),
    ("views/publications", "publishing as a stay that it is counted in", "AND NOT stays.while_publishing", ""),
    ("views/publications", "gaps of no length", ">= begun_at", "> begun_at"),
    ("views/publications", "no end of replicas", "coalesce(next_stop, open_end, instant)", "coalesce(next_stop, instant)"),
    ("views/publications", "flagged though stopped", "FILTER (WHERE NOT inferred)", "FILTER (WHERE inferred)"),
    ("views/publications", "on after the stay", "WHEN depth > 0 THEN left_at", "WHEN depth > 0 THEN greatest(left_at, session_end_time)"),
    ("views/subscriptions", "a depth below 0", "balance - least( 0,", "balance + 0 * least( 0,"),
    ("views/subscriptions", "of each publisher one row", "remote_participant_id, number", "remote_participant_id"),
    ("views/subscriptions", "a stop at the same instant", "ROWS BETWEEN CURRENT ROW AND", "ROWS BETWEEN 1 FOLLOWING AND"),
    ("views/subscriptions", "depth of the whole session", "(depth_started > 0 AND depth = 0) OR (depth > 0 AND is_last)", "depth_started > 0 AND depth = 0"),
]

SESSION_MISTAKES = []

REPORT_MISTAKES = [
    ("errors", "names that only contain ERROR, with any character before", "'%\\_ERROR'", "'%SCRIBE_ERROR'"),
    ("errors", "the whole version of a browser", "split_part(browser_version, '.', 1)", "browser_version"),
    ("devices", "errors instead of people with errors", "count_if(attended.errors > 0)", "sum(attended.errors)"),
    ("devices", "people without errors count", "attended.errors > 0))", "attended.errors >= 0))"),
    ("devices", "null first", "device.value NULLS LAST", "device.value NULLS FIRST"),
    ("participant_hours", "rounded instead of cut", "connected_ms / 36000 ", "connected_ms / 36000.0 "),
    ("participant_hours", "a price of the hours that were cut", "totals.connected_ms * rates.rate / 3600000", "totals.connected_ms / 3600000 * rates.rate"),
    ("participant_hours", "attendance of another stage", "    AND attended.stage_arn = all_sessions.stage_arn\n", ""),
    ("participant_hours", "only sessions that somebody joined", "FULL JOIN known", "LEFT JOIN known"),
    ("participant_hours", "any key of a tag in lower case", "entry.tag_key = ?", "lower(entry.tag_key) = lower(?)"),
    ("participant_hours", "sessions that are not collected do not show", "IS NULL AND attended.session_id IS NULL", "IS NOT NULL AND attended.session_id IS NULL"),
    ("session_states", "sessions that nobody joined are missing", "LEFT JOIN listed", "INNER JOIN listed"),
    ("session_states", "two stages with one session id", "ON listed.stage_arn = known.stage_arn\n    AND ", "ON "),
    ("session_states", "empty ones before those that are not collected", "'exported', 'live', 'empty'", "'empty', 'live', 'exported'"),
    ("session_states", "of equal ones the oldest first", "session_start_time DESC", "session_start_time"),
    ("attendance_of_user", "the last leaving, without an inferred end", "ends.left_at,", "attended.last_leave_time AS left_at,"),
    ("attendance_of_user", "the first stay's end", "max(left_at) AS left_at", "min(left_at) AS left_at"),
    ("attendance_of_user", "only what is collected", "FULL JOIN attended", "INNER JOIN attended"),
    ("events_of_user", "without exchanges of tokens", "WHERE ? IN (user_id, previous_user_id, new_user_id)", "WHERE ? = user_id"),
    ("events_of_user", "joinings in the order of their names", "  name NULLS LAST,\n", ""),
    ("recordings", "a place of another session", "  AND attended.session_id = listed.session_id\n", ""),
    ("recordings", "only what is collected", "LEFT JOIN attended", "INNER JOIN attended"),
    ("unfinished_participants", "the session's end for the end of the last stay", "  ends.left_at,\n", "  listed.session_end_time AS left_at,\n"),
    ("sessions", "sessions without participants are left out", "FULL JOIN known", "LEFT JOIN known"),
    ("sessions", "nobody in a live session", "coalesce(listed.participants, if(known.participants_written_time IS NOT NULL, 0))", "coalesce(listed.participants, 0)"),
    ("sessions", "two stages with one session id", "ON known.stage_arn = listed.stage_arn\n  AND ", "ON "),
    ("sessions_per_day", "sessions with an id on two stages count once", "count(*) AS sessions,", "count(DISTINCT all_sessions.session_id) AS sessions,"),
    ("sessions_per_day", "only sessions with participants", "    FROM sessions\n", "    FROM participants\n"),
    ("publishers_and_viewers", "watched and published are swapped", "max(attended.watch_ms) / 60000", "max(attended.publish_ms) / 60000"),
    ("publishers_and_viewers", "minutes for every participant", "max(attended.publish_ms)", "sum(attended.publish_ms)"),
    ("sessions_ended_lately", "two days", "INTERVAL '24' HOUR", "INTERVAL '48' HOUR"),
    ("freshness", "the newest end that sweeps know for the newest collected", "  attended.newest_collected_end\n", "  known.newest_known_end AS newest_collected_end\n"),
]
