#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Join JSON lists: merge_json.py LIST.json..., prints one list, one element a line."""

import json
import sys


def main(paths):
    elements = []
    for path in paths:
        with open(path, encoding="utf-8") as part:
            elements += json.load(part)
    print("[" + ",\n".join(json.dumps(element) for element in elements) + "]")


if __name__ == "__main__":
    main(sys.argv[1:])
