package main

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/awstest"
	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/fakes/gwtest"
	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/internal/secretscan"
)

// healthy begins a session with a stack of which nothing is wrong. Its token is two hours
// old.
func healthy(t *testing.T) *session {
	t.Helper()
	s := operate(t)
	s.Communic8.Set(lastingADay)
	s.store("default", s.oauth(clientSecret))
	s.ages()
	return s
}

// url changes the stack's output Url, to that of another API.
func (s *session) url(api string) {
	s.AWS.Set(func(a *awstest.State) { a.Stacks["c8auth"].Outputs["Url"] = api + "/v1" })
}

// A stack of which nothing is wrong, as it is shown to people and to programs.
func TestDoctor(t *testing.T) {
	s := healthy(t)
	s.c8auth("doctor")
	s.c8auth("doctor", "--json")
	s.golden("doctor")
}

// What may be wrong with the stack, each alone.
func TestDoctorOfTheStack(t *testing.T) {
	s := healthy(t)
	alarm := func(what string) awstest.Alarm {
		return awstest.Alarm{Description: what + " Do: read the log.", Ringing: true}
	}
	for _, trouble := range []struct {
		what   string
		change func(*awstest.State)
	}{
		{"the schedule is disabled", func(a *awstest.State) { a.Schedules["c8auth/default"] = "DISABLED" }},
		{"there is no schedule", func(a *awstest.State) { clear(a.Schedules) }},
		{"there are dead letters", func(a *awstest.State) { a.Queues["c8auth-undelivered"], a.Queues["c8auth-failed"] = 2, 7 }},
		{"alarms ring, also of another tenant", func(a *awstest.State) {
			a.Alarms["c8auth/default/life"] = alarm("The token of default has less than 25 % of its lifetime left.")
			a.Alarms["c8auth/acme/life"] = alarm("The token of acme has less than 25 % of its lifetime left.")
			a.Alarms["c8auth/rotations-fail"] = alarm("Rotations have been failing.")
		}},
		{"alarms reach nobody", func(a *awstest.State) { a.Topics["c8auth-alarms"] = awstest.Topic{} }},
		{"nor before a mail is confirmed", func(a *awstest.State) { a.Topics["c8auth-alarms"] = awstest.Topic{Pending: 1} }},
		{"one of two subscriptions is confirmed, which is enough", func(a *awstest.State) { a.Topics["c8auth-alarms"] = awstest.Topic{Confirmed: 1, Pending: 1} }},
		{"the topic is gone", func(a *awstest.State) { clear(a.Topics) }},
		{"rotate logs warnings alone", func(a *awstest.State) { a.LogLevels["c8auth-rotate"] = awstest.LogLevel{Application: "WARN"} }},
		{"vend logs little", func(a *awstest.State) {
			a.LogLevels["c8auth-vend"] = awstest.LogLevel{Application: "FATAL", System: "WARN"}
		}},
		{"both log more than is needed", func(a *awstest.State) {
			a.LogLevels["c8auth-rotate"] = awstest.LogLevel{Application: "DEBUG", System: "DEBUG"}
			a.LogLevels["c8auth-vend"] = awstest.LogLevel{Application: "TRACE"}
		}},
		{"vend may read credentials", func(a *awstest.State) { a.Roles["c8auth-vend"] = []string{"secretsmanager:GetSecretValue *"} }},
		{"rotate may read nothing", func(a *awstest.State) { a.Roles["c8auth-rotate"] = nil }},
		{"the functions may not be looked at", refuse("lambda:GetFunctionConfiguration")},
		{"little but the stack may be looked at", refuse("secretsmanager:DescribeSecret", "iam:SimulatePrincipalPolicy", "scheduler:ListSchedules", "logs:FilterLogEvents", "sqs:GetQueueUrl", "cloudwatch:DescribeAlarms", "sns:GetTopicAttributes")},
		{"not even the stack", refuse("cloudformation:DescribeStacks")},
		{"nor who one is", refuse("sts:GetCallerIdentity")},
		{"AWS's clock is an hour behind", func(a *awstest.State) { a.Skew = -time.Hour - 20*time.Second }},
		{"the queues are gone", func(a *awstest.State) { clear(a.Queues) }},
	} {
		s.during(trouble.what, trouble.change, "doctor")
	}
	s.golden("doctor-of-the-stack", complaints)
}

// What may be wrong on the caller's end.
func TestDoctorOfTheCaller(t *testing.T) {
	s := healthy(t)
	s.under("a typing error", "doctor", "--stack", "c8oauth")
	s.c8auth("doctor", "--region", "eu-west-1")
	s.c8auth("doctor", "acme")
	s.c8auth("doctor", "Acme")
	s.c8auth("doctor", "--url", "127.0.0.1:9703")
	s.url("http://127.0.0.1:1")
	s.under("nothing listens where the API is", "doctor")
	s.parameter("VpcEndpoints", "vpce-0123456789abcdef0")
	s.under("it is private", "doctor")
	s.parameter("VpcEndpoints", "")
	s.url(s.serve(http.NotFoundHandler()))
	s.under("something else listens there", "doctor")
	s.url(s.gateway(gwtest.Key{ARN: harness.Caller}))
	s.under("no policy of the caller's allows it", "doctor")

	const other = "arn:aws:sts::210987654321:assumed-role/payroll/i-0123456789abcdef0"
	account := &awstest.Server{Keys: map[string]string{harness.AccessKey: other}}
	account.Set(func(*awstest.State) {})
	t.Setenv("AWS_ENDPOINT_URL", s.serve(account))
	s.under("a caller of another account, without a statement of its own", "doctor")
	s.c8auth("doctor", "--url", s.gateway(gwtest.Key{ARN: other})+"/v1")
	api := s.gateway(gwtest.Key{ARN: other, Tenants: []string{"default"}}) + "/v1"
	s.under("with one, and one on the API's side", "doctor", "--url", api)
	s.under("who cannot measure", "doctor", "--measure", "--url", api)

	t.Setenv("AWS_SECRET_ACCESS_KEY", "of-another-key")
	s.under("a signature that is not right", "doctor", "--url", api)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAI44QH8DHBEXAMPLE")
	s.under("a key that is nobody's", "doctor", "--url", api)
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	s.under("AWS is out of reach", "doctor")
	s.golden("doctor-of-the-caller", complaints)
}

// The certificate of a company's proxy is accepted for the API if AWS_CA_BUNDLE holds it.
func TestCABundle(t *testing.T) {
	s := healthy(t)
	server := httptest.NewUnstartedServer(s.Gateway)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of a handshake that fails
	server.StartTLS()
	t.Cleanup(server.Close)
	s.url(server.URL)
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.prints("name the file with its certificate in AWS_CA_BUNDLE", "doctor"); s.status != statusAttention {
		t.Errorf("without the bundle: status %d", s.status)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	if s.prints("HTTP 200, a token", "doctor"); s.status != 0 {
		t.Errorf("status %d, after\n%s", s.status, &s.seen)
	}
	if token := s.c8auth("token", "default"); !s.Communic8.Valid(strings.TrimSuffix(token, "\n")) {
		t.Errorf("there is no token in\n%s", &s.seen)
	}
}

// What may be wrong with secrets, rotations and Communic8.
func TestDoctorOfTheToken(t *testing.T) {
	s := operate(t)
	s.Communic8.Set(lastingADay)
	s.under("nothing has ever been", "doctor")
	s.c8auth("doctor", "--measure")
	s.rotates("default")
	s.under("and one heartbeat", "doctor")
	s.store("default", s.oauth("typing-error"))
	s.rotates("default")
	s.under("Communic8 refuses the credentials", "doctor")
	s.store("default", s.oauth(clientSecret))
	s.rotates("default")
	s.store("default", s.oauth("typing-error"))
	s.rotates("default")
	s.under("and again, but there are previous ones", "doctor")
	s.store("default", s.oauth(clientSecret))
	s.rotates("default")
	s.Secrets.Delete(credentialsName)
	s.under("the credentials are going to be deleted", "doctor")
	s.Secrets.Restore(credentialsName)
	s.Communic8.Revoke(s.vended())
	s.under("Communic8 rejects the token", "doctor")
	s.communic8(&c8test.Fault{Status: http.StatusServiceUnavailable, Body: "<html>"})
	s.under("Communic8 is out of order", "doctor")
	s.communic8(&c8test.Fault{Break: true})
	s.under("Communic8 breaks connections off", "doctor")
	early := time.Now().Add(-time.Hour - 20*time.Second).UTC().Format(http.TimeFormat)
	s.communic8(&c8test.Fault{Header: http.Header{"Date": {early}}, Body: `{"success":true}`})
	s.under("Communic8's clock is off, which matters to nobody", "doctor")
	s.parameter("ProbePath", "")
	s.under("there is no probe path", "doctor")
	s.aged("default", 2*time.Hour, time.Hour)
	s.communic8(&c8test.Fault{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"600"}}})
	s.rotates("default")
	s.under("the token has expired", "doctor")
	s.golden("doctor-of-the-token", complaints)
}

// What Communic8 does not document comes out, whatever it is; and in the end callers have
// a valid token.
func TestMeasure(t *testing.T) {
	s := healthy(t)
	for _, communic8 := range []struct {
		what string
		like c8test.Behaviour
	}{
		{"a friendly one", c8test.Behaviour{}},
		{"an exclusive one", c8test.Behaviour{Exclusive: true, Refusal: c8test.Refuse400, Rejection: c8test.Reject200}},
		{"an exclusive one that says 403", c8test.Behaviour{Exclusive: true, Refusal: c8test.Refuse200, Rejection: c8test.Reject403}},
		{"one that gives the same again", c8test.Behaviour{Same: true, ExpiresIn: `"3600"`}},
		{"one that rejects every token", c8test.Behaviour{Fault: func(r *http.Request, _ int) *c8test.Fault {
			if r.URL.Path == c8test.TokenPath {
				return nil
			}
			return &c8test.Fault{Status: http.StatusForbidden, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: "<html>"}
		}}},
	} {
		s.Communic8.Set(func(b *c8test.Behaviour) { *b = communic8.like; b.Lifetime = day })
		s.ages()
		s.under(communic8.what, "doctor", "--measure")
		if token := s.vended(); !s.Communic8.Valid(token) {
			t.Errorf("%s: callers are left with a token that is not valid", communic8.what)
		}
	}
	s.Communic8.Set(func(b *c8test.Behaviour) { *b = c8test.Behaviour{Lifetime: day} })
	s.rotates("default")
	s.under("the token is less than a minute old", "doctor", "--measure")
	s.ages()
	s.under("for programs", "doctor", "--measure", "--json")
	s.ages()
	s.during("without the right to the credentials", refuse("secretsmanager:GetSecretValue"), "doctor", "--measure")
	s.during("no probe path", func(a *awstest.State) { a.Stacks["c8auth"].Parameters["ProbePath"] = "" }, "doctor", "--measure")
	s.store("default", s.bearer(accessKey))
	s.ages()
	s.under("an access key", "doctor", "--measure")
	s.store("default", "client_id=4711")
	s.ages()
	s.under("no credentials that can be read", "doctor", "--measure")
	s.golden("measure", complaints)
}

// vended is the token that callers have who know none yet.
func (s *session) vended() string {
	s.Helper()
	s.Vend.Stop() // which may remember another
	resp, body, err := s.Get(s.Context(), "default", nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.Fatalf("no token: %v, %s", err, body)
	}
	return regexp.MustCompile(`"access_token":"(\w+)"`).FindStringSubmatch(string(body))[1]
}

// A person is asked before a token is made, and not in vain.
func TestDoctorAsks(t *testing.T) {
	s := healthy(t)
	asked := s.Communic8.Requests()
	for keys, status := range map[string]int{"\r": 0, "n\r": 0, "\x03": statusInterrupted} {
		x := open(t, "doctor")
		x.sees("[y/N]")
		x.types(keys)
		x.ends(status)
	}
	if n := s.Communic8.Requests(); n != asked {
		t.Errorf("nobody has said yes, and Communic8 was asked %d times", n-asked)
	}
	x := open(t, "doctor")
	x.answers("[y/N]", "y")
	x.sees("What time is it there?")
	x.ends(0)
	if n := s.Communic8.Requests(); n != asked+4 {
		t.Errorf("Communic8 was asked %d times, want two tokens, a refusal, and rotate's", n-asked)
	}
	x = open(t, "doctor") // whose token is too young by now
	x.sees("does not use it")
	x.ends(0)
}

// Whoever stops a measurement leaves a tenant with a valid token.
func TestMeasureInterrupted(t *testing.T) {
	s := healthy(t)
	asked := s.Communic8.Requests()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.Communic8.Set(func(b *c8test.Behaviour) {
		b.Exclusive = true
		b.Fault = func(r *http.Request, n int) *c8test.Fault {
			if r.URL.Path == c8test.TokenPath && n == asked+1 {
				cancel() // as Ctrl-C does, with the token made and the answer lost
				return &c8test.Fault{After: true, Break: true}
			}
			return nil
		}
	})
	var printed strings.Builder
	if status := run(ctx, []string{"doctor", "--measure"}, strings.NewReader(""), &printed, &printed); status != statusInterrupted {
		t.Errorf("it ends with %d, after\n%s", status, &printed)
	}
	if !s.Communic8.Valid(s.vended()) {
		t.Errorf("callers are left with a token that is not valid, after\n%s", &printed)
	}
}

// Whatever Communic8 says, nothing of it is shown that may be secret.
func TestDoctorShowsNoSecret(t *testing.T) {
	s := healthy(t)
	s.Communic8.AddAccessKey(markedKey)
	const word = "AnAccessKeyLikeAnyName" // of a member
	s.Communic8.AddAccessKey(word)
	parrot := func(r *http.Request, _ int) *c8test.Fault { // which says all that it knows
		issued := s.Communic8.Issued()[0]
		said := strings.Join(append(s.Communic8.Issued(), markedSecret, markedKey, r.Header.Get("Authorization")), " ")
		name := "as it is"
		if stored, _ := s.Secrets.Value(credentialsName); strings.Contains(stored, word) {
			name = word
		}
		return &c8test.Fault{
			Status: http.StatusBadRequest, Header: http.Header{"Content-Type": {"text/" + issued}, "Date": {issued}},
			Body: object("error", said, said, []string{said}, issued, true, name, true),
		}
	}
	sometimes := func(r *http.Request, n int) *c8test.Fault {
		if r.URL.Path == c8test.TokenPath && n%2 == 0 {
			return nil
		}
		return parrot(r, n)
	}
	for _, credentials := range []string{s.oauth(markedSecret), s.bearer(markedKey), s.bearer(word), markedSecret, object(markedSecret, 1), object(letters, 1)} {
		for _, fault := range []func(*http.Request, int) *c8test.Fault{nil, parrot, sometimes} {
			s.store("default", credentials)
			s.Communic8.AddClient(clientID, clientSecret) // for the token in use
			s.Communic8.Set(func(b *c8test.Behaviour) { b.Fault = nil })
			s.ages()
			s.Communic8.AddClient(clientID, markedSecret)
			s.Communic8.Set(func(b *c8test.Behaviour) { b.Fault = fault })
			s.c8auth("status")
			s.c8auth("doctor", "--measure")
			s.c8auth("doctor", "--measure", "--json")
		}
	}
	if found := secretscan.Find(s.seen.String(), append(s.Communic8.Issued(), markedSecret, markedKey, word, letters, harness.SecretKey)...); found != nil {
		t.Errorf("it shows %q, in\n%s", found, &s.seen)
	}
	for _, want := range []string{"It does not. HTTP 400", "How does it reject", `"measured": {`, "list of 1: string", hiddenKey} {
		if !strings.Contains(s.seen.String(), want) {
			t.Errorf("it never says %q", want)
		}
	}
}
