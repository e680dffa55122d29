"""The tools that test_template.py relies on: they evaluate as AWS documents it, and what
they do not know is an error."""

import unittest

from policy import Request, Unknown, api_allows, arn_like, effects, identity, resource_allows
from translate import ACCOUNT, Invalid, Stack, arn, main, parameters

ROLE = f"arn:aws:iam::{ACCOUNT}:role/r"
OTHER = "arn:aws:iam::444455556666:role/r"
QUEUE = "arn:aws:sqs:eu-central-1:111122223333:q"


def document(*statements):
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(**more):
    return {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": QUEUE, **more}


class Policies(unittest.TestCase):
    def check(self, expected, statement, action="sqs:SendMessage", resource=QUEUE, **context):
        request = Request(ROLE, action, resource, {k.replace("__", ":"): v for k, v in context.items()})
        self.assertEqual("allow" if expected else "nothing", identity([document(statement)], request), statement)

    def test_action_and_resource(self):
        self.check(True, allow())
        self.check(True, allow(Action="SQS:sendmessage"))
        self.check(True, allow(Action=["sqs:Get*", "sqs:Send*"], Resource="*"))
        self.check(True, allow(Resource="arn:aws:sqs:*:111122223333:?"))
        self.check(False, allow(Action="sqs:Receive*"))
        self.check(False, allow(Resource="arn:aws:sqs:eu-central-1:111122223333:q2"))
        self.check(False, allow(Resource="arn:aws:*:q"), "sqs:SendMessage")
        self.check(False, {"Effect": "Allow", "NotAction": "sqs:*", "Resource": "*"})
        self.check(True, {"Effect": "Allow", "NotAction": "iam:*", "NotResource": "arn:aws:sqs:*:*:other"})

    def test_deny_wins(self):
        both = [document(allow()), document(allow(Effect="Deny", Resource="*"))]
        self.assertEqual("deny", identity(both, Request(ROLE, "sqs:SendMessage", QUEUE)))

    def test_conditions(self):
        for expected, operator, wanted, value in [
            (True, "StringEquals", ["a", "b"], "b"), (False, "StringEquals", "a*", "ab"), (False, "StringEquals", "a", None),
            (True, "StringLike", "a*", "ab"), (False, "StringLike", "a*", "b"), (False, "StringLike", "*", None),
            (True, "StringNotEquals", "a", "b"), (False, "StringNotEquals", ["a", "b"], "b"), (True, "StringNotEquals", "a", None),
            (True, "ArnLike", "arn:aws:sqs:*:*:q*", QUEUE), (True, "ArnEquals", "arn:aws:sqs:*:*:q", QUEUE), (False, "ArnLike", "arn:*:q", QUEUE), (False, "ArnEquals", QUEUE, None),
            (True, "Bool", "true", "true"), (False, "Bool", True, "false"), (False, "Bool", "true", None),
            (True, "ForAnyValue:StringEquals", "a", "a"), (False, "ForAnyValue:StringEquals", "a", "b"), (False, "ForAnyValue:StringEquals", "a", None),
            (True, "Null", "true", None), (False, "Null", "true", "a"), (True, "Null", False, "a"),
        ]:
            with self.subTest(operator=operator, wanted=wanted, value=value):
                self.check(expected, allow(Condition={operator: {"AWS:Key": wanted}}), **({"aws__key": value} if value else {}))
        self.check(False, allow(Condition={"StringEquals": {"a": "1", "b": "2"}}), a="1")
        self.check(True, allow(Condition={"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}))

    def test_what_is_not_known_is_an_error(self):
        for statement in [
            allow(Condition={"StringEqualsIfExists": {"a": "b"}}), allow(Condition={"ForAnyValue:StringLike": {"a": "b"}}), allow(Condition={"NumericLessThan": {"a": 1}}),
            allow(Condition={"StringEquals": {"a": "${aws:username}"}}), allow(Resource="arn:aws:sqs:*:*:${aws:username}"), allow(Conditions={}), allow(Effect="allow"),
            allow(NotAction="sqs:*"), allow(NotResource="*"), allow(Principal="*"), {"Effect": "Allow", "Resource": "*"},
        ]:
            with self.subTest(statement=statement), self.assertRaises(Unknown):
                identity([document(statement)], Request(ROLE, "sqs:SendMessage", QUEUE, {"a": "b"}))
        for principal in {"NotPrincipal": "*"}, {"Principal": {"Federated": "x"}}, {"Principal": {"AWS": "arn:aws:iam::*:role/x"}}, {}:
            with self.subTest(principal=principal), self.assertRaises(Unknown):
                resource_allows(document(allow(**principal)), Request(ROLE, "sqs:SendMessage", QUEUE))
        with self.assertRaises(Unknown):
            effects({"Version": "2008-10-17", "Statement": []}, Request(ROLE, "a:b", QUEUE), attached=True)

    def test_an_account_hands_on_to_its_own_policies(self):
        request = Request(ROLE, "sqs:SendMessage", QUEUE)
        for principal, alone in {f"arn:aws:iam::{ACCOUNT}:root": False, ACCOUNT: False, ROLE: True, "*": True}.items():
            policy = document(allow(Principal={"AWS": principal}))
            self.assertEqual(alone, resource_allows(policy, request), principal)
            self.assertTrue(resource_allows(policy, request, [document(allow())]), principal)
            self.assertFalse(resource_allows(policy, request, [document(allow(Effect="Deny"))]), principal)
        service = document(allow(Principal={"Service": "sns.amazonaws.com"}))
        self.assertTrue(resource_allows(service, Request("sns.amazonaws.com", "sqs:SendMessage", QUEUE)))
        self.assertFalse(resource_allows(service, request, [document(allow())]))

    def test_api_gateway_asks_one_of_both_at_home_and_both_abroad(self):
        invoke = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "execute-api:/v1/GET/*"}
        own = [document({**invoke, "Resource": "*"})]
        for home, abroad, policy, identities in [
            (False, False, None, []), (True, False, None, own),
            (True, False, document({**invoke, "Principal": "*"}), []), (True, True, document({**invoke, "Principal": "*"}), own),
            (False, False, document({**invoke, "Principal": "*", "Effect": "Deny"}), own),
            (False, False, document({**invoke, "Principal": "*", "Resource": "execute-api:/v2/*"}), []),
        ]:
            with self.subTest(policy=policy, identities=identities):
                request = lambda principal: Request(principal, "execute-api:Invoke", arn("execute-api", "api/v1/GET/tokens/a"))
                self.assertEqual((home, abroad), (api_allows(policy, "api", request(ROLE), identities), api_allows(policy, "api", request(OTHER), identities)))

    def test_parts_of_arns(self):
        self.assertTrue(arn_like("arn:aws:logs:*:*:log-group:a:*", "arn:aws:logs:eu-central-1:111122223333:log-group:a:log-stream:b"))
        self.assertFalse(arn_like("arn:aws:logs:*:log-group:a:*", "arn:aws:logs:eu-central-1:111122223333:log-group:a:log-stream:b"))


class Translation(unittest.TestCase):
    def made(self, properties, **template):
        def edit(t):
            t.clear()
            t.update({"Parameters": {"P": {"Type": "String", "Default": "p"}}, "Conditions": {"No": {"Fn::Equals": [{"Ref": "P"}, "q"]}},
                      "Resources": {"Q": {"Type": "AWS::SQS::Queue", "Properties": properties}, "Z": {"Type": "AWS::Zoo::Zebra", "Condition": "No"}}, **template})
        return Stack("tenant.yaml", "s", {}, edit=edit).resources["Q"].properties

    def test_functions(self):
        for expected, value in [
            ("p", {"Ref": "P"}), ("s-p-${x}-7", {"Fn::Sub": ["${AWS::StackName}-${P}-${!x}-${n}", {"n": 7}]}), (["p", "q"], {"Fn::Split": [",", {"Fn::Join": [",", [{"Ref": "P"}, "q"]]}]}),
            ("b", {"Fn::Select": ["1", ["a", "b"]]}), ("b", {"Fn::If": ["No", "a", "b"]}), (["a"], ["a", {"Ref": "AWS::NoValue"}]), ({}, {"k": {"Fn::If": ["No", "a", {"Ref": "AWS::NoValue"}]}}),
        ]:
            self.assertEqual({"X": expected}, self.made({"X": value}))

    def test_what_is_not_known_is_an_error(self):
        for value in [{"Fn::ImportValue": "x"}, {"Fn::Sub": "${Nothing}"}, {"Ref": "Z"}, {"Ref": "Q"}, {"Fn::GetAtt": ["Q", "Arn"]}, {"Fn::GetAtt": "P.Arn"}, {"Ref": "P", "x": 1},
                      "{{resolve:ssm:/x}}", "{{resolve:secretsmanager:x}}", {"Fn::Join": ["", [["a"]]]}]:
            with self.subTest(value=value), self.assertRaises(Invalid):
                self.made({"X": value})
        for template in {"Mappings": {}}, {"Transform": "AWS::Include"}, {"Conditions": {"No": {"Fn::Contains": []}}}, {"Resources": {"Q": {"Type": "AWS::SQS::Queue", "CreationPolicy": {}}}}, {"Resources": {"Q": {"Type": "AWS::SQS::Queue", "DependsOn": "X"}}}:
            with self.subTest(template=template), self.assertRaises(Invalid):
                self.made({}, **template)

    def test_parameters(self):
        template = {"Parameters": {"S": {"Type": "String", "AllowedPattern": "[a-z]+"}, "N": {"Type": "Number", "Default": 1, "MinValue": 0}}}
        self.assertEqual({"S": "a", "N": 1}, parameters(template, {"S": "a"}))
        for given in {}, {"S": ""}, {"S": "a\n"}, {"S": "a", "N": "-1"}, {"S": "a", "N": "x"}, {"S": "a", "X": 1}:
            with self.subTest(given=given), self.assertRaises(Invalid):
                parameters(template, given)
        for more in {"Type": "CommaDelimitedList"}, {"Type": "String", "MaxLength": 3}:
            with self.subTest(more=more), self.assertRaises(Invalid):
                parameters({"Parameters": {"S": more}}, {"S": "a"})

    def test_what_serverless_refuses_is_refused(self):
        with self.assertRaises(Invalid):
            main(edit=lambda t: t["Resources"]["VendFunction"]["Properties"].pop("Handler", t["Globals"]["Function"].pop("Handler")))


if __name__ == "__main__":
    unittest.main()
