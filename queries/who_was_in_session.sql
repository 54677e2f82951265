-- Who was in this session, from when to when and for how long
--
-- Parameters, in the order of the question marks:
--   1. the first day on which it can have started, e.g. '2026-11-06'
--   2. the last day, e.g. '2026-11-06'
--   3. the session's id, e.g. 'st-Reconnect0001'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each participant, in the order of joining; of two stages with a session of this id, one after the other.
-- joined: the first time of joining. left_at: the last leaving that IVS told of, or the end of the last stay if that is later.
-- A stay without a leaving ends with the session, or with a later event. minutes: how long the participant was connected, all
-- stays together, in whole minutes, cut. inferred: IVS left out a joining or a leaving, so minutes is an estimate.
-- share_of_session: minutes, of the session's length, in whole percent, cut. It exceeds 100 only if IVS told of times before the
-- session's start or after its end. stays: how often the participant was there. Who left and came back has several.
-- left_at, minutes, inferred, share_of_session and stays are null until the session is collected, an hour or more after its
-- end. They stay null where IVS was not asked about the participant. left_at is also null of a participant without a stay and
-- without a leaving. A replica neither joins nor leaves: its stays are the times in which it published.
-- Reads only the days from 1 to 2.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
attended AS (
  SELECT *
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
),
stayed AS (
  SELECT dt, stage_arn, session_id, participant_id, count(*) AS stays, max(left_at) AS last_end
  FROM stays
  WHERE dt IN (SELECT dt FROM days)
  GROUP BY dt, stage_arn, session_id, participant_id
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
  coalesce(greatest(last_end, last_leave_time), last_end, last_leave_time) AS left_at,
  connected_ms / 60000 AS minutes,
  join_inferred OR leave_inferred AS inferred,
  listed.published,
  listed.recording_state,
  listed.state,
  listed.session_end_time,
  connected_ms * 100
    / nullif(date_diff('millisecond', listed.session_start_time, listed.session_end_time), 0) AS share_of_session,
  if(connected_ms IS NOT NULL, coalesce(stays, 0)) AS stays
FROM listed
LEFT JOIN attended
  ON attended.dt = listed.dt
  AND attended.stage_arn = listed.stage_arn
  AND attended.session_id = listed.session_id
  AND attended.participant_id = listed.participant_id
LEFT JOIN stayed
  ON stayed.dt = listed.dt
  AND stayed.stage_arn = listed.stage_arn
  AND stayed.session_id = listed.session_id
  AND stayed.participant_id = listed.participant_id
WHERE listed.session_id = ?
ORDER BY listed.stage_arn, listed.first_join_time NULLS LAST, listed.participant_id
