-- Objects that PostgreSQL has from 15 on.
CREATE FUNCTION app.modern(a int, b int DEFAULT 3) RETURNS bool LANGUAGE sql BEGIN ATOMIC SELECT a BETWEEN 1 AND b AND a IN (1, 2); END;
CREATE FUNCTION app.returning(a int) RETURNS int LANGUAGE sql IMMUTABLE RETURN a + 1;
CREATE STATISTICS app.expressions ON (age % 10), lower(name) FROM app.customers;
CREATE TABLE app.nulls (a int UNIQUE NULLS NOT DISTINCT, b text COMPRESSION pglz);
CREATE PUBLICATION filtered FOR TABLE app.parent (a, e) WHERE (a BETWEEN 1 AND 5 AND e IN (1, 2));
CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA public;
CREATE VIEW app.invoked WITH (security_invoker) AS SELECT 1 AS one;
CREATE FUNCTION app.find(app.mood) RETURNS text LANGUAGE sql STABLE BEGIN ATOMIC SELECT name FROM app.customers WHERE mood = $1 LIMIT 1; END;
