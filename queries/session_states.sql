-- In which state is each session, those first that need a look
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each session, those that need a look first, of equal ones the newest first. state is the first that holds:
--   live: it had not ended when the last sweep saw it.
--   failing: the last attempt to export or collect it failed, less than a day ago. Sweeps leave it out for that day.
--   missing: it has ended, and its participants are not written. A sweep sends it to be exported, unless IVS has forgotten it.
--   empty: its participants are written, but the lake has no row: nobody joined, or the rows have expired or were erased.
--   exported: its participants are written, but not yet its attendance: it is not collected. That follows an hour or more after
--   its end. With Collect=nobody it stays exported.
--   collected: all is there.
-- The rows come in the order failing, missing, exported, live, empty, collected. participants: how many rows the lake has of
-- the session; null of live, missing and failing sessions without any. The last three times are the latest that the last
-- sweep saw.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
-- It is as new as the last sweep. What was exported since is not missing here. What no sweep has seen yet is not listed.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
listed AS (
  SELECT stage_arn, session_id, max(session_end_time) AS session_end_time, count(*) AS participants
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
  GROUP BY stage_arn, session_id
),
attended AS (
  SELECT DISTINCT stage_arn, session_id
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
),
known AS (
  SELECT *
  FROM sessions
  WHERE dt IN (SELECT dt FROM days)
),
joined AS (
  SELECT
    known.dt,
    known.stage_arn,
    known.stage_name,
    known.session_id,
    known.session_start_time,
    greatest(
      coalesce(known.session_end_time, listed.session_end_time),
      coalesce(listed.session_end_time, known.session_end_time)
    ) AS session_end_time,
    listed.participants,
    known.participants_written_time,
    known.attendance_written_time,
    known.failed_time,
    coalesce(
      greatest(known.participants_written_time, known.attendance_written_time),
      known.participants_written_time,
      known.attendance_written_time
    ) AS written_time,
    attended.session_id IS NOT NULL OR known.attendance_written_time IS NOT NULL AS is_collected
  FROM known
  LEFT JOIN listed
    ON listed.stage_arn = known.stage_arn
    AND listed.session_id = known.session_id
  LEFT JOIN attended
    ON attended.stage_arn = known.stage_arn
    AND attended.session_id = known.session_id
),
states AS (
  SELECT
    *,
    CASE
      WHEN session_end_time IS NULL THEN 'live'
      WHEN failed_time > CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) - INTERVAL '24' HOUR
        AND failed_time > session_end_time
        AND coalesce(failed_time > written_time, true) THEN 'failing'
      WHEN participants_written_time IS NULL AND participants IS NULL THEN 'missing'
      WHEN participants IS NULL THEN 'empty'
      WHEN NOT is_collected THEN 'exported'
      ELSE 'collected'
    END AS state
  FROM joined
)
SELECT
  state,
  dt,
  stage_arn,
  stage_name,
  session_id,
  session_start_time,
  session_end_time,
  if(state = 'empty', 0, participants) AS participants,
  participants_written_time,
  attendance_written_time,
  failed_time
FROM states
ORDER BY
  array_position(ARRAY['failing', 'missing', 'exported', 'live', 'empty', 'collected'], state),
  session_start_time DESC,
  stage_arn,
  session_id
