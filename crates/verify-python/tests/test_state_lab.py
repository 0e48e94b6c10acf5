"""The package, on the real server of CONNINFO, whose database has the table `orders`. PG_BIN has PostgreSQL's client programs."""

import importlib.util
import os
import pickle
import signal
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path
from types import ModuleType
from typing import List

import state_lab

CONNINFO = os.environ["CONNINFO"]
PG_BIN = os.environ["PG_BIN"]
os.environ["PATH"] = PG_BIN + os.pathsep + os.environ["PATH"]

SLOW: state_lab.Options = {"invariants": [{"name": "slow", "sql": "SELECT pg_sleep(60)", "expect": "no-rows"}]}


def of(database: str) -> str:
    return f"{CONNINFO} dbname={database}"


def psql(database: str, sql: str) -> str:
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", of(database), "-c", sql]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def copy(name: str) -> str:
    psql("postgres", f"DROP DATABASE IF EXISTS {name}")
    psql("postgres", f"CREATE DATABASE {name} TEMPLATE shop")
    return of(name)


def example() -> ModuleType:
    path = Path(__file__).parent.parent / "examples" / "backup_tool.py"
    spec = importlib.util.spec_from_file_location("backup_tool", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Verification(unittest.TestCase):
    def test_a_copy_passes_and_a_damaged_row_is_named(self) -> None:
        events: List[state_lab.Event] = []
        captured = state_lab.capture(of("shop"), {"jobs": 1}, on_event=events.append)
        self.assertEqual(captured.verdict, "pass")
        self.assertIsInstance(captured.manifest, bytes)
        read = {"table-read": {"table": {"schema": "public", "name": "orders"}, "rows": 1000}}
        names = [next(iter(event)) for event in events]
        self.assertIn(read, events)
        self.assertLess(names.index("snapshot"), names.index("table-read"))
        self.assertEqual(names[-1], "measured")
        restored = copy("damaged")
        report = state_lab.verify(captured.manifest, restored)
        self.assertEqual((report["verdict"], report["format"]), ("pass", "state-lab-report"))
        psql("damaged", "DELETE FROM orders WHERE id = 42")
        for report in [state_lab.verify(captured.manifest, restored), state_lab.compare(of("shop"), restored)]:
            finding = report["comparison"]["findings"][0]
            self.assertEqual((report["verdict"], finding["code"]), ("fail", "row.missing"))
            self.assertEqual(finding["rows"]["named"], ["id=42"])
        skipped = state_lab.verify(captured.manifest, restored, {"skip": ["rows"]})
        self.assertEqual(skipped["verdict"], "inconclusive")

    def test_the_example_dumps_the_snapshot_of_its_manifest_while_rows_are_written(self) -> None:
        backup_tool = example()
        copy("busy")
        done = threading.Event()

        def write() -> None:
            while not done.is_set():
                psql("busy", "INSERT INTO orders SELECT max(id) + 1, 0 FROM orders; DELETE FROM orders WHERE id = "
                     "(SELECT min(id) FROM orders)")

        writer = threading.Thread(target=write)
        with tempfile.TemporaryDirectory() as directory:
            dump = os.path.join(directory, "shop.dump")
            writer.start()
            try:
                self.assertEqual(backup_tool.main(["backup", of("busy"), dump]), 0)
                before = psql("busy", "SELECT max(id) FROM orders")
                while psql("busy", "SELECT max(id) FROM orders") == before:
                    pass
            finally:
                done.set()
                writer.join()
            psql("postgres", "DROP DATABASE IF EXISTS restored")
            psql("postgres", "CREATE DATABASE restored TEMPLATE template0")
            subprocess.run(["pg_restore", "-d", of("restored"), dump], check=True)
            self.assertEqual(backup_tool.main(["verify", dump, of("restored")]), 0)
            # The control: the writer did write.
            self.assertEqual(state_lab.compare(of("busy"), of("restored"))["verdict"], "fail")
            psql("restored", "UPDATE orders SET total = -1 WHERE id = (SELECT max(id) FROM orders)")
            self.assertEqual(backup_tool.main(["verify", dump, of("restored")]), 1)
            self.assertEqual(backup_tool.main(["verify", dump, of("none")]), 2)


class Ending(unittest.TestCase):
    def setUp(self) -> None:
        self.began = time.monotonic()
        # A shell has what it runs in the background ignore the signal.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def tearDown(self) -> None:
        self.assertLess(time.monotonic() - self.began, 40)
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        while psql("shop", asleep) != "0":
            self.assertLess(time.monotonic() - self.began, 40)

    def asleep(self) -> None:
        """Waits until the statement runs."""
        while psql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "0":
            self.assertLess(time.monotonic() - self.began, 40)

    def test_keyboard_interrupt_while_no_event_comes(self) -> None:
        def interrupt() -> None:
            self.asleep()
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with self.assertRaises(KeyboardInterrupt):
            state_lab.capture(of("shop"), SLOW)
        thread.join()

    def test_cancellation_from_another_thread_which_runs_meanwhile(self) -> None:
        token = state_lab.Cancellation()

        def cancel() -> None:
            self.asleep()
            token.cancel()

        # It only gets to run if the interpreter is released.
        thread = threading.Thread(target=cancel)
        thread.start()
        with self.assertRaises(state_lab.Error) as raised:
            state_lab.capture(of("shop"), SLOW, cancellation=token)
        thread.join()
        self.assertEqual(raised.exception.kind, "interrupted")
        self.assertTrue(token.cancelled)

    def test_a_callback_stops_by_its_value_or_an_exception(self) -> None:
        calls: List[state_lab.Event] = []

        def stop(event: state_lab.Event) -> bool:
            calls.append(event)
            return True

        with self.assertRaises(state_lab.Error) as raised:
            state_lab.capture(of("shop"), on_event=stop)
        self.assertEqual((raised.exception.kind, len(calls)), ("interrupted", 1))

        def fail(event: state_lab.Event) -> None:
            calls.append(event)
            raise LookupError("mine")

        with self.assertRaisesRegex(LookupError, "mine"):
            state_lab.capture(of("shop"), on_event=fail)
        self.assertEqual(len(calls), 2)


class Errors(unittest.TestCase):
    def error(self, conninfo: str, options: object = None) -> state_lab.Error:
        with self.assertRaises(state_lab.Error) as raised:
            state_lab.capture(conninfo, options)  # type: ignore[arg-type]
        self.assertNotIn("hunter2", str(raised.exception))
        return raised.exception

    def test_an_error_has_kind_causes_hint_and_sqlstate(self) -> None:
        error = self.error(of("missing") + " password=hunter2")
        self.assertEqual((error.kind, error.sqlstate), ("server", "3D000"))
        self.assertIn("psql -l", error.hint or "")
        self.assertIn("hint: ", str(error))
        copied = pickle.loads(pickle.dumps(error))
        self.assertEqual((str(copied), copied.kind), (str(error), error.kind))
        self.assertEqual(self.error("passwort=hunter2").kind, "settings")
        self.assertEqual(self.error(CONNINFO, {"job": 2}).kind, "usage")
        self.assertEqual(self.error(CONNINFO, "password=hunter2").kind, "usage")

    def test_other_types_are_refused(self) -> None:
        with self.assertRaises(TypeError):
            state_lab.capture(b"dbname=shop")  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            state_lab.verify("text", CONNINFO)  # type: ignore[arg-type]
        with self.assertRaises(state_lab.Error) as raised:
            state_lab.verify(b"cut", CONNINFO)
        self.assertEqual(raised.exception.kind, "manifest")

    def test_the_environment_is_not_read(self) -> None:
        os.environ["PGUSER"] = "postgres"
        self.addCleanup(os.environ.pop, "PGUSER")
        self.assertIn("user", str(self.error("host=localhost dbname=shop")))


if __name__ == "__main__":
    unittest.main()
