-- Who was in one session under several participant ids: reconnected with a new token, or on two devices
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each session and user id with two participants or more. participants: how many. first_join, last_join: the
-- earliest and the latest time at which one of them first joined. participant_ids: in the order of joining. at_once: true if
-- two or more of them were connected at the same time, as on two devices; false if always one after the other, as with a new
-- token. seconds_at_once: for how long, in whole seconds, cut. A few seconds are usual when a new connection replaces an old
-- one. at_once and seconds_at_once are null until the session is collected, an hour or more after its end, and where IVS was
-- not asked about one of the participants. A replica neither joins nor leaves: it counts as connected while it published. What
-- is inferred counts as it is in the view stays.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
-- People without a user id cannot be told apart and are left out.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
listed AS (
  SELECT *
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
    AND user_id <> ''
),
attended AS (
  SELECT *
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
),
people AS (
  SELECT
    listed.dt,
    listed.stage_arn,
    listed.session_id,
    listed.user_id,
    count(*) AS participants,
    min(listed.first_join_time) AS first_join,
    max(listed.first_join_time) AS last_join,
    array_join(array_agg(listed.participant_id ORDER BY listed.first_join_time NULLS LAST, listed.participant_id), ', ')
      AS participant_ids,
    bool_and(connected_ms IS NOT NULL) AS collected
  FROM listed
  LEFT JOIN attended
    ON attended.dt = listed.dt
    AND attended.stage_arn = listed.stage_arn
    AND attended.session_id = listed.session_id
    AND attended.participant_id = listed.participant_id
  GROUP BY listed.dt, listed.stage_arn, listed.session_id, listed.user_id
  HAVING count(*) > 1
),
changes AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    user_id,
    sum(sum(change)) OVER (PARTITION BY dt, stage_arn, session_id, user_id ORDER BY instant) AS there,
    instant,
    lead(instant) OVER (PARTITION BY dt, stage_arn, session_id, user_id ORDER BY instant) AS next_instant
  FROM stays
  CROSS JOIN UNNEST(ARRAY[joined_at, left_at], ARRAY[1, -1]) AS border (instant, change)
  WHERE dt IN (SELECT dt FROM days)
    AND user_id <> ''
  GROUP BY dt, stage_arn, session_id, user_id, instant
),
together AS (
  SELECT dt, stage_arn, session_id, user_id, sum(date_diff('millisecond', instant, next_instant)) AS together_ms
  FROM changes
  WHERE there > 1
  GROUP BY dt, stage_arn, session_id, user_id
)
SELECT
  people.dt,
  people.stage_arn,
  people.session_id,
  people.user_id,
  participants,
  first_join,
  last_join,
  participant_ids,
  if(collected, coalesce(together_ms, 0)) > 0 AS at_once,
  if(collected, coalesce(together_ms, 0)) / 1000 AS seconds_at_once
FROM people
LEFT JOIN together
  ON together.dt = people.dt
  AND together.stage_arn = people.stage_arn
  AND together.session_id = people.session_id
  AND together.user_id = people.user_id
ORDER BY people.dt, people.stage_arn, people.session_id, participants DESC, people.user_id
