-- How fresh is the lake: which is the newest session, and how long ago did it end
--
-- Parameters: none.
-- Columns: one row. hours_since: full hours since the newest end. Times are empty and counts zero if no session of these
-- days had anybody in it. newest_known_end: the newest end that sweeps know, of any session. If it is later than newest_end,
-- that session is missing or empty: see session_states. newest_collected_end: the newest end of a session whose attendance has
-- a row, which follows an hour or more after the end.
-- Reads only the days from 30 days ago on: the sessions that started on them, in UTC.
-- An old answer can mean that there were no sessions: the alarm no-sweep tells a stopped function from a quiet week.
WITH listed AS (
  SELECT
    max(session_end_time) AS newest_end,
    max(session_start_time) AS newest_start,
    count(DISTINCT ROW(stage_arn, session_id)) AS sessions,
    count(*) AS participants
  FROM participants
  WHERE dt >= CAST(current_date - INTERVAL '30' DAY AS varchar)
),
known AS (
  SELECT max(session_end_time) AS newest_known_end
  FROM sessions
  WHERE dt >= CAST(current_date - INTERVAL '30' DAY AS varchar)
),
attended AS (
  SELECT max(session_end_time) AS newest_collected_end
  FROM attendance
  WHERE dt >= CAST(current_date - INTERVAL '30' DAY AS varchar)
)
SELECT
  listed.newest_end,
  date_diff('hour', listed.newest_end, CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp)) AS hours_since,
  listed.newest_start,
  listed.sessions,
  listed.participants,
  known.newest_known_end,
  attended.newest_collected_end
FROM listed
CROSS JOIN known
CROSS JOIN attended
