-- What was recorded, and what failed to record
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each participant with a recording, failed ones first. result: recorded, failed, unfinished (not
-- stopped yet when IVS was asked, after the session's end), or unknown (a state that IVS has added since).
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
-- Where the recording lies cannot be told: this list of IVS does not say.
SELECT
  CASE
    WHEN recording_state = 'FAILED' THEN 'failed'
    WHEN recording_state = 'STOPPED' THEN 'recorded'
    WHEN recording_state IN ('STARTING', 'ACTIVE', 'STOPPING') THEN 'unfinished'
    ELSE 'unknown'
  END AS result,
  dt,
  stage_arn,
  session_id,
  participant_id,
  user_id,
  recording_state
FROM participants
WHERE dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
  AND recording_state <> 'DISABLED'
ORDER BY recording_state = 'FAILED' DESC, dt, stage_arn, session_id, participant_id
