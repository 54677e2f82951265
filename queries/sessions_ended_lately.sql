-- Which sessions ended in the last 24 hours
--
-- Parameters: none.
-- Columns: a row for each session, the latest end first.
-- Reads only the days from 8 days ago on: `dt` is the day on which a session started, so one of more than a week is not
-- seen. For longer ones widen the 8 days.
SELECT
  session_end_time,
  session_start_time,
  stage_arn,
  session_id,
  count(*) AS participants,
  count_if(published) AS publishers
FROM participants
WHERE dt >= CAST(current_date - INTERVAL '8' DAY AS varchar)
  AND session_end_time > CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) - INTERVAL '24' HOUR
GROUP BY session_end_time, session_start_time, stage_arn, session_id
ORDER BY session_end_time DESC, stage_arn, session_id
