"""template.yaml and tenant.yaml as CloudFormation sees them in the end.

aws-sam-translator expands the Serverless types, as the transform on AWS's side does.
What CloudFormation itself would do then is done here: it checks the parameters, drops
what a condition excludes, and resolves every intrinsic function, so that what is left
is plain values under made-up ids. Whatever this does not know is an error, never
passed over: a check on a template that was half understood would prove nothing.
"""

import copy
import functools
import hashlib
import logging
import pathlib
import re
import types

import boto3
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator import translator
from samtranslator.utils.py27hash_fix import to_py27_compatible_template, undo_mark_unicode_str_in_template
from samtranslator.yaml_helper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
ACCOUNT, REGION, PARTITION, SUFFIX = "111122223333", "eu-central-1", "aws", "amazonaws.com"

SESSION = boto3.Session(region_name=REGION)

# It checks the policy templates that come along with it against their schema each time: half of the time it takes.
translator.make_policy_template_for_function_plugin = functools.cache(translator.make_policy_template_for_function_plugin)
logging.getLogger("samtranslator").setLevel(logging.ERROR)  # it warns of feature toggles


class Invalid(Exception):
    """What CloudFormation would refuse, or what this module does not know."""


def known(mapping, keys, what):
    if unknown := set(mapping) - set(keys):
        raise Invalid(f"{what}: {', '.join(sorted(unknown))}?")


parse = functools.cache(yaml_parse)

# Parameters


def parameters(template, given):
    """The value of each parameter: what was given or its default, if it is allowed."""
    declared = template.get("Parameters", {})
    known(given, declared, "no such parameter")
    values = {}
    for name, p in declared.items():
        known(p, ["Type", "Description", "Default", "AllowedPattern", "AllowedValues", "MinValue"], name)
        if name not in given and "Default" not in p:
            raise Invalid(f"{name} must be given")
        value = str(given.get(name, p.get("Default")))
        if p["Type"] not in ("String", "Number"):
            raise Invalid(f"{name}: type {p['Type']}?")
        # All of the value has to match. ASCII, because \d and \w are just that in Java.
        if "AllowedPattern" in p and not re.fullmatch(p["AllowedPattern"], value, re.ASCII):
            raise Invalid(f"{name}: {value!r} does not match {p['AllowedPattern']}")
        if "AllowedValues" in p and value not in map(str, p["AllowedValues"]):
            raise Invalid(f"{name}: {value!r} is not one of the allowed values")
        if p["Type"] == "Number":
            if not re.fullmatch(r"-?\d+", value, re.ASCII):
                raise Invalid(f"{name}: {value!r} is no whole number")
            value = int(value)
            if value < p.get("MinValue", value):
                raise Invalid(f"{name}: {value} is less than {p['MinValue']}")
        values[name] = value
    return values


# Ids: what Ref and GetAtt yield, by type. A resource that is referred to and whose type
# is not here is an error.


def arn(service, rest, region=REGION, account=ACCOUNT):
    return f"arn:{PARTITION}:{service}:{region}:{account}:{rest}"


def made_up(stack, logical_id, length):
    """As random as AWS's, and yet always the same for the same resource of the same stack."""
    return hashlib.sha256(f"{stack}/{logical_id}".encode()).hexdigest()[:length]


NAME = {  # the property that names a resource; one without is named by CloudFormation
    "AWS::ApiGateway::RestApi": "Name",
    "AWS::ApiGateway::Stage": "StageName",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::CodeDeploy::Application": "ApplicationName",
    "AWS::CodeDeploy::DeploymentGroup": "DeploymentGroupName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Role": "RoleName",
    "AWS::KMS::Alias": "AliasName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SSM::Parameter": "Name",
    "AWS::Scheduler::Schedule": "Name",
    "AWS::Scheduler::ScheduleGroup": "Name",
    "AWS::SecretsManager::Secret": "Name",
}


def ids(kind, name, properties, unique):
    """(what Ref yields, what GetAtt yields)"""
    match kind:
        case "AWS::ApiGateway::RestApi" | "AWS::ApiGateway::Deployment" | "AWS::ApiGateway::Account":
            return unique(10), {}
        case "AWS::CloudWatch::Alarm":
            return name, {"Arn": arn("cloudwatch", f"alarm:{name}")}
        case "AWS::IAM::ManagedPolicy":
            return arn("iam", f"policy/{name}", region=""), {}
        case "AWS::IAM::Role":
            return name, {"Arn": arn("iam", f"role/{name}", region="")}
        case "AWS::KMS::Key":
            return unique(32), {"Arn": arn("kms", f"key/{unique(32)}")}
        case "AWS::Lambda::Function":
            return name, {"Arn": arn("lambda", f"function:{name}")}
        case "AWS::Lambda::Version":
            return arn("lambda", f"function:{properties['FunctionName']}:1"), {"Version": "1"}
        case "AWS::Lambda::Alias":
            return arn("lambda", f"function:{properties['FunctionName']}:{properties['Name']}"), {}
        case "AWS::Logs::LogGroup":
            return name, {"Arn": arn("logs", f"log-group:{name}:*")}
        case "AWS::SNS::Topic":
            return arn("sns", name), {"TopicArn": arn("sns", name)}
        case "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.{SUFFIX}/{ACCOUNT}/{name}", {"Arn": arn("sqs", name), "QueueName": name}
        case "AWS::SSM::Parameter":
            return name, {"Value": properties["Value"]}
        case "AWS::Scheduler::Schedule":
            return name, {"Arn": arn("scheduler", f"schedule/{properties.get('GroupName', 'default')}/{name}")}
        case "AWS::Scheduler::ScheduleGroup":
            return name, {"Arn": arn("scheduler", f"schedule-group/{name}")}
        case "AWS::SecretsManager::Secret":  # six characters that nobody can foretell
            return arn("secretsmanager", f"secret:{name}-{unique(6)}"), {}
        case _ if kind in NAME:
            return name, {}
        case _:
            return None, {}


# Stacks

NOTHING = object()  # AWS::NoValue
SERVERLESS = "AWS::Serverless-2016-10-31"


class Resource:
    def __init__(self, stack, logical_id, source):
        known(source, ["Type", "Condition", "DependsOn", "Properties", "DeletionPolicy", "UpdateReplacePolicy", "UpdatePolicy", "Metadata"], logical_id)
        self.stack, self.id, self.type = stack, logical_id, source["Type"]
        depends = source.get("DependsOn", [])
        self.depends_on = [depends] if isinstance(depends, str) else depends
        known(dict.fromkeys(self.depends_on), stack.template["Resources"], f"{logical_id} depends on")
        self.properties = stack.resolve(source.get("Properties", {}))
        self.deletion_policy = stack.resolve(source.get("DeletionPolicy", "Delete"))
        self.update_replace_policy = stack.resolve(source.get("UpdateReplacePolicy", "Delete"))
        self.update_policy = stack.resolve(source.get("UpdatePolicy", {}))
        unique = lambda length: made_up(stack.name, logical_id, length)
        self.name = self.properties.get(NAME.get(self.type), f"{stack.name}-{logical_id}-{unique(12).upper()}")
        self.ref, self.attributes = ids(self.type, self.name, self.properties, unique)

    def __getitem__(self, key):
        return self.properties[key]

    def get(self, key, default=None):
        return self.properties.get(key, default)

    @property
    def arn(self):
        """The ARN, or None if the type has none that is known here."""
        return self.attributes.get("Arn") or (self.ref if str(self.ref).startswith("arn:") else None)


class Stack:
    """A stack as CloudFormation would make it: resources by logical id, and outputs."""

    def __init__(self, file, name, given, ssm=types.MappingProxyType({}), edit=lambda template: None):
        template = copy.deepcopy(parse((ROOT / file).read_text()))
        edit(template)
        known(template, ["AWSTemplateFormatVersion", "Transform", "Description", "Parameters", "Conditions", "Globals", "Resources", "Outputs"], file)
        if template.get("Transform", SERVERLESS) != SERVERLESS:
            raise Invalid(f"Transform {template['Transform']}?")
        self.name, self.ssm, self.template_as_written = name, ssm, template
        self.parameters = parameters(template, given)
        self.template = expand(template, self.parameters)
        self.conditions = self.template.get("Conditions", {})
        self.sources = {k: v for k, v in self.template["Resources"].items() if "Condition" not in v or self.holds(v["Condition"])}
        self.resources, self.nested = {}, {}
        self.pending, self.uses = [], {}  # what is being made, and what each was made from
        for logical_id in self.sources:
            self.resource(logical_id)
        self.outputs = {k: self.resolve(v["Value"]) for k, v in self.template.get("Outputs", {}).items() if "Condition" not in v or self.holds(v["Condition"])}

    def of(self, kind):
        """The resources of a type, such as "SQS::Queue"."""
        return [r for r in self.resources.values() if r.type == "AWS::" + kind]

    def one(self, kind):
        [resource] = self.of(kind)
        return resource

    def resource(self, logical_id):
        if self.pending:
            self.uses.setdefault(self.pending[-1], set()).add(logical_id)
        if logical_id not in self.resources:
            if logical_id not in self.sources:
                raise Invalid(f"{logical_id} is referred to, but is not in the stack {self.name}")
            if logical_id in self.pending:
                raise Invalid(f"{logical_id} depends on itself")
            self.pending.append(logical_id)
            resource = Resource(self, logical_id, self.sources[logical_id])
            if resource.type == "AWS::CloudFormation::Stack":
                self.nest(resource)
            self.pending.pop()
            self.resources[logical_id] = resource
        return self.resources[logical_id]

    def before(self, resource):
        """What CloudFormation has made before it makes this one: what it names, refers to, and so on."""
        found, more = set(), {resource.id}
        while more:
            ids = {d for m in more for d in {*self.resource(m).depends_on, *self.uses.get(m, ())} if d in self.sources}
            more = ids - found
            found |= ids
        return [self.resource(i) for i in sorted(found)]

    def nest(self, resource):
        """Makes the stack that is nested; it may read parameters that were made before it."""
        known(resource.properties, ["TemplateURL", "Parameters", "Tags"], resource.id)
        self.resources[resource.id] = resource
        ssm = {r.name: r["Value"] for r in self.before(resource) if r.type == "AWS::SSM::Parameter"}
        nested = Stack(resource["TemplateURL"].removeprefix(BUCKET), f"{self.name}-{resource.id}-{made_up(self.name, resource.id, 12).upper()}", resource.get("Parameters", {}), ssm)
        self.nested[resource.id] = nested
        resource.attributes = {f"Outputs.{k}": v for k, v in nested.outputs.items()}

    # Conditions

    def holds(self, expression):
        if isinstance(expression, str):
            return self.holds(self.conditions[expression])
        [(function, argument)] = expression.items()
        match function:
            case "Condition":
                return self.holds(argument)
            case "Fn::Equals":
                a, b = (self.resolve(x) for x in argument)
                return str(a) == str(b)  # CloudFormation knows strings only
            case "Fn::Not":
                [one] = argument
                return not self.holds(one)
            case "Fn::And":
                return all([self.holds(x) for x in argument])
            case "Fn::Or":
                return any([self.holds(x) for x in argument])
        raise Invalid(f"{function} in a condition?")

    # Intrinsic functions

    def resolve(self, value):
        if isinstance(value, dict):
            if len(value) == 1:
                [(function, argument)] = value.items()
                if function == "Ref" or function.startswith("Fn::"):
                    return self.intrinsic(function, argument)
            elif any(k == "Ref" or k.startswith("Fn::") for k in value):
                raise Invalid(f"a function among other keys: {', '.join(value)}")
            resolved = {k: self.resolve(v) for k, v in value.items()}
            return {k: v for k, v in resolved.items() if v is not NOTHING}
        if isinstance(value, list):
            return [v for v in map(self.resolve, value) if v is not NOTHING]
        if isinstance(value, str):
            return re.sub(r"\{\{resolve:(.*?)\}\}", lambda m: self.dynamic(m[1]), value)
        return value

    def intrinsic(self, function, argument):
        match function:
            case "Ref":
                return self.ref(argument)
            case "Fn::GetAtt":
                return self.attribute(*(argument.split(".", 1) if isinstance(argument, str) else argument))
            case "Fn::Sub":
                return self.sub(*(argument if isinstance(argument, list) else [argument]))
            case "Fn::Join":
                separator, parts = argument
                return separator.join(map(self.text, self.resolve(parts)))
            case "Fn::Split":
                separator, text = argument
                return self.text(self.resolve(text)).split(separator)
            case "Fn::Select":
                index, choices = argument
                return self.resolve(choices)[int(index)]
            case "Fn::If":
                condition, yes, no = argument
                return self.resolve(yes if self.holds(condition) else no)
        raise Invalid(f"{function}?")

    def ref(self, name):
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::NoValue": NOTHING,
            "AWS::Partition": PARTITION,
            "AWS::Region": REGION,
            "AWS::StackName": self.name,
            "AWS::URLSuffix": SUFFIX,
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        ref = self.resource(name).ref
        if ref is None:
            raise Invalid(f"Ref of {name}, a {self.resource(name).type}?")
        return ref

    def attribute(self, name, attribute):
        attributes = self.resource(name).attributes
        if attribute not in attributes:
            raise Invalid(f"{attribute} of {name}, a {self.resource(name).type}?")
        return attributes[attribute]

    def sub(self, text, variables=types.MappingProxyType({})):
        def replace(match):
            name = match[1].strip()
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in variables:
                return self.text(self.resolve(variables[name]))
            return self.text(self.attribute(*name.split(".", 1)) if "." in name else self.ref(name))

        return self.resolve(re.sub(r"\$\{([^}]*)\}", replace, text))

    def text(self, value):
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return str(value)
        raise Invalid(f"{value!r} is not text")

    def dynamic(self, reference):
        service, _, name = reference.partition(":")
        if service != "ssm" or name not in self.ssm:
            raise Invalid(f"{{{{resolve:{reference}}}}}?")
        return self.ssm[name]

    # Other forms

    def plain(self):
        """The stack as a template in which nothing is left to resolve."""
        resources = {}
        for r in self.resources.values():
            named = {NAME[r.type]: r.name} if r.type in NAME else {}
            resources[r.id] = {"Type": r.type, "Properties": {**r.properties, **named}, "DeletionPolicy": r.deletion_policy, "UpdateReplacePolicy": r.update_replace_policy}
            if depends_on := [d for d in r.depends_on if d in self.resources]:
                resources[r.id]["DependsOn"] = depends_on
        return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


# The parameters of a production stack that uses everything.
EVERYTHING = {
    "OtherCallers": "444455556666,arn:aws:iam::777788889999:role/app/reader",
    "OtherCallersOrganization": "o-a1b2c3d4e5",
    "OtherCallersTenants": "default,acme",
    "VpcEndpoints": "vpce-0a1b2c3d,vpce-0e4f5a6b",
    "AlarmEmail": "operator@example.com",
    "LogRetention": 365,
    "Tracing": "Active",
    "Pace": "Canary10Percent10Minutes",
    "VendConcurrency": 20,
    "VendProvisioned": 2,
    "RotateConcurrency": 2,
}

BUCKET = "https://s3.amazonaws.com/bucket/"


def expand(template, values):
    """What `sam package` and then the transform AWS::Serverless-2016-10-31 make of a template."""
    template = copy.deepcopy(template)
    if "Transform" not in template:
        return template
    for properties in [template.get("Globals", {}).get("Function", {})] + [r.get("Properties", {}) for r in template["Resources"].values()]:
        if "CodeUri" in properties:
            properties["CodeUri"] = "s3://bucket/code"
        if "Location" in properties:
            properties["Location"] = BUCKET + properties["Location"]
    values = dict(values)
    to_py27_compatible_template(template, values)
    try:
        return undo_mark_unicode_str_in_template(translator.Translator({}, Parser(), boto_session=SESSION).translate(template, values))
    except InvalidDocumentException as e:
        raise Invalid("; ".join(cause.message for cause in e.causes)) from e


def main(name="c8auth", edit=lambda template: None, **given):
    """The stack that template.yaml makes, with the tenant "default" in its nested stacks."""
    return Stack("template.yaml", name, given, edit=edit)


def tenant(shared, name, **given):
    """A further tenant's stack, made from tenant.yaml beside a stack that main() made."""
    ssm = {r.name: r["Value"] for r in shared.of("SSM::Parameter")}
    return Stack("tenant.yaml", f"{shared.name}-{name}", {"Stack": shared.name, "Tenant": name, **given}, ssm)
