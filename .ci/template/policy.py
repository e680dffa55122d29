"""IAM's evaluation of policies, as far as the templates use it.

What is not known here (an operator, an element, a policy variable, a multi-valued
condition) is an error: a policy that was half understood must not pass for safe.
"""

import dataclasses
import functools
import re

from translate import ACCOUNT, PARTITION, REGION


class Unknown(Exception):
    """A part of a policy that this module does not know."""


@dataclasses.dataclass(frozen=True)
class Request:
    principal: str  # the ARN of a role or user, or a service such as lambda.amazonaws.com
    action: str
    resource: str
    context: dict = dataclasses.field(default_factory=dict)  # condition keys

    @property
    def account(self):  # that of the principal; a service has none
        return self.principal.split(":")[4] if self.principal.startswith("arn:") else None

    def key(self, name):
        """The value of a condition key, whose name is matched whatever its case; None if absent."""
        given = {k.lower(): v for k, v in self.context.items()}
        if self.account:
            given |= {"aws:principalaccount": self.account, "aws:principalarn": self.principal}
        return given.get(name.lower())


# Patterns


def many(value):
    return value if isinstance(value, list) else [value]


@functools.cache
def pattern(text):
    if "${" in text:
        raise Unknown(f"policy variable in {text}")
    return re.compile("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in text), re.DOTALL)


def like(text, value):
    return pattern(text).fullmatch(value) is not None


def arn_like(text, value):
    """As IAM compares ARNs: none of the first five parts reaches over a colon."""
    texts, values = text.split(":", 5), value.split(":", 5)
    return len(texts) == len(values) == 6 and all(map(like, texts, values))


def equal(text, value):
    pattern(text)  # only for the sake of variables
    return text == value


# Statements

OPERATORS = {  # (how one value is compared, whether that is negated)
    "StringEquals": (equal, False),
    "StringNotEquals": (equal, True),
    "StringLike": (like, False),
    "StringNotLike": (like, True),
    "ArnEquals": (arn_like, False),
    "ArnLike": (arn_like, False),
    "ArnNotEquals": (arn_like, True),
    "ArnNotLike": (arn_like, True),
    "Bool": (lambda text, value: text.lower() == value.lower(), False),
    "ForAnyValue:StringEquals": (equal, False),  # of keys that have one value in these tests
}


def holds(operator, key, wanted, request):
    wanted, value = [str(w) for w in many(wanted)], request.key(key)
    if operator == "Null":
        [wanted] = wanted
        return (value is None) == {"true": True, "false": False}[wanted.lower()]
    if operator not in OPERATORS:
        raise Unknown(f"operator {operator}")
    compare, negated = OPERATORS[operator]
    # An absent key is like none of the values; IAM has it satisfy the negated operators.
    return (value is not None and any([compare(w, value) for w in wanted])) != negated


def principals(statement):
    """The kind and the value of each principal that a statement names."""
    if "NotPrincipal" in statement:
        raise Unknown("NotPrincipal")
    given = statement["Principal"]
    for kind, values in (given if isinstance(given, dict) else {"AWS": given}).items():
        if kind not in ("AWS", "Service"):
            raise Unknown(f"principal {kind}")
        for value in many(values):
            if "*" in value and value != "*":
                raise Unknown(f"principal {value}")  # IAM does not take it either
            yield kind, value


def is_account(value):
    """The account that a principal stands for as a whole, if any."""
    match = re.fullmatch(r"(\d{12})|arn:[a-z-]+:iam::(\d{12}):root", value)
    return match and (match[1] or match[2])


def matches_principal(statement, request):
    """"itself", "account" (which only hands on to that account's own policies), or None."""
    found = set()
    for kind, value in principals(statement):
        if value == "*":
            found.add("itself")
        elif kind == "Service":
            found.add("itself" if value == request.principal else None)
        elif is_account(value):
            found.add("account" if is_account(value) == request.account else None)
        else:
            found.add("itself" if value == request.principal else None)
    return "itself" if "itself" in found else "account" if "account" in found else None


def full(resource, api):
    """API Gateway expands execute-api:/stage/… to the whole ARN when a policy is saved."""
    if not resource.startswith("execute-api:/"):
        return resource
    return f"arn:{PARTITION}:execute-api:{REGION}:{ACCOUNT}:{api}/{resource.removeprefix('execute-api:/')}"


def applies(statement, request, api):
    if unknown := set(statement) - {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}:
        raise Unknown(f"element {', '.join(unknown)}")
    if ("Action" in statement) == ("NotAction" in statement):
        raise Unknown("neither Action nor NotAction, or both")
    if "Resource" in statement and "NotResource" in statement:
        raise Unknown("both Resource and NotResource")
    actions = [like(a.lower(), request.action.lower()) for a in many(statement.get("Action", statement.get("NotAction")))]
    # A trust policy has no resource: it is the role.
    resources = [r == "*" or arn_like(full(r, api), request.resource) for r in many(statement.get("Resource", statement.get("NotResource", "*")))]
    conditions = [holds(operator, key, wanted, request) for operator, keys in statement.get("Condition", {}).items() for key, wanted in keys.items()]
    return any(actions) != ("NotAction" in statement) and any(resources) != ("NotResource" in statement) and all(conditions)


def effects(document, request, attached, api=None):
    """What the statements that apply say: of {"deny", "itself", "account"}."""
    if document.get("Version") != "2012-10-17" or set(document) - {"Version", "Id", "Statement"}:
        raise Unknown(f"policy with {document.keys()}, version {document.get('Version')}")
    found = set()
    for statement in many(document["Statement"]):
        if statement["Effect"] not in ("Allow", "Deny"):
            raise Unknown(f"effect {statement['Effect']}")
        if ("Principal" in statement or "NotPrincipal" in statement) == attached:
            raise Unknown("a principal in an identity's policy, or none in a resource's")
        to = "itself" if attached else matches_principal(statement, request)
        if applies(statement, request, api) and to:
            found.add("deny" if statement["Effect"] == "Deny" else to)
    return found


# Verdicts


def identity(documents, request):
    """What the policies attached to a principal say on their own."""
    found = set().union(*[effects(d, request, attached=True) for d in documents])
    return "deny" if "deny" in found else "allow" if found else "nothing"


def resource_allows(document, request, documents=()):
    """Policies of keys, topics and roles (trust): who is named itself needs no more;
    where the account is named, the principal's own policies have to allow it as well."""
    found, own = effects(document, request, attached=False), identity(documents, request)
    if "deny" in found or own == "deny":
        return False
    return "itself" in found or ("account" in found and own == "allow")


def api_allows(document, api, request, documents):
    """API Gateway with IAM authorization: within the account, its policy or the caller's
    suffices; from another account, both must allow. An account that is named counts as
    if it named each of its principals: the worst reading of the documentation."""
    if not request.account:
        raise Unknown("a caller without an account")
    found = effects(document, request, attached=False, api=api) if document else set()
    own = identity(documents, request)
    if "deny" in found or own == "deny":
        return False
    admitted = bool(found)
    return (admitted or own == "allow") if request.account == ACCOUNT else (admitted and own == "allow")
