"""Checkov on what CloudFormation would make of the templates: neither functions nor
conditions are left in it that Checkov could misunderstand. Findings other than those
that checkov.yaml explains fail, and so do explanations that nothing needs any more.

python .ci/template/scan.py: needs the command checkov, or its path in CHECKOV. Asks no network.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import translate
import yaml

# What a reviewer asks for, by the type that it is asked of. With every parameter in use,
# each of these must have looked at something, and found nothing.
REQUIRED = [f"CKV_AWS_{n}" for n in (7, 26, 27, 33, 45, 60, 61, 66, 73, 76, 107, 108, 109, 110, 111, 115, 149, 158, 173, 363, 364)]


def templates():
    for environment, given in {"development": {}, "production": translate.EVERYTHING}.items():
        shared = translate.main(**given)
        yield f"{environment}.json", shared
        yield f"{environment}-default.json", shared.nested["DefaultTenant"]
    yield "production-acme.json", translate.tenant(shared, "acme")


def checkov():
    """What passed and what failed: sets of (environment, check, resource)."""
    with tempfile.TemporaryDirectory() as directory:
        for name, stack in templates():
            (pathlib.Path(directory) / name).write_text(json.dumps(stack.plain(), indent=1))
        command = [os.environ.get("CHECKOV", "checkov"), "--directory", directory, "--framework", "cloudformation", "--skip-download", "--soft-fail", "--output", "json"]
        report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, "LOG_LEVEL": "ERROR"}).stdout)
    if report["summary"]["parsing_errors"] or report["summary"]["skipped"]:
        raise SystemExit(f"Checkov did not look at everything: {report['summary']}")
    found = lambda kind: {(c["file_path"].strip("/").removesuffix(".json").split("-")[0], c["check_id"], c["resource"].split(".")[-1]) for c in report["results"][kind]}
    return found("passed_checks"), found("failed_checks")


def complaints(passed, failed):
    accepted = set()
    for check, entry in yaml.safe_load((pathlib.Path(__file__).parent / "checkov.yaml").read_text()).items():
        if not entry["why"].strip():
            yield f"checkov.yaml gives no reason for {check}"
        accepted |= {(e, check, r) for e in [entry.get("only")] if e for r in entry["of"]} or {(e, check, r) for e in ("development", "production") for r in entry["of"]}
    for environment, check, resource in sorted(failed - accepted):
        yield f"{check} fails on {resource}, {environment}"
    for environment, check, resource in sorted(accepted - failed):
        yield f"checkov.yaml explains {check} on {resource}, {environment}, which is not found any more"
    done = {check for environment, check, _ in passed if environment == "production"}
    wrong = {check for environment, check, _ in failed if environment == "production"}
    for check in REQUIRED:
        if check not in done or check in wrong:
            yield f"{check} has to pass, and {'does not' if check in wrong else 'found nothing to look at'}"


if __name__ == "__main__":
    passed, failed = checkov()
    found = list(complaints(passed, failed))
    print(*found, f"Checkov: {len(passed)} checks of a resource passed, {len(failed)} failed and are explained" if not found else f"Checkov: {len(found)} complaints", sep="\n")
    sys.exit(bool(found))
