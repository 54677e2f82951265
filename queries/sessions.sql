-- Which sessions were there, how long were they, and how many people came
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each session, the newest first, also where nobody joined. minutes: from start to end, in whole minutes,
-- cut. participants: one person with two tokens is two, and replicas count. users: different user ids, where the tokens had
-- any. people_without_user_id: participants who cannot be told apart. publishers: participants who ever published.
-- The counts are null where the participants are not written: of a live session, which has no end either, and of a missing one.
-- 0 says that the lake has no row: nobody joined, or the rows have expired or were erased. stage_name: the name when sweeps
-- last listed the stage; null of a session that no sweep has seen.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
-- Sessions without participants are as new as the last sweep.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
known AS (
  SELECT *
  FROM sessions
  WHERE dt IN (SELECT dt FROM days)
),
listed AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    session_start_time,
    session_end_time,
    count(*) AS participants,
    count(DISTINCT nullif(user_id, '')) AS users,
    count_if(coalesce(user_id, '') = '') AS people_without_user_id,
    count_if(published) AS publishers
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
  GROUP BY dt, stage_arn, session_id, session_start_time, session_end_time
)
SELECT
  coalesce(listed.dt, known.dt) AS dt,
  coalesce(listed.stage_arn, known.stage_arn) AS stage_arn,
  coalesce(listed.session_id, known.session_id) AS session_id,
  coalesce(listed.session_start_time, known.session_start_time) AS session_start_time,
  coalesce(listed.session_end_time, known.session_end_time) AS session_end_time,
  date_diff(
    'minute',
    coalesce(listed.session_start_time, known.session_start_time),
    coalesce(listed.session_end_time, known.session_end_time)
  ) AS minutes,
  coalesce(listed.participants, if(known.participants_written_time IS NOT NULL, 0)) AS participants,
  coalesce(listed.users, if(known.participants_written_time IS NOT NULL, 0)) AS users,
  coalesce(listed.people_without_user_id, if(known.participants_written_time IS NOT NULL, 0)) AS people_without_user_id,
  coalesce(listed.publishers, if(known.participants_written_time IS NOT NULL, 0)) AS publishers,
  known.stage_name
FROM listed
FULL JOIN known
  ON known.stage_arn = listed.stage_arn
  AND known.session_id = listed.session_id
ORDER BY session_start_time DESC, stage_arn, session_id
