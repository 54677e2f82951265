-- What happened to this user: all events that the lake holds of them, for a data protection request
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
--   3. the user id, exactly as in the tokens, e.g. 'ana'
-- A day of another form, or that is no date, is refused.
-- Columns: those of participant_events. A row for each event of a participant with this user id, and for each exchange of a
-- token from or to it. The events of a participant come in the order of time; their order within a second is not known.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC. All there is: from the stack's FirstDay to
-- today.
-- Sessions that are not collected yet have no events. When others watched this user, the events are those of the others, and
-- are not in the answer. They name this user's participant id in remote_participant_id.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
events AS (
  SELECT *
  FROM participant_events
  WHERE dt IN (SELECT dt FROM days)
)
SELECT *
FROM events
WHERE ? IN (user_id, previous_user_id, new_user_id)
ORDER BY
  session_start_time,
  stage_arn,
  session_id,
  participant_id,
  event_time NULLS LAST,
  name NULLS LAST,
  remote_participant_id NULLS LAST,
  error_code NULLS LAST,
  replica NULLS LAST,
  destination_stage_arn NULLS LAST,
  destination_session_id NULLS LAST,
  previous_user_id NULLS LAST,
  new_user_id NULLS LAST,
  previous_capabilities NULLS LAST,
  new_capabilities NULLS LAST,
  previous_expiration_time NULLS LAST,
  new_expiration_time NULLS LAST,
  json_format(CAST(previous_attributes AS json)) NULLS LAST,
  json_format(CAST(new_attributes AS json)) NULLS LAST
