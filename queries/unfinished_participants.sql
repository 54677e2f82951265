-- Who was still connected or recording when IVS was asked, after the session's end
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each such participant. connected, recording: which of the two it was.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
-- It is what IVS said at the second look, an hour after the end unless the deployment says otherwise. A session listed
-- only once so far may still change.
SELECT
  dt,
  stage_arn,
  session_id,
  participant_id,
  user_id,
  state = 'CONNECTED' AS connected,
  recording_state IN ('STARTING', 'ACTIVE', 'STOPPING') AS recording,
  session_end_time
FROM participants
WHERE dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
  AND (state = 'CONNECTED' OR recording_state IN ('STARTING', 'ACTIVE', 'STOPPING'))
ORDER BY dt, stage_arn, session_id, participant_id
