-- Who was in this session, from when to when and for how long
--
-- Parameters, in the order of the question marks:
--   1. the first day on which it can have started, e.g. '2026-11-06'
--   2. the last day, e.g. '2026-11-06'
--   3. the session's id, e.g. 'st-Reconnect0001'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each participant, in the order of joining; of two stages with a session of this id, one after the other.
-- joined: the first time of joining. left_at: the last time of leaving, or the session's end if IVS told of no leaving after the
-- last joining. minutes: how long the participant was connected, all stays together, in whole minutes. inferred: IVS left out
-- a joining or a leaving, so minutes is an estimate.
-- left_at, minutes and inferred are null until the session is collected, an hour or more after its end. A replica neither
-- joins nor leaves: its minutes are those in which it published.
-- Reads only the days from 1 to 2.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
attended AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    participant_id,
    if(leave_inferred, greatest(session_end_time, last_event_time), last_leave_time) AS left_at,
    connected_ms / 60000 AS minutes,
    join_inferred OR leave_inferred AS inferred
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
),
listed AS (
  SELECT *
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
)
SELECT
  listed.stage_arn,
  listed.session_id,
  listed.participant_id,
  listed.user_id,
  listed.first_join_time AS joined,
  attended.left_at,
  attended.minutes,
  attended.inferred,
  listed.published,
  listed.recording_state,
  listed.state,
  listed.session_end_time
FROM listed
LEFT JOIN attended
  ON attended.dt = listed.dt
  AND attended.stage_arn = listed.stage_arn
  AND attended.session_id = listed.session_id
  AND attended.participant_id = listed.participant_id
WHERE listed.session_id = ?
ORDER BY listed.stage_arn, listed.first_join_time NULLS LAST, listed.participant_id
