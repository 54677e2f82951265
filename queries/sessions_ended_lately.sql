-- Which sessions ended in the last 24 hours
--
-- Parameters: none.
-- Columns: a row for each session, the latest end first, also where nobody joined. participants and publishers are null where
-- the participants are not written. They are 0 where these are written and the lake has no row of them. Replicas count.
-- Reads only the days from 8 days ago on: `dt` is the day on which a session started. So a session of more than a week may be
-- left out. For such ones raise the 8, in two places.
WITH known AS (
  SELECT *
  FROM sessions
  WHERE dt >= CAST(current_date - INTERVAL '8' DAY AS varchar)
),
listed AS (
  SELECT
    session_end_time,
    session_start_time,
    stage_arn,
    session_id,
    count(*) AS participants,
    count_if(published) AS publishers
  FROM participants
  WHERE dt >= CAST(current_date - INTERVAL '8' DAY AS varchar)
  GROUP BY session_end_time, session_start_time, stage_arn, session_id
)
SELECT
  coalesce(listed.session_end_time, known.session_end_time) AS session_end_time,
  coalesce(listed.session_start_time, known.session_start_time) AS session_start_time,
  coalesce(listed.stage_arn, known.stage_arn) AS stage_arn,
  coalesce(listed.session_id, known.session_id) AS session_id,
  coalesce(listed.participants, if(known.participants_written_time IS NOT NULL, 0)) AS participants,
  coalesce(listed.publishers, if(known.participants_written_time IS NOT NULL, 0)) AS publishers,
  known.stage_name
FROM listed
FULL JOIN known
  ON known.stage_arn = listed.stage_arn
  AND known.session_id = listed.session_id
WHERE coalesce(listed.session_end_time, known.session_end_time)
  > CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) - INTERVAL '24' HOUR
ORDER BY session_end_time DESC, stage_arn, session_id
