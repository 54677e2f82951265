-- Is anything there twice: the answer must be empty
--
-- Parameters: none.
-- Columns: a row for each session that lies in more than one file, and for each participant who is in a session more than
-- once, in one of the tables participants, attendance and participant_events. twice: which of the two it is. rows: how many it
-- has; of participant_events, in how many files its participants are. files: in which it lies. Files without a row are not seen.
-- Reads all days, and lists each of them even where it is empty. From the day of the first session on, which the parameter
-- FirstDay of the stack can be set to, that is quicker.
SELECT
  if(grouping(participant_id) = 1, 'session', 'participant') AS twice,
  stage_arn,
  session_id,
  participant_id,
  count(*) AS "rows",
  array_join(array_agg(DISTINCT path ORDER BY path), ', ') AS files,
  table_name
FROM (
  SELECT 'participants' AS table_name, stage_arn, session_id, participant_id, "$path" AS path
  FROM participants
  UNION ALL
  SELECT 'attendance', stage_arn, session_id, participant_id, "$path"
  FROM attendance
  UNION ALL
  SELECT DISTINCT 'participant_events', stage_arn, session_id, participant_id, "$path"
  FROM participant_events
)
GROUP BY GROUPING SETS (
  (table_name, stage_arn, session_id),
  (table_name, stage_arn, session_id, participant_id)
)
HAVING
  (grouping(participant_id) = 1 AND count(DISTINCT path) > 1)
  OR (grouping(participant_id) = 0 AND participant_id IS NOT NULL AND count(*) > 1)
ORDER BY table_name, stage_arn, session_id, twice DESC, participant_id
