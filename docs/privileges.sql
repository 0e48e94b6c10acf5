-- The privileges of a role with which state-lab measures and checks. Run as a superuser, in each database that is captured:
--   psql -v role=state_lab_reader -f privileges.sql
-- and in each restored database, where the role has come with the copy or has been created:
--   psql -v role=state_lab_reader -v restored=yes -f privileges.sql

-- Everything is read: capture, verify, compare. On PostgreSQL 13, which has no role for that, table by table; a copy has these already.
SELECT current_setting('server_version_num')::int >= 140000 AS has_read_all \gset
\if :has_read_all
GRANT pg_read_all_data TO :"role";
\elif :{?restored}
\else
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', nspname, :'role')
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \gexec
SELECT format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', nspname, :'role')
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \gexec
SELECT format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', nspname, :'role')
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \gexec
\endif

-- A table whose rows row security hides from the role is refused, never measured without them.
ALTER ROLE :"role" BYPASSRLS;

-- Settings of the server that only superusers see otherwise (check `cluster`).
GRANT pg_read_all_settings TO :"role";

\if :{?restored}
-- Indexes, pages and visibility maps (checks `indexes`, `heap`, `visibility`). `catalog` expects these two extensions on a copy.
CREATE EXTENSION IF NOT EXISTS amcheck;
CREATE EXTENSION IF NOT EXISTS pg_visibility;
SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', d.objid::regprocedure, :'role')
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass
WHERE e.extname IN ('amcheck', 'pg_visibility') AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e' \gexec
\else
-- Large objects have their own privileges, which a copy has already.
SELECT format('GRANT SELECT ON LARGE OBJECT %s TO %I', oid, :'role')
FROM pg_largeobject_metadata \gexec
\endif

-- The heartbeat has a writer of its own, after a role with CREATE on the database has run `state-lab heartbeat install`:
--   GRANT USAGE ON SCHEMA state_lab TO …; GRANT SELECT, INSERT, DELETE ON state_lab.heartbeat TO …;

-- A physical backup (`backup --method physical`) also needs: ALTER ROLE … REPLICATION, and a line in pg_hba.conf for it.
-- A snapshot of the server's volumes (`backup --method snapshot`) also needs UPDATE, DELETE or TRUNCATE on every table, or, from PostgreSQL 17 on,
-- GRANT pg_maintain: it locks them while the snapshot is taken.
-- Verifying a physical copy as of its capture needs a superuser on the copy, not on the source: `restore` connects as one.
