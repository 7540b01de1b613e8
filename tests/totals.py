#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sum up test runs: totals.py TESTLOG.json..., prints "N passed, N failed, N skipped".

Counts test cases where a program tells them (TAP), programs elsewhere. A log
that is not there is a run that never came to testing: one failure.
"""

import json
import re
import sys

CASE = re.compile(r"^(not )?ok\b[^#]*(#\s*skip)?", re.IGNORECASE)


def count(test):
    """Passed, failed and skipped of one program."""
    passed = failed = skipped = 0
    for line in (test.get("stdout") or "").splitlines():
        case = CASE.match(line)
        if not case:
            continue
        if case.group(1):
            failed += 1
        elif case.group(2):
            skipped += 1
        else:
            passed += 1
    if test["result"] == "SKIP":
        return 0, 0, max(skipped, 1)
    if test["result"] in ("OK", "EXPECTEDFAIL"):
        return (passed, failed, skipped) if passed + skipped else (1, failed, 0)
    # It may have died between two cases, all of which had passed.
    return passed, max(failed, 1), skipped


def main(logs):
    totals = [0, 0, 0]
    for log in logs:
        try:
            with open(log, encoding="utf-8") as lines:
                tests = [json.loads(line) for line in lines if line.strip()]
        except OSError:
            print(f"{log}: was not built or not tested", file=sys.stderr)
            tests = []
        if not tests:
            totals[1] += 1
        for test in tests:
            result = count(test)
            totals = [a + b for a, b in zip(totals, result)]
            if result[1]:
                print(f"failed: {test['name']} ({test['result']}), see {log}", file=sys.stderr)
    sys.stderr.flush()
    print("{} passed, {} failed, {} skipped".format(*totals))
    return 1 if totals[1] or not totals[0] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
