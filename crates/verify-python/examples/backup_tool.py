#!/usr/bin/env python3
"""A backup tool that verifies its restores.

    backup_tool.py backup 'host=db user=backup dbname=shop' shop.dump
    backup_tool.py verify shop.dump 'host=restored user=postgres dbname=shop'

`backup` runs pg_dump under the snapshot of the manifest, which it stores beside the dump: so both are of the same point in time,
whatever is written to the database meanwhile. The exit status is that of state-lab: 0 pass, 1 fail, 2 error, 3 inconclusive.
"""

import subprocess
import sys
from pathlib import Path
from typing import List, Optional

import state_lab

STATUS = {"pass": 0, "fail": 1, "inconclusive": 3}


def backup(conninfo: str, dump: Path) -> int:
    running: Optional["subprocess.Popen[bytes]"] = None

    def on_event(event: state_lab.Event) -> None:
        nonlocal running
        if "snapshot" in event:
            snapshot = event["snapshot"]["exported"]
            running = subprocess.Popen(
                ["pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={dump}", f"--dbname={conninfo}"]
            )
        if "measured" in event and running is not None and running.wait() != 0:
            raise RuntimeError(f"pg_dump ended with status {running.returncode}")

    try:
        captured = state_lab.capture(conninfo, {"jobs": 2}, on_event=on_event)
    finally:
        if running is not None and running.poll() is None:
            running.terminate()
            running.wait()
    manifest_of(dump).write_bytes(captured.manifest)
    return STATUS[captured.verdict]


def verify(dump: Path, restored: str) -> int:
    report = state_lab.verify(manifest_of(dump).read_bytes(), restored)
    for finding in report["comparison"]["findings"]:
        rows = (finding.get("rows") or {}).get("named", [])
        print(f"{finding['code']} {finding['object']}: {finding['message']} {rows}")
    print(f"verdict: {report['verdict']}")
    return STATUS[report["verdict"]]


def manifest_of(dump: Path) -> Path:
    return dump.with_suffix(".manifest")


def main(arguments: List[str]) -> int:
    try:
        if len(arguments) == 3 and arguments[0] == "backup":
            return backup(arguments[1], Path(arguments[2]))
        if len(arguments) == 3 and arguments[0] == "verify":
            return verify(Path(arguments[1]), arguments[2])
    except state_lab.Error as error:
        print(error, file=sys.stderr)
        return 2
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
