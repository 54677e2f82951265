-- How many participant-hours did each stage have in each month
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-10-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each month and stage with sessions that somebody joined, the newest month first, and in it the stage with
-- the most hours. month: its first day. hours: how long all participants together were connected, to a hundredth, cut; null where
-- nobody's are known. participants_without_hours: participants whose session is not collected, or about whom IVS was not asked.
-- While it is above 0, hours are too low. Replicas count, as in participant_hours.
-- Reads only the days from 1 to 2, of the table history: the sessions that started on them, in UTC. It has them from the next
-- morning on.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
)
SELECT
  date_trunc('month', date(dt)) AS month,
  stage_arn,
  count(DISTINCT session_id) AS sessions,
  count(*) AS participants,
  CAST(sum(connected_ms) / 36000 AS decimal(18, 2)) / 100 AS hours,
  count_if(connected_ms IS NULL) AS participants_without_hours
FROM history
WHERE dt IN (SELECT dt FROM days)
GROUP BY date_trunc('month', date(dt)), stage_arn
ORDER BY month DESC, sum(connected_ms) DESC NULLS LAST, stage_arn
