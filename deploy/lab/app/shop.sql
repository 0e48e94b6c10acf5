-- Example data, about 200 MB: a shop with its customers, past orders and what was in them; and the table of new orders.
BEGIN;
CREATE SCHEMA shop;

CREATE TABLE shop.customers (
    id bigint PRIMARY KEY,
    email text NOT NULL UNIQUE,
    joined_at timestamptz NOT NULL,
    preferences jsonb NOT NULL
);
INSERT INTO shop.customers
SELECT n, 'customer-' || n || '@example.test', timestamptz '2024-01-01' + n * interval '5 minutes',
       jsonb_build_object('language', (ARRAY['en', 'de', 'fr'])[1 + n % 3], 'newsletter', n % 2 = 0, 'tags', jsonb_build_array(n % 7, n % 11))
FROM generate_series(1, 150000) n;

CREATE TABLE shop.products (sku text PRIMARY KEY, name text NOT NULL, price numeric(10, 2) NOT NULL);
INSERT INTO shop.products SELECT 'SKU-' || n, 'product ' || md5(n::text), (n * 7 % 9999) / 100.0 FROM generate_series(1, 1000) n;

CREATE TABLE shop.orders (
    id bigint PRIMARY KEY,
    customer bigint NOT NULL,
    placed_at timestamptz NOT NULL,
    total numeric(12, 2) NOT NULL,
    note text
);
INSERT INTO shop.orders
SELECT n, 1 + n * 31 % 150000, timestamptz '2025-01-01' + n * interval '1 minute', (n * 13 % 100000) / 100.0,
       CASE WHEN n % 5 = 0 THEN 'leave it at the door ' || md5(n::text) END
FROM generate_series(1, 450000) n;

CREATE TABLE shop.order_items (
    order_id bigint,
    line smallint,
    sku text NOT NULL,
    quantity integer NOT NULL,
    price numeric(10, 2) NOT NULL,
    PRIMARY KEY (order_id, line)
);
INSERT INTO shop.order_items
SELECT o, l, 'SKU-' || 1 + (o * 17 + l) % 1000, 1 + o % 4, (o * 7 % 9999) / 100.0
FROM generate_series(1, 450000) o, generate_series(1, 2) l;

-- Once for all rows is much quicker than once a row.
ALTER TABLE shop.orders ADD FOREIGN KEY (customer) REFERENCES shop.customers;
ALTER TABLE shop.order_items ADD FOREIGN KEY (order_id) REFERENCES shop.orders;
ALTER TABLE shop.order_items ADD FOREIGN KEY (sku) REFERENCES shop.products;

-- What orders.py writes. A writer counts for itself, so that after a disaster every acknowledged row can be searched for.
CREATE SEQUENCE shop.new_order_id;
CREATE TABLE shop.new_orders (
    id bigint PRIMARY KEY DEFAULT nextval('shop.new_order_id'),
    writer text NOT NULL,
    number bigint NOT NULL,
    customer bigint NOT NULL REFERENCES shop.customers,
    total numeric(12, 2) NOT NULL,
    details jsonb NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (writer, number)
);
COMMIT;
