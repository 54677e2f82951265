-- How fresh is the lake: which is the newest session, and how long ago did it end
--
-- Parameters: none.
-- Columns: one row. hours_since: full hours since the newest end. Times are empty and counts zero if no session of these
-- days had anybody in it.
-- Reads only the days from 30 days ago on: the sessions that started on them, in UTC.
-- An old answer can mean that there were no sessions: the alarm no-sweep tells a stopped function from a quiet week.
SELECT
  max(session_end_time) AS newest_end,
  date_diff('hour', max(session_end_time), CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp)) AS hours_since,
  max(session_start_time) AS newest_start,
  count(DISTINCT ROW(stage_arn, session_id)) AS sessions,
  count(*) AS participants
FROM participants
WHERE dt >= CAST(current_date - INTERVAL '30' DAY AS varchar)
