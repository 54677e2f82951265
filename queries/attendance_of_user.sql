-- What did this user attend: all that the lake holds of them, as for a request under data protection law
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
--   3. the user id, exactly as in the tokens, e.g. 'ana'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each participant with this user id, with all columns of the table.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC. All there is: from the stack's FirstDay to
-- today.
-- How long somebody stayed cannot be told: IVS lists no time of leaving.
SELECT *
FROM participants
WHERE dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
  AND user_id = ?
ORDER BY session_start_time, stage_arn, session_id, first_join_time NULLS LAST, participant_id
