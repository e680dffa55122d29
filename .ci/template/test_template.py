"""What template.yaml and tenant.yaml promise, asked of what CloudFormation would make of them.

Policies are evaluated, not compared; resources are found by what they are, not by their
logical ids. python -m unittest discover -s .ci/template
"""

import collections
import functools
import itertools
import json
import pathlib
import re
import subprocess
import tempfile
import tomllib
import unittest
import unittest.mock

import scan
import translate
import yaml
from policy import Request, api_allows, identity, many, principals, resource_allows
from samcli.yamlhelper import yaml_dump, yaml_parse
from translate import ACCOUNT, EVERYTHING, REGION, Invalid, arn

SIBLINGS = ["c8auth-staging", "c8auth2", "c8auth-vend", "c8"]  # stacks beside "c8auth", in the same account
HEARTBEAT = 300
EVERYBODY = [{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}]
NOBODY = []
ADMINISTRATOR = arn("iam", "role/administrator", region="")
CALLER = arn("iam", "role/workload", region="")


@functools.cache
def stack(name="c8auth", **given):
    return translate.main(name, **given)


@functools.cache
def tenant(name="acme", of="c8auth", **given):
    return translate.tenant(stack(of), name, **given)


def samconfig():
    """Its environments."""
    config = tomllib.loads((translate.ROOT / "samconfig.toml").read_text())
    assert config.pop("version") == 0.1 and set(config) == {"default", "staging", "production"}
    return list(config.values())


def ways():
    """The stack both ways, and every stack that belongs to it: (description, shared, all)."""
    for what, given in {"defaults": {}, "everything": EVERYTHING}.items():
        shared = stack(**given)
        yield what, shared, [shared, *shared.nested.values(), tenant()]


def resources(stacks, kind):
    return [r for s in stacks for r in s.of(kind)]


def function(shared, name):
    [found] = [f for f in shared.of("Lambda::Function") if f.name == f"{shared.name}-{name}"]
    return found


def role_of(shared, role_arn):
    [found] = [r for r in shared.of("IAM::Role") if r.arn == role_arn]
    return found


def policies(role):
    return [p["PolicyDocument"] for p in role.get("Policies", [])]


def secret(kind, name="default", of="c8auth"):
    return arn("secretsmanager", f"secret:{of}/{kind}/{name}-AbCdEf")


def statements(value):
    """Every statement of every policy in a structure."""
    if isinstance(value, dict):
        if "Statement" in value:
            yield from many(value["Statement"])
        else:
            for v in value.values():
                yield from statements(v)
    elif isinstance(value, list):
        for v in value:
            yield from statements(v)


def strings(value):
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for v in value:
            yield from strings(v)
    elif isinstance(value, str):
        yield value


class Laws(unittest.TestCase):
    maxDiff = None

    def allowed(self, documents, principal, action, resource, **context):
        self.assertEqual("allow", identity(documents, Request(principal, action, resource, context)), f"{principal} {action} {resource}")

    def denied(self, documents, principal, action, resource, **context):
        self.assertNotEqual("allow", identity(documents, Request(principal, action, resource, context)), f"{principal} {action} {resource}")


class Key(Laws):
    """Who may use the key for what: its policy and the principal's own, together."""

    def uses(self, documents, principal, action, of, via="secretsmanager", shared=None, **context):
        shared = shared or stack()
        key = shared.one("KMS::Key")
        context = {"kms:EncryptionContext:SecretARN": of, **context} if of else context
        if via:
            context["kms:ViaService"] = f"{via}.{REGION}.amazonaws.com"
        return resource_allows(key["KeyPolicy"], Request(principal, action, key.arn, context), documents)

    def function(self, name):
        role = role_of(stack(), function(stack(), name)["Role"])
        return policies(role), role.arn

    def test_vend_decrypts_tokens_and_nothing_else(self):
        vend = self.function("vend")
        self.assertTrue(self.uses(*vend, "kms:Decrypt", secret("token")))
        self.assertTrue(self.uses(*vend, "kms:Decrypt", secret("token", "acme")))
        self.assertFalse(self.uses(*vend, "kms:GenerateDataKey", secret("token")))
        self.assertFalse(self.uses(*vend, "kms:Decrypt", secret("credentials")))
        self.assertFalse(self.uses(*vend, "kms:Decrypt", arn("secretsmanager", "secret:payroll-AbCdEf")))
        self.assertFalse(self.uses(*vend, "kms:Decrypt", None))
        for sibling in SIBLINGS:
            self.assertFalse(self.uses(*vend, "kms:Decrypt", secret("token", of=sibling)))

    def test_rotate_decrypts_both_and_encrypts_tokens(self):
        rotate = self.function("rotate")
        self.assertTrue(self.uses(*rotate, "kms:Decrypt", secret("credentials")))
        self.assertTrue(self.uses(*rotate, "kms:Decrypt", secret("token")))
        self.assertTrue(self.uses(*rotate, "kms:GenerateDataKey", secret("token")))
        self.assertFalse(self.uses(*rotate, "kms:GenerateDataKey", secret("credentials")))
        self.assertFalse(self.uses(*rotate, "kms:Decrypt", None))
        for sibling in SIBLINGS:
            for kind in "credentials", "token":
                self.assertFalse(self.uses(*rotate, "kms:Decrypt", secret(kind, of=sibling)))
                self.assertFalse(self.uses(*rotate, "kms:GenerateDataKey", secret(kind, of=sibling)))

    def test_functions_use_it_through_secrets_manager_only(self):
        for name in "vend", "rotate":
            for via in None, "lambda", "sqs", "s3":
                self.assertFalse(self.uses(*self.function(name), "kms:Decrypt", secret("token"), via))

    def test_functions_decrypt_their_own_environment_only(self):
        for name, other in ("vend", "rotate"), ("rotate", "vend"):
            def decrypts(function_name):
                context = {"kms:EncryptionContext:aws:lambda:FunctionArn": arn("lambda", f"function:{function_name}")}
                return self.uses(*self.function(name), "kms:Decrypt", None, via=None, **context)

            self.assertTrue(decrypts(f"c8auth-{name}"))
            self.assertFalse(decrypts(f"c8auth-{other}"))
            self.assertFalse(decrypts("payroll"))

    def test_an_administrator_manages_it(self):
        # What CloudFormation does with a key and its alias, with the rights of who deploys.
        for action in "CreateAlias DeleteAlias DescribeKey DisableKey EnableKey EnableKeyRotation GetKeyPolicy GetKeyRotationStatus ListResourceTags PutKeyPolicy ScheduleKeyDeletion TagResource UntagResource UpdateAlias UpdateKeyDescription".split():
            self.assertTrue(self.uses(EVERYBODY, ADMINISTRATOR, f"kms:{action}", None, via=None), action)

    def test_an_administrator_reads_and_writes_the_secrets(self):
        for of in secret("credentials"), secret("token", "acme"):
            for action in "kms:Decrypt", "kms:GenerateDataKey":
                self.assertTrue(self.uses(EVERYBODY, ADMINISTRATOR, action, of))

    def test_an_administrator_uses_it_for_nothing_else(self):
        for action in "Decrypt Encrypt GenerateDataKey GenerateDataKeyWithoutPlaintext ReEncryptFrom ReEncryptTo CreateGrant".split():
            self.assertFalse(self.uses(EVERYBODY, ADMINISTRATOR, f"kms:{action}", None, via=None), action)
            self.assertFalse(self.uses(EVERYBODY, ADMINISTRATOR, f"kms:{action}", secret("credentials"), via=None), action)
            self.assertFalse(self.uses(EVERYBODY, ADMINISTRATOR, f"kms:{action}", None), action)
            for sibling in SIBLINGS:
                self.assertFalse(self.uses(EVERYBODY, ADMINISTRATOR, f"kms:{action}", secret("token", of=sibling)), action)
            self.assertFalse(self.uses(EVERYBODY, ADMINISTRATOR, f"kms:{action}", arn("secretsmanager", "secret:payroll-AbCdEf")), action)
            self.assertFalse(self.uses(EVERYBODY, ADMINISTRATOR, f"kms:{action}", None, via="s3"), action)

    def test_without_rights_of_their_own_and_from_elsewhere_nobody_uses_it(self):
        self.assertFalse(self.uses(NOBODY, CALLER, "kms:Decrypt", secret("token")))
        self.assertFalse(self.uses(NOBODY, CALLER, "kms:PutKeyPolicy", None, via=None))
        stranger = arn("iam", "role/administrator", region="", account="444455556666")
        self.assertFalse(self.uses(EVERYBODY, stranger, "kms:Decrypt", secret("token"), shared=stack(**EVERYTHING)))

    def test_who_deploys_encrypts_the_environments(self):
        for action in "kms:Encrypt", "kms:Decrypt", "kms:CreateGrant":
            self.assertTrue(self.uses(EVERYBODY, ADMINISTRATOR, action, None, via="lambda"), action)

    def test_logs_and_alarms_use_it_for_those_of_the_stack(self):
        for what, shared, stacks in ways():
            for group in resources(stacks, "Logs::LogGroup"):
                for name, expected in {group.name: True, group.name.replace("c8auth", "payroll"): False}.items():
                    context = {"kms:EncryptionContext:aws:logs:arn": arn("logs", f"log-group:{name}")}
                    for action in "kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey":
                        self.assertEqual(expected, self.uses(NOBODY, f"logs.{REGION}.amazonaws.com", action, None, None, shared, **context), name)
            for alarm in resources(stacks, "CloudWatch::Alarm"):
                for action in "kms:Decrypt", "kms:GenerateDataKey":
                    self.assertTrue(self.uses(NOBODY, "cloudwatch.amazonaws.com", action, None, None, shared, **{"aws:SourceArn": alarm.arn}), alarm.name)
            self.assertFalse(self.uses(NOBODY, "cloudwatch.amazonaws.com", "kms:Decrypt", None, None, shared))
            for service in "logs", "cloudwatch", "sns", "s3":
                self.assertFalse(self.uses(NOBODY, f"{service}.amazonaws.com", "kms:Decrypt", secret("token"), None, shared))

    def test_it_rotates(self):
        self.assertIs(True, stack().one("KMS::Key")["EnableKeyRotation"])


class Functions(Laws):
    """What the roles of vend and rotate may do besides decrypting."""

    def may(self, name, expected, action, *resources):
        for shared in stack(), stack(**EVERYTHING):
            role = role_of(shared, function(shared, name)["Role"])
            for resource in resources:
                (self.allowed if expected else self.denied)(policies(role), role.arn, action, resource)

    def test_vend_reads_tokens(self):
        self.may("vend", True, "secretsmanager:GetSecretValue", secret("token"), secret("token", "acme"))

    def test_vend_does_nothing_else_with_tokens(self):
        for action in "BatchGetSecretValue CreateSecret DeleteSecret DescribeSecret ListSecrets ListSecretVersionIds PutResourcePolicy PutSecretValue RotateSecret TagResource UpdateSecret UpdateSecretVersionStage".split():
            self.may("vend", False, f"secretsmanager:{action}", secret("token"))

    def test_vend_cannot_read_credentials(self):
        for action in "BatchGetSecretValue DescribeSecret GetSecretValue ListSecretVersionIds PutSecretValue UpdateSecretVersionStage".split():
            self.may("vend", False, f"secretsmanager:{action}", secret("credentials"), secret("credentials", "token"))

    def test_rotate_reads_credentials_and_writes_tokens(self):
        for action in "secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue":
            self.may("rotate", True, action, secret("credentials"), secret("credentials", "acme"))
        for action in "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue", "secretsmanager:DescribeSecret":
            self.may("rotate", True, action, secret("token"), secret("token", "acme"))

    def test_rotate_creates_and_deletes_nothing_and_leaves_credentials_alone(self):
        for action in "CreateSecret DeleteSecret ListSecrets PutResourcePolicy RestoreSecret RotateSecret TagResource UpdateSecret".split():
            self.may("rotate", False, f"secretsmanager:{action}", secret("token"), secret("credentials"))
        self.may("rotate", False, "secretsmanager:PutSecretValue", secret("credentials"))
        self.may("rotate", False, "secretsmanager:UpdateSecretVersionStage", secret("credentials"))

    def test_no_secret_of_another_stack_or_of_none(self):
        for name in "vend", "rotate":
            for action in "GetSecretValue DescribeSecret PutSecretValue".split():
                for sibling in SIBLINGS:
                    self.may(name, False, f"secretsmanager:{action}", secret("token", of=sibling), secret("credentials", of=sibling))
                self.may(name, False, f"secretsmanager:{action}", arn("secretsmanager", "secret:payroll-AbCdEf"), secret("token").replace(ACCOUNT, "444455556666"))

    def test_failed_rotations_reach_their_queue(self):
        for what, shared, _ in ways():
            [config] = shared.of("Lambda::EventInvokeConfig")
            failed = config["DestinationConfig"]["OnFailure"]["Destination"]
            self.assertEqual((function(shared, "rotate").name, "$LATEST"), (config["FunctionName"], config["Qualifier"]))
            self.assertIn(failed, [q.arn for q in shared.of("SQS::Queue")])
            for queue in shared.of("SQS::Queue"):
                self.may("rotate", queue.arn == failed, "sqs:SendMessage", queue.arn)
                self.may("vend", False, "sqs:SendMessage", queue.arn)
            self.assertLess(config["MaximumEventAgeInSeconds"], HEARTBEAT)

    def test_each_writes_its_own_log(self):
        for name, other in ("vend", "rotate"), ("rotate", "vend"):
            for action in "logs:CreateLogStream", "logs:PutLogEvents":
                self.may(name, True, action, arn("logs", f"log-group:/aws/lambda/c8auth-{name}:log-stream:2026/01/01/[1]a"))
                self.may(name, False, action, arn("logs", f"log-group:/aws/lambda/c8auth-{other}:log-stream:2026/01/01/[1]a"))
            self.may(name, False, "logs:CreateLogGroup", arn("logs", f"log-group:/aws/lambda/c8auth-{name}"))


class Roles(Laws):
    def test_a_sibling_stack_is_out_of_reach(self):
        """Nothing that a role may do with anything of its own stack, it may do with a sibling's."""
        for sibling in SIBLINGS:
            theirs = [r.arn for s in (stack(sibling), *stack(sibling).nested.values()) for r in s.resources.values() if r.arn]
            theirs += [f"{a}:live" for a in theirs if ":function:" in a]
            self.assertGreater(len(theirs), 20)
            for role in stack(**EVERYTHING).of("IAM::Role"):
                for action in sorted({a for s in statements(policies(role)) for a in many(s["Action"])}):
                    if action == "cloudwatch:DescribeAlarms":
                        continue  # it reads names and states, and has no narrower resource
                    for resource in theirs:
                        self.denied(policies(role), role.arn, action, resource)

    def test_no_wildcard_where_a_name_can_stand(self):
        for what, shared, stacks in ways():
            for s in stacks:
                documents = [d for r in s.of("IAM::Role") for d in policies(r)] + [p["PolicyDocument"] for p in s.of("IAM::ManagedPolicy")]
                for statement in statements(documents):
                    self.assertEqual({"Effect", "Action", "Resource"}, set(statement) - {"Sid", "Condition"})
                    for action in many(statement["Action"]):
                        self.assertNotIn("*", action)
                    for resource in many(statement["Resource"]):
                        if statement["Action"] != "cloudwatch:DescribeAlarms":
                            before, wildcard, _ = resource.partition("*")
                            self.assertNotRegex(before, r"[?]")
                            if wildcard:  # the name of the stack, and where it ends
                                self.assertRegex(before, rf":{'/aws/lambda/' if ':logs:' in before else ''}{shared.name}(/|-(vend|rotate):)")

    def test_nobody_is_let_in_by_a_wildcard(self):
        for what, shared, stacks in ways():
            for s in stacks:
                for r in s.resources.values():
                    for statement in statements(r.properties):
                        for action in many(statement["Action"]):
                            self.assertFalse(statement["Effect"] == "Allow" and re.search(r"^\*$|:\*$", action), f"{r.id}: {action}")
                        if statement["Effect"] == "Allow" and "Principal" in statement:
                            for kind, principal in principals(statement):
                                if principal == "*" and r.type == "AWS::ApiGateway::RestApi":
                                    self.assertEqual({"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}, "StringNotEquals": {"aws:PrincipalAccount": ACCOUNT}}, statement["Condition"])
                                    continue
                                self.assertNotIn("*", principal, r.id)
                                if principal.endswith(":root") and ACCOUNT in principal:
                                    self.assertEqual("AWS::KMS::Key", r.type)

    def test_roles_trust_one_service_each_and_have_no_managed_policies(self):
        for what, shared, stacks in ways():
            for role in resources(stacks, "IAM::Role"):
                [statement] = statements(role["AssumeRolePolicyDocument"])
                [(kind, principal)] = principals(statement)
                self.assertEqual(("Service", "sts:AssumeRole"), (kind, statement["Action"]))
                self.assertRegex(principal, r"^(lambda|codedeploy|scheduler|apigateway)\.amazonaws\.com$")
                managed = ["arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"] if principal.startswith("apigateway") else None
                self.assertEqual(managed, role.get("ManagedPolicyArns"))

    def test_the_schedulers_role_is_confined_to_its_group(self):
        for what, shared, stacks in ways():
            role = role_of(shared, shared.nested["DefaultTenant"].one("Scheduler::Schedule")["Target"]["RoleArn"])
            group = shared.one("Scheduler::ScheduleGroup")

            def assumed(by="scheduler.amazonaws.com", **context):
                return resource_allows(role["AssumeRolePolicyDocument"], Request(by, "sts:AssumeRole", role.arn, {k.replace("_", ":"): v for k, v in context.items()}))

            self.assertTrue(assumed(aws_SourceArn=group.arn, aws_SourceAccount=ACCOUNT))
            self.assertFalse(assumed("lambda.amazonaws.com", aws_SourceArn=group.arn, aws_SourceAccount=ACCOUNT))
            self.assertFalse(assumed(aws_SourceArn=group.arn, aws_SourceAccount="444455556666"))
            self.assertFalse(assumed(aws_SourceArn=group.arn))
            self.assertFalse(assumed(aws_SourceAccount=ACCOUNT))
            for other in ["default", *SIBLINGS]:
                self.assertFalse(assumed(aws_SourceArn=arn("scheduler", f"schedule-group/{other}"), aws_SourceAccount=ACCOUNT))

    def test_the_schedulers_role_invokes_rotate_and_nothing_else(self):
        shared = stack(**EVERYTHING)
        schedule = shared.nested["DefaultTenant"].one("Scheduler::Schedule")
        role = role_of(shared, schedule["Target"]["RoleArn"])
        queue = schedule["Target"]["DeadLetterConfig"]["Arn"]
        self.allowed(policies(role), role.arn, "lambda:InvokeFunction", arn("lambda", "function:c8auth-rotate"))
        for other in "c8auth-rotate:$LATEST", "c8auth-rotate:1", "c8auth-rotate2", "c8auth-vend", "c8auth-vend:live":
            self.denied(policies(role), role.arn, "lambda:InvokeFunction", arn("lambda", f"function:{other}"))
        for q in shared.of("SQS::Queue"):
            (self.allowed if q.arn == queue else self.denied)(policies(role), role.arn, "sqs:SendMessage", q.arn)

    def test_deployments_move_the_alias_of_vend_and_nothing_else(self):
        for what, shared, stacks in ways():
            role = role_of(shared, shared.one("CodeDeploy::DeploymentGroup")["ServiceRoleArn"])
            self.allowed(policies(role), role.arn, "lambda:UpdateAlias", function(shared, "vend").arn)
            self.denied(policies(role), role.arn, "lambda:UpdateAlias", function(shared, "rotate").arn)
            self.denied(policies(role), role.arn, "lambda:UpdateAlias", function(shared, "rotate").arn + ":live")
            self.denied(policies(role), role.arn, "lambda:UpdateFunctionCode", function(shared, "vend").arn)


class Callers(Laws):
    """Who gets a token: the caller's own policies and the API's, together."""

    def gets(self, shared, principal, documents, of="default", method="GET", stage="v1", api=None, through=None, tail="", tls=True, organization=None):
        rest = shared.one("ApiGateway::RestApi")
        resource = arn("execute-api", f"{api or rest.ref}/{stage}/{method}/tokens/{of}{tail}")
        context = {"aws:SecureTransport": "true" if tls else "false"} | ({"aws:SourceVpce": through} if through else {}) | ({"aws:PrincipalOrgID": organization} if organization else {})
        return api_allows(rest.get("Policy"), rest.ref, Request(principal, "execute-api:Invoke", resource, context), documents)

    def reports(self, *args, **kwargs):
        return self.gets(*args, **{"method": "POST", "tail": "/rejections"} | kwargs)

    def caller_policy(self, s, id="CallerPolicy"):
        [policy] = [p for p in s.of("IAM::ManagedPolicy") if p.id == id]
        return [policy["PolicyDocument"]]

    def test_a_tenant_has_two_policies_and_one_of_them_reports(self):
        for s, of in (stack().nested["DefaultTenant"], "default"), (tenant("acme"), "acme"):
            self.assertEqual({"CallerPolicy", "ReportingCallerPolicy"}, {p.id for p in s.of("IAM::ManagedPolicy")})
            self.assertFalse(self.reports(stack(), CALLER, self.caller_policy(s), of))
            self.assertTrue(self.reports(stack(), CALLER, self.caller_policy(s, "ReportingCallerPolicy"), of))

    def test_a_tenants_policy_admits_to_that_tenant(self):
        for id in "CallerPolicy", "ReportingCallerPolicy":
            self.assertTrue(self.gets(stack(), CALLER, self.caller_policy(stack().nested["DefaultTenant"], id)))
            self.assertTrue(self.gets(stack(), CALLER, self.caller_policy(tenant("acme"), id), "acme"))

    def test_a_tenants_policy_admits_to_nothing_else(self):
        for id in "CallerPolicy", "ReportingCallerPolicy":
            acme = self.caller_policy(tenant("acme"), id)
            for other in "default", "acme2", "acm", "acme/x", "acme-staging", "*":
                self.assertFalse(self.gets(stack(), CALLER, acme, other), other)
                self.assertFalse(self.reports(stack(), CALLER, acme, other), other)
            for method in "POST", "PUT", "DELETE", "OPTIONS":
                self.assertFalse(self.gets(stack(), CALLER, acme, "acme", method=method))
            for method in "GET", "PUT", "DELETE", "OPTIONS":
                self.assertFalse(self.reports(stack(), CALLER, acme, "acme", method=method))
            for does in self.gets, self.reports:
                self.assertFalse(does(stack(), CALLER, acme, "acme", stage="Stage"))
                self.assertFalse(does(stack(), CALLER, acme, "acme", api="a1b2c3d4e5"))
                for sibling in SIBLINGS:
                    self.assertFalse(does(stack(), CALLER, acme, "acme", api=stack(sibling).one("ApiGateway::RestApi").ref))
            self.denied(acme, CALLER, "execute-api:ManageConnections", arn("execute-api", f"{stack().one('ApiGateway::RestApi').ref}/v1/GET/tokens/acme"))

    def test_the_api_always_has_a_policy_and_a_parameter_that_is_emptied_leaves_nothing(self):
        """API Gateway keeps the last policy when the property disappears, and with it whoever was let in or shut out."""
        given = {"OtherCallers": "444455556666", "OtherCallersOrganization": "o-a1b2c3d4e5", "VpcEndpoints": "vpce-0a1b2c3d"}
        seen = set()
        for names in itertools.chain.from_iterable(itertools.combinations(given, n) for n in range(4)):
            shared = stack(**{name: given[name] if name in names else "" for name in given})
            policy = shared.one("ApiGateway::RestApi").get("Policy")
            self.assertTrue(policy and policy["Statement"], names)
            seen.add(json.dumps(policy, sort_keys=True))
            through = "vpce-0a1b2c3d" if "VpcEndpoints" in names else None
            own = self.caller_policy(shared.nested["DefaultTenant"])
            self.assertTrue(self.gets(shared, CALLER, own, through=through), names)
            self.assertFalse(self.gets(shared, CALLER, NOBODY, through=through), names)
            self.assertEqual("VpcEndpoints" not in names, self.gets(shared, CALLER, own), names)
            self.assertEqual("OtherCallers" in names, self.gets(shared, self.theirs("any"), EVERYBODY, through=through), names)
            self.assertEqual("OtherCallersOrganization" in names, self.gets(shared, self.theirs("any", "222233334444"), EVERYBODY, through=through, organization="o-a1b2c3d4e5"), names)
        self.assertEqual(8, len(seen))

    def test_nobody_is_served_without_tls(self):
        for what, shared, _ in ways():
            own = self.caller_policy(shared.nested["DefaultTenant"])
            through = "vpce-0a1b2c3d" if what == "everything" else None
            for caller, documents in (CALLER, own), (self.theirs("any"), EVERYBODY):
                self.assertFalse(self.gets(shared, caller, documents, through=through, tls=False))

    def test_an_organization_gets_the_listed_tenants_and_this_account_nothing_more(self):
        shared = stack(OtherCallersOrganization="o-a1b2c3d4e5", OtherCallersTenants="default,acme")
        theirs = self.theirs("any", "222233334444")
        for of in "default", "acme":
            for does in self.gets, self.reports:
                self.assertTrue(does(shared, theirs, EVERYBODY, of, organization="o-a1b2c3d4e5"))
                self.assertFalse(does(shared, theirs, NOBODY, of, organization="o-a1b2c3d4e5"), "without their own IAM")
                self.assertFalse(does(shared, theirs, EVERYBODY, of, organization="o-a1b2c3d4e6"))
                self.assertFalse(does(shared, theirs, EVERYBODY, of))
                self.assertFalse(does(shared, CALLER, NOBODY, of, organization="o-a1b2c3d4e5"))
        for of in "acme2", "other", "acme/x":
            self.assertFalse(self.gets(shared, theirs, EVERYBODY, of, organization="o-a1b2c3d4e5"))

    SHARED = {"OtherCallers": "444455556666,arn:aws:iam::777788889999:role/app/reader", "OtherCallersTenants": "default,acme"}

    def theirs(self, role, account="444455556666"):
        return arn("iam", f"role/{role}", region="", account=account)

    def test_other_accounts_get_the_listed_tenants(self):
        shared = stack(**self.SHARED)
        for caller in self.theirs("any"), self.theirs("app/reader", "777788889999"):
            for of in "default", "acme":
                for does in self.gets, self.reports:
                    self.assertTrue(does(shared, caller, EVERYBODY, of))
                    self.assertFalse(does(shared, caller, NOBODY, of), "without their own IAM")
            for of in "acme2", "acm", "other", "acme/x":
                self.assertFalse(self.gets(shared, caller, EVERYBODY, of))
                self.assertFalse(self.reports(shared, caller, EVERYBODY, of))
            self.assertFalse(self.gets(shared, caller, EVERYBODY, method="POST"))
            self.assertFalse(self.reports(shared, caller, EVERYBODY, method="GET"))
            self.assertFalse(self.gets(shared, caller, EVERYBODY, stage="Stage"))

    def test_accounts_and_roles_that_are_not_listed_get_nothing(self):
        shared = stack(**self.SHARED)
        for caller in self.theirs("any", "222233334444"), self.theirs("app/other", "777788889999"), self.theirs("app/reader", "222233334444"):
            self.assertFalse(self.gets(shared, caller, EVERYBODY))
        for unshared in stack(), stack(VpcEndpoints="vpce-0a1b2c3d"):
            self.assertFalse(self.gets(unshared, self.theirs("any"), EVERYBODY, through="vpce-0a1b2c3d"))

    def test_other_callers_do_not_widen_what_local_principals_may(self):
        for others in self.SHARED["OtherCallers"], ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", CALLER:
            shared = stack(OtherCallers=others)
            self.assertFalse(self.gets(shared, CALLER, NOBODY), others)
            self.assertTrue(self.gets(shared, CALLER, self.caller_policy(shared.nested["DefaultTenant"])))

    def test_a_private_api_is_reached_through_its_endpoints_alone(self):
        for given in {"VpcEndpoints": "vpce-0a1b2c3d,vpce-0e4f5a6b"}, EVERYTHING:
            shared = stack(**given)
            own = self.caller_policy(shared.nested["DefaultTenant"])
            for endpoint, expected in {"vpce-0a1b2c3d": True, "vpce-0e4f5a6b": True, "vpce-0a1b2c3": False, "vpce-09999999": False, None: False}.items():
                self.assertEqual(expected, self.gets(shared, CALLER, own, through=endpoint), endpoint)
                self.assertEqual(expected, self.gets(shared, ADMINISTRATOR, EVERYBODY, through=endpoint), endpoint)
                self.assertFalse(self.gets(shared, CALLER, NOBODY, through=endpoint), endpoint)
        for endpoint, expected in {"vpce-0a1b2c3d": True, None: False}.items():
            self.assertEqual(expected, self.gets(stack(**EVERYTHING), self.theirs("any"), EVERYBODY, "acme", through=endpoint))

    def test_endpoints_make_the_api_private(self):
        for given, expected in ({}, "REGIONAL"), (self.SHARED, "REGIONAL"), (EVERYTHING, "PRIVATE"):
            self.assertEqual([expected], stack(**given).one("ApiGateway::RestApi")["EndpointConfiguration"]["Types"])

    def test_the_api_can_become_private_and_public_again(self):
        """API Gateway refuses a change of the type in access mode STRICT, and a private API is dualstack."""
        for given in {}, EVERYTHING:
            rest = stack(**given).one("ApiGateway::RestApi")
            self.assertEqual(("BASIC", "dualstack"), (rest["EndpointAccessMode"], rest["EndpointConfiguration"]["IpAddressType"]))


class Api(Laws):
    ROUTES = {("get", "/tokens/{tenant}"): "vend", ("post", "/tokens/{tenant}/rejections"): "rotate"}

    def test_two_methods_and_no_way_around_iam(self):
        for what, shared, _ in ways():
            body = shared.one("ApiGateway::RestApi")["Body"]
            self.assertEqual(set(self.ROUTES), {(method, path) for path, methods in body["paths"].items() for method in methods})
            for (method, path), name in self.ROUTES.items():
                method = body["paths"][path][method]
                self.assertEqual([{"AWS_IAM": []}], method.get("security"))
                integration = method["x-amazon-apigateway-integration"]
                self.assertNotIn("credentials", integration, "it would invoke the function as the caller")
                # Recorded by LocalStack's test suite against AWS, 2024-03-20, test_lambda_aws_proxy_integration_non_post_method.
                self.assertEqual(("aws_proxy", "POST"), (integration["type"], integration["httpMethod"]), "with another method, API Gateway answers 500 to everything")
                self.assertIn(f"/functions/{function(shared, name).arn}{':live' * (name == 'vend')}/invocations", integration["uri"])
            self.assertEqual("awsSigv4", body["components"]["securitySchemes"]["AWS_IAM"]["x-amazon-apigateway-authtype"])
            self.assertEqual([], [r.id for kind in ("Resource", "Method", "Authorizer", "ApiKey", "UsagePlan") for r in shared.of(f"ApiGateway::{kind}")])

    def test_this_api_invokes_each_function_by_its_route_and_nobody_else_is_let_in(self):
        for what, shared, stacks in ways():
            permissions = resources(stacks, "Lambda::Permission")
            self.assertEqual(2, len(permissions))
            api = shared.one("ApiGateway::RestApi").ref
            for name, route in ("vend", r"GET/tokens/\*"), ("rotate", r"POST/tokens/\*/rejections"):
                [permission] = [p for p in permissions if p["FunctionName"] in (function(shared, name).name, function(shared, name).arn + ":live")]
                self.assertEqual(("lambda:InvokeFunction", "apigateway.amazonaws.com"), (permission["Action"], permission["Principal"]))
                self.assertRegex(permission["SourceArn"], rf":{ACCOUNT}:{api}/[^/]+/{route}$")
            self.assertEqual([], resources(stacks, "Lambda::Url"))

    def test_one_stage(self):
        for what, shared, _ in ways():
            deployments = [d["StageName"] for d in shared.of("ApiGateway::Deployment") if "StageName" in d.properties]
            self.assertEqual(["v1"], [s["StageName"] for s in shared.of("ApiGateway::Stage")] + deployments)

    def test_tls_1_2_at_least(self):
        for what, shared, _ in ways():
            self.assertRegex(shared.one("ApiGateway::RestApi").get("SecurityPolicy", "TLS_1_0"), r"^(TLS_1_2|SecurityPolicy_TLS13_1_[23]_\w+)$")

    def test_throttled_neither_cached_nor_traced_in_full(self):
        for what, shared, _ in ways():
            stage = shared.one("ApiGateway::Stage")
            all, reports = stage["MethodSettings"]
            for settings, method, path in (all, "*", "/*"), (reports, "POST", "/~1tokens~1{tenant}~1rejections"):
                self.assertEqual((method, path, False, False), tuple(settings.get(k) for k in ("HttpMethod", "ResourcePath", "DataTraceEnabled", "CachingEnabled")))
            for limit in "ThrottlingRateLimit", "ThrottlingBurstLimit":
                self.assertGreater(reports.get(limit, 0), 0)
                self.assertGreater(all.get(limit, 0), reports[limit])
            self.assertEqual((300, 600), tuple(stack(ThrottleRate=300, ThrottleBurst=600).one("ApiGateway::Stage")["MethodSettings"][0][f"Throttling{limit}Limit"] for limit in ("Rate", "Burst")))
            self.assertFalse({"CacheClusterEnabled", "CacheClusterSize", "CanarySetting"} & set(stage.properties))

    # The variables that show neither a header nor a body nor what was signed, and in which no caller can write a quote.
    HARMLESS = {"requestTime", "requestTimeEpoch", "requestId", "extendedRequestId", "status", "httpMethod", "resourcePath", "stage", "protocol",
                "responseLength", "responseLatency", "integrationLatency", "integrationStatus", "integration.latency", "integration.status", "tlsVersion", "cipherSuite", "error.responseType",
                "wafResponseCode", "xrayTraceId", "identity.userArn", "identity.accountId", "identity.caller", "identity.sourceIp", "identity.vpceId", "identity.vpcId"}

    def test_access_logs_show_who_and_what_and_no_secret(self):
        for what, shared, _ in ways():
            setting = shared.one("ApiGateway::Stage")["AccessLogSetting"]
            self.assertIn(setting["DestinationArn"], [g.arn.removesuffix(":*") + end for g in shared.of("Logs::LogGroup") for end in ("", ":*")])
            variables = set(re.findall(r"\$([\w.]+)", setting["Format"]))
            self.assertEqual(set(), variables - {f"context.{name}" for name in self.HARMLESS})
            self.assertLessEqual({"context.requestId", "context.identity.userArn", "context.identity.sourceIp", "context.status", "context.resourcePath"}, variables)
            json.loads(setting["Format"])

    def test_refusals_are_not_cached(self):
        for what, shared, _ in ways():
            responses = shared.one("ApiGateway::RestApi")["Body"]["x-amazon-apigateway-gateway-responses"]
            for kind in "DEFAULT_4XX", "DEFAULT_5XX":
                self.assertEqual("'no-store'", responses[kind]["responseParameters"].get("gatewayresponse.header.Cache-Control"))

    def test_a_change_of_policy_is_deployed(self):
        """The id of the deployment is another one each second."""
        found = set()
        for moment in 1, 2:
            with unittest.mock.patch("time.time", return_value=moment):
                found |= {d.id for d in translate.main().of("ApiGateway::Deployment")}
        self.assertEqual(2, len(found))

    def test_the_role_for_access_logs_is_made_and_left_or_not_made(self):
        for given, expected in ({"ApiLogsRole": "create"}, 1), ({"ApiLogsRole": "exists"}, 0):
            shared = stack(**given)
            found = shared.of("ApiGateway::Account") + [r for r in shared.of("IAM::Role") if "ManagedPolicyArns" in r.properties]
            self.assertEqual(2 * expected, len(found))
            self.assertEqual({"Retain"} if expected else set(), {r.deletion_policy for r in found})
            if expected:
                self.assertEqual(found[1].arn, found[0]["CloudWatchRoleArn"])
                self.assertIn(found[0], shared.before(shared.one("ApiGateway::Stage")))


class Lambdas(Laws):
    """Both functions, as to how they run and are deployed."""

    def test_logs(self):
        for what, shared, stacks in ways():
            groups = {g.name: g for g in shared.of("Logs::LogGroup")}
            logs = [f["LoggingConfig"] for f in resources(stacks, "Lambda::Function")]
            self.assertEqual({"JSON"}, {l["LogFormat"] for l in logs})
            self.assertEqual(2, len({l["LogGroup"] for l in logs}), "each has its own")
            for name in [l["LogGroup"] for l in logs]:
                self.assertIn(name, groups)

    def test_environments_are_encrypted_and_hold_no_secret(self):
        for what, shared, _ in ways():
            for f in shared.of("Lambda::Function"):
                self.assertEqual(shared.one("KMS::Key").arn, f.get("KmsKeyArn"))
                variables = f["Environment"]["Variables"]
                self.assertEqual("c8auth", variables["C8AUTH_STACK"])
                self.assertEqual(set(), {v for v in variables if not re.match(r"C8AUTH_|(AWS_ENDPOINT_URL_SECRETS_MANAGER|SSL_CERT_DIR)$", v)})

    def test_settings_reach_the_functions(self):
        vend, rotate = (function(stack(ProbePath="/p"), n)["Environment"]["Variables"] for n in ("vend", "rotate"))
        self.assertEqual(("1m", "default"), (vend["C8AUTH_CACHE_TTL"], vend["C8AUTH_PREFETCH"]))
        self.assertEqual("/p", rotate["C8AUTH_PROBE_PATH"])

    def test_architecture(self):
        for architecture in "arm64", "x86_64":
            self.assertEqual([[architecture]] * 2, [f["Architectures"] for f in stack(Architecture=architecture).of("Lambda::Function")])

    def test_vend_has_an_alias_and_rotate_has_none(self):
        for what, shared, _ in ways():
            self.assertEqual([("c8auth-vend", "live")], [(a["FunctionName"], a["Name"]) for a in shared.of("Lambda::Alias")])
            self.assertEqual(["c8auth-vend"], [v["FunctionName"] for v in shared.of("Lambda::Version")])

    # What Lambda keeps apart from versions (its documentation of PublishVersion); code and processor change with the artifact.
    UNVERSIONED = {"Architectures", "Code", "FunctionName", "ReservedConcurrentExecutions", "Tags"}

    def versioned(self, shared):
        return {k: v for k, v in function(shared, "vend").properties.items() if k not in self.UNVERSIONED}

    def test_no_parameter_changes_what_a_version_of_vend_contains(self):
        """SAM names a version by the text of the properties: a parameter that changes makes none, and would not reach the alias."""
        for name, values in Parameters.GOOD.items():
            for value in values:
                changed = stack(**{name: value})
                self.assertEqual(self.versioned(stack()), self.versioned(changed), f"{name}={value}")
                self.assertEqual(stack().one("Lambda::Version").id, changed.one("Lambda::Version").id, f"{name}={value}")

    def test_a_new_version_of_vend_is_made_for_each_property_that_it_contains(self):
        edits = {
            "Timeout": lambda p: p.update(Timeout=11),
            "Description": lambda p: p.update(Description="other"),
            "MemorySize": lambda p: p.update(MemorySize=256),
            "Environment": lambda p: p["Environment"]["Variables"].update(C8AUTH_CACHE_TTL="2m"),
            "Role": lambda p: p.update(Role="arn:aws:iam::111122223333:role/other"),
            "Handler": lambda p: p.update(Handler="other"),
            "Runtime": lambda p: p.update(Runtime="provided.al2"),
            "KmsKeyArn": lambda p: p.update(KmsKeyArn="arn:aws:kms:eu-central-1:111122223333:key/1"),
            "LoggingConfig": lambda p: p["LoggingConfig"].update(LogGroup="/other"),
        }
        self.assertEqual(set(self.versioned(stack())), set(edits))
        for name, edit in edits.items():
            other = translate.main(edit=lambda template: edit(template["Resources"]["VendFunction"]["Properties"]))
            self.assertNotEqual(stack().one("Lambda::Version").id, other.one("Lambda::Version").id, name)

    def test_reserved_concurrency_where_0_means_none(self):
        for name, parameter in ("vend", "VendConcurrency"), ("rotate", "RotateConcurrency"):
            self.assertNotIn("ReservedConcurrentExecutions", function(stack(), name).properties)
            shared = stack(**{parameter: 7})
            self.assertEqual([7], [f["ReservedConcurrentExecutions"] for f in shared.of("Lambda::Function") if "ReservedConcurrentExecutions" in f.properties])
            self.assertEqual(7, function(shared, name)["ReservedConcurrentExecutions"])

    def test_provisioned_concurrency(self):
        self.assertFalse(any("ProvisionedConcurrencyConfig" in a.properties for a in stack().of("Lambda::Alias")))
        [config] = [(a["FunctionName"], a["ProvisionedConcurrencyConfig"]) for a in stack(VendProvisioned=3).of("Lambda::Alias") if "ProvisionedConcurrencyConfig" in a.properties]
        self.assertEqual(("c8auth-vend", {"ProvisionedConcurrentExecutions": 3}), config)

    def test_tracing(self):
        for mode in "PassThrough", "Active":
            shared = stack(Tracing=mode)
            self.assertIs(mode == "Active", shared.one("ApiGateway::Stage")["TracingEnabled"])
            self.assertEqual(["PassThrough"] * 2, [f.get("TracingConfig", {"Mode": "PassThrough"})["Mode"] for f in shared.of("Lambda::Function")])

    def test_vend_moves_at_its_pace_and_back_on_its_own_errors(self):
        for pace in "AllAtOnce", "Canary10Percent10Minutes", "Linear10PercentEvery1Minute":
            shared = stack(Pace=pace)
            group = shared.one("CodeDeploy::DeploymentGroup")
            self.assertEqual(f"CodeDeployDefault.Lambda{pace}", group["DeploymentConfigName"])
            self.assertEqual((True, True), (group.get("AlarmConfiguration", {}).get("Enabled"), group["AutoRollbackConfiguration"]["Enabled"]))
            self.assertIn("DEPLOYMENT_STOP_ON_ALARM", group["AutoRollbackConfiguration"]["Events"])
            [name] = [a["Name"] for a in group["AlarmConfiguration"]["Alarms"]]
            [alarm] = [a for a in shared.of("CloudWatch::Alarm") if a.name == name]
            [(namespace, metric, dimensions)] = metrics_of(alarm)
            self.assertEqual(("AWS/Lambda", "Errors", "c8auth-vend:live"), (namespace, metric, dimensions["Resource"]))
            self.assertEqual("notBreaching", alarm["TreatMissingData"])
            [updated] = [a for a in shared.of("Lambda::Alias") if a.update_policy]
            self.assertEqual(("c8auth-vend", group.ref), (updated["FunctionName"], updated.update_policy["CodeDeployLambdaAliasUpdate"]["DeploymentGroupName"]))


class AtRest(Laws):
    """Everything that holds something is encrypted, and kept as long as was said."""

    def test_log_groups(self):
        for what, shared, stacks in ways():
            for group in resources(stacks, "Logs::LogGroup"):
                self.assertEqual(shared.one("KMS::Key").arn, group.get("KmsKeyId"), group.name)
                self.assertEqual(shared.parameters["LogRetention"], group.get("RetentionInDays"), group.name)

    def test_queues_and_topics(self):
        for what, shared, stacks in ways():
            for queue in resources(stacks, "SQS::Queue"):
                self.assertTrue(queue.get("KmsMasterKeyId") or queue.get("SqsManagedSseEnabled") is True, queue.name)
                self.assertEqual({"c8auth-failed": 4, "c8auth-undelivered": 14}[queue.name] * 86400, queue["MessageRetentionPeriod"])
            for topic in resources(stacks, "SNS::Topic"):
                self.assertEqual(shared.one("KMS::Key").ref, topic.get("KmsMasterKeyId"), "alarms cannot publish with SNS's own key")

    def test_secrets(self):
        for what, shared, stacks in ways():
            found = resources(stacks, "SecretsManager::Secret")
            self.assertEqual({f"c8auth/{kind}/{name}" for kind in ("credentials", "token") for name in ("default", "acme")}, {s.name for s in found})
            self.assertEqual({shared.one("KMS::Alias").name}, {s.get("KmsKeyId") for s in found})
            self.assertEqual([], resources(stacks, "SecretsManager::ResourcePolicy") + resources(stacks, "SecretsManager::RotationSchedule"))

    def test_secrets_are_created_empty(self):
        """A value would pass through CloudFormation, and a later update put it over the live one."""
        for what, shared, stacks in ways():
            for s in resources(stacks, "SecretsManager::Secret"):
                self.assertFalse({"SecretString", "GenerateSecretString"} & set(s.properties), s.name)

    def test_no_update_of_a_stack_touches_a_secret(self):
        """Whatever parameter changes, CloudFormation finds nothing to do for secrets, their key and its alias."""
        for kind in "SecretsManager::Secret", "KMS::Key", "KMS::Alias":
            for name, values in Parameters.GOOD.items():
                for value in values:
                    for was, now in (stack(), stack(**{name: value})), (stack().nested["DefaultTenant"], stack(**{name: value}).nested["DefaultTenant"]):
                        self.assertEqual([(r.id, r.properties) for r in was.of(kind)], [(r.id, r.properties) for r in now.of(kind)], f"{name}={value}")

    def test_secrets_and_key_outlive_the_stack(self):
        """By a literal: CloudFormation has open faults with a DeletionPolicy that a parameter decides."""
        for s in stack(), stack().nested["DefaultTenant"], tenant():
            for r in s.of("SecretsManager::Secret") + s.of("KMS::Key"):
                self.assertEqual(("RetainExceptOnCreate", "Retain"), (s.template["Resources"][r.id]["DeletionPolicy"], r.update_replace_policy), r.name)

    def test_the_alias_that_tenants_name_is_the_keys(self):
        self.assertEqual(stack().one("KMS::Key").ref, stack().one("KMS::Alias")["TargetKeyId"])


# Metrics: those of ours are what the functions' sources name, others are listed.

SOURCES = [p for d in ("pkg", "functions") for p in (pathlib.Path(__file__).parents[2] / d).rglob("*.go") if not p.name.endswith("_test.go")]
AWS_METRICS = {
    "AWS/ApiGateway": {"Count", "Latency", "IntegrationLatency", "4XXError", "5XXError"},
    "AWS/Lambda": {"Invocations", "Duration", "Errors", "Throttles", "ConcurrentExecutions", "ProvisionedConcurrencySpilloverInvocations"},
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"},
}


@functools.cache
def written(metric):
    return any(f'"{metric}"' in p.read_text() for p in SOURCES)


def metrics_of(alarm):
    for m in [q["MetricStat"]["Metric"] for q in alarm.get("Metrics", []) if "MetricStat" in q] or [alarm]:
        yield m["Namespace"], m["MetricName"], {d["Name"]: d["Value"] for d in m["Dimensions"]}


class Watching(Laws):
    """Alarms and dashboard."""

    def exists(self, shared, tenants, namespace, metric, dimensions):
        given = dict(dimensions)
        if namespace == "c8auth":
            self.assertTrue(written(metric), f"no function writes {metric}")
            self.assertEqual(("c8auth", {"Stack", "Tenant"}), (given["Stack"], set(given)))
            self.assertIn(given["Tenant"], tenants)
            return
        self.assertIn(metric, AWS_METRICS[namespace])
        if namespace == "AWS/Lambda":
            name = given.pop("FunctionName")
            self.assertIn(name, [f.name for f in shared.of("Lambda::Function")])
            self.assertIn(given.pop("Resource", name), [name, f"{name}:live"])
            self.assertEqual("1", given.pop("ExecutedVersion", "1"))
        elif namespace == "AWS/ApiGateway":
            self.assertEqual((shared.one("ApiGateway::RestApi").name, shared.one("ApiGateway::Stage").name), (given.pop("ApiName"), given.pop("Stage")))
        else:
            self.assertIn(given.pop("QueueName"), [q.name for q in shared.of("SQS::Queue")])
        self.assertEqual({}, given)

    def test_alarms_tell_somebody_what_to_do(self):
        for what, shared, stacks in ways():
            topic = shared.one("SNS::Topic")
            for alarm in resources(stacks, "CloudWatch::Alarm"):
                self.assertRegex(alarm["AlarmDescription"], r"\bDo: \w", alarm.name)
                self.assertLessEqual(len(alarm["AlarmDescription"]), 1024, alarm.name)
                self.assertEqual([topic.ref], alarm.get("AlarmActions"), alarm.name)
                self.assertTrue(alarm.get("ActionsEnabled", True))
                self.assertIn(alarm.get("TreatMissingData"), ["breaching", "notBreaching"], alarm.name)

    def test_alarms_watch_what_exists(self):
        for what, shared, stacks in ways():
            for alarm in resources(stacks, "CloudWatch::Alarm"):
                for metric in metrics_of(alarm):
                    self.exists(shared, ["default", "acme"], *metric)

    def test_everything_that_can_fail_is_watched(self):
        for what, shared, stacks in ways():
            watched = {(metric, *values) for a in resources(stacks, "CloudWatch::Alarm") for _, metric, d in metrics_of(a) for values in [tuple(d.values())]}
            for queue in shared.of("SQS::Queue"):
                self.assertIn(("ApproximateNumberOfMessagesVisible", queue.name), watched)
            for name in "default", "acme":
                self.assertIn(("TokenLifePercent", "c8auth", name), watched)
                self.assertIn(("CredentialsFallback", "c8auth", name), watched)
                self.assertIn(("TokenRejected", "c8auth", name), watched)
            self.assertIn(("Errors", "c8auth-rotate"), watched)
            self.assertIn(("Errors", "c8auth-vend"), watched)
            self.assertIn(("5XXError", "c8auth", "v1"), watched)
            for name in "vend", "rotate":
                self.assertIn(("Throttles", f"c8auth-{name}"), watched)

    def test_the_alarm_on_a_tokens_lifetime_is_right_for_any_lifetime(self):
        for s in stack().nested["DefaultTenant"], tenant():
            [alarm] = [a for a in s.of("CloudWatch::Alarm") if a.get("MetricName") == "TokenLifePercent"]
            self.assertEqual(("LessThanThreshold", 25, "Minimum", "breaching"), tuple(alarm[k] for k in ("ComparisonOperator", "Threshold", "Statistic", "TreatMissingData")))
            self.assertEqual(900, alarm["Period"] * alarm["EvaluationPeriods"])
            self.assertEqual(alarm["EvaluationPeriods"], alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]))
            self.assertGreaterEqual(alarm["Period"], HEARTBEAT, "a period without a heartbeat would be missing data")

    def test_rejections_alarm_from_three_in_an_hour_on(self):
        """Once may be a revocation; again and again it is another user of the same client."""
        for s in stack().nested["DefaultTenant"], tenant():
            [alarm] = [a for a in s.of("CloudWatch::Alarm") if a.get("MetricName") == "TokenRejected"]
            self.assertEqual(("GreaterThanOrEqualToThreshold", 3, "Sum", 3600, 1, "notBreaching"), tuple(alarm[k] for k in ("ComparisonOperator", "Threshold", "Statistic", "Period", "EvaluationPeriods", "TreatMissingData")))

    def test_the_topic_takes_alarms_of_this_stack_from_cloudwatch_alone(self):
        for what, shared, stacks in ways():
            [policy] = resources(stacks, "SNS::TopicPolicy")
            topic = shared.one("SNS::Topic")
            self.assertEqual([topic.ref], policy["Topics"])

            def publishes(principal, source, action="sns:Publish", documents=NOBODY):
                context = {"aws:SourceArn": source} if source else {}
                return resource_allows(policy["PolicyDocument"], Request(principal, action, topic.ref, context), documents)

            for alarm in resources(stacks, "CloudWatch::Alarm"):
                self.assertTrue(publishes("cloudwatch.amazonaws.com", alarm.arn), alarm.name)
                self.assertFalse(publishes("events.amazonaws.com", alarm.arn))
                self.assertFalse(publishes(CALLER, alarm.arn))
                self.assertFalse(publishes("cloudwatch.amazonaws.com", alarm.arn, "sns:Subscribe"))
                self.assertFalse(publishes("cloudwatch.amazonaws.com", alarm.arn.replace(ACCOUNT, "444455556666")))
            for sibling in SIBLINGS:
                self.assertFalse(publishes("cloudwatch.amazonaws.com", arn("cloudwatch", f"alarm:{sibling}/vend-errs")))
            self.assertFalse(publishes("cloudwatch.amazonaws.com", None))

    def test_mail(self):
        self.assertEqual([], stack().of("SNS::Subscription"))
        [mail] = stack(AlarmEmail="operator@example.com").of("SNS::Subscription")
        self.assertEqual((stack().one("SNS::Topic").ref, "email", "operator@example.com"), tuple(mail[k] for k in ("TopicArn", "Protocol", "Endpoint")))

    def widgets(self, shared):
        return json.loads(shared.one("CloudWatch::Dashboard")["DashboardBody"])["widgets"]

    def test_widgets_lie_beside_each_other(self):
        cells = collections.Counter((x, y) for w in self.widgets(stack()) for x in range(w["x"], w["x"] + w["width"]) for y in range(w["y"], w["y"] + w["height"]))
        self.assertEqual({1}, set(cells.values()))
        self.assertLess(max(x for x, _ in cells), 24)

    def test_the_dashboard_shows_every_alarm_and_none_that_is_not(self):
        for given in {}, EVERYTHING:
            shared = stack(**given)
            shown = [a for w in self.widgets(shared) if w["type"] == "alarm" for a in w["properties"]["alarms"]]
            self.assertEqual(sorted(a.arn for a in resources([shared, *shared.nested.values()], "CloudWatch::Alarm")), sorted(shown))

    def test_the_dashboard_shows_metrics_that_exist(self):
        shared, seen = stack(), set()
        for widget in self.widgets(shared):
            previous = []
            for row in widget["properties"].get("metrics", []):
                *names, options = row if isinstance(row[-1], dict) else [*row, {}]
                if "expression" in options:
                    self.assertEqual([], names)
                    search = re.search(r"""^SEARCH\('\{c8auth,Stack,Tenant\} MetricName=(.*?) Stack="(.*?)"', '\w+', \d+\)( / \d+)?$""", options["expression"])
                    self.assertTrue(search, options["expression"])
                    for metric in re.findall(r'"(\w+)"', search[1]):
                        self.exists(shared, ["default"], "c8auth", metric, {"Stack": search[2], "Tenant": "default"})
                        seen.add(metric)
                    continue
                if names[0] == "...":
                    names = previous[: len(previous) - len(names) + 1] + names[1:]
                names = [previous[i] if n == "." else n for i, n in enumerate(names)]
                namespace, metric, *dimensions = previous = names
                self.exists(shared, ["default"], namespace, metric, dict(zip(dimensions[::2], dimensions[1::2], strict=True)))
                seen.add(metric)
            for group in re.findall(r"SOURCE '(.*?)'", widget["properties"].get("query", "")):
                self.assertIn(group, [g.name for g in shared.of("Logs::LogGroup")])
        self.assertLessEqual({"TokenLifePercent", "RotationSucceeded", "RotationFailed", "Vended", "VendFailed", "StoreReads", "UpstreamMilliseconds", "Latency", "5XXError"}, seen)


class Tenants(Laws):
    def test_names_agree_between_the_templates(self):
        for what, shared, _ in ways():
            for s, name in (shared.nested["DefaultTenant"], "default"), (tenant(), "acme"):
                schedule = s.one("Scheduler::Schedule")
                target = schedule["Target"]
                self.assertEqual(function(shared, "rotate").arn, target["Arn"])
                self.assertIn(target["RoleArn"], [r.arn for r in shared.of("IAM::Role")])
                self.assertIn(target["DeadLetterConfig"]["Arn"], [q.arn for q in shared.of("SQS::Queue")])
                self.assertEqual((shared.one("Scheduler::ScheduleGroup").name, name), (schedule["GroupName"], schedule.name))
                role = role_of(shared, target["RoleArn"])
                self.allowed(policies(role), role.arn, "lambda:InvokeFunction", target["Arn"])
                self.allowed(policies(role), role.arn, "sqs:SendMessage", target["DeadLetterConfig"]["Arn"])
                self.assertEqual({shared.one("KMS::Alias").name}, {x["KmsKeyId"] for x in s.of("SecretsManager::Secret")})
                self.assertEqual([shared.one("SNS::Topic").ref], s.of("CloudWatch::Alarm")[0]["AlarmActions"])

    def test_the_first_one_waits_for_what_it_finds_by_name(self):
        for what, shared, _ in ways():
            before = shared.before(shared.resources["DefaultTenant"])
            target = shared.nested["DefaultTenant"].one("Scheduler::Schedule")["Target"]
            for found in target["Arn"], target["RoleArn"], target["DeadLetterConfig"]["Arn"]:
                self.assertIn(found, [x for r in before for x in (r.ref, r.arn)])
            for kind in "KMS::Alias", "Scheduler::ScheduleGroup":
                self.assertIn(shared.one(kind), before)

    def test_caller_policies_name_the_api_however_they_learn_its_id(self):
        """The nested tenant is given it: a change set of it may be made before the SSM parameter is there."""
        default = translate.Stack("tenant.yaml", "c8auth-default", {"Stack": "c8auth", "Tenant": "acme", "Api": stack().one("ApiGateway::RestApi").ref})
        self.assertEqual([p["PolicyDocument"] for p in tenant().of("IAM::ManagedPolicy")], [p["PolicyDocument"] for p in default.of("IAM::ManagedPolicy")])
        self.assertEqual(stack().one("ApiGateway::RestApi").ref, stack().nested["DefaultTenant"].parameters["Api"])

    def test_the_heartbeat_beats(self):
        for s, name in (stack().nested["DefaultTenant"], "default"), (tenant(), "acme"):
            schedule = s.one("Scheduler::Schedule")
            self.assertEqual(("rate(5 minutes)", "ENABLED", {"Mode": "OFF"}), (schedule["ScheduleExpression"], schedule.get("State", "ENABLED"), schedule["FlexibleTimeWindow"]))
            sent = json.loads(schedule["Target"]["Input"])
            self.assertEqual((name, set()), (sent["tenant"], set(sent) - {"tenant", "scheduled_time"}))
            self.assertLess(schedule["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"], HEARTBEAT, "the next one must not meet it")

    def test_tenants_share_no_resource(self):
        names = lambda s: {(r.type, r.get("GroupName"), r.get("RestApiId"), r.name) for r in s.resources.values()}
        stacks = [stack(), stack().nested["DefaultTenant"], *map(tenant, ("acme", "acme2", "acm")), *map(stack, SIBLINGS)]
        self.assertEqual(sum(len(names(s)) for s in stacks), len(set().union(*map(names, stacks))))
        self.assertEqual(set(), {a for s in stacks[1:5] for a in strings([r.properties for r in s.resources.values()]) for other in {"default", "acme", "acme2", "acm"} - {s.parameters["Tenant"]} if re.search(rf"\b{other}(?![\w-])", a)})

    def test_a_sibling_stacks_names_differ(self):
        for sibling in SIBLINGS:
            named = lambda s: {(r.type, r.name) for r in s.resources.values() if r.type in translate.NAME and r.type != "AWS::ApiGateway::Stage"}  # whose name is within the API's
            self.assertEqual(set(), named(stack()) & (named(stack(sibling)) | named(stack(sibling).nested["DefaultTenant"])))


class Source(Laws):
    """What depends on the text of the templates and on what the SAM CLI makes of it."""

    def test_no_transform_but_sams(self):
        self.assertEqual("AWS::Serverless-2016-10-31", stack().template_as_written["Transform"])
        self.assertNotIn("Transform", tenant().template_as_written)

    def test_the_sam_cli_writes_out_aliases_and_tenants_need_none(self):
        """CloudFormation does not accept YAML aliases."""
        def aliases(text):
            return [e for e in yaml.parse(text) if isinstance(e, yaml.AliasEvent)]

        text = (translate.ROOT / "template.yaml").read_text()
        self.assertTrue(aliases(text))
        self.assertEqual([], aliases(yaml_dump(yaml_parse(text))))
        self.assertEqual([], aliases((translate.ROOT / "tenant.yaml").read_text()))

    def test_what_a_resource_depends_on_exists(self):
        for what, shared, stacks in ways():
            for s in stacks:
                for r in s.resources.values():
                    self.assertLessEqual(set(r.depends_on), set(s.resources), f"{r.id}, {what}")
        without = stack(ApiLogsRole="exists")
        for r in without.resources.values():
            self.assertLessEqual(set(r.depends_on), set(without.resources), r.id)


class Outputs(Laws):
    def commands(self, shared):
        return {k: v for k, v in shared.outputs.items() if re.match(r"(aws|curl|echo|printf|read)\b", v)}

    def test_they_are_shell(self):
        for what, shared, _ in ways():
            commands = self.commands(shared)
            self.assertEqual(4, len(commands), "store, rotate, grant, fetch")
            for name, command in commands.items():
                checked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
                self.assertEqual((0, ""), (checked.returncode, checked.stderr), name)

    def test_they_name_what_exists(self):
        for what, shared, stacks in ways():
            text = "\n".join(shared.outputs.values())
            words = lambda option: set(re.findall(rf"--{option} (\S+)", text))
            nested = shared.nested["DefaultTenant"]
            self.assertEqual({"c8auth/credentials/default"}, words("secret-id"))
            self.assertIn("c8auth/credentials/default", [s.name for s in nested.of("SecretsManager::Secret")])
            self.assertEqual({"c8auth-rotate"}, words("function-name"))
            [granted] = re.findall(r"--policy-document '(.*?)'", text)
            self.assertEqual([p["PolicyDocument"] for p in nested.of("IAM::ManagedPolicy") if p.id == "ReportingCallerPolicy"], [json.loads(granted)])
            self.assertEqual({REGION}, words("region"))
            self.assertEqual(shared.one("ApiGateway::RestApi").ref, shared.outputs["Api"])
            url = f"https://{shared.one('ApiGateway::RestApi').ref}.execute-api.{REGION}.amazonaws.com/v1"
            self.assertEqual({url, f"{url}/tokens/default"}, set(re.findall(r"https://\S*execute-api\S*", text)))
            self.assertIn(f"dashboard/{shared.one('CloudWatch::Dashboard').name}", text)

    def test_nothing_is_attached_that_would_bar_deletion(self):
        """IAM does not delete a managed policy while it is attached to a role."""
        for what, shared, _ in ways():
            self.assertNotRegex("\n".join(shared.outputs.values()), r"attach-(role|user)-policy")

    def test_an_alarm_that_nobody_hears_is_said_out_loud(self):
        self.assertIn("NOBODY", stack().outputs["AlarmsTell"])
        self.assertNotIn("NOBODY", stack(AlarmEmail="operator@example.com").outputs["AlarmsTell"])

    def test_no_secret_passes_through_them(self):
        for what, shared, stacks in ways():
            for s in stacks:
                for name, value in s.outputs.items():
                    self.assertNotRegex(value, r"client_secret|access_key\b|base_url|resolve:", name)
            self.assertRegex("\n".join(shared.outputs.values()), r"--secret-string file:///dev/stdin")


class Parameters(Laws):
    ROLE = "arn:aws:iam::444455556666:role/"
    GOOD = {
        "Architecture": ["arm64", "x86_64"],
        "ProbePath": ["", "/", "/int/v1/broadcast?limit=1"],
        "OtherCallers": ["", "444455556666", "444455556666,777788889999", ROLE + "a/b+c=d.e@f_g-h", "arn:aws-us-gov:iam::444455556666:root", ROLE + "a," + ROLE + "b,777788889999"],
        "OtherCallersOrganization": ["", "o-a1b2c3d4e5"],
        "OtherCallersTenants": ["default", "default,acme"],
        "VpcEndpoints": ["", "vpce-0a1b2c3d", "vpce-0a1b2c3d,vpce-0e4f5a6b"],
        "ThrottleRate": [1, 10000],
        "ThrottleBurst": [1, 5000],
        "AlarmEmail": ["", "operator@example.com"],
        "LogRetention": [1, 30, 365, 3653],
        "Tracing": ["PassThrough", "Active"],
        "ApiLogsRole": ["create", "exists"],
        "Pace": ["AllAtOnce", "Canary10Percent5Minutes", "Linear10PercentEvery10Minutes"],
        "VendConcurrency": [0, 1000],
        "VendProvisioned": [0, 10],
        "RotateConcurrency": [0, 10],
    }
    BAD = {
        "Architecture": ["", "amd64"],
        "ProbePath": ["int/v1", "https://example.com/", "/a b", "/a\n"],
        "OtherCallers": ["*", "44445555666", "4444555566667", "444455556666,", "444455556666, 777788889999", "444455556666\n", ROLE, ROLE + "*", ROLE + "a b", ROLE + "a,b", ROLE + "a,*",
                         "arn:aws:iam::*:role/a", "arn:aws:iam::444455556666:user/a", "arn:aws:sts::444455556666:assumed-role/a/b", "${aws:username}", "٤٤٤٤٥٥٥٥٦٦٦٦"],
        "OtherCallersOrganization": ["*", "o-", "o-*", "o-a1b2c3d4e5,o-a1b2c3d4e6", "O-A1B2C3D4E5", "r-a1b2"],
        "OtherCallersTenants": ["", "*", "default,*", "default/x", "Default", "default,", "default, acme", "a" * 32],
        "VpcEndpoints": ["vpc-0a1b2c3d", "vpce-", "vpce-*", "*", "vpce-0a1b2c3d,", "vpce-0a1b2c3d, vpce-0e4f5a6b", "vpce-0A1B"],
        "ThrottleRate": [0, -1, ""],
        "ThrottleBurst": [0, -1, ""],
        "AlarmEmail": ["operator", "a b@example.com", "a@b@c", "@example.com"],
        "LogRetention": [0, 2, -1, ""],
        "Tracing": ["", "active", "Off"],
        "ApiLogsRole": ["", "delete"],
        "Pace": ["", "Canary10Percent1Minutes", "Canary"],
        "VendConcurrency": [-1, ""],
        "VendProvisioned": [-1, ""],
        "RotateConcurrency": [-1, ""],
    }

    # What each parameter, changed alone, changes: properties by logical id, nested stacks' among them.
    CHANGES = {
        "Architecture": {"RotateFunction.Architectures", "VendFunction.Architectures"},
        "ProbePath": {"RotateFunction.Environment"},
        "OtherCallers": {"Api.Policy"},
        "OtherCallersOrganization": {"Api.Policy"},
        "OtherCallersTenants": {"Api.Policy"},
        "VpcEndpoints": {"Api.EndpointConfiguration", "Api.Parameters", "Api.Policy"},
        "ThrottleRate": {"Apiv1Stage.MethodSettings"},
        "ThrottleBurst": {"Apiv1Stage.MethodSettings"},
        "AlarmEmail": {"AlarmsByMail"},
        "LogRetention": {"ApiLogs.RetentionInDays", "RotateLogs.RetentionInDays", "VendLogs.RetentionInDays"},
        "Tracing": {"Apiv1Stage.TracingEnabled"},
        "ApiLogsRole": {"ApiAccount", "ApiAccountRole", "Apiv1Stage.Variables"},
        "Pace": {"VendFunctionDeploymentGroup.DeploymentConfigName"},
        "VendConcurrency": {"VendFunction.ReservedConcurrentExecutions"},
        "VendProvisioned": {"VendFunctionAliaslive.ProvisionedConcurrencyConfig"},
        "RotateConcurrency": {"RotateFunction.ReservedConcurrentExecutions"},
    }

    @unittest.mock.patch("time.time", return_value=1)  # by which SAM names the deployment of the API
    def test_each_parameter_alone_changes_what_it_is_for(self, _):
        def properties(s):
            found = {f"{r.id}.{k}": v for r in s.resources.values() if r.type != "AWS::CloudFormation::Stack" for k, v in r.properties.items()}
            for nested in s.nested.values():
                found |= {f"{nested.name}.{k}": v for k, v in properties(nested).items()}
            return found

        self.assertEqual(set(self.GOOD), set(self.CHANGES))
        for name, values in self.GOOD.items():
            base = {"OtherCallers": "444455556666"} if name == "OtherCallersTenants" else {}
            was, changed = properties(translate.main(**base)), set()
            for value in values:
                now = properties(translate.main(**{**base, name: value}))
                changed |= {k for k in was.keys() | now.keys() if was.get(k) != now.get(k)}
            whole = {k.split(".")[0] for k in self.CHANGES[name] if "." not in k}
            self.assertEqual(self.CHANGES[name] - whole, {k for k in changed if k.split(".")[0] not in whole}, name)
            self.assertEqual(whole, {k.split(".")[0] for k in changed} & whole, name)

    def test_good_values_make_a_stack(self):
        self.assertEqual(set(stack().parameters), set(self.GOOD))
        for name, values in self.GOOD.items():
            for value in values:
                with self.subTest(parameter=name, value=value):
                    stack(**{name: value})

    def test_bad_values_are_refused(self):
        self.assertEqual(set(stack().parameters), set(self.BAD))
        for name, values in self.BAD.items():
            for value in values:
                with self.subTest(parameter=name, value=value), self.assertRaises(Invalid):
                    stack(**{name: value})

    def test_a_tenants_values(self):
        for good in "a", "acme", "acme-2", "a" * 31:
            tenant(good)
        for bad in "", "Acme", "2acme", "acme_2", "acme/x", "acme*", "a" * 32, "acme ", "acmé":
            with self.subTest(tenant=bad), self.assertRaises(Invalid):
                tenant(bad)
        for given in {"Api": "a/b"}, {"Api": "*"}, {"Stack": "c8auth/x"}, {"Stack": "*"}, {"Stack": ""}, {"Nonsense": 1}:
            with self.subTest(given=given), self.assertRaises(Invalid):
                tenant(**given)

    def test_samconfig_gives_values_that_are_taken(self):
        names = set()
        for environment in samconfig():
            deploy = environment["deploy"]["parameters"]
            names.add(name := environment["global"]["parameters"]["stack_name"])
            stack(name, **dict(o.split("=", 1) for o in deploy.get("parameter_overrides", [])))
            self.assertLessEqual({"CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"}, set(deploy["capabilities"].split()))
        self.assertEqual(3, len(names))


class SecurityHub(Laws):
    """docs/security.md: what it says that a control reports is so, as far as a template shows it."""

    # Controls that pass, and what asserts it: a check of Checkov, or a test.
    PASS = {
        "APIGateway.5": "Api.test_throttled_neither_cached_nor_traced_in_full",
        "CloudFormation.2": "SecurityHub.test_stacks_have_tags",
        "CloudWatch.15": "Watching.test_alarms_tell_somebody_what_to_do",
        "CloudWatch.17": "Watching.test_alarms_tell_somebody_what_to_do",
        "IAM.1": "Roles.test_no_wildcard_where_a_name_can_stand",
        "IAM.21": "Roles.test_no_wildcard_where_a_name_can_stand",
        "IAM.24": "SecurityHub.test_stacks_have_tags",
        "IAM.27": "Roles.test_roles_trust_one_service_each_and_have_no_managed_policies",
        "KMS.1": "Roles.test_no_wildcard_where_a_name_can_stand",
        "KMS.2": "Roles.test_no_wildcard_where_a_name_can_stand",
        "KMS.3": "AtRest.test_secrets_and_key_outlive_the_stack",
        "KMS.4": "CKV_AWS_7",
        "KMS.5": "CKV_AWS_33",
        "Lambda.1": "Api.test_this_api_invokes_each_function_by_its_route_and_nobody_else_is_let_in",
        "Lambda.2": "SecurityHub.test_functions_are_not_evaluated_for_their_runtime_and_zones",
        "Lambda.5": "SecurityHub.test_functions_are_not_evaluated_for_their_runtime_and_zones",
        "Lambda.6": "SecurityHub.test_stacks_have_tags",
        "SNS.1": "CKV_AWS_26",
        "SNS.3": "SecurityHub.test_stacks_have_tags",
        "SNS.4": "Watching.test_the_topic_takes_alarms_of_this_stack_from_cloudwatch_alone",
        "SQS.1": "CKV_AWS_27",
        "SQS.2": "SecurityHub.test_stacks_have_tags",
        "SQS.3": "Roles.test_nobody_is_let_in_by_a_wildcard",
        "SecretsManager.2": "AtRest.test_secrets",
        "SecretsManager.5": "SecurityHub.test_stacks_have_tags",
    }

    def rows(self, columns):
        """The cells of each row of the page's tables that have that many columns."""
        text = (translate.ROOT / "docs/security.md").read_text()
        return [cells for line in re.findall(r"^\| (.*) \|$", text, re.MULTILINE) if len(cells := re.split(r" ?\| ?", line)) == columns][1:]

    def test_what_asserts_that_a_control_passes_exists(self):
        controls = {re.match(r"\[([\w.]+)\]", cells[0])[1]: cells[3] for cells in self.rows(5)}
        self.assertEqual(set(self.PASS), {control for control, result in controls.items() if result.startswith("pass")})
        for control, by in self.PASS.items():
            if by.startswith("CKV"):
                self.assertIn(by, scan.REQUIRED, control)
            else:
                law, test = by.split(".")
                self.assertTrue(hasattr(globals()[law], test), by)

    def test_each_other_control_and_rule_has_a_note_to_paste(self):
        """In single quotes on a command line; Security Hub takes 512 characters."""
        for *_, result, note in self.rows(5) + self.rows(3):
            self.assertRegex(result, r"^(pass|fails by design|depends)")
            self.assertTrue(note or result.startswith("pass") or "its parameters" in result, result)
            self.assertRegex(note, r"""^[^'"`|]{0,512}$""")

    def test_stacks_have_tags(self):
        """CloudFormation copies them to resources. A further tenant is deployed with the same settings."""
        for environment in samconfig():
            self.assertRegex(environment["deploy"]["parameters"]["tags"], r"^application=c8auth environment=\w+$")

    def test_functions_are_not_evaluated_for_their_runtime_and_zones(self):
        for what, shared, stacks in ways():
            for f in resources(stacks, "Lambda::Function"):
                self.assertEqual(("provided.al2023", None), (f["Runtime"], f.get("VpcConfig")))

    def test_samconfig_decides_what_depends_on_it(self):
        made = {}
        for environment in samconfig():
            name = environment["global"]["parameters"]["stack_name"]
            made[name] = stack(name, **dict(o.split("=", 1) for o in environment["deploy"]["parameters"].get("parameter_overrides", [])))
        a_year = {name for name, s in made.items() if all(g["RetentionInDays"] >= 365 for g in s.of("Logs::LogGroup"))}
        shifts = {name for name, s in made.items() if s.one("CodeDeploy::DeploymentGroup")["DeploymentConfigName"] != "CodeDeployDefault.LambdaAllAtOnce"}
        self.assertEqual(({"c8auth-production"}, {"c8auth-staging", "c8auth-production"}), (a_year, shifts))


class Deployer(Laws):
    """docs/deployer-policy.json: what CloudFormation and the SAM CLI do in the name of who deploys."""

    TEXT = (translate.ROOT / "docs/deployer-policy.json").read_text()
    POLICY = json.loads(TEXT)
    DEPLOYER = arn("iam", "role/deployer", region="")
    BY_CLOUDFORMATION = {"aws:CalledVia": "cloudformation.amazonaws.com"}

    # What CloudFormation calls to create, change and delete a resource of each type: the handlers of the
    # types' public schemas (October 2026), less what belongs to properties that the templates do not use.
    HANDLERS = {
        "ApiGateway::Account": "apigateway: GET PATCH",
        "ApiGateway::Deployment": "apigateway: DELETE GET PATCH POST PUT",
        "ApiGateway::RestApi": "apigateway: DELETE GET PATCH POST PUT UpdateRestApiPolicy",
        "ApiGateway::Stage": "apigateway: DELETE GET PATCH POST PUT",
        "CloudFormation::Stack": "cloudformation: CreateStack DeleteStack DescribeStacks GetTemplate UpdateStack UpdateTerminationProtection",
        "CloudWatch::Alarm": "cloudwatch: DeleteAlarms DescribeAlarms ListTagsForResource PutMetricAlarm TagResource UntagResource",
        "CloudWatch::Dashboard": "cloudwatch: DeleteDashboards GetDashboard ListTagsForResource PutDashboard TagResource UntagResource",
        "CodeDeploy::Application": "codedeploy: CreateApplication DeleteApplication GetApplication GetApplicationRevision ListTagsForResource RegisterApplicationRevision TagResource UntagResource",
        "CodeDeploy::DeploymentGroup": "codedeploy: CreateDeployment CreateDeploymentGroup DeleteDeploymentGroup GetDeployment GetDeploymentGroup ListDeployments ListTagsForResource StopDeployment TagResource UntagResource UpdateDeploymentGroup",
        "IAM::ManagedPolicy": "iam: CreatePolicy CreatePolicyVersion DeletePolicy DeletePolicyVersion GetPolicy GetPolicyVersion ListEntitiesForPolicy ListPolicyVersions",
        "IAM::Role": "iam: CreateRole DeleteRole DeleteRolePolicy GetRole GetRolePolicy ListAttachedRolePolicies ListRolePolicies PutRolePolicy TagRole UntagRole UpdateAssumeRolePolicy UpdateRole UpdateRoleDescription",
        "KMS::Alias": "kms: CreateAlias DeleteAlias ListAliases UpdateAlias",
        "KMS::Key": "kms: CreateAlias CreateKey DeleteAlias DescribeKey EnableKeyRotation GetKeyPolicy GetKeyRotationStatus ListResourceTags PutKeyPolicy ScheduleKeyDeletion TagResource UntagResource UpdateAlias UpdateKeyDescription",
        "Lambda::Alias": "lambda: CreateAlias DeleteAlias DeleteProvisionedConcurrencyConfig GetAlias GetProvisionedConcurrencyConfig PutProvisionedConcurrencyConfig UpdateAlias",
        "Lambda::EventInvokeConfig": "lambda: DeleteFunctionEventInvokeConfig GetFunctionEventInvokeConfig PutFunctionEventInvokeConfig UpdateFunctionEventInvokeConfig",
        "Lambda::Function": "lambda: CreateFunction DeleteFunction DeleteFunctionConcurrency GetFunction GetFunctionCodeSigningConfig GetFunctionRecursionConfig GetFunctionScalingConfig GetRuntimeManagementConfig ListTags PutFunctionConcurrency TagResource UntagResource UpdateFunctionCode UpdateFunctionConfiguration",
        "Lambda::Permission": "lambda: AddPermission GetPolicy RemovePermission",
        "Lambda::Version": "lambda: DeleteFunction GetFunctionConfiguration GetFunctionScalingConfig GetProvisionedConcurrencyConfig GetRuntimeManagementConfig ListVersionsByFunction PublishVersion",
        "Logs::LogGroup": "logs: AssociateKmsKey CreateLogGroup DeleteLogGroup DescribeIndexPolicies DescribeLogGroups DescribeResourcePolicies DisassociateKmsKey GetDataProtectionPolicy ListTagsForResource PutRetentionPolicy TagResource UntagResource",
        "SNS::Subscription": "sns: GetSubscriptionAttributes SetSubscriptionAttributes Subscribe Unsubscribe",
        "SNS::Topic": "sns: CreateTopic DeleteTopic GetDataProtectionPolicy GetTopicAttributes ListSubscriptionsByTopic ListTagsForResource SetTopicAttributes TagResource UntagResource",
        "SNS::TopicPolicy": "sns: SetTopicAttributes",
        "SQS::Queue": "sqs: CreateQueue DeleteQueue GetQueueAttributes GetQueueUrl ListQueueTags SetQueueAttributes TagQueue UntagQueue",
        "SSM::Parameter": "ssm: AddTagsToResource DeleteParameter GetParameters ListTagsForResource PutParameter RemoveTagsFromResource",
        "Scheduler::Schedule": "scheduler: CreateSchedule DeleteSchedule GetSchedule UpdateSchedule",
        "Scheduler::ScheduleGroup": "scheduler: CreateScheduleGroup DeleteScheduleGroup GetScheduleGroup ListTagsForResource TagResource UntagResource",
        "SecretsManager::Secret": "secretsmanager: CreateSecret DeleteSecret DescribeSecret TagResource UntagResource UpdateSecret",
    }
    # By the Service Authorization Reference, or, for DescribeAlarms, because CloudWatch authorizes it for all alarms.
    WITHOUT_RESOURCE = {"cloudwatch:DescribeAlarms", "codedeploy:StopDeployment", "kms:CreateKey", "kms:ListAliases", "logs:DescribeIndexPolicies", "logs:DescribeLogGroups", "logs:DescribeResourcePolicies"}

    def arns(self, r):
        """Those of a resource, by which IAM decides."""
        match r.type.removeprefix("AWS::"):
            case "ApiGateway::Account":
                return [f"arn:aws:apigateway:{REGION}::/account"]
            case "ApiGateway::RestApi":
                return [f"arn:aws:apigateway:{REGION}::{path}" for path in ("/restapis", "/restapis/a1b2c3d4e5", f"/tags/arn:aws:apigateway:{REGION}::/restapis/a1b2c3d4e5")]
            case "ApiGateway::Deployment" | "ApiGateway::Stage":
                return [f"arn:aws:apigateway:{REGION}::/restapis/a1b2c3d4e5/{path}" for path in ("deployments", "deployments/1", "stages", "stages/v1")]
            case "CloudFormation::Stack":
                return [arn("cloudformation", f"stack/{r.name}/1")]
            case "CloudWatch::Dashboard":
                return [arn("cloudwatch", f"dashboard/{r.name}", region="")]
            case "CodeDeploy::Application":
                return [arn("codedeploy", f"application:{r.name}")]
            case "CodeDeploy::DeploymentGroup":
                return [arn("codedeploy", f"deploymentgroup:{r['ApplicationName']}/{r.name}")]
            case "KMS::Alias":
                return [arn("kms", r.name)]
            case "Lambda::EventInvokeConfig" | "Lambda::Permission":
                return [arn("lambda", "function:" + r["FunctionName"].split(":function:")[-1])]
            case "SNS::Subscription":
                return [r["TopicArn"], r["TopicArn"] + ":1"]
            case "SNS::TopicPolicy":
                return r["Topics"]
            case "SSM::Parameter":
                return [arn("ssm", f"parameter{r.name}")]
            case _:
                return [r.arn]

    def may(self, action, resource, **context):
        return identity([self.POLICY], Request(self.DEPLOYER, action, resource, {k.replace("__", ":"): v for k, v in context.items()})) == "allow"

    def test_it_creates_changes_and_deletes_every_resource(self):
        for what, shared, stacks in ways():
            for r in itertools.chain.from_iterable(s.resources.values() for s in stacks):
                service, actions = self.HANDLERS[r.type.removeprefix("AWS::")].split(": ")
                for action, resource in itertools.product(actions.split(), self.arns(r)):
                    resource = "*" if f"{service}:{action}" in self.WITHOUT_RESOURCE else resource
                    self.assertTrue(self.may(f"{service}:{action}", resource, **self.BY_CLOUDFORMATION), f"{action} {resource}")
        for pace in stack().template_as_written["Parameters"]["Pace"]["AllowedValues"]:
            self.assertTrue(self.may("codedeploy:GetDeploymentConfig", arn("codedeploy", f"deploymentconfig:CodeDeployDefault.Lambda{pace}")), pace)

    def test_it_deploys_under_every_name_in_samconfig(self):
        for environment in samconfig():
            name = environment["global"]["parameters"]["stack_name"]
            for action in "CreateChangeSet DeleteChangeSet DescribeChangeSet DescribeStackEvents DescribeStackResource DescribeStacks ExecuteChangeSet GetTemplate GetTemplateSummary ListChangeSets ListStackResources TagResource UntagResource".split():
                for stack_name in name, f"{name}-acme":
                    self.assertTrue(self.may(f"cloudformation:{action}", arn("cloudformation", f"stack/{stack_name}/1")), action)
        self.assertFalse(self.may("cloudformation:CreateChangeSet", arn("cloudformation", "stack/payroll/1")))

    def test_it_makes_and_uses_the_bucket_of_the_sam_cli(self):
        managed, bucket = arn("cloudformation", "stack/aws-sam-cli-managed-default/1"), "arn:aws:s3:::aws-sam-cli-managed-default-samclisourcebucket-1"
        self.assertTrue(self.may("cloudformation:CreateChangeSet", f"arn:aws:cloudformation:{REGION}:aws:transform/Serverless-2016-10-31"))
        for action in "CreateChangeSet DescribeChangeSet DescribeStacks ExecuteChangeSet".split():
            self.assertTrue(self.may(f"cloudformation:{action}", managed), action)
        for action in "CreateBucket GetBucketPolicy ListBucket PutBucketPolicy PutBucketPublicAccessBlock PutBucketTagging PutBucketVersioning PutEncryptionConfiguration".split():
            self.assertTrue(self.may(f"s3:{action}", bucket), action)
        for action in "GetObject PutObject DeleteObject".split():
            self.assertTrue(self.may(f"s3:{action}", f"{bucket}/c8auth/1.template"), action)
            self.assertFalse(self.may(f"s3:{action}", "arn:aws:s3:::payroll/1"), action)
        self.assertFalse(self.may("cloudformation:DeleteStack", managed))

    def test_it_passes_each_role_to_its_service_and_attaches_one_policy(self):
        for role in stack().of("IAM::Role"):
            [statement] = statements(role["AssumeRolePolicyDocument"])
            self.assertTrue(self.may("iam:PassRole", role.arn, iam__PassedToService=statement["Principal"]["Service"]))
            self.assertFalse(self.may("iam:PassRole", role.arn, iam__PassedToService="ec2.amazonaws.com"))
            for policy in role.get("ManagedPolicyArns", []):
                for action in "iam:AttachRolePolicy", "iam:DetachRolePolicy":
                    self.assertTrue(self.may(action, role.arn, iam__PolicyARN=policy))
            self.assertFalse(self.may("iam:AttachRolePolicy", role.arn, iam__PolicyARN="arn:aws:iam::aws:policy/AdministratorAccess"))
        self.assertFalse(self.may("iam:PassRole", ADMINISTRATOR, iam__PassedToService="lambda.amazonaws.com"))

    def uses(self, action, **context):
        key = stack().one("KMS::Key")
        return resource_allows(key["KeyPolicy"], Request(self.DEPLOYER, action, key.arn, {k.replace("__", ":"): v for k, v in context.items()}), [self.POLICY])

    def test_it_uses_the_key_for_environments_and_the_validation_of_secrets(self):
        of_secret = {"kms__ViaService": f"secretsmanager.{REGION}.amazonaws.com", "kms__EncryptionContext__SecretARN": secret("credentials")}
        for action in "kms:Decrypt", "kms:GenerateDataKey":
            self.assertTrue(self.uses(action, **of_secret, kms__EncryptionContext__SecretVersionId="RequestToValidateKeyAccess"), action)
            self.assertFalse(self.uses(action, **of_secret, kms__EncryptionContext__SecretVersionId="b0d5a1c2-0000-4000-8000-000000000000"), action)
            self.assertFalse(self.uses(action, **of_secret), action)
            self.assertFalse(self.uses(action), action)
        for action in "kms:CreateGrant", "kms:Decrypt", "kms:Encrypt":
            self.assertTrue(self.uses(action, kms__ViaService=f"lambda.{REGION}.amazonaws.com"), action)
            self.assertFalse(self.uses(action, kms__ViaService=f"s3.{REGION}.amazonaws.com"), action)

    def test_it_reads_no_value_and_uses_nothing(self):
        for action in "BatchGetSecretValue GetSecretValue PutResourcePolicy PutSecretValue RotateSecret UpdateSecretVersionStage".split():
            self.assertFalse(self.may(f"secretsmanager:{action}", secret("token"), **self.BY_CLOUDFORMATION), action)
        for r in stack().resources.values():
            for action in "execute-api:Invoke lambda:InvokeFunction logs:FilterLogEvents logs:GetLogEvents sns:Publish sqs:ReceiveMessage sqs:SendMessage sts:AssumeRole".split():
                for resource in self.arns(r):
                    self.assertFalse(resource and self.may(action, resource, **self.BY_CLOUDFORMATION), f"{action} {resource}")

    def test_it_writes_values_under_another_key_only(self):
        """CreateSecret and UpdateSecret take a value; docs/security.md says so."""
        for action in "CreateSecret UpdateSecret".split():
            self.assertTrue(self.may(f"secretsmanager:{action}", secret("credentials")), action)
        version = {"kms__ViaService": f"secretsmanager.{REGION}.amazonaws.com", "kms__EncryptionContext__SecretARN": secret("credentials"), "kms__EncryptionContext__SecretVersionId": "b0d5a1c2-0000-4000-8000-000000000000"}
        for action in "kms:Decrypt", "kms:GenerateDataKey":
            self.assertFalse(self.uses(action, **version), action)

    def test_random_ids_are_reached_through_cloudformation_only(self):
        """IAM cannot tell keys and APIs of this stack from others by their names."""
        for action in "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion":
            self.assertTrue(self.uses(action, **self.BY_CLOUDFORMATION), action)
            self.assertFalse(self.uses(action), action)
        for r in stack().of("ApiGateway::RestApi") + stack().of("ApiGateway::Account"):
            for action, resource in itertools.product("apigateway:DELETE apigateway:PATCH apigateway:PUT apigateway:UpdateRestApiPolicy".split(), self.arns(r)):
                self.assertFalse(self.may(action, resource), action)

    def test_it_is_as_narrow_as_names_allow(self):
        for statement in self.POLICY["Statement"]:
            self.assertEqual("Allow", statement["Effect"])
            actions = many(statement["Action"])
            for action in actions:
                self.assertRegex(action, r"^[a-z0-9]+:\*?[A-Za-z]+\*?$")
            for resource in many(statement["Resource"]):
                if resource == "*":
                    self.assertEqual(self.WITHOUT_RESOURCE, set(actions))
                elif not re.search(r"[:/]c8auth\*$", resource):
                    self.assertRegex(resource, r":::aws-sam-cli-managed-default-\*$|:stack/aws-sam-cli-managed-default/\*$|:aws:transform/Serverless-2016-10-31$|:deploymentconfig:CodeDeployDefault\.Lambda\*$|:apigateway:\*::/(account|restapis|restapis/\*|tags/\*)$|:key/\*$")
                    if ":apigateway:" in resource or ":key/" in resource:
                        self.assertRegex(json.dumps(statement["Condition"]), r"aws:CalledVia|kms:ViaService")

    def test_iam_accepts_it(self):
        """cfn-lint knows every action and the form of ARNs; a managed policy has 6,144 characters, and 200 are left for longer names."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            json.dump({"Resources": {"Policy": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": self.POLICY}}}}, f)
            f.flush()
            linted = subprocess.run(["cfn-lint", "--template", f.name], capture_output=True, text=True)
        self.assertEqual((0, ""), (linted.returncode, linted.stdout + linted.stderr))
        self.assertLessEqual(len(re.sub(r"\s", "", self.TEXT)), 6144 - 200)


class Documentation(Laws):
    """docs/: what the pages say of the templates, and the settings and policies that they show."""

    def page(self, name):
        return (translate.ROOT / "docs" / name).read_text()

    def blocks(self, language):
        """The blocks of a language, with the page that each is on."""
        for page in sorted(path.name for path in (translate.ROOT / "docs").glob("*.md")):
            for block in re.findall(rf"^```{language}\n(.*?)^```$", self.page(page), re.MULTILINE | re.DOTALL):
                yield page, block

    def test_configuration_lists_each_parameter_with_its_default(self):
        listed = dict(re.findall(r"^\| `([A-Z]\w+)` \| (?:`(.*?)` )?\|", self.page("configuration.md"), re.MULTILINE))
        declared = {}
        for template in "template.yaml", "tenant.yaml":
            for name, p in translate.parse((translate.ROOT / template).read_text())["Parameters"].items():
                declared[name] = str(p.get("Default", ""))
        self.assertEqual(declared, listed)

    def test_operating_lists_each_alarm(self):
        section = self.page("operating.md").split("\n## Alarms\n")[1].split("\n## ")[0]
        listed = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
        made = [a["AlarmName"].removeprefix("c8auth/") for s in (stack(), tenant("acme")) for a in s.of("CloudWatch::Alarm")]
        self.assertEqual(sorted(re.sub(r"^acme/", "<tenant>/", re.sub(r"canary-.*", "canary-<version>", name)) for name in made), sorted(listed))

    def test_operating_lists_each_metric(self):
        section = self.page("operating.md").split("\n## Metrics\n")[1].split("\n## ")[0]
        listed = [name for cell in re.findall(r"^\| (`[^|]+`) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)]
        self.assertTrue(all(written(name) for name in listed), listed)

    def test_settings_make_a_stack(self):
        settings = list(self.blocks("toml"))
        self.assertTrue(settings)
        for page, block in settings:
            overrides = tomllib.loads(block)["parameter_overrides"]
            self.assertTrue(stack(**dict(o.split("=", 1) for o in overrides)), page)

    def test_the_change_set_has_as_many_resources(self):
        [count] = re.findall(r"(\d+) resources", self.page("deploying.md"))
        self.assertEqual(int(count), len(stack().resources))

    def policy(self, name):
        [block] = [block for page, block in self.blocks("json") if page == name]
        api, key = stack().one("ApiGateway::RestApi"), stack().one("KMS::Key")
        for placeholder, value in {"<region>": REGION, "<account>": ACCOUNT, "<this account>": ACCOUNT, "<api>": api.ref, "<key>": key.ref}.items():
            block = block.replace(placeholder, value)
        self.assertNotIn("<", block)
        return [json.loads(block)]

    def test_a_caller_of_another_account_gets_one_tenant(self):
        policy, execute = self.policy("deploying.md"), "execute-api:Invoke"
        route = arn("execute-api", stack().one("ApiGateway::RestApi").ref + "/v1/")
        self.allowed(policy, CALLER, execute, route + "GET/tokens/default")
        self.allowed(policy, CALLER, execute, route + "POST/tokens/default/rejections")
        self.denied(policy, CALLER, execute, route + "GET/tokens/acme")

    def test_a_program_that_reads_the_token_secret_reads_nothing_else(self):
        policy = self.policy("calling.md")
        for action in "secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret":
            self.allowed(policy, CALLER, action, secret("token"))
            self.denied(policy, CALLER, action, secret("token", "acme"))
            self.denied(policy, CALLER, action, secret("token", "default-berlin"))
            self.denied(policy, CALLER, action, secret("credentials"))
        key = stack().one("KMS::Key")
        context = {"kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com", "kms:EncryptionContext:SecretARN": secret("token")}
        self.assertTrue(resource_allows(key["KeyPolicy"], Request(CALLER, "kms:Decrypt", key.arn, context), policy))
        self.denied(policy, CALLER, "kms:Decrypt", key.arn)
        self.denied(policy, CALLER, "secretsmanager:PutSecretValue", secret("token"))


if __name__ == "__main__":
    unittest.main()
