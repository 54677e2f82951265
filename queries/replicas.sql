-- Who was shown here from another stage, and from which session
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
--   3. the first day again, e.g. '2026-11-01'
--   4. the last day again, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each replica, with the stage and session that it comes from. source_participants: how many participants
-- that session had. It is null where the lake has no row of that session, or if that session started more than 7 days before
-- the first day or after the last.
-- Reads only the days from 1 to 2, and for the sources 7 days before and after, too: `dt` is the day on which a session
-- started.
WITH sources AS (
  SELECT stage_arn, session_id, count(*) AS participants
  FROM participants
  WHERE dt IN (
      SELECT CAST(day AS varchar)
      FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
      WHERE CAST(day AS varchar)
        BETWEEN CAST(
          date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1'))
          - INTERVAL '7' DAY AS varchar
        )
        AND CAST(
          least(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')), DATE '9999-12-24')
          + INTERVAL '7' DAY AS varchar
        )
    )
  GROUP BY stage_arn, session_id
)
SELECT
  replica.dt,
  replica.stage_arn,
  replica.session_id,
  replica.participant_id,
  replica.user_id,
  replica.replication_state,
  replica.source_stage_arn,
  replica.source_session_id,
  sources.participants AS source_participants
FROM participants AS replica
LEFT JOIN sources
  ON sources.stage_arn = replica.source_stage_arn
  AND sources.session_id = replica.source_session_id
WHERE replica.dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
  AND replica.replication_type = 'REPLICA'
ORDER BY replica.dt, replica.stage_arn, replica.session_id, replica.participant_id
