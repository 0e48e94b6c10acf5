-- Objects that PostgreSQL has from 18 on.
CREATE TABLE app.newest (a int CONSTRAINT never_null NOT NULL, b int, c int GENERATED ALWAYS AS (b + 1) VIRTUAL, d int,
    CONSTRAINT unenforced CHECK (a BETWEEN 1 AND 5) NOT ENFORCED, UNIQUE NULLS NOT DISTINCT (b));
ALTER TABLE app.newest ADD CONSTRAINT d_later NOT NULL d NOT VALID;
CREATE EXTENSION btree_gist;
CREATE TABLE app.temporal (id int, during daterange, PRIMARY KEY (id, during WITHOUT OVERLAPS));
CREATE TABLE app.temporal_of (id int, during daterange, FOREIGN KEY (id, PERIOD during) REFERENCES app.temporal (id, PERIOD during));
