-- How many were in this session at once, minute by minute, and when was the peak
--
-- Parameters, in the order of the question marks:
--   1. the first day on which it can have started, e.g. '2026-11-13'
--   2. the last day, e.g. '2026-11-13'
--   3. the session's id, e.g. 'st-Lives00000001'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each minute, in UTC, from the first to the last in which somebody was there; of two stages with a session
-- of this id, one after the other. at_beginning: participants who were there at the minute's beginning. most: the largest
-- number who were there at once in this minute. most_at: when that number was first reached in it. peak: true in one minute
-- only, the first with the session's largest most; its most_at is the instant of the peak. not_collected: participants of whom
-- it is not known when they were there. If there are any, at_beginning and most may be too low.
-- Who leaves at an instant is not there together with who joins at it. A stay without length adds nobody. A stay whose
-- beginning or end is inferred counts as it is in the view stays. A replica counts while it published: IVS bills it as
-- connected. There is no row for a session until it is collected, an hour or more after its end.
-- The query fails if nobody comes or leaves for more than 10,000 minutes, some 7 days.
-- Reads only the days from 1 to 2.
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
),
attended AS (
  SELECT *
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
),
unknown AS (
  SELECT listed.dt, listed.stage_arn, listed.session_id, count_if(connected_ms IS NULL) AS not_collected
  FROM listed
  LEFT JOIN attended
    ON attended.dt = listed.dt
    AND attended.stage_arn = listed.stage_arn
    AND attended.session_id = listed.session_id
    AND attended.participant_id = listed.participant_id
  GROUP BY listed.dt, listed.stage_arn, listed.session_id
),
stayed AS (
  SELECT *
  FROM stays
  WHERE session_id = ?
    AND dt IN (SELECT dt FROM days)
    AND joined_at < left_at
),
stretches AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    instant AS begun_at,
    lead(instant) OVER (PARTITION BY dt, stage_arn, session_id ORDER BY instant) AS ended_at,
    sum(sum(change)) OVER (PARTITION BY dt, stage_arn, session_id ORDER BY instant) AS there
  FROM stayed
  CROSS JOIN UNNEST(ARRAY[joined_at, left_at], ARRAY[1, -1]) AS border (instant, change)
  GROUP BY dt, stage_arn, session_id, instant
),
pieces AS (
  SELECT dt, stage_arn, session_id, minute, there, greatest(begun_at, minute) AS begun_at
  FROM stretches
  CROSS JOIN UNNEST(
    sequence(
      date_trunc('minute', begun_at),
      date_trunc('minute', date_add('millisecond', -1, ended_at)),
      INTERVAL '1' MINUTE
    )
  ) AS clock (minute)
),
curve AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    minute,
    coalesce(max(there) FILTER (WHERE begun_at = minute), 0) AS at_beginning,
    max(there) AS most,
    min_by(begun_at, ROW(-there, begun_at)) AS most_at
  FROM pieces
  GROUP BY dt, stage_arn, session_id, minute
)
SELECT
  curve.stage_arn,
  curve.minute,
  at_beginning,
  most,
  most_at,
  row_number() OVER (PARTITION BY curve.dt, curve.stage_arn, curve.session_id ORDER BY most DESC, curve.minute) = 1 AS peak,
  not_collected
FROM curve
INNER JOIN unknown
  ON unknown.dt = curve.dt
  AND unknown.stage_arn = curve.stage_arn
  AND unknown.session_id = curve.session_id
ORDER BY curve.stage_arn, curve.minute
