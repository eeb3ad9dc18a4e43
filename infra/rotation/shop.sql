-- What lies in the database of the shop. A line is a statement.
CREATE TABLE wares (id integer PRIMARY KEY, name text NOT NULL);
INSERT INTO wares VALUES (1, 'a lamp'), (2, 'a clock');
GRANT SELECT ON wares TO shop;
-- Before 15, anybody may make tables.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
