-- Who was still connected or recording when IVS was asked, after the session's end
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
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
WHERE dt BETWEEN ? AND ?
  AND (state = 'CONNECTED' OR recording_state IN ('STARTING', 'ACTIVE', 'STOPPING'))
ORDER BY dt, stage_arn, session_id, participant_id
