#!/bin/bash
# Makes the application's role, database and example data. Patroni runs it once, on the new cluster's primary.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v password="$APP_PASSWORD" -d "$1" <<'SQL'
CREATE ROLE app LOGIN PASSWORD :'password';
CREATE DATABASE app OWNER app;
SQL
PGOPTIONS='-c role=app' psql -v ON_ERROR_STOP=1 --quiet -d app -f /etc/patroni/shop.sql
