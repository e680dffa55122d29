package main

// What goes wrong first, and what everybody does in the end.

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/fakes/smtest"
	"github.com/c8auth/c8auth/internal/harness"
)

// Whoever has nothing is told what to get.
func TestNoAWS(t *testing.T) {
	s := sit(t)
	s.c8auth("rotate", "default", "--region", "eu-central-1")
	s.c8auth("rotate", "default", "--profile", "acme")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	s.c8auth("rotate", "default")
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	s.c8auth("rotate", "default", "--region", "eu-centrall-1")
	s.golden("no-aws")
}

// From a stack without credentials to a token, and on.
func TestOperating(t *testing.T) {
	s := operate(t)
	s.c8auth("rotate", "default")
	s.c8auth("rotate", "default", "--json")
	s.reading(s.oauth(clientSecret), "credentials", "set", "default")
	s.c8auth("rotate", "default")
	s.c8auth("rotate", "default", "--force")
	token := s.c8auth("token", "default")
	s.c8auth("token", "default", "--header")
	s.c8auth("token", "default", "--json")
	if !s.Communic8.Valid(strings.TrimSuffix(token, "\n")) {
		t.Errorf("Communic8 does not take %q", token)
	}

	s.Communic8.Set(func(b *c8test.Behaviour) { b.Exclusive = true })
	s.reading(s.oauth(clientSecret), "credentials", "set", "default")
	s.reading(s.oauth(clientSecret), "credentials", "set", "default", "--json")
	s.reading(s.bearer(accessKey), "credentials", "set", "default")
	s.c8auth("rotate", "default")
	s.reading(s.bearer(accessKey), "credentials", "set", "default", "--now")
	s.golden("operating")
}

// What is not right is not stored, and the token in use does not suffer.
func TestWrongCredentials(t *testing.T) {
	s := operate(t)
	s.reading(s.oauth(clientSecret), "credentials", "set", "default", "--now")
	set := []string{"credentials", "set", "default"}
	s.reading("client_id=4711 client_secret=value", set...)
	s.reading(`{"base_url":"https://acme.communic8.com/","client_id":"4711","client_secret":"value"}`, set...)
	s.reading(s.oauth("typing-error"), set...)
	s.reading(s.bearer("typing-error"), set...)
	s.communic8(&c8test.Fault{Status: http.StatusServiceUnavailable})
	s.reading(s.oauth(clientSecret), set...)
	s.reading(s.bearer(accessKey), set...)
	s.communic8(nil)
	nowhere := harness.Credentials("http://127.0.0.1:1", "4711", "value")
	s.reading(nowhere, set...)

	// A token that the probe path rejects may yet have ended the validity of the one in use.
	s.Communic8.Set(func(b *c8test.Behaviour) {
		b.Exclusive = true
		probes := 0
		b.Fault = func(r *http.Request, _ int) *c8test.Fault {
			if r.URL.Path != c8test.TokenPath {
				if probes++; probes == 1 {
					return &c8test.Fault{Status: http.StatusUnauthorized}
				}
			}
			return nil
		}
	})
	s.reading(s.oauth(clientSecret), set...)
	if versions := s.Secrets.Versions(credentialsName); versions != 1 {
		t.Errorf("%d versions of the credentials are stored, want the first alone", versions)
	}
	issued := s.Communic8.Issued()
	if token := s.c8auth("token", "default"); token != issued[len(issued)-1]+"\n" {
		t.Errorf("callers have %q, which is not the valid one", token)
	}

	s.Secrets.Create("c8auth/credentials/acme")
	s.reading(nowhere, "credentials", "set", "acme", "--insist")
	if value, _ := s.Secrets.Value("c8auth/credentials/acme"); value != nowhere {
		t.Errorf("stored is %s", value)
	}
	s.golden("wrong-credentials")
}

// A secret typed in the place of a flag or a tenant is not repeated.
func TestSecretsOnTheCommandLine(t *testing.T) {
	s := sit(t)
	s.c8auth("credentials", "set", "default", "--client-secret", "MARK")
	s.c8auth("credentials", "set", "default", "-pMARK")
	s.c8auth("credentials", "set", "default", "--now=MARK")
	s.c8auth("credentials", "set", "default", "MARK")
	s.c8auth("credentials", "set", "MARK")
	s.c8auth("token", "MARK")
	s.golden("secrets-on-the-command-line")
}

// What IAM does not allow, and what is not there.
func TestNotAllowed(t *testing.T) {
	s := operate(t)
	s.c8auth("token", "default")
	s.c8auth("rotate", "default", "--stack", "c8oauth")
	s.c8auth("rotate", "default", "--region", "eu-west-1")
	s.Secrets.Create("c8auth/token/globex")
	for _, name := range []string{"acme", "defaul"} {
		for _, args := range [][]string{{"rotate", name}, {"token", name}, {"credentials", "set", name}, {"grant", name, "--role", payroll}, {"doctor", name}} {
			s.c8auth(args...)
		}
	}
	s.c8auth("credentials", "set", "globex") // half deployed
	s.c8auth("rotate")
	s.c8auth("rotate", "default", "acme")
	for _, refused := range []struct {
		action string
		args   []string
	}{
		{"cloudformation:DescribeStacks", []string{"rotate", "default"}},
		{"cloudformation:DescribeStacks", []string{"token", "default"}},
		{"secretsmanager:ListSecrets", []string{"rotate", "acme"}},
		{"lambda:InvokeFunction", []string{"rotate", "default"}},
		{"secretsmanager:DescribeSecret", []string{"credentials", "set", "default"}},
		{"secretsmanager:PutSecretValue", []string{"credentials", "set", "default"}},
	} {
		s.AWS.Set(func(state *awstest.State) { state.Refused = map[string]bool{refused.action: true} })
		s.reading(s.oauth(clientSecret), refused.args...)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAI44QH8DHBEXAMPLE")
	s.c8auth("rotate", "default")
	s.c8auth("token", "default", "--url", s.APIURL)
	t.Setenv("AWS_ACCESS_KEY_ID", harness.AccessKey)
	api := s.gateway(gwtest.Key{ARN: harness.Caller, Tenants: []string{"*"}})
	s.c8auth("token", "acme", "--url", api+"/v1")
	s.c8auth("token", "acme", "--url", api+"/v2")
	s.golden("not-allowed")
}

// What rotate cannot do, it says itself.
func TestRotationFails(t *testing.T) {
	s := operate(t)
	s.reading(s.oauth("typing-error"), "credentials", "set", "default", "--insist", "--now")
	s.c8auth("rotate", "default", "--json")
	s.golden("rotation-fails")
}

// A role gets what it needs to have a token, and no more.
func TestGrant(t *testing.T) {
	s := operate(t)
	const here, there, stranger = "arn:aws:iam::123456789012:role/", "arn:aws:iam::210987654321:role/", "arn:aws:iam::012345678901:role/stranger"
	s.c8auth("grant", "default", "--role", here+"service/payroll")
	s.c8auth("grant", "default", "--role", payroll, "--report", "--json")
	s.c8auth("grant", "default", "--role", there+"payroll", "--report")
	s.c8auth("grant", "default", "--role", there+"payroll", "--json")
	for _, others := range [][2]string{{stranger, "acme"}, {"210987654321", "default,acme"}} {
		s.parameter("OtherCallers", others[0])
		s.parameter("OtherCallersTenants", others[1])
		s.c8auth("grant", "default", "--role", there+"payroll")
	}
	s.c8auth("grant", "default")
	s.c8auth("grant", "default", "--role", "payroll")
	s.c8auth("grant", "default", "--role", "arn:aws:iam::210987654321:user/newcomer")
	s.c8auth("grant", "default", "--role", there+"a'; echo b")
	s.c8auth("grant", "default", "--role", "arn:aws-cn:iam::210987654321:role/payroll")
	s.golden("grant")
}

// The shell completes tenants by what is deployed.
func TestCompletion(t *testing.T) {
	s := operate(t)
	s.Secrets.Create("c8auth/token/acme")
	s.Secrets.Create("c8auth-production/token/globex")
	s.c8auth("__complete", "rotate", "")
	s.c8auth("__complete", "rotate", "default", "")
	s.AWS.Set(refuse("secretsmanager:ListSecrets"))
	s.c8auth("__complete", "rotate", "")
	s.golden("completion")
	if script := s.c8auth("completion", "bash"); !strings.Contains(script, "__complete") {
		t.Error("no script for bash")
	}
}

// Credentials whose storing was not answered are stored once: otherwise the ones before them would
// be out of rotate's reach.
func TestStoredOnce(t *testing.T) {
	s := operate(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "3")
	first := s.Secrets.Put(credentialsName, s.oauth("the former"))
	lost := false
	s.Secrets.Fault = func(op, _ string) *smtest.Fault {
		if op != "PutSecretValue" || lost {
			return nil
		}
		lost = true
		return &smtest.Fault{After: true, Break: true}
	}
	s.reading(s.bearer(accessKey), "credentials", "set", "default")
	if _, stages := s.Secrets.Version(credentialsName, first); !lost || s.Secrets.Versions(credentialsName) != 2 || !slices.Equal(stages, []string{"AWSPREVIOUS"}) {
		t.Errorf("%d versions; the former one is %v, after\n%s", s.Secrets.Versions(credentialsName), stages, &s.seen)
	}
}

// An empty version under AWSPENDING, which aws secretsmanager rotate-secret leaves where its
// function fails, is no value: there is nothing to rotate at once for.
func TestEmptyPendingVersion(t *testing.T) {
	s := operate(t)
	s.Secrets.Rotate(credentialsName)
	s.Secrets.Rotate(tokenName)
	if seen := s.c8auth("status"); !strings.Contains(seen, "no credentials are stored") {
		t.Errorf("c8auth status prints %s", seen)
	}
	s.reading(s.oauth(clientSecret), "credentials", "set", "default")
	if n := s.Secrets.Calls("GetSecretValue"); n != 0 {
		t.Errorf("rotate was invoked and made %d reads", n)
	}
	if seen := s.c8auth("rotate", "default"); !strings.Contains(seen, "default has a new token (first_token)") {
		t.Errorf("c8auth rotate prints %s", seen)
	}
}

// What AWS, or whatever answers in its place, writes into an error is not shown.
func TestAWSFailures(t *testing.T) {
	s := sit(t)
	s.setKeys()
	for _, answer := range []struct {
		status     int
		code, want string
		exit       int
	}{
		{403, "AccessDenied", "IAM does not allow you the action cloudformation:DescribeStacks on the stack c8auth", 1},
		{400, "ExpiredToken", "the AWS credentials have expired (ExpiredToken)", 1},
		{400, "Throttling", "AWS throttles cloudformation:DescribeStacks (Throttling)", 4},
		{400, "KMSDisabledException", "cloudformation:DescribeStacks on the stack c8auth fails: KMSDisabledException", 1},
		{400, letters, "cloudformation:DescribeStacks on the stack c8auth fails (HTTP 400)", 1},
		{503, letters, "AWS (cloudformation in eu-central-1) fails (HTTP 503)", 4},
		{200, "", "AWS (cloudformation in eu-central-1) gives a response that cannot be read (HTTP 200)", 1},
		{407, "", "AWS (cloudformation in eu-central-1) gives a response that cannot be read (HTTP 407)", 1},
	} {
		body := "<html>" + letters
		if answer.code != "" {
			body = "<ErrorResponse><Error><Code>" + answer.code + "</Code><Message>User: arn:aws:iam::123456789012:user/" + letters + " is not authorized</Message></Error></ErrorResponse>"
		}
		t.Setenv("AWS_ENDPOINT_URL", s.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Amzn-Requestid", letters)
			w.WriteHeader(answer.status)
			_, _ = io.WriteString(w, body)
		})))
		s.prints(answer.want+"\n", "rotate", "default")
		if got := s.status; got != answer.exit {
			t.Errorf("HTTP %d, %s: status %d", answer.status, answer.code, got)
		}
	}
}

// Who stores wrong credentials twice in a row is warned before those that work are out of
// rotate's reach.
func TestWrongTwice(t *testing.T) {
	const warning = "The credentials that are stored now have made no token"
	s := operate(t)
	set := []string{"credentials", "set", "default", "--insist"}
	warns := func(secret, want string) {
		t.Helper()
		s.seen.Reset()
		s.reading(s.oauth(secret), set...)
		if seen := s.seen.String(); want == "" && strings.Contains(seen, "fall") || !strings.Contains(seen, want) {
			t.Errorf("%s: want %q, got\n%s", secret, want, seen)
		}
	}
	s.store("default", s.oauth(clientSecret))
	s.rotates("default")
	warns("wrong", "")
	before := s.Secrets.Versions(credentialsName)
	x := open(t, set...)
	x.answers("Base URL", s.Communic8URL, "Method", "2", "value", "wrong")
	x.sees(warning)
	x.answers("[y/N]", "")
	x.sees("nothing was stored")
	x.ends(statusFailure)
	if n := s.Secrets.Versions(credentialsName); n != before {
		t.Errorf("%d versions are stored", n-before)
	}
	s.rotates("default") // falls back
	warns("wrong again", warning)
	s.AWS.Set(refuse("logs:FilterLogEvents"))
	warns("wrong again", "could not be seen")
	warns(clientSecret, "")
}
