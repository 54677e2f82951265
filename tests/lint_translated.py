"""Translates the SAM template into plain CloudFormation, without an account, so that cfn-lint sees the function too.

cfn-lint and `sam validate --lint` check nothing inside AWS::Serverless::Function: a time-out of 901 s or a reference
to a resource that does not exist pass both. And of what stands under conditions they see only what they can guess. So the
template is also written once for each combination of its conditions, with values in place of parameters, as CloudFormation
would make it: a reference to a resource that is not made, or a value of a wrong form, shows there.

Usage: python3 lint_translated.py TEMPLATE OUTPUT FOLDER; OUTPUT and the files in FOLDER are to be read by cfn-lint.
"""

import itertools
import json
import re
import shutil
import sys
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890a"
# For each condition, a parameter with a value for which it holds and one for which it does not, in some order.
CHOICES = {
    "BucketName": ("", "my-lake"),
    "AlarmEmail": ("", "on-call@example.com"),
    "RetentionDays": ("0", "730"),
    "KmsKeyArn": ("", KEY + "b"),
    "FormerKmsKeyArn": ("", KEY + "c"),
    "SweepState": ("ENABLED", "DISABLED"),
    "History": ("ENABLED", "DISABLED"),
}
NOTHING = object()


def translate(path: str) -> dict:
    template = yaml_parse(Path(path).read_text(encoding="utf-8"))
    # The translator takes a local folder for an error: packaging would have uploaded it.
    template["Resources"]["Function"]["Properties"]["CodeUri"] = "s3://deployment/function.zip"
    session = boto3.Session(region_name="eu-central-1")
    translated = Translator({}, Parser(), boto_session=session).translate(template, {})
    return json.loads(json.dumps(translated, default=str))


class Plain:
    """The template as CloudFormation would make it of these values: without parameters, mappings and conditions."""

    def __init__(self, template: dict, values: dict):
        self.template, self.values = template, values
        self.holds = {name: self.truth(rule) for name, rule in template["Conditions"].items()}

    def truth(self, rule: dict) -> bool:
        ((function, argument),) = rule.items()
        if function == "Fn::Not":
            return not self.truth(argument[0])
        if function == "Fn::Equals":
            return self.resolved(argument[0]) == self.resolved(argument[1])
        raise ValueError(f"a condition by {function}, which is not known here")

    def resolved(self, it):
        if isinstance(it, list):
            return [value for value in map(self.resolved, it) if value is not NOTHING]
        if not isinstance(it, dict):
            return it
        if len(it) == 1:
            ((function, argument),) = it.items()
            if function == "Ref":
                return NOTHING if argument == "AWS::NoValue" else self.values.get(argument, it)
            if function == "Fn::If":
                return self.resolved(argument[1 if self.holds[argument[0]] else 2])
            if function == "Fn::FindInMap":
                name, top, second = map(self.resolved, argument)
                return self.template["Mappings"][name][top][second]
            if function == "Fn::Sub":
                return self.substituted(argument)
        pairs = ((name, self.resolved(value)) for name, value in it.items())
        return {name: value for name, value in pairs if value is not NOTHING}

    def substituted(self, argument):
        text, variables = argument if isinstance(argument, list) else (argument, {})
        variables = {name: self.resolved(value) for name, value in variables.items()}
        known = {**self.values, **{name: value for name, value in variables.items() if isinstance(value, str)}}
        text = re.sub(r"\$\{([A-Za-z]+)\}", lambda found: known.get(found[1], found[0]), text)
        left = {name: value for name, value in variables.items() if not isinstance(value, str)}
        if not re.search(r"\$\{[^!]", text):
            return text.replace("${!", "${")
        return {"Fn::Sub": [text, left] if left else text}

    def made(self) -> dict:
        made = {}
        for section in ("Resources", "Outputs"):
            parts = self.template[section].items()
            parts = {name: dict(part) for name, part in parts if self.holds.get(part.get("Condition"), True)}
            for part in parts.values():
                part.pop("Condition", None)
            made[section] = self.resolved(parts)
        return {"AWSTemplateFormatVersion": "2010-09-09", "Metadata": self.template["Metadata"], **made}


def main(path: str, output: str, folder: str) -> None:
    template = translate(path)
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    Path(output).write_text(json.dumps(template, indent=1), encoding="utf-8")

    defaults = {name: str(rules["Default"]) for name, rules in template["Parameters"].items()}
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)
    seen = set()
    for values in itertools.product(*CHOICES.values()):
        plain = Plain(template, {**defaults, **dict(zip(CHOICES, values))})
        truths = "".join("1" if holds else "0" for holds in plain.holds.values())
        seen.add(truths)
        Path(folder, f"{truths}.json").write_text(json.dumps(plain.made(), indent=1), encoding="utf-8")
    if len(seen) != 2 ** len(template["Conditions"]):
        sys.exit(f"error: of the conditions {', '.join(template['Conditions'])} only {len(seen)} combinations were made")
    print(f"{len(seen)} combinations of {len(template['Conditions'])} conditions in {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:])
