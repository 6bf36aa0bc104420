"""Reads a page of metrics with the official client's parser, and looks whether the dashboard's queries name what is on it.

    look-metrics.py PAGE DASHBOARD

PAGE is a file with what the exporter served. Exit code 1, and a line for each finding, if the page does not parse, a series is
not documented on it, or a query asks for a series that could not be there.
"""

import json
import re
import sys

from prometheus_client.parser import text_string_to_metric_families

page = open(sys.argv[1], encoding="utf-8").read()
dashboard = json.load(open(sys.argv[2], encoding="utf-8"))
findings = []

families = {family.name: family for family in text_string_to_metric_families(page)}
series = {sample.name for family in families.values() for sample in family.samples}
for name, family in sorted(families.items()):
    if name.startswith("slackwater_") and not family.documentation:
        findings.append(f"{name} says nothing about itself")
    if name.endswith("_seconds") and family.type != "histogram":
        findings.append(f"{name} is a {family.type}, not a histogram")

# The parser takes the suffix of counters off.
known = series | {f"{name}_total" for name, family in families.items() if family.type == "counter"}
asked = set()
for panel in dashboard["panels"]:
    for target in panel["targets"]:
        asked.update(re.findall(r"slackwater_\w+", target["expr"]))
absent = sorted(asked - known)
print(f"{len(families)} metrics, {len(series)} series names, {len(asked)} asked for by {len(dashboard['panels'])} panels")
findings += [f"the dashboard asks for {name}, which is not there" for name in absent]
for finding in findings:
    print(finding)
sys.exit(1 if findings else 0)
