-- In which files does this user stand: for the deletion of their rows, by docs/erasure.md
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
--   3. the user id, exactly as in the tokens, e.g. 'ana'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each file of the table participants. rows: how many of its rows are the user's. The files of attendance
-- and participant_events have the same names, and are not listed.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC. All there is: from the stack's FirstDay to
-- today.
SELECT "$path" AS file, count(*) AS "rows"
FROM participants
WHERE dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
  AND user_id = ?
GROUP BY "$path"
ORDER BY file
