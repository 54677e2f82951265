"""Mistakes in views and queries, which the checks of `make athena` must notice.

Each is the name of a file in queries/, what is wrong, a piece of its SQL, and what stands there instead. A piece stands
once in its file; spaces and ends of lines count alike.
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

REPORT_MISTAKES = []
