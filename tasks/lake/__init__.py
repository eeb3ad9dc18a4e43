"""The lake: schemas, the writer, the ledger, SQL views, checks."""
