-- The first passwords, as verifiers (SCRAM-SHA-256): no password is sent, and none can get into a log. A line is a
-- statement. `\password USER` of psql does the same by hand.
ALTER ROLE rotator PASSWORD '$rotator';
ALTER ROLE shop_a PASSWORD '$shop_a';
