-- Who left this session and came back, and how long were they away
--
-- Parameters, in the order of the question marks:
--   1. the first day on which it can have started, e.g. '2026-11-13'
--   2. the last day, e.g. '2026-11-13'
--   3. the session's id, e.g. 'st-Lives00000001'
--   4. longer than how many minutes: 0 to 1440, e.g. '0'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each gap that is longer than so many minutes; of two stages with a session of this id, one after the
-- other. In a gap the user is there with none of their participants: who leaves with one device and stays with another has no
-- gap. People without a user id, null or empty, cannot be told apart: each of their participants has its own gaps.
-- participant_id: the one with which they came back; of several at the same instant, the first by its text. away_from, back_at:
-- when the gap began and ended. minutes: its length, in whole minutes, cut. inferred: IVS left out a joining or a leaving of
-- this user, so there may have been no gap, or another.
-- Who joins and leaves within one second was there without length. That ends one gap and begins another.
-- Not counted: replicas, and others of whom IVS told neither joining nor leaving. There is no row for a session until it is
-- collected, an hour or more after its end, and none for people about whom IVS was not asked.
-- A number of another form is refused.
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
  SELECT
    stays.stage_arn,
    stays.session_id,
    stays.participant_id,
    stays.user_id,
    if(stays.user_id <> '', NULL, stays.participant_id) AS nameless_id,
    joined_at,
    left_at,
    join_inferred OR leave_inferred AS inferred
  FROM stays
  INNER JOIN attended
    ON attended.dt = stays.dt
    AND attended.stage_arn = stays.stage_arn
    AND attended.session_id = stays.session_id
    AND attended.participant_id = stays.participant_id
  WHERE stays.session_id = ?
    AND stays.dt IN (SELECT dt FROM days)
    AND NOT while_publishing
),
allowed AS (
  SELECT number * 60000 AS milliseconds
  FROM UNNEST(sequence(0, 1440)) AS numbers (number)
  WHERE number = CAST(
      regexp_replace(
        'not 0 to 1440 whole minutes: ' || ?,
        '^not 0 to 1440 whole minutes: (\d|[1-9]\d{1,2}|1[0-3]\d\d|14[0-3]\d|1440)$',
        '$1'
      ) AS integer
    )
),
returns AS (
  SELECT
    stage_arn,
    participant_id,
    user_id,
    max(left_at) OVER (
      PARTITION BY stage_arn, session_id, user_id, nameless_id
      ORDER BY joined_at, participant_id, left_at
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS away_from,
    joined_at AS back_at,
    bool_or(inferred) OVER (PARTITION BY stage_arn, session_id, user_id, nameless_id) AS inferred
  FROM stayed
)
SELECT
  stage_arn,
  user_id,
  participant_id,
  away_from,
  back_at,
  date_diff('millisecond', away_from, back_at) / 60000 AS minutes,
  inferred
FROM returns
CROSS JOIN allowed
WHERE back_at > away_from
  AND date_diff('millisecond', away_from, back_at) > milliseconds
ORDER BY stage_arn, away_from, back_at, participant_id
