-- Who was still connected or recording when IVS was asked, after the session's end
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each such participant. connected, recording: which of the two it was; null where IVS sent no state.
-- left_at: the last leaving that IVS told of, or the end of the last stay if that is later. leave_inferred: IVS told of no
-- leaving then, so left_at is the session's end, or a later event.
-- Both are null until the session is collected, an hour or more after its end, and where IVS was not asked. left_at is also
-- null where IVS told of no stay and no leaving.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
-- connected and recording are what IVS said at the second look, an hour after the end unless the deployment says otherwise. A
-- session listed only once so far may still change.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
attended AS (
  SELECT dt, stage_arn, session_id, participant_id, last_leave_time, leave_inferred
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
),
ends AS (
  SELECT dt, stage_arn, session_id, participant_id, max(left_at) AS last_end
  FROM stays
  WHERE dt IN (SELECT dt FROM days)
  GROUP BY dt, stage_arn, session_id, participant_id
),
listed AS (
  SELECT dt, stage_arn, session_id, participant_id, user_id, state, recording_state, session_end_time
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
    AND (state = 'CONNECTED' OR recording_state IN ('STARTING', 'ACTIVE', 'STOPPING'))
)
SELECT
  listed.dt,
  listed.stage_arn,
  listed.session_id,
  listed.participant_id,
  listed.user_id,
  listed.state = 'CONNECTED' AS connected,
  listed.recording_state IN ('STARTING', 'ACTIVE', 'STOPPING') AS recording,
  listed.session_end_time,
  coalesce(greatest(ends.last_end, attended.last_leave_time), ends.last_end, attended.last_leave_time) AS left_at,
  attended.leave_inferred
FROM listed
LEFT JOIN attended
  ON attended.dt = listed.dt
  AND attended.stage_arn = listed.stage_arn
  AND attended.session_id = listed.session_id
  AND attended.participant_id = listed.participant_id
LEFT JOIN ends
  ON ends.dt = listed.dt
  AND ends.stage_arn = listed.stage_arn
  AND ends.session_id = listed.session_id
  AND ends.participant_id = listed.participant_id
ORDER BY listed.dt, listed.stage_arn, listed.session_id, listed.participant_id
