"""The checks can fail: each deliberately broken copy of the templates has to be caught.

A copy is a replacement of text, which must apply. With each goes who has to catch it: a
law of test_template.py, cfn-lint or Checkov. One line is printed for each copy; one that
is let pass fails, whoever else might have noticed.

python .ci/template/broken.py
"""

import multiprocessing
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import scan
import test_template
import translate

MAIN, TENANT = "template.yaml", "tenant.yaml"
NOTHING = ""
COPIES = [  # (what is wrong, who has to catch it, file, pattern, replacement): the first match is replaced
    ("API Gateway invokes vend as the caller", "Api.test_two_methods_and_no_way_around_iam", MAIN, r" +InvokeRole: NONE.*\n", NOTHING),
    ("no authorizer", "Api.test_two_methods_and_no_way_around_iam", MAIN, r" +DefaultAuthorizer: AWS_IAM\n", NOTHING),
    ("a method for everybody", "Api.test_two_methods_and_no_way_around_iam", MAIN, r"( +)Path: /tokens/\{tenant\}\n", r"\g<0>\1Auth: {Authorizer: NONE}\n"),
    ("another method", "Api.test_two_methods_and_no_way_around_iam", MAIN, r"Method: GET", "Method: ANY"),
    ("a second stage, unthrottled", "Api.test_one_stage", MAIN, r"  Api:\n +OpenApiVersion: .*\n", NOTHING),
    ("no throttling", "Api.test_throttled_neither_cached_nor_traced_in_full", MAIN, r" +ThrottlingRateLimit: .*\n", NOTHING),
    ("bodies are logged", "Api.test_throttled_neither_cached_nor_traced_in_full", MAIN, r"DataTraceEnabled: false", "DataTraceEnabled: true"),
    ("answers are cached", "Api.test_throttled_neither_cached_nor_traced_in_full", MAIN, r"CachingEnabled: false", "CachingEnabled: true"),
    ("refusals may be cached", "Api.test_refusals_are_not_cached", MAIN, r"Cache-Control: \"'no-store'\"", "X-Nothing: \"'x'\""),
    ("TLS 1.0", "Api.test_tls_1_2_at_least", MAIN, r" +SecurityPolicy: .*\n", NOTHING),
    ("the access log quotes headers", "Api.test_access_logs_show_who_and_what_and_no_secret", MAIN, r"\$context\.error\.responseType", "$context.error.message"),
    ("a change of policy is not deployed", "Api.test_a_change_of_policy_is_deployed", MAIN, r" +AlwaysDeploy: true.*\n", NOTHING),
    ("everybody's API", "Roles.test_nobody_is_let_in_by_a_wildcard", MAIN, r"AWS: !Split \[',', !Ref OtherCallers\]", "AWS: '*'"),
    ("OtherCallers admits local roles without a policy", "Callers.test_other_callers_do_not_widen_what_local_principals_may", MAIN, r" +Condition:\n +StringNotEquals:\n +aws:PrincipalAccount: .*\n", NOTHING),
    ("OtherCallers gets every tenant", "Callers.test_other_accounts_get_the_listed_tenants", MAIN, r"execute-api:/v1/GET/tokens/\$\{Tokens\}", "execute-api:/v1/GET/tokens/*"),
    ("OtherCallers reports every tenant", "Callers.test_other_accounts_get_the_listed_tenants", MAIN, r"execute-api:/v1/POST/tokens/\$\{Rejections\}/rejections", "execute-api:/v1/POST/tokens/*/rejections"),
    ("OtherCallers may be a wildcard", "Parameters.test_bad_values_are_refused", MAIN, r"AllowedPattern: \^\(\(\\d\{12\}.*", "AllowedPattern: .*"),
    ("the private API is public", "Callers.test_endpoints_make_the_api_private", MAIN, r"Type: !If \[Private, PRIVATE, REGIONAL\]", "Type: REGIONAL"),
    ("other endpoints reach the private API", "Callers.test_a_private_api_is_reached_through_its_endpoints_alone", MAIN, r"StringNotEquals:(\n +aws:SourceVpce)", r"StringEquals:\1"),
    ("a caller gets every tenant", "Callers.test_a_tenants_policy_admits_to_nothing_else", TENANT, r"GET/tokens/\$\{Tenant\}", "GET/tokens/*"),
    ("a caller gets tenants whose names begin alike", "Callers.test_a_tenants_policy_admits_to_nothing_else", TENANT, r"GET/tokens/\$\{Tenant\}", "GET/tokens/${Tenant}*"),
    ("a caller may POST", "Callers.test_a_tenants_policy_admits_to_nothing_else", TENANT, r"/v1/GET/tokens", "/v1/*/tokens"),
    ("a caller reports every tenant", "Callers.test_a_tenants_policy_admits_to_nothing_else", TENANT, r"POST/tokens/\$\{Tenant\}/", "POST/tokens/*/"),
    ("every caller reports", "Callers.test_a_tenant_has_two_policies_and_one_of_them_reports", TENANT, r"/v1/GET/tokens/\$\{Tenant\}", "/v1/*/tokens/${Tenant}*"),
    ("nobody reports", "Callers.test_a_tenant_has_two_policies_and_one_of_them_reports", TENANT, r".*/v1/POST/tokens/.*\n", NOTHING),
    ("reports are not throttled", "Api.test_throttled_neither_cached_nor_traced_in_full", MAIN, r"ThrottlingRateLimit: 5\n", "ThrottlingRateLimit: 5000\n"),
    ("a caller gets other APIs", "Callers.test_a_tenants_policy_admits_to_nothing_else", TENANT, r"\{\{resolve:.*?\}\}(?=/)", "*"),
    ("vend reads every secret of the stack", "Functions.test_vend_cannot_read_credentials", MAIN, r"secret:\$\{AWS::StackName\}/token/\*", "secret:${AWS::StackName}/*"),
    ("vend reads a sibling stack's tokens", "Functions.test_no_secret_of_another_stack_or_of_none", MAIN, r"secret:\$\{AWS::StackName\}/token/\*", "secret:${AWS::StackName}*/token/*"),
    ("vend reads every secret", "Functions.test_vend_cannot_read_credentials", MAIN, r"(Action: secretsmanager:GetSecretValue\n +Resource: .*:secret:).*/token/\*", r"\1*"),
    ("rotate creates secrets", "Functions.test_rotate_creates_and_deletes_nothing_and_leaves_credentials_alone", MAIN, r"secretsmanager:PutSecretValue\]", "secretsmanager:PutSecretValue, secretsmanager:CreateSecret]"),
    ("rotate writes credentials", "Functions.test_rotate_creates_and_deletes_nothing_and_leaves_credentials_alone", MAIN, r"\[secretsmanager:DescribeSecret, ", "[secretsmanager:PutSecretValue, secretsmanager:DescribeSecret, "),
    ("rotate does as it likes with secrets", "Functions.test_rotate_creates_and_deletes_nothing_and_leaves_credentials_alone", MAIN, r"\[secretsmanager:DescribeSecret, secretsmanager:GetSecretValue\]", "secretsmanager:*"),
    ("vend decrypts past Secrets Manager", "Key.test_functions_use_it_through_secrets_manager_only", MAIN, r"(StringEquals: &ThroughSecretsManager\n +)kms:ViaService: .*", r"\1aws:PrincipalAccount: !Ref AWS::AccountId"),
    ("the key decrypts for any purpose of the account", "Key.test_an_administrator_uses_it_for_nothing_else", MAIN, r"(- Sid: Secrets\n(?:.*\n){5}) +Condition:\n(?:.*\n){5}", r"\1"),
    ("the key's administrators decrypt", "Key.test_an_administrator_uses_it_for_nothing_else", MAIN, r"Action: \[kms:CancelKeyDeletion, ", "Action: [kms:Decrypt, kms:CancelKeyDeletion, "),
    ("the key cannot be managed", "Key.test_an_administrator_manages_it", MAIN, r"kms:PutKeyPolicy, ", NOTHING),
    ("the key does not rotate", "Key.test_it_rotates", MAIN, r"EnableKeyRotation: true", "EnableKeyRotation: false"),
    ("the key dies with the stack", "AtRest.test_secrets_and_key_outlive_the_stack_or_not", MAIN, r"DeletionPolicy: !Ref OnDeletion", "DeletionPolicy: Delete"),
    ("the secrets die with the stack", "AtRest.test_secrets_and_key_outlive_the_stack_or_not", TENANT, r"DeletionPolicy: !Ref OnDeletion", "DeletionPolicy: Delete"),
    ("a secret has a value", "AtRest.test_secrets_are_created_empty", TENANT, r"( +)Description: .*Written by rotate.*\n", r"\g<0>\1GenerateSecretString: {}\n"),
    ("an update touches a secret", "AtRest.test_no_update_of_a_stack_touches_a_secret", TENANT, r"Written by rotate, read by vend", "Its alarm rings at ${LifeAlarm} s"),
    ("a change of mind about deletion goes unnoticed", "AtRest.test_what_becomes_of_secrets_can_be_changed", TENANT, r"; on deletion: \$\{OnDeletion\}", NOTHING),
    ("a secret has Secrets Manager's own key", "AtRest.test_secrets", TENANT, r" +KmsKeyId: .*\n", NOTHING),
    ("any schedule assumes the scheduler's role", "Roles.test_the_schedulers_role_is_confined_to_its_group", MAIN, r" +aws:SourceArn: !GetAtt Schedules.Arn\n", NOTHING),
    ("other accounts assume the scheduler's role", "Roles.test_the_schedulers_role_is_confined_to_its_group", MAIN, r"(Service: scheduler.*\n.*\n.*\n.*\n) +aws:SourceAccount: .*\n", r"\1"),
    ("the scheduler invokes vend, too", "Roles.test_the_schedulers_role_invokes_the_alias_of_rotate_and_nothing_else", MAIN, r"Resource: !Sub \$\{RotateFunction.Arn\}:live", "Resource: [!Sub '${RotateFunction.Arn}:live', !GetAtt VendFunction.Arn]"),
    ("the schedule names another alias", "Tenants.test_names_agree_between_the_templates", TENANT, r"-rotate:live", "-rotate:latest"),
    ("the schedule names another queue", "Tenants.test_names_agree_between_the_templates", TENANT, r"-undelivered", "-lost"),
    ("the schedule is paused", "Tenants.test_the_heartbeat_beats", TENANT, r"( +)ScheduleExpression: .*\n", r"\g<0>\1State: DISABLED\n"),
    ("tenants share a schedule", "Tenants.test_tenants_share_no_resource", TENANT, r"Name: !Ref Tenant\n", "Name: default\n"),
    ("the first tenant does not wait for the key", "Tenants.test_the_first_one_waits_for_what_it_finds_by_name", MAIN, r" +- KeyAlias\n", NOTHING),
    ("anybody's alarms publish", "Watching.test_the_topic_takes_alarms_of_this_stack_from_cloudwatch_alone", MAIN, r"(Action: sns:Publish\n.*\n) +Condition: .*\n", r"\1"),
    ("a log is kept for ever", "AtRest.test_log_groups", MAIN, r"(/aws/lambda/\$\{AWS::StackName\}-rotate\n) +RetentionInDays: .*\n", r"\1"),
    ("a log is not encrypted", "AtRest.test_log_groups", MAIN, r"(/aws/apigateway/\$\{AWS::StackName\}\n.*\n) +KmsKeyId: .*\n", r"\1"),
    ("a queue is not encrypted", "AtRest.test_queues_and_topics", MAIN, r" +(SqsManagedSseEnabled|KmsMasterKeyId): .*\n(?=\n +# The heartbeat)", NOTHING),
    ("the topic is not encrypted", "AtRest.test_queues_and_topics", MAIN, r" +KmsMasterKeyId: !Ref Key\n", NOTHING),
    ("environments have Lambda's own key", "Lambdas.test_environments_are_encrypted_and_hold_no_secret", MAIN, r" +KmsKeyArn: .*\n", NOTHING),
    ("a new setting does not reach vend", "Lambdas.test_every_setting_reaches_the_alias", MAIN, r" +AutoPublishAliasAllProperties: true.*\n", NOTHING),
    ("a function reserves 0", "Lambdas.test_reserved_concurrency_where_0_means_none", MAIN, r"!If \[VendReserves, !Ref VendConcurrency, !Ref AWS::NoValue\]", "!Ref VendConcurrency"),
    ("a deployment is not rolled back", "Lambdas.test_vend_moves_at_its_pace_and_back_on_its_own_errors", MAIN, r" +Alarms: \[!Ref VendCanary\]\n", NOTHING),
    ("deployments move any alias", "Roles.test_deployments_move_the_alias_of_vend_and_nothing_else", MAIN, r" +Role: !GetAtt DeploymentRole.Arn.*\n", NOTHING),
    ("no news of a token is good news", "Watching.test_no_news_of_a_tokens_life_is_bad_news", TENANT, r"TreatMissingData: breaching", "TreatMissingData: notBreaching"),
    ("an alarm says not what to do", "Watching.test_alarms_tell_somebody_what_to_do", MAIN, r" Do: ", " "),
    ("an alarm tells nobody", "Watching.test_alarms_tell_somebody_what_to_do", MAIN, r" +AlarmActions: \*Tell\n", NOTHING),
    ("an alarm watches a metric that nobody writes", "Watching.test_alarms_watch_what_exists", TENANT, r"MetricName: CredentialsFallback", "MetricName: CredentialsRefused"),
    ("the dashboard shows a metric that nobody writes", "Watching.test_the_dashboard_shows_metrics_that_exist", MAIN, r"RotationFailed", "RotationsFailed"),
    ("an output is not shell", "Outputs.test_they_are_shell", MAIN, r"--user \"\$AWS_ACCESS_KEY_ID", "--user $(AWS_ACCESS_KEY_ID"),
    ("an output names another secret", "Outputs.test_they_name_what_exists", MAIN, r"/credentials/default --secret-string", "/credential/default --secret-string"),
    ("a key in the environment", "Checkov CKV_AWS_45", MAIN, r"( +)C8AUTH_STACK: .*\n", r"\g<0>\1C8AUTH_KEY: AKIAIOSFODNN7EXAMPLE\n"),
    ("checkov.yaml explains what is not found any more", "Checkov CKV_AWS_73", MAIN, r"TracingEnabled: !If \[Traced, true, false\]", "TracingEnabled: true"),
    ("an unknown property", "cfn-lint E3002", MAIN, r"( +)TopicName: .*\n", r"\g<0>\1Colour: red\n"),
]


def caught(copy):
    """Whether the one who has to catch a broken copy does, and what it says."""
    what, by, file, pattern, replacement = copy
    with tempfile.TemporaryDirectory() as directory:
        for name in MAIN, TENANT, "samconfig.toml":
            shutil.copy(translate.ROOT / name, directory)
        translate.ROOT = pathlib.Path(directory)
        broken = translate.ROOT / file
        broken.write_text(re.sub(pattern, replacement, broken.read_text(), count=1))
        if by.startswith("cfn-lint "):
            done = subprocess.run(["cfn-lint", broken], stdout=subprocess.PIPE, text=True)
            return done.returncode != 0 and by.split()[1] in done.stdout, done.stdout.splitlines()
        if by.startswith("Checkov "):
            complaints = list(scan.complaints(*scan.checkov()))
            return any(by.split()[1] in c.split() for c in complaints), complaints
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromName(by, test_template).run(result)
        # An error is no proof: the copy may be no template any more.
        return result.testsRun == 1 and bool(result.failures) and not result.errors, [text.splitlines()[-1] for _, text in result.failures + result.errors]


if __name__ == "__main__":
    for what, _, file, pattern, _ in COPIES:
        if not re.search(pattern, (translate.ROOT / file).read_text()):
            sys.exit(f"{what}: {pattern} is not in {file}, so that nothing would be broken")
    survivors = 0
    # Each in a process of its own, as translations are remembered.
    with multiprocessing.get_context("fork").Pool(maxtasksperchild=1) as pool:
        for (what, by, *_), (noticed, said) in zip(COPIES, pool.imap(caught, COPIES, chunksize=1)):
            print(f"{what}: {by}" if noticed else f"{what}: NOT NOTICED by {by}; {said}", flush=True)
            survivors += not noticed
    print(f"{len(COPIES) - survivors} broken copies were caught, {survivors} were not")
    sys.exit(bool(survivors))
