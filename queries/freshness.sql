-- How fresh is the lake: which is the newest session, and how long ago did it end
--
-- Parameters: none.
-- Columns: one row. newest_end, newest_start: of the sessions with participants. hours_since: whole hours since newest_end,
-- cut. sessions, participants: how many the lake has. If it has none of these days, the counts are 0, and newest_end,
-- newest_start and hours_since are null. newest_known_end: the newest end that sweeps know, of any session. If it is later than
-- newest_end, that session is missing or empty: see session_states. newest_collected_end: the newest end of a session with rows
-- of attendance. They follow an hour or more after the end.
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
