-- What PostgreSQL has before the first rotation. A line is a statement, as `postgres --single` reads them.

-- Who alters the pair: no superuser, and no member of what it alters. Both users are its to alter, and no others.
CREATE ROLE rotator LOGIN CREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 10;
-- The rights of the pair, which has none of its own.
CREATE ROLE shop NOLOGIN;
CREATE ROLE shop_a LOGIN IN ROLE shop;
CREATE ROLE shop_b NOLOGIN IN ROLE shop;
ALTER ROLE shop_a SET role = 'shop';
ALTER ROLE shop_b SET role = 'shop';
-- Before 16, CREATEROLE alters every role that is no superuser, and ADMIN OPTION would make it a member.
DO 'BEGIN IF current_setting(''server_version_num'')::int >= 160000 THEN EXECUTE ''GRANT shop_a, shop_b TO rotator WITH ADMIN TRUE, INHERIT FALSE, SET FALSE''; END IF; END';
-- To see whether an old credential is still used.
GRANT pg_read_all_stats TO rotator;
CREATE DATABASE shop OWNER postgres;
REVOKE ALL ON DATABASE shop, postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO rotator;
GRANT CONNECT ON DATABASE shop TO shop;
