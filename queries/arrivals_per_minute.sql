-- How did people arrive in this session, minute by minute
--
-- Parameters, in the order of the question marks:
--   1. the first day on which it can have started, e.g. '2026-11-02'
--   2. the last day, e.g. '2026-11-02'
--   3. the session's id, e.g. 'st-Lecture000001'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each minute, in UTC, in which somebody joined; of two stages with a session of this id, one after the
-- other. arrived: participants who first joined in this minute. so_far: those who had joined by its end. Who came back with a
-- new token counts again, and replicas count. A last row without a minute counts those of whom IVS has no time of joining.
-- Reads only the days from 1 to 2. The day is that of the session's start, whenever the arrivals were: those after
-- midnight are among them.
-- How many were there at a time: concurrency_of_session, once the session is collected.
SELECT
  stage_arn,
  date_trunc('minute', first_join_time) AS minute,
  count(*) AS arrived,
  sum(count(*)) OVER (
    PARTITION BY stage_arn
    ORDER BY date_trunc('minute', first_join_time) NULLS LAST
  ) AS so_far
FROM participants
WHERE dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
  AND session_id = ?
GROUP BY stage_arn, date_trunc('minute', first_join_time)
ORDER BY stage_arn, minute NULLS LAST
