-- Former states of the table that are older than 5 days, and files that belong to none, are removed
--
-- Athena's dialect: https://docs.aws.amazon.com/athena/latest/ug/querying-iceberg-data-optimization.html
VACUUM history
