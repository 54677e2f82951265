-- How many published, how many only watched, and for how long
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each session, the newest day first. publishers: participants who ever published, replicas included.
-- viewers: all others, also those of whom IVS did not say. publisher_user_ids: user ids of the publishers, each once; null if
-- none of them had one. published_minutes, watched_minutes: of all participants together, in whole minutes, cut. Who watches
-- two publishers at once counts once. Both are null until the session is collected, an hour or more after its end. With
-- Collect=publishers they tell of the publishers only.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
listed AS (
  SELECT dt, stage_arn, session_id, participant_id, user_id, published
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
),
attended AS (
  SELECT dt, stage_arn, session_id, sum(publish_ms) AS publish_ms, sum(watch_ms) AS watch_ms
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
  GROUP BY dt, stage_arn, session_id
)
SELECT
  listed.dt,
  listed.stage_arn,
  listed.session_id,
  count_if(listed.published) AS publishers,
  count_if(NOT coalesce(listed.published, false)) AS viewers,
  array_join(
    array_agg(DISTINCT listed.user_id ORDER BY listed.user_id) FILTER (WHERE listed.published AND listed.user_id <> ''),
    ', '
  ) AS publisher_user_ids,
  max(attended.publish_ms) / 60000 AS published_minutes,
  max(attended.watch_ms) / 60000 AS watched_minutes
FROM listed
LEFT JOIN attended
  ON attended.dt = listed.dt
  AND attended.stage_arn = listed.stage_arn
  AND attended.session_id = listed.session_id
GROUP BY listed.dt, listed.stage_arn, listed.session_id
ORDER BY listed.dt DESC, listed.stage_arn, listed.session_id
