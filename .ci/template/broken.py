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
    # Who gets a token
    ("API Gateway invokes vend as the caller", "Api.test_two_methods_and_no_way_around_iam", MAIN, r" +InvokeRole: NONE.*\n", NOTHING),
    ("no authorizer", "Api.test_two_methods_and_no_way_around_iam", MAIN, r" +DefaultAuthorizer: AWS_IAM\n", NOTHING),
    ("a method for everybody", "Api.test_two_methods_and_no_way_around_iam", MAIN, r"( +)Path: /tokens/\{tenant\}\n", r"\g<0>\1Auth: {Authorizer: NONE}\n"),
    ("a second stage, unthrottled", "Api.test_one_stage", MAIN, r"  Api:\n +OpenApiVersion: .*\n", NOTHING),
    ("everybody's API", "Roles.test_nobody_is_let_in_by_a_wildcard", MAIN, r"AWS: !Split \[',', !Ref OtherCallers\]", "AWS: '*'"),
    ("every organization's API", "Callers.test_an_organization_gets_the_listed_tenants_and_this_account_nothing_more", MAIN, r" +StringEquals:\n +aws:PrincipalOrgID: .*\n", NOTHING),
    ("OtherCallers admits local roles without a policy", "Callers.test_other_callers_do_not_widen_what_local_principals_may", MAIN, r" +Condition:\n +StringNotEquals:\n +aws:PrincipalAccount: .*\n", NOTHING),
    ("OtherCallers gets every tenant", "Callers.test_other_accounts_get_the_listed_tenants", MAIN, r"execute-api:/v1/GET/tokens/\$\{Tokens\}", "execute-api:/v1/GET/tokens/*"),
    ("OtherCallers may be a wildcard", "Parameters.test_bad_values_are_refused", MAIN, r"AllowedPattern: \^\(\(\\d\{12\}.*", "AllowedPattern: .*"),
    ("the policy vanishes without parameters", "Callers.test_the_api_always_has_a_policy_and_a_parameter_that_is_emptied_leaves_nothing", MAIN, r"- Sid: OnlyOverTLS\n(?:.*\n){7}", "- !Ref AWS::NoValue\n"),
    ("requests without TLS", "Callers.test_nobody_is_served_without_tls", MAIN, r"aws:SecureTransport: 'false'", "aws:SecureTransport: 'true'"),
    ("other endpoints reach the private API", "Callers.test_a_private_api_is_reached_through_its_endpoints_alone", MAIN, r"StringNotEquals:(\n +aws:SourceVpce)", r"StringEquals:\1"),
    ("the API cannot become private", "Callers.test_the_api_can_become_private_and_public_again", MAIN, r"EndpointAccessMode: BASIC", "EndpointAccessMode: STRICT"),
    ("a caller gets every tenant", "Callers.test_a_tenants_policy_admits_to_nothing_else", TENANT, r"GET/tokens/\$\{Tenant\}", "GET/tokens/*"),
    ("every caller reports", "Callers.test_a_tenant_has_two_policies_and_one_of_them_reports", TENANT, r"/v1/GET/tokens/\$\{Tenant\}", "/v1/*/tokens/${Tenant}*"),
    # Where a token or a credential could be read
    ("bodies are logged", "Api.test_throttled_neither_cached_nor_traced_in_full", MAIN, r"DataTraceEnabled: false", "DataTraceEnabled: true"),
    ("answers are cached", "Api.test_throttled_neither_cached_nor_traced_in_full", MAIN, r"CachingEnabled: false", "CachingEnabled: true"),
    ("TLS 1.0", "Api.test_tls_1_2_at_least", MAIN, r" +SecurityPolicy: .*\n", NOTHING),
    ("the access log quotes headers", "Api.test_access_logs_show_who_and_what_and_no_secret", MAIN, r"\$context\.error\.responseType", "$context.error.message"),
    ("the access log can be forged by a quote", "Api.test_access_logs_show_who_and_what_and_no_secret", MAIN, r"\$context\.resourcePath", "$context.path"),
    ("vend reads every secret of the stack", "Functions.test_vend_cannot_read_credentials", MAIN, r"secret:\$\{AWS::StackName\}/token/\*", "secret:${AWS::StackName}/*"),
    ("vend reads a sibling stack's tokens", "Functions.test_no_secret_of_another_stack_or_of_none", MAIN, r"secret:\$\{AWS::StackName\}/token/\*", "secret:${AWS::StackName}*/token/*"),
    ("rotate writes credentials", "Functions.test_rotate_creates_and_deletes_nothing_and_leaves_credentials_alone", MAIN, r"\[secretsmanager:DescribeSecret, ", "[secretsmanager:PutSecretValue, secretsmanager:DescribeSecret, "),
    ("vend decrypts past Secrets Manager", "Key.test_functions_use_it_through_secrets_manager_only", MAIN, r"(StringEquals: &ThroughSecretsManager\n +)kms:ViaService: .*", r"\1aws:PrincipalAccount: !Ref AWS::AccountId"),
    ("the key decrypts for any purpose of the account", "Key.test_an_administrator_uses_it_for_nothing_else", MAIN, r"(- Sid: Secrets\n(?:.*\n){5}) +Condition:\n(?:.*\n){3}", r"\1"),
    ("any schedule assumes the scheduler's role", "Roles.test_the_schedulers_role_is_confined_to_its_group", MAIN, r" +aws:SourceArn: !GetAtt Schedules.Arn\n", NOTHING),
    ("deployments move any alias", "Roles.test_deployments_move_the_alias_of_vend_and_nothing_else", MAIN, r" +Role: !GetAtt DeploymentRole.Arn.*\n", NOTHING),
    ("a log is not encrypted", "AtRest.test_log_groups", MAIN, r"(/aws/apigateway/\$\{AWS::StackName\}\n.*\n) +KmsKeyId: .*\n", r"\1"),
    ("a secret has a value", "AtRest.test_secrets_are_created_empty", TENANT, r"( +)Description: .*rotate writes it.*\n", r"\g<0>\1GenerateSecretString: {}\n"),
    ("the secrets die with the stack", "AtRest.test_secrets_and_key_outlive_the_stack", TENANT, r"DeletionPolicy: RetainExceptOnCreate", "DeletionPolicy: Delete"),
    # What would not arrive, or not be noticed
    ("a change of policy is not deployed", "Api.test_a_change_of_policy_is_deployed", MAIN, r" +AlwaysDeploy: true.*\n", NOTHING),
    ("a parameter of vend does not reach its alias", "Lambdas.test_no_parameter_changes_what_a_version_of_vend_contains", MAIN, r"C8AUTH_PREFETCH: default", "C8AUTH_PREFETCH: !Ref OtherCallersTenants"),
    ("a property of vend does not reach its alias", "Lambdas.test_a_new_version_of_vend_is_made_for_each_property_that_it_contains", MAIN, r" +AutoPublishAliasAllProperties: true.*\n", NOTHING),
    ("a parameter changes something else as well", "Parameters.test_each_parameter_alone_changes_what_it_is_for", MAIN, r"!Ref ThrottleBurst", "!Ref ThrottleRate"),
    ("an update touches a secret", "AtRest.test_no_update_of_a_stack_touches_a_secret", MAIN, r"Description: !Sub Secrets and logs of", "Description: !Sub ${LogRetention} days of logs of"),
    ("another transform", "Source.test_no_transform_but_sams", TENANT, r"Description: A tenant", "Transform: AWS::Serverless-2016-10-31\nDescription: A tenant"),
    ("a tenant's template with aliases", "Source.test_the_sam_cli_writes_out_aliases_and_tenants_need_none", TENANT, r"KmsKeyId: (!Sub alias/\$\{Stack\})((?:.*\n)*?.*KmsKeyId: ).*", r"KmsKeyId: &Key \1\2*Key"),
    ("a resource waits for one that may not be there", "Source.test_what_a_resource_depends_on_exists", MAIN, r"(    Type: AWS::Logs::LogGroup\n)", r"\1    DependsOn: ApiAccount\n"),
    ("missing data of a token is no alarm", "Watching.test_the_alarm_on_a_tokens_lifetime_is_right_for_any_lifetime", TENANT, r"TreatMissingData: breaching", "TreatMissingData: notBreaching"),
    ("the first tenant does not wait for the key", "Tenants.test_the_first_one_waits_for_what_it_finds_by_name", MAIN, r" +- KeyAlias.*\n", NOTHING),
    ("an output attaches a policy for good", "Outputs.test_nothing_is_attached_that_would_bar_deletion", MAIN, r"aws iam put-role-policy", "aws iam attach-role-policy"),
    ("a name that the deployer may not use", "Deployer.test_it_creates_changes_and_deletes_every_resource", MAIN, r"QueueName: !Sub \$\{AWS::StackName\}-failed", "QueueName: failed"),
    ("a runtime that Security Hub evaluates", "SecurityHub.test_functions_are_not_evaluated_for_their_runtime_and_zones", MAIN, r"Runtime: provided.al2023", "Runtime: python3.9"),
    # Checkov and cfn-lint
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
