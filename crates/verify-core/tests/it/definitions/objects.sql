-- Objects of every kind, and those whose text PostgreSQL prints otherwise after a dump and a restore.
CREATE ROLE reader; CREATE ROLE writer;
CREATE SCHEMA app; CREATE SCHEMA "Odd "" name'"; GRANT USAGE ON SCHEMA app TO reader;
COMMENT ON SCHEMA app IS 'the application';
GRANT USAGE ON SCHEMA public TO PUBLIC;
CREATE COLLATION app.french (provider = libc, locale = 'C');
CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy'); ALTER TYPE app.mood ADD VALUE 'fine' BEFORE 'happy';
CREATE TYPE app.pair AS (a int, b text COLLATE "C"); COMMENT ON COLUMN app.pair.a IS 'first';
CREATE TYPE app.float_range AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TYPE app.shell;
CREATE DOMAIN app.positive AS int DEFAULT 1 NOT NULL CHECK (VALUE > 0) CONSTRAINT small CHECK (VALUE BETWEEN 1 AND 1000);
CREATE DOMAIN app.code AS varchar(10) COLLATE "C" CHECK (VALUE IN ('a', 'b'));
CREATE SEQUENCE app.numbers AS smallint INCREMENT 2 MINVALUE -5 MAXVALUE 500 START 7 CACHE 3 CYCLE;
CREATE FUNCTION app.double(i int, factor int DEFAULT 2) RETURNS int LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 7 AS 'SELECT i * factor';
CREATE FUNCTION app.rows_of(OUT a int, OUT b text) RETURNS SETOF record LANGUAGE sql STABLE ROWS 17 SET work_mem = '4MB' AS $$ SELECT 1, 'x' $$;
CREATE FUNCTION app.definer() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = app, pg_temp AS $$
BEGIN
    RETURN 'a' || current_user;
END $$;
REVOKE EXECUTE ON FUNCTION app.definer() FROM PUBLIC; GRANT EXECUTE ON FUNCTION app.definer() TO reader WITH GRANT OPTION;
CREATE PROCEDURE app.work(INOUT n int) LANGUAGE plpgsql AS 'BEGIN n := n + 1; END';
CREATE AGGREGATE app.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0', PARALLEL = SAFE);
CREATE FUNCTION app.mood_cast(app.mood) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE CAST (app.mood AS int) WITH FUNCTION app.mood_cast(app.mood) AS ASSIGNMENT;
CREATE FUNCTION app.pair_lt(app.pair, app.pair) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a < ($2).a';
CREATE FUNCTION app.pair_cmp(app.pair, app.pair) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a - ($2).a';
CREATE OPERATOR app.<< (LEFTARG = app.pair, RIGHTARG = app.pair, FUNCTION = app.pair_lt, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR FAMILY app.pairs USING btree;
CREATE OPERATOR CLASS app.pair_ops FOR TYPE app.pair USING btree FAMILY app.pairs AS OPERATOR 1 app.<<, FUNCTION 1 app.pair_cmp(app.pair, app.pair);
CREATE CONVERSION app.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TEXT SEARCH DICTIONARY app.simple_words (TEMPLATE = simple, STOPWORDS = english);
CREATE TEXT SEARCH CONFIGURATION app.words (COPY = english);
ALTER TEXT SEARCH CONFIGURATION app.words ALTER MAPPING FOR asciiword WITH app.simple_words, english_stem;

CREATE TABLE app.customers (
    id int GENERATED ALWAYS AS IDENTITY (START 100) PRIMARY KEY,
    name varchar(40) COLLATE "C" NOT NULL DEFAULT 'nobody',
    mood app.mood DEFAULT 'ok', size app.positive, code app.code,
    level text CHECK (level IN ('low', 'mid', 'high')),
    short varchar(5) CHECK (short IN ('a', 'b')),
    age int CHECK (age BETWEEN 0 AND 150 AND (age <> 13 AND age <> 14)),
    born date DEFAULT CURRENT_DATE, price numeric(10, 2) DEFAULT 1.50,
    doubled int GENERATED ALWAYS AS (app.double(id)) STORED,
    spare jsonb, doc tsvector,
    CONSTRAINT sane CHECK (price >= 0 AND (name)::text <> ALL (ARRAY['x', 'y']) OR born BETWEEN '2000-01-01' AND now()) NO INHERIT,
    UNIQUE (name, born) DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE app.customers ALTER COLUMN spare SET STORAGE EXTERNAL, ALTER COLUMN name SET STATISTICS 300, ALTER COLUMN name SET (n_distinct = -0.5);
ALTER TABLE app.customers SET (fillfactor = 80, autovacuum_enabled = off, toast.autovacuum_enabled = off);
ALTER TABLE app.customers REPLICA IDENTITY FULL;
COMMENT ON TABLE app.customers IS E'line one\nline two'; COMMENT ON COLUMN app.customers.name IS 'its name';
COMMENT ON CONSTRAINT sane ON app.customers IS 'sane';
GRANT SELECT ON app.customers TO reader; GRANT SELECT (name), UPDATE (name) ON app.customers TO writer; GRANT ALL ON app.customers TO writer;
CREATE INDEX customers_lower ON app.customers (lower(name), price DESC NULLS LAST) INCLUDE (age) WHERE age BETWEEN 1 AND 9;
CREATE INDEX customers_expr ON app.customers ((price + 1), (name || 'x') COLLATE "C" text_pattern_ops);
CREATE INDEX customers_gin ON app.customers USING gin (spare jsonb_path_ops) WITH (fastupdate = off);
CREATE INDEX customers_brin ON app.customers USING brin (born) WITH (pages_per_range = 16);
ALTER INDEX app.customers_expr ALTER COLUMN 1 SET STATISTICS 50; COMMENT ON INDEX app.customers_expr IS 'expressions';
CREATE UNIQUE INDEX customers_one ON app.customers ((id IS NOT NULL)) WHERE id = 0; ALTER TABLE app.customers CLUSTER ON customers_pkey;
CREATE STATISTICS app.customer_stats (dependencies, ndistinct) ON name, age FROM app.customers; ALTER STATISTICS app.customer_stats SET STATISTICS 77;

CREATE TABLE app.orders (id bigserial, customer int NOT NULL REFERENCES app.customers ON DELETE CASCADE ON UPDATE SET NULL DEFERRABLE,
    placed timestamptz NOT NULL DEFAULT now(), during tsrange, note text, EXCLUDE USING gist (during WITH &&), PRIMARY KEY (id));
ALTER TABLE app.orders ADD CONSTRAINT later CHECK (note <> 'bad') NOT VALID;
CREATE TABLE app.parted (id int, at date NOT NULL, amount int CHECK (amount > 0), customer int REFERENCES app.customers, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE app.parted_1 PARTITION OF app.parted FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE app.parted_2 (extra_first text, customer int, at date NOT NULL, id int NOT NULL, amount int, CONSTRAINT parted_amount_check CHECK (amount > 0));
ALTER TABLE app.parted_2 DROP COLUMN extra_first; ALTER TABLE app.parted_2 ADD CONSTRAINT own_name FOREIGN KEY (customer) REFERENCES app.customers;
ALTER TABLE app.parted ATTACH PARTITION app.parted_2 FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
CREATE TABLE app.parted_rest PARTITION OF app.parted DEFAULT PARTITION BY LIST (id);
CREATE TABLE app.parted_odd PARTITION OF app.parted_rest FOR VALUES IN (1);
CREATE TABLE app.to_parted (id int, at date, FOREIGN KEY (id, at) REFERENCES app.parted);
CREATE INDEX parted_amount ON app.parted (amount) WHERE amount IN (1, 2, 3);
CREATE TABLE app.hashed (k text) PARTITION BY HASH (k); CREATE TABLE app.hashed_0 PARTITION OF app.hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE app.parent (a int DEFAULT 1, b text CHECK (b <> ''), c int); CREATE TABLE app.child (d int, a int DEFAULT 2) INHERITS (app.parent);
COMMENT ON CONSTRAINT parent_b_check ON app.child IS 'inherited';
ALTER TABLE app.parent DROP COLUMN c; ALTER TABLE app.parent ADD COLUMN e int NOT NULL DEFAULT 3;
CREATE UNLOGGED TABLE app.cache (k text PRIMARY KEY, v app.pair[]);
CREATE TABLE app.typed OF app.pair (PRIMARY KEY (a));
CREATE TABLE "Odd "" name'"."Table; --" ("select" int, "a.b" text, "ü" int);
CREATE TABLE app.no_columns ();

CREATE VIEW app.recent AS SELECT c.id, c.name, o.placed, CASE WHEN c.age BETWEEN 1 AND 5 THEN 'child' END AS what, sum(o.id) OVER w AS running
    FROM app.customers c JOIN app.orders o ON o.customer = c.id WHERE o.placed BETWEEN now() - interval '1 day' AND now()
      AND c.level IN ('low', 'mid') AND c.short IN ('a', 'b') AND NOT EXISTS (SELECT FROM app.cache WHERE k = c.name)
    WINDOW w AS (PARTITION BY c.id ORDER BY o.placed);
CREATE VIEW app.checked WITH (security_barrier) AS SELECT id, name FROM app.customers WHERE id > 5 WITH CASCADED CHECK OPTION;
ALTER VIEW app.checked ALTER COLUMN name SET DEFAULT 'view';
CREATE VIEW app.counting AS WITH RECURSIVE c (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT n FROM c;
CREATE MATERIALIZED VIEW app.summary AS SELECT level, count(*) AS n FROM app.customers GROUP BY level; CREATE UNIQUE INDEX ON app.summary (level);
CREATE VIEW app.star AS SELECT * FROM app.customers NATURAL JOIN (SELECT 1 AS id) one;
CREATE RULE no_delete AS ON DELETE TO app.checked DO INSTEAD NOTHING;
CREATE RULE log_update AS ON UPDATE TO app.cache WHERE old.k IN ('a', 'b') AND new.k BETWEEN 'a' AND 'c' DO ALSO INSERT INTO app.parent (a, b) VALUES (1, new.k);
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER touch BEFORE INSERT OR UPDATE OF name, age ON app.customers FOR EACH ROW WHEN (new.age BETWEEN 1 AND 2 AND new.short IN ('a')) EXECUTE FUNCTION app.touch('a', 'b''c');
CREATE TRIGGER parted_touch AFTER INSERT ON app.parted FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON app.orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (old.note IS DISTINCT FROM new.note) EXECUTE FUNCTION app.touch();
CREATE TRIGGER statement AFTER DELETE ON app.orders REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION app.touch();
ALTER TABLE app.orders DISABLE TRIGGER late; ALTER TABLE app.customers ENABLE ALWAYS TRIGGER touch;
ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY; ALTER TABLE app.orders FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON app.orders FOR SELECT TO reader, writer USING (customer BETWEEN 1 AND 10 AND note IN ('a', 'b'));
CREATE POLICY strict ON app.orders AS RESTRICTIVE WITH CHECK (note::varchar IN ('a', 'b') AND EXISTS (SELECT FROM app.customers c WHERE c.id = orders.customer));
CREATE PUBLICATION two FOR TABLE app.orders, app.customers WITH (publish = 'insert, update');
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE FUNCTION app.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER on_ddl ON ddl_command_end WHEN TAG IN ('CREATE SEQUENCE') EXECUTE FUNCTION app.on_ddl(); ALTER EVENT TRIGGER on_ddl DISABLE;
CREATE EXTENSION postgres_fdw SCHEMA app; CREATE EXTENSION hstore; COMMENT ON EXTENSION hstore IS 'own comment';
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'elsewhere.example', dbname 'x');
CREATE USER MAPPING FOR reader SERVER elsewhere OPTIONS (user 'u', password 'not-to-be-seen');
CREATE FOREIGN TABLE app.far (id int OPTIONS (column_name 'ID'), note text) SERVER elsewhere OPTIONS (schema_name 's');
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO reader; ALTER DEFAULT PRIVILEGES FOR ROLE writer REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO reader; REVOKE SELECT ON pg_catalog.pg_settings FROM PUBLIC;
CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
ALTER TABLE app.cache OWNER TO writer; ALTER FUNCTION app.double OWNER TO writer; ALTER SCHEMA "Odd "" name'" OWNER TO writer;
CREATE VIEW "Odd "" name'".owned AS SELECT 1 AS one; ALTER VIEW "Odd "" name'".owned OWNER TO writer;
INSERT INTO app.customers (name, size, age) SELECT 'c' || i, 1, 20 FROM generate_series(1, 50) i;
INSERT INTO app.orders (customer, note) SELECT 100 + i, 'n' FROM generate_series(1, 40) i; INSERT INTO app.parted VALUES (1, '2020-02-02', 5, 101), (2, '2021-02-02', 5, 102);
REFRESH MATERIALIZED VIEW app.summary;
SELECT lo_from_bytea(4711, 'large'); COMMENT ON LARGE OBJECT 4711 IS 'an object';
