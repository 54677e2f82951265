-- Many small files of a month become few, and what was deleted leaves them
--
-- Athena's dialect: https://docs.aws.amazon.com/athena/latest/ug/querying-iceberg-data-optimization.html
OPTIMIZE history REWRITE DATA USING BIN_PACK
