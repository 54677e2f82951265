"""Prints the SAM template as JSON, with the short forms (!Ref, !Sub, …) written out.

Usage: python3 template_json.py TEMPLATE
"""

import json
import sys

from samcli.yamlhelper import yaml_parse


def main(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        print(json.dumps(yaml_parse(file.read()), default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
