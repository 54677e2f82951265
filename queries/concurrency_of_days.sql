-- How many participants were connected at once over all stages, day by day, to compare with IVS's quota
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each day, in UTC, on which somebody was connected, or to which not_collected counts somebody.
-- most: the largest number of participants who were connected at once on this day, over all sessions and stages. most_at: when
-- that number was first reached, or the day's beginning if they were there since the day before. sessions, stages: how many
-- sessions and stages they were in at that instant. not_collected: participants of this day's sessions of whom it is not known
-- when they were there. If there are any, most may be too low. most, most_at, sessions and stages are null if nobody's times
-- are known.
-- Who leaves at an instant is not there together with who joins at it. A stay without length adds nobody. A stay whose
-- beginning or end is inferred counts as it is in the view stays. A replica counts while it published: IVS bills it as
-- connected.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC. A session that started before day 1 is left out,
-- even while it goes on. So the first days may be too low: ask from some days earlier.
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
  SELECT date(listed.dt) AS day, count_if(connected_ms IS NULL) AS not_collected
  FROM listed
  LEFT JOIN attended
    ON attended.dt = listed.dt
    AND attended.stage_arn = listed.stage_arn
    AND attended.session_id = listed.session_id
    AND attended.participant_id = listed.participant_id
  GROUP BY date(listed.dt)
  HAVING count_if(connected_ms IS NULL) > 0
),
pieces AS (
  SELECT
    day,
    stage_arn,
    session_id,
    greatest(joined_at, CAST(day AS timestamp(3))) AS begun_at,
    least(left_at, date_add('day', 1, CAST(day AS timestamp(3)))) AS ended_at
  FROM stays
  CROSS JOIN UNNEST(
    sequence(date(joined_at), date(date_add('millisecond', -1, left_at)), INTERVAL '1' DAY)
  ) AS calendar (day)
  WHERE dt IN (SELECT dt FROM days)
    AND joined_at < left_at
),
counts AS (
  SELECT day, instant, sum(sum(change)) OVER (PARTITION BY day ORDER BY instant) AS there
  FROM pieces
  CROSS JOIN UNNEST(ARRAY[begun_at, ended_at], ARRAY[1, -1]) AS border (instant, change)
  GROUP BY day, instant
),
peaks AS (
  SELECT day, max(there) AS most, min_by(instant, ROW(-there, instant)) AS most_at
  FROM counts
  GROUP BY day
),
peopled AS (
  SELECT
    peaks.day,
    most,
    most_at,
    count(DISTINCT ROW(stage_arn, session_id)) AS sessions,
    count(DISTINCT stage_arn) AS stages
  FROM peaks
  INNER JOIN pieces
    ON pieces.day = peaks.day
    AND begun_at <= most_at
    AND most_at < ended_at
  GROUP BY peaks.day, most, most_at
)
SELECT
  coalesce(peopled.day, unknown.day) AS day,
  most,
  most_at,
  sessions,
  stages,
  coalesce(not_collected, 0) AS not_collected
FROM peopled
FULL JOIN unknown
  ON unknown.day = peopled.day
WHERE CAST(coalesce(peopled.day, unknown.day) AS varchar) IN (SELECT dt FROM days)
ORDER BY day
