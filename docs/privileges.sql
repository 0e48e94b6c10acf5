-- The privileges that state-lab needs, for a role of its own. Run as a superuser in each database that is measured:
--   psql -v role=state_lab_reader -f privileges.sql
-- On PostgreSQL 14 and later `GRANT pg_read_all_data TO …` does the same for all tables at once.

-- Reading every table (capture, verify, compare).
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', nspname, :'role')
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \gexec
SELECT format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', nspname, :'role')
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \gexec
SELECT format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', nspname, :'role')
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \gexec

-- Large objects have their own privileges.
SELECT format('GRANT SELECT ON LARGE OBJECT %s TO %I', oid, :'role')
FROM pg_largeobject_metadata \gexec

-- A table whose rows row-level security hides from the role is refused, never measured without them.
ALTER ROLE :"role" BYPASSRLS;

-- The heartbeat has a writer of its own, after a role with CREATE on the database has run `state-lab heartbeat install`:
--   GRANT USAGE ON SCHEMA state_lab TO …; GRANT SELECT, INSERT, DELETE ON state_lab.heartbeat TO …;

-- A physical backup (`backup --method physical`) also needs: ALTER ROLE … REPLICATION, and a line in pg_hba.conf for it.
-- Verifying a physical copy needs a superuser on the copy, not on the source.

-- Verifying indexes and pages of a restored database (docs/checks.md) needs a superuser there; or a role with these, which the source
-- needs before it is captured, too:
--   CREATE EXTENSION amcheck; CREATE EXTENSION pg_visibility;
--   GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO …;
-- Otherwise: `verify --skip indexes,heap,visibility`.
