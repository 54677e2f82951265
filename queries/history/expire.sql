-- Rows of sessions that started more than RetentionDays ago are deleted, as S3 expires their files
DELETE FROM history
WHERE dt < CAST(current_date - INTERVAL '${RetentionDays}' DAY AS varchar)
