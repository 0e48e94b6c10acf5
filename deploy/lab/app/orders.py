"""Places orders through the Service, and records which of them the database acknowledged.

/var/lib/orders/acknowledged: a line `TIME WRITER NUMBER` for each commit that was acknowledged. The log counts them, and
tells each outage with its length.
"""
import json
import os
import time

import psycopg2

RATE = float(os.environ["ORDERS_PER_SECOND"])
# Started again in the same pod, it must not count the same numbers again.
WRITER = f"{os.environ['WRITER']}-{int(time.time())}"
INSERT = "INSERT INTO shop.new_orders (writer, number, customer, total, details) VALUES (%s, %s, %s, %s, %s)"


def connect():
    # A failed primary does not answer: time out within seconds, and find the new one.
    connection = psycopg2.connect(
        host="pg", dbname="app", user="app", connect_timeout=2, tcp_user_timeout=3000,
        keepalives_idle=2, keepalives_interval=1, keepalives_count=2, options="-c statement_timeout=5000",
    )
    connection.autocommit = True
    return connection


def main():
    number = acknowledged = 0
    connection = failing_since = None
    told = time.monotonic()
    with open("/var/lib/orders/acknowledged", "a", buffering=1) as record:
        while True:
            # One that failed is not tried again: whether it was committed is not known.
            number += 1
            try:
                connection = connection or connect()
                order = (WRITER, number, 1 + number * 7919 % 150000, number % 9973 / 100, json.dumps({"number": number}))
                connection.cursor().execute(INSERT, order)
                record.write(f"{time.time():.3f} {WRITER} {number}\n")
                acknowledged += 1
                if failing_since:
                    print(f"writing again after {time.monotonic() - failing_since:.1f} s", flush=True)
                    failing_since = None
            except psycopg2.Error as error:
                if not failing_since:
                    failing_since = time.monotonic()
                    print(f"not written: {' '.join(str(error).split())}", flush=True)
                if connection:
                    connection.close()
                connection = None
                time.sleep(0.2)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"acknowledged {acknowledged} of {number} orders of {WRITER}", flush=True)
            time.sleep(1 / RATE)


main()
