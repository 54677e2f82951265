-- Whose beginning or end is inferred, because IVS left out a joining or a leaving
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each beginning or end that IVS does not tell of, the newest session first. open_end: beginning or end.
-- assumed: the time that stands for it. For a beginning it is first_join_time of the table participants. For an end it is the
-- session's end, or the last joining or leaving if that is later. joined_at, left_at: the stay that it belongs to. minutes: the
-- length of this stay, in whole minutes, cut: so much of the participant's time is an estimate.
-- while_publishing: IVS told of no joining and no leaving, as of a replica, and the stay is a time of publishing. Without a
-- stop, that of a replica ends with the session, or with its last event if that is later. That of another has no length.
-- A beginning without assumed and without a stay: IVS told of a leaving without a joining, and nothing tells of when it began.
-- It adds nothing to the participant's time, which may be too short.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC. Of sessions that are not collected yet nothing is
-- known.
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
  SELECT
    *,
    left_at = max(left_at) OVER (PARTITION BY dt, stage_arn, session_id, participant_id) AS is_last
  FROM stays
  WHERE dt IN (SELECT dt FROM days)
),
sides AS (
  SELECT *
  FROM attended
  CROSS JOIN UNNEST(ARRAY['beginning', 'end'], ARRAY[join_inferred, leave_inferred]) AS side (open_end, is_open)
  WHERE is_open
)
SELECT
  sides.dt,
  sides.stage_arn,
  sides.session_id,
  sides.participant_id,
  sides.user_id,
  open_end,
  if(open_end = 'beginning', joined_at, left_at) AS assumed,
  joined_at,
  left_at,
  date_diff('millisecond', joined_at, left_at) / 60000 AS minutes,
  while_publishing
FROM sides
LEFT JOIN stayed
  ON stayed.dt = sides.dt
  AND stayed.stage_arn = sides.stage_arn
  AND stayed.session_id = sides.session_id
  AND stayed.participant_id = sides.participant_id
  AND stayed.inferred
  AND open_end = if(while_publishing OR (leave_inferred AND is_last), 'end', 'beginning')
ORDER BY sides.session_start_time DESC, sides.stage_arn, sides.session_id, sides.participant_id, open_end, joined_at
