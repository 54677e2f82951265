-- What was recorded, where does it lie, and what failed to record
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each participant whose recording was on, failed ones first. result: recorded, failed, unfinished (not
-- stopped yet when IVS was asked, after the session's end), or unknown (a state that IVS has added since).
-- recording_s3_bucket_name and recording_s3_prefix: the bucket, and the folder in it. They are empty text where IVS says that
-- there is none. They are null until the session is collected, an hour or more after its end. They stay null where IVS sent
-- none or was not asked, and with CollectDetails=false.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
attended AS (
  SELECT dt, stage_arn, session_id, participant_id, recording_s3_bucket_name, recording_s3_prefix
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
),
listed AS (
  SELECT dt, stage_arn, session_id, participant_id, user_id, recording_state
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
    AND recording_state <> 'DISABLED'
)
SELECT
  CASE
    WHEN listed.recording_state = 'FAILED' THEN 'failed'
    WHEN listed.recording_state = 'STOPPED' THEN 'recorded'
    WHEN listed.recording_state IN ('STARTING', 'ACTIVE', 'STOPPING') THEN 'unfinished'
    ELSE 'unknown'
  END AS result,
  listed.dt,
  listed.stage_arn,
  listed.session_id,
  listed.participant_id,
  listed.user_id,
  listed.recording_state,
  attended.recording_s3_bucket_name,
  attended.recording_s3_prefix
FROM listed
LEFT JOIN attended
  ON attended.dt = listed.dt
  AND attended.stage_arn = listed.stage_arn
  AND attended.session_id = listed.session_id
  AND attended.participant_id = listed.participant_id
ORDER BY listed.recording_state = 'FAILED' DESC, listed.dt, listed.stage_arn, listed.session_id, listed.participant_id
