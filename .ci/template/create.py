"""As much of both templates as moto can make is made in moto, from what CloudFormation
would see. moto's CloudFormation knows some types; those of the rest that are plain calls
of a service are made by these, with the very properties of the template, which botocore
checks against the service's own description. Which is which is asserted, so that it
cannot change unnoticed. Then it is looked at what came out.

MOTO_ACCOUNT_ID=111122223333 TOOLS=… .ci/moto python .ci/template/create.py
"""

import collections
import json
import os
import subprocess
import tempfile

import boto3
import translate
from botocore.exceptions import ClientError

MADE_BY_CLOUDFORMATION = {
    "AWS::ApiGateway::RestApi", "AWS::CloudWatch::Dashboard", "AWS::IAM::ManagedPolicy", "AWS::IAM::Role", "AWS::KMS::Alias", "AWS::KMS::Key",
    "AWS::Lambda::Function", "AWS::Lambda::Version", "AWS::Logs::LogGroup", "AWS::SNS::Topic", "AWS::SQS::Queue", "AWS::SSM::Parameter",
}
NOT_MADE = {
    "AWS::CloudFormation::Stack",  # the nested tenant is made as a stack of its own
}


def client(service):
    return boto3.client(service, region_name=translate.REGION, endpoint_url=os.environ["MOTO_URL"], aws_access_key_id="test", aws_secret_access_key="test")


def lower(properties):  # some services' calls begin their parameters with a small letter
    return {k[0].lower() + k[1:]: lower(v) if isinstance(v, dict) else [lower(x) for x in v] if k == "Alarms" else v for k, v in properties.items()}


def stage(p):
    known = {k: p.pop(k) for k in ("AccessLogSetting", "MethodSettings", "TracingEnabled")}
    assert known["MethodSettings"], "which are no part of the creation of a stage"
    client("apigateway").create_stage(**lower(p), tracingEnabled=known["TracingEnabled"])


def alias(p):
    provisioned = p.pop("ProvisionedConcurrencyConfig", None)
    assert provisioned in (None, {"ProvisionedConcurrentExecutions": 2})
    client("lambda").create_alias(**p)


BY_CALLS = {
    "AWS::ApiGateway::Account": lambda p: client("apigateway").update_account(patchOperations=[{"op": "replace", "path": "/cloudwatchRoleArn", "value": p["CloudWatchRoleArn"]}]),
    "AWS::ApiGateway::Deployment": lambda p: client("apigateway").create_deployment(**lower(p)),
    "AWS::ApiGateway::Stage": stage,
    "AWS::CloudWatch::Alarm": lambda p: client("cloudwatch").put_metric_alarm(**p),
    "AWS::CodeDeploy::Application": lambda p: client("codedeploy").create_application(**lower(p)),
    "AWS::CodeDeploy::DeploymentGroup": lambda p: client("codedeploy").create_deployment_group(**lower(p)),
    "AWS::Lambda::Alias": alias,
    "AWS::Lambda::EventInvokeConfig": lambda p: client("lambda").put_function_event_invoke_config(**p),
    "AWS::Lambda::Permission": lambda p: client("lambda").add_permission(**p, StatementId="api"),  # for the alias, which moto's CloudFormation has not made
    "AWS::SNS::Subscription": lambda p: client("sns").subscribe(**p),
    "AWS::SNS::TopicPolicy": lambda p: [client("sns").set_topic_attributes(TopicArn=t, AttributeName="Policy", AttributeValue=json.dumps(p["PolicyDocument"])) for t in p["Topics"]],
    "AWS::Scheduler::Schedule": lambda p: client("scheduler").create_schedule(**p),
    "AWS::Scheduler::ScheduleGroup": lambda p: client("scheduler").create_schedule_group(**p),
    "AWS::SecretsManager::Secret": lambda p: client("secretsmanager").create_secret(**p),
}


def create(stack, ids):
    """Makes a stack, and returns the types of what CloudFormation made. Ids that moto makes up replace those of translate.py."""
    def real(value):
        text = json.dumps(value)
        for ours, theirs in ids.items():
            text = text.replace(ours, theirs)
        return json.loads(text)

    def referring(value):
        """The same with references instead of the ids of resources that are made along with it."""
        if isinstance(value, dict):
            return {k: referring(v) for k, v in value.items()}
        if isinstance(value, list):
            return [referring(v) for v in value]
        for r in stack.of("KMS::Key") + stack.of("ApiGateway::RestApi"):
            if isinstance(value, str) and r.ref in value:
                before, after = value.split(r.ref)
                return {"Fn::Join": ["", [before, {"Ref": r.id}, after]]}
        return value

    plain = stack.plain()["Resources"]
    supported = {k: v for k, v in referring(plain).items() if v["Type"] not in BY_CALLS.keys() | NOT_MADE}
    for r in supported.values():
        r["DependsOn"] = [d for d in r.get("DependsOn", []) if d in supported]
    cloudformation = client("cloudformation")
    outputs = {k: {"Value": v} for k, v in referring(stack.outputs).items() if k in ("Api", "Url")}
    cloudformation.create_stack(StackName=stack.name, TemplateBody=json.dumps(real({"Resources": supported, "Outputs": outputs})), Capabilities=["CAPABILITY_NAMED_IAM"])
    made = {r["LogicalResourceId"]: r for r in cloudformation.describe_stack_resources(StackName=stack.name)["StackResources"]}
    assert set(made) == set(supported), set(made) ^ set(supported)
    for r in stack.of("KMS::Key") + stack.of("ApiGateway::RestApi"):
        ids[r.ref] = made[r.id]["PhysicalResourceId"]
    for r in stack.of("ApiGateway::RestApi"):  # whose Body moto's CloudFormation leaves out
        client("apigateway").put_rest_api(restApiId=ids[r.ref], mode="overwrite", body=json.dumps(real(r["Body"])))
    for r in stack.resources.values():
        if r.type in BY_CALLS:
            answer = BY_CALLS[r.type](real(plain[r.id]["Properties"]))
            if r.type == "AWS::ApiGateway::Deployment":
                ids[r.ref] = answer["id"]
    return {r["ResourceType"] for r in made.values()}


def snapshot():
    """What there is of each tenant, with the secrets' values."""
    secrets = client("secretsmanager")
    found = {}
    for s in secrets.list_secrets()["SecretList"]:
        try:
            found[s["Name"]] = secrets.get_secret_value(SecretId=s["Name"])["SecretString"]
        except ClientError as e:
            assert "can't find the specified secret value for staging label: AWSCURRENT" in str(e), e
            found[s["Name"]] = None
    found |= {f"schedule {s['GroupName']}/{s['Name']}": s["Target"] for s in client("scheduler").list_schedules()["Schedules"]}
    found |= {f"alarm {a['AlarmName']}": a["AlarmActions"] for a in client("cloudwatch").describe_alarms()["MetricAlarms"] if a["AlarmName"].count("/") == 2}
    found |= {f"policy {p['Arn']}": p["DefaultVersionId"] for p in client("iam").list_policies(Scope="Local")["Policies"]}
    return found


def operate(api):
    """The operator's tool finds its way in what was made, as far as moto can answer it: it
    neither speaks CloudWatch's protocol nor simulates policies."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | {
        "AWS_ENDPOINT_URL": os.environ["MOTO_URL"], "AWS_REGION": translate.REGION, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with tempfile.TemporaryDirectory() as scratch:
        tool = os.path.join(scratch, "c8auth")
        subprocess.run(["go", "build", "-o", tool, "./cmd/c8auth"], check=True)

        def says(status, *args, typed=""):
            ran = subprocess.run([tool, *args], input=typed, capture_output=True, text=True, env=environment)
            assert ran.returncode == status and "M4RK" not in ran.stdout + ran.stderr, ran
            return ran.stdout
        assert "no credentials are stored" in says(3, "status")
        assert f":{api}/v1/GET/tokens/default" in says(0, "grant", "default", "--role", "arn:aws:iam::111122223333:role/payroll")
        text = '{"base_url": "http://127.0.0.1:1", "access_key": "M4RK"}'
        assert "Stored in c8auth/credentials/default" in says(0, "credentials", "set", "default", "--insist", typed=text)
        assert client("secretsmanager").get_secret_value(SecretId="c8auth/credentials/default")["SecretString"] == text
        assert "no credentials are stored" not in says(1, "status")
        doctor = says(3, "doctor")
        for step in "identity", "stack", "schedule", "dead letters":
            assert f"ok     {step} " in doctor, doctor


def main():
    client("s3").create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": translate.REGION})
    client("s3").put_object(Bucket="bucket", Key="code", Body=b"")

    # Both templates, and which types moto's CloudFormation made.
    shared = translate.main(**translate.EVERYTHING)
    default, ids = shared.nested["DefaultTenant"], {}
    made = create(shared, ids) | create(default, ids)
    assert made == MADE_BY_CLOUDFORMATION, made ^ MADE_BY_CLOUDFORMATION
    types = collections.Counter(r.type for s in (shared, default) for r in s.resources.values())
    assert set(types) == MADE_BY_CLOUDFORMATION | set(BY_CALLS) | NOT_MADE, set(types) ^ (MADE_BY_CLOUDFORMATION | set(BY_CALLS) | NOT_MADE)
    for how, which in {"made by moto's CloudFormation": made, "unknown to it, made by calls": BY_CALLS, "not made": NOT_MADE}.items():
        print(f"{how}: {sum(types[t] for t in which)}:", *sorted(f"{t.removeprefix('AWS::')} {types[t]}" for t in which), sep="\n  ")

    # The API leads to both functions, and the parameter that tenants read names the API.
    api = ids[shared.one("ApiGateway::RestApi").ref]
    assert client("ssm").get_parameter(Name="/c8auth/api")["Parameter"]["Value"] == api
    methods = {r["path"]: list(r["resourceMethods"]) for r in client("apigateway").get_resources(restApiId=api)["items"] if "resourceMethods" in r}
    assert methods == {"/tokens/{tenant}": ["GET"], "/tokens/{tenant}/rejections": ["POST"]}, methods
    assert client("apigateway").get_stage(restApiId=api, stageName="v1")["tracingEnabled"]
    [policy] = [p for p in default.of("IAM::ManagedPolicy") if p.id == "CallerPolicy"]
    document = client("iam").get_policy_version(PolicyArn=policy.ref, VersionId="v1")["PolicyVersion"]["Document"]
    assert f":{api}/v1/GET/tokens/default" in json.dumps(document), document

    # Functions run as roles that exist; the schedule finds alias, role and queue by their names.
    for f in shared.of("Lambda::Function"):
        got = client("lambda").get_function_configuration(FunctionName=f.name, Qualifier="live")
        assert (got["Environment"]["Variables"], got["Timeout"]) == (f["Environment"]["Variables"], f["Timeout"]), got
        assert client("iam").get_role(RoleName=got["Role"].split("/")[-1])["Role"]["Arn"] == f["Role"], got
    target = client("scheduler").get_schedule(GroupName="c8auth", Name="default")["Target"]
    assert client("lambda").get_alias(FunctionName=target["Arn"].removesuffix(":live"), Name="live")["AliasArn"] == target["Arn"]
    assert client("iam").get_role(RoleName="c8auth-eu-central-1-scheduler")["Role"]["Arn"] == target["RoleArn"]
    assert target["DeadLetterConfig"]["Arn"] in [client("sqs").get_queue_attributes(QueueUrl=q, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"] for q in client("sqs").list_queues()["QueueUrls"]]
    topics = {t["TopicArn"] for t in client("sns").list_topics()["Topics"]}
    assert {action for a in client("cloudwatch").describe_alarms()["MetricAlarms"] for action in a["AlarmActions"]} == topics, topics
    assert ("alias/c8auth", ids[shared.one("KMS::Key").ref]) in [(a["AliasName"], a.get("TargetKeyId")) for a in client("kms").list_aliases()["Aliases"]]

    # Secrets are made empty; tenants come and go without touching each other.
    assert {k: v for k, v in snapshot().items() if k.startswith("c8auth/")} == {"c8auth/credentials/default": None, "c8auth/token/default": None}
    operate(api)
    for name in "c8auth/credentials/default", "c8auth/token/default":
        client("secretsmanager").put_secret_value(SecretId=name, SecretString=f"the value of {name}")
    alone = snapshot()
    acme = translate.tenant(shared, "acme")
    create(acme, ids)
    assert {k: v for k, v in snapshot().items() if k in alone} == alone and len(snapshot()) == 2 * len(alone), snapshot()
    client("cloudformation").delete_stack(StackName=acme.name)
    for policy in acme.of("IAM::ManagedPolicy"):
        client("iam").delete_policy(PolicyArn=policy.ref)  # moto's CloudFormation leaves it behind
    client("scheduler").delete_schedule(GroupName="c8auth", Name="acme")
    client("cloudwatch").delete_alarms(AlarmNames=[a.name for a in acme.of("CloudWatch::Alarm")])
    for s in acme.of("SecretsManager::Secret"):
        client("secretsmanager").delete_secret(SecretId=s.name, ForceDeleteWithoutRecovery=True)
    assert snapshot() == alone, snapshot()
    print(f"what there is of a tenant: {len(alone)} things, the same while another one came and went")


if __name__ == "__main__":
    main()
