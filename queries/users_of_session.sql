-- Which users were in this session, and for how long over all their devices and participant ids
--
-- Parameters, in the order of the question marks:
--   1. the first day on which it can have started, e.g. '2026-11-06'
--   2. the last day, e.g. '2026-11-06'
--   3. the session's id, e.g. 'st-Reconnect0001'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each user id, in the order of joining; of two stages with a session of this id, one after the other.
-- People without a user id, null or empty, cannot be told apart: they have a row for each participant.
-- participants: how many participants the user was. participant_ids: their ids, in the order of joining. stays: how many stays
-- they had together. joined: the first time of joining. left_at: the last leaving that IVS told of, or the end of the last stay
-- if that is later.
-- minutes: how long at least one of them was connected, in whole minutes, cut. Two devices at once count once.
-- minutes_of_participants: how long each was connected, added up and then cut. IVS bills them so. share_of_session: minutes, of
-- the session's length, in whole percent, cut. It exceeds 100 only if IVS told of times before the session's start or after its
-- end. inferred: IVS left out a joining or a leaving, so the times are an estimate.
-- stays, left_at, the minutes, share_of_session and inferred are null until the session is collected, an hour or more after its
-- end. They stay null where IVS was not asked about one of the user's participants. left_at is also null without a stay and a leaving.
-- A replica neither joins nor leaves: its stays are the times in which it published.
-- Reads only the days from 1 to 2.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
listed AS (
  SELECT
    *,
    if(user_id <> '', NULL, participant_id) AS nameless_id
  FROM participants
  WHERE session_id = ?
    AND dt IN (SELECT dt FROM days)
),
attended AS (
  SELECT *
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
),
people AS (
  SELECT
    listed.dt,
    listed.stage_arn,
    listed.session_id,
    listed.user_id,
    listed.nameless_id,
    date_diff('millisecond', min(listed.session_start_time), min(listed.session_end_time)) AS session_ms,
    count(*) AS participants,
    array_join(array_agg(listed.participant_id ORDER BY listed.first_join_time NULLS LAST, listed.participant_id), ', ')
      AS participant_ids,
    min(listed.first_join_time) AS joined,
    max(last_leave_time) AS last_leave_time,
    bool_and(connected_ms IS NOT NULL) AS collected,
    sum(connected_ms) AS participants_ms,
    bool_or(join_inferred OR leave_inferred) AS inferred
  FROM listed
  LEFT JOIN attended
    ON attended.dt = listed.dt
    AND attended.stage_arn = listed.stage_arn
    AND attended.session_id = listed.session_id
    AND attended.participant_id = listed.participant_id
  GROUP BY listed.dt, listed.stage_arn, listed.session_id, listed.user_id, listed.nameless_id
),
stayed AS (
  SELECT
    *,
    if(user_id <> '', NULL, participant_id) AS nameless_id
  FROM stays
  WHERE dt IN (SELECT dt FROM days)
),
changes AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    user_id,
    nameless_id,
    instant,
    sum(sum(change)) OVER (PARTITION BY dt, stage_arn, session_id, user_id, nameless_id ORDER BY instant) AS there,
    lead(instant) OVER (PARTITION BY dt, stage_arn, session_id, user_id, nameless_id ORDER BY instant) AS next_instant,
    count_if(change > 0) AS stays
  FROM stayed
  CROSS JOIN UNNEST(ARRAY[joined_at, left_at], ARRAY[1, -1]) AS border (instant, change)
  GROUP BY dt, stage_arn, session_id, user_id, nameless_id, instant
),
unions AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    user_id,
    nameless_id,
    sum(stays) AS stays,
    max(instant) AS last_end,
    coalesce(sum(date_diff('millisecond', instant, next_instant)) FILTER (WHERE there > 0), 0) AS union_ms
  FROM changes
  GROUP BY dt, stage_arn, session_id, user_id, nameless_id
)
SELECT
  people.stage_arn,
  people.session_id,
  people.user_id,
  participants,
  participant_ids,
  if(collected, coalesce(stays, 0)) AS stays,
  joined,
  if(collected, coalesce(greatest(last_end, last_leave_time), last_end, last_leave_time)) AS left_at,
  if(collected, coalesce(union_ms, 0)) / 60000 AS minutes,
  if(collected, participants_ms) / 60000 AS minutes_of_participants,
  if(collected, coalesce(union_ms, 0)) * 100 / nullif(session_ms, 0) AS share_of_session,
  if(collected, inferred) AS inferred
FROM people
LEFT JOIN unions
  ON unions.dt = people.dt
  AND unions.stage_arn = people.stage_arn
  AND unions.session_id = people.session_id
  AND unions.user_id IS NOT DISTINCT FROM people.user_id
  AND unions.nameless_id IS NOT DISTINCT FROM people.nameless_id
ORDER BY people.stage_arn, joined NULLS LAST, participant_ids
