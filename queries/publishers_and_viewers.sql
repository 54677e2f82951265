-- How many published, and how many only watched
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each session, the newest day first. publishers: participants who ever published; viewers: all others, and
-- those of whom IVS did not say. publisher_user_ids: whose tokens had one, each once.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
SELECT
  dt,
  stage_arn,
  session_id,
  count_if(published) AS publishers,
  count_if(NOT coalesce(published, false)) AS viewers,
  array_join(
    array_agg(DISTINCT user_id ORDER BY user_id) FILTER (WHERE published AND user_id <> ''),
    ', '
  ) AS publisher_user_ids
FROM participants
WHERE dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
GROUP BY dt, stage_arn, session_id
ORDER BY dt DESC, stage_arn, session_id
