"""MiniStack 1.5.33 with what it lacks of the AWS that template.yaml and tenant.yaml rely on.

Each part says first what AWS does, and then what MiniStack does instead.
"""

import json
import re

from ministack import app
from ministack.core.responses import set_request_account_id
from ministack.services import apigateway_v1, cloudwatch_logs, eventbridge, secretsmanager
from ministack.services.cloudformation import _stacks, provisioners

types = provisioners._RESOURCE_HANDLERS

# A service is reached at <service>.<region>.amazonaws.com; these two are taken for S3 buckets.
app._NON_S3_VHOST_NAMES |= {"kms", "scheduler"}

# An API is called by other accounts, too; it is looked for in the caller's.
execute = app._handle_execute_api_request


async def execute_where_it_is(host, path, *args, **kwargs):
    api, *_ = app._parse_execute_api_url(host, path) or [None]
    for (account, _, name), _ in apigateway_v1._rest_apis.all_items():
        if name == api:
            set_request_account_id(account)
    return await execute(host, path, *args, **kwargs)


app._handle_execute_api_request = execute_where_it_is

# CodeDeploy's resources are made; they are unknown. Here they are names and do nothing.
for kind in "Application", "DeploymentGroup":
    types[f"AWS::CodeDeploy::{kind}"] = {
        "create": lambda logical_id, properties, stack: (f"{stack}-{logical_id}", {}),
        "update": lambda physical_id, before, after, stack: (physical_id, {}),
        "delete": lambda physical_id, properties: None,
    }

# A secret without a value is made without a version; it gets one with the value "".
secret = types["AWS::SecretsManager::Secret"]
create_secret = secret["create"]


def create_empty(logical_id, properties, stack):
    made = create_secret(logical_id, properties, stack)
    if not {"SecretString", "GenerateSecretString"} & set(properties):
        secretsmanager._secrets[made[0]]["Versions"].clear()
    return made


secret["create"] = create_empty

# DeletionPolicy holds in nested stacks, too; there, it is passed over.
nested = types["AWS::CloudFormation::Stack"]
delete_nested = nested["delete"]


def delete_and_retain(physical_id, properties):
    stack = _stacks.get(provisioners._nested_stack_lookup_name(physical_id), {"_template": {}})
    for name, resource in stack["_template"].get("Resources", {}).items():
        if resource.get("DeletionPolicy") in provisioners._RETAINING_POLICIES:
            stack["_resources"].pop(name, None)
    delete_nested(physical_id, properties)


nested["delete"] = delete_and_retain

# A filter pattern { $.name = value }, or several of them joined by &&, selects lines that are JSON
# objects with these members; there, it selects every line.
compile_pattern = cloudwatch_logs._compile_filter_pattern


def compile_members(pattern):
    members = re.findall(r'\$\.(\w+) = ("[^"]*"|[\d.]+)', pattern or "")
    if not members:
        return compile_pattern(pattern)
    wanted = {name: json.loads(value) for name, value in members}

    def matches(message):
        try:
            line = json.loads(message)
        except ValueError:
            return False
        return isinstance(line, dict) and wanted.items() <= {k: v for k, v in line.items() if k in wanted}.items()

    return matches


cloudwatch_logs._compile_filter_pattern = compile_members

# A minute has 60 seconds; for schedules it has 6 here, so that a heartbeat comes after 30 seconds.
seconds = eventbridge._parse_rate_seconds
eventbridge._parse_rate_seconds = lambda expression: (seconds(expression) or 0) / 10 or None

app.main()
