"""Translates the SAM template into plain CloudFormation, without an account, so that cfn-lint sees the function too.

cfn-lint and `sam validate --lint` check nothing inside AWS::Serverless::Function: a time-out of 901 s or a reference
to a resource that does not exist pass both.

Usage: python3 lint_translated.py TEMPLATE OUTPUT, the output to be read by cfn-lint.
"""

import json
import os
import sys

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator


def main(template_path: str, output_path: str) -> None:
    with open(template_path, encoding="utf-8") as file:
        template = yaml_parse(file.read())
    # The translator takes a local folder for an error: packaging would have uploaded it.
    template["Resources"]["Function"]["Properties"]["CodeUri"] = "s3://deployment/function.zip"
    session = boto3.Session(region_name="eu-central-1")
    translated = Translator({}, Parser(), boto_session=session).translate(template, {})
    os.makedirs(os.path.dirname(output_path), exist_ok=True)
    with open(output_path, "w", encoding="utf-8") as file:
        json.dump(translated, file, indent=1, default=str)


if __name__ == "__main__":
    main(*sys.argv[1:])
