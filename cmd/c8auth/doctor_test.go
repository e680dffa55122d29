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

// complaints leaves out what the doctor finds nothing wrong with, but for clocks.
func (s *session) complaints() {
	text := s.seen.String()
	s.seen.Reset()
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "ok ") || strings.Contains(line, " behind ") {
			s.seen.WriteString(line)
		}
	}
}

// healthy begins a session with a stack of which nothing is wrong. Its token is two hours
// old.
func healthy(t *testing.T) *session {
	t.Helper()
	s := operate(t)
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = day })
	s.store("default", s.oauth(clientSecret))
	s.aged("default", 2*time.Hour, day)
	s.rotates("default")
	return s
}

// api puts an API of its own in front of vend, for one whose key it knows as that.
func (s *session) api(key gwtest.Key) {
	s.Helper()
	key.SecretAccessKey = harness.SecretKey
	s.url(&gwtest.Gateway{Keys: map[string]gwtest.Key{harness.AccessKey: key}, Invoke: s.Vend.Invoke})
}

// url makes h what the stack's output Url leads to.
func (s *session) url(h http.Handler) {
	s.Helper()
	server := httptest.NewServer(h)
	s.Cleanup(server.Close)
	s.outputs(server.URL + "/v1")
}

func (s *session) outputs(url string) {
	s.AWS.Set(func(a *awstest.State) { a.Stacks["c8auth"].Outputs["Url"] = url })
}

func (s *session) communic8(fault *c8test.Fault) {
	s.Communic8.Set(func(b *c8test.Behaviour) {
		b.Fault = func(*http.Request, int) *c8test.Fault { return fault }
	})
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
	refuse := func(actions ...string) func(*awstest.State) {
		return func(a *awstest.State) {
			for _, action := range actions {
				a.Refused[action] = true
			}
		}
	}
	allow := func(a *awstest.State) { clear(a.Refused) }
	ring := func(what string) awstest.Alarm {
		return awstest.Alarm{Description: what + " Do: read the log.", Ringing: true}
	}
	var may []string
	for _, trouble := range []struct {
		what        string
		cause, mend func(*awstest.State)
	}{
		{"the schedule is disabled",
			func(a *awstest.State) { a.Schedules["c8auth/default"] = "DISABLED" }, nil},
		{"there is no schedule",
			func(a *awstest.State) { delete(a.Schedules, "c8auth/default") },
			func(a *awstest.State) { a.Schedules["c8auth/default"] = "ENABLED" }},
		{"there are dead letters",
			func(a *awstest.State) { a.Queues["c8auth-undelivered"], a.Queues["c8auth-failed"] = 2, 7 },
			func(a *awstest.State) { a.Queues["c8auth-undelivered"], a.Queues["c8auth-failed"] = 0, 0 }},
		{"alarms ring, also of another tenant",
			func(a *awstest.State) {
				a.Alarms["c8auth/default/life"] = ring("The token of default has less than 25 % of its lifetime left.")
				a.Alarms["c8auth/acme/life"] = ring("The token of acme has less than 25 % of its lifetime left.")
				a.Alarms["c8auth/rotations-fail"] = ring("Rotations have been failing.")
			},
			func(a *awstest.State) { clear(a.Alarms) }},
		{"alarms reach nobody",
			func(a *awstest.State) { a.Topics["c8auth-alarms"] = awstest.Topic{} }, nil},
		{"nor before a mail is confirmed",
			func(a *awstest.State) { a.Topics["c8auth-alarms"] = awstest.Topic{Pending: 1} }, nil},
		{"one of two subscriptions is confirmed, which is enough",
			func(a *awstest.State) { a.Topics["c8auth-alarms"] = awstest.Topic{Confirmed: 1, Pending: 1} }, nil},
		{"the topic is gone",
			func(a *awstest.State) { delete(a.Topics, "c8auth-alarms") },
			func(a *awstest.State) { a.Topics["c8auth-alarms"] = awstest.Topic{Confirmed: 1} }},
		{"rotate logs warnings alone",
			func(a *awstest.State) { a.LogLevels["c8auth-rotate"] = awstest.LogLevel{Application: "WARN"} },
			func(a *awstest.State) { clear(a.LogLevels) }},
		{"vend logs little",
			func(a *awstest.State) {
				a.LogLevels["c8auth-vend"] = awstest.LogLevel{Application: "FATAL", System: "WARN"}
			},
			func(a *awstest.State) { clear(a.LogLevels) }},
		{"both log more than is needed",
			func(a *awstest.State) {
				a.LogLevels["c8auth-rotate"] = awstest.LogLevel{Application: "DEBUG", System: "DEBUG"}
				a.LogLevels["c8auth-vend"] = awstest.LogLevel{Application: "TRACE"}
			},
			func(a *awstest.State) { clear(a.LogLevels) }},
		{"vend may read credentials",
			func(a *awstest.State) {
				may, a.Roles["c8auth-vend"] = a.Roles["c8auth-vend"], []string{"secretsmanager:GetSecretValue *"}
			},
			func(a *awstest.State) { a.Roles["c8auth-vend"] = may }},
		{"rotate may read nothing",
			func(a *awstest.State) { may, a.Roles["c8auth-rotate"] = a.Roles["c8auth-rotate"], nil },
			func(a *awstest.State) { a.Roles["c8auth-rotate"] = may }},
		{"the functions may not be looked at",
			refuse("lambda:GetFunctionConfiguration"), allow},
		{"little but the stack may be looked at",
			refuse("secretsmanager:DescribeSecret", "iam:SimulatePrincipalPolicy", "scheduler:ListSchedules", "logs:FilterLogEvents", "sqs:GetQueueUrl", "cloudwatch:DescribeAlarms", "sns:GetTopicAttributes"), allow},
		{"not even the stack",
			refuse("cloudformation:DescribeStacks"), allow},
		{"nor who one is",
			refuse("sts:GetCallerIdentity"), allow},
		{"AWS's clock is an hour behind",
			func(a *awstest.State) { a.Skew = -time.Hour - 20*time.Second },
			func(a *awstest.State) { a.Skew = 0 }},
		{"the queues are gone",
			func(a *awstest.State) { clear(a.Queues) }, nil},
	} {
		s.says(trouble.what)
		s.AWS.Set(trouble.cause)
		s.c8auth("doctor")
		if trouble.mend != nil {
			s.AWS.Set(trouble.mend)
		}
	}
	s.complaints()
	s.golden("doctor-of-the-stack")
}

// What may be wrong on the caller's end.
func TestDoctorOfTheCaller(t *testing.T) {
	s := healthy(t)
	s.says("a typing error")
	s.c8auth("doctor", "--stack", "c8oauth")
	s.c8auth("doctor", "--region", "eu-west-1")
	s.c8auth("doctor", "acme")
	s.c8auth("doctor", "Acme")
	s.c8auth("doctor", "--url", "127.0.0.1:9703")
	s.says("nothing listens where the API is")
	s.outputs("http://127.0.0.1:1/v1")
	s.c8auth("doctor")
	s.says("it is private")
	s.AWS.Set(func(a *awstest.State) { a.Stacks["c8auth"].Parameters["VpcEndpoints"] = "vpce-0123456789abcdef0" })
	s.c8auth("doctor")
	s.says("something else listens there")
	s.AWS.Set(func(a *awstest.State) { a.Stacks["c8auth"].Parameters["VpcEndpoints"] = "" })
	s.url(http.NotFoundHandler())
	s.c8auth("doctor")
	s.says("no policy of the caller's allows it")
	s.api(gwtest.Key{ARN: harness.Caller})
	s.c8auth("doctor")
	s.says("the API's own policy does not")
	s.api(gwtest.Key{ARN: harness.Caller, Tenants: []string{"default"}, Barred: true})
	s.c8auth("doctor")
	s.says("a policy denies it")
	s.url(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"Message":"User: ` + harness.Caller + ` is not authorized to perform: execute-api:Invoke on resource: ` +
			`arn:aws:execute-api:eu-central-1:********9012:c8auth0api/v1/GET/tokens/default with an explicit deny"}`))
	}))
	s.c8auth("doctor")

	const other = "arn:aws:sts::210987654321:assumed-role/payroll/i-0123456789abcdef0"
	url := func() (url string) {
		s.AWS.Set(func(a *awstest.State) { url = a.Stacks["c8auth"].Outputs["Url"] })
		return url
	}
	foreign := &awstest.Server{Keys: map[string]string{harness.AccessKey: other}}
	foreign.Set(func(*awstest.State) {})
	account := httptest.NewServer(foreign)
	t.Cleanup(account.Close)
	t.Setenv("AWS_ENDPOINT_URL", account.URL)
	s.says("a caller of another account, without a statement of its own")
	s.c8auth("doctor")
	s.api(gwtest.Key{ARN: other})
	s.c8auth("doctor", "--url", url())
	s.says("without that on the API's side")
	s.api(gwtest.Key{ARN: other, Tenants: []string{"default"}, Barred: true})
	s.c8auth("doctor", "--url", url())
	s.says("with both")
	s.api(gwtest.Key{ARN: other, Tenants: []string{"default"}})
	s.c8auth("doctor", "--url", url())
	s.says("who cannot measure")
	s.c8auth("doctor", "--measure", "--url", url())

	s.says("a signature that is not right")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "of-another-key")
	s.c8auth("doctor", "--url", url())
	s.says("a key that is nobody's")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAI44QH8DHBEXAMPLE")
	s.c8auth("doctor", "--url", url())
	s.says("AWS is out of reach")
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	s.c8auth("doctor")
	s.complaints()
	s.golden("doctor-of-the-caller")
}

// The certificate of a company's proxy is accepted for the API if AWS_CA_BUNDLE holds it.
func TestCABundle(t *testing.T) {
	s := healthy(t)
	server := httptest.NewUnstartedServer(s.Gateway)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of a handshake that fails
	server.StartTLS()
	t.Cleanup(server.Close)
	s.outputs(server.URL + "/v1")
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if status := run(t.Context(), []string{"doctor"}, strings.NewReader(""), io.Discard, io.Discard); status != statusAttention {
		t.Errorf("without the bundle: status %d", status)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	var printed strings.Builder
	if status := run(t.Context(), []string{"doctor"}, strings.NewReader(""), &printed, &printed); status != 0 {
		t.Errorf("status %d, after\n%s", status, &printed)
	}
	if token := s.c8auth("token", "default"); !s.Communic8.Valid(strings.TrimSuffix(token, "\n")) {
		t.Errorf("there is no token in\n%s", &s.seen)
	}
}

// What may be wrong with secrets, rotations and Communic8.
func TestDoctorOfTheToken(t *testing.T) {
	s := operate(t)
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = day })
	s.says("nothing has ever been")
	s.c8auth("doctor")
	s.c8auth("doctor", "--measure")
	s.says("and one heartbeat")
	s.rotates("default")
	s.c8auth("doctor")
	s.says("Communic8 refuses the credentials")
	s.store("default", s.oauth("typing-error"))
	s.rotates("default")
	s.c8auth("doctor")
	s.says("and again, but there are previous ones")
	s.store("default", s.oauth(clientSecret))
	s.rotates("default")
	s.store("default", s.oauth("typing-error"))
	s.rotates("default")
	s.c8auth("doctor")
	s.says("the credentials are going to be deleted")
	s.store("default", s.oauth(clientSecret))
	s.rotates("default")
	s.Secrets.Delete(credentialsName)
	s.c8auth("doctor")
	s.Secrets.Restore(credentialsName)
	s.says("Communic8 rejects the token")
	s.Communic8.Revoke(s.vended())
	s.c8auth("doctor")
	s.says("Communic8 is out of order")
	s.communic8(&c8test.Fault{Status: http.StatusServiceUnavailable, Body: "<html>"})
	s.c8auth("doctor")
	s.says("Communic8 breaks connections off")
	s.communic8(&c8test.Fault{Break: true})
	s.c8auth("doctor")
	s.says("Communic8's clock is off, which matters to nobody")
	early := time.Now().Add(-time.Hour - 20*time.Second).UTC().Format(http.TimeFormat)
	s.communic8(&c8test.Fault{Header: http.Header{"Date": {early}}, Body: `{"success":true}`})
	s.c8auth("doctor")
	s.says("there is no probe path")
	s.AWS.Set(func(a *awstest.State) { a.Stacks["c8auth"].Parameters["ProbePath"] = "" })
	s.c8auth("doctor")
	s.says("the token has expired")
	s.communic8(nil)
	s.aged("default", 2*time.Hour, time.Hour)
	s.communic8(&c8test.Fault{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"600"}}})
	s.rotates("default")
	s.c8auth("doctor")
	s.complaints()
	s.golden("doctor-of-the-token")
}

// What Communic8 does not document comes out, whatever it is; and in the end callers have
// a token that lives.
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
		s.says(communic8.what)
		s.Communic8.Set(func(b *c8test.Behaviour) { *b = communic8.like; b.Lifetime = day })
		s.aged("default", 2*time.Hour, day)
		s.rotates("default")
		s.c8auth("doctor", "--measure")
		if token := s.vended(); !s.Communic8.Valid(token) {
			t.Errorf("%s: callers are left with a token that is dead", communic8.what)
		}
	}
	s.Communic8.Set(func(b *c8test.Behaviour) { *b = c8test.Behaviour{Lifetime: day} })
	s.says("the token is less than a minute old")
	s.rotates("default")
	s.c8auth("doctor", "--measure")
	s.says("for programs")
	s.aged("default", 2*time.Hour, day)
	s.rotates("default")
	s.c8auth("doctor", "--measure", "--json")
	s.says("without the right to the credentials")
	s.aged("default", 2*time.Hour, day)
	s.rotates("default")
	s.AWS.Set(func(a *awstest.State) { a.Refused["secretsmanager:GetSecretValue"] = true })
	s.c8auth("doctor", "--measure")
	s.AWS.Set(func(a *awstest.State) { clear(a.Refused) })
	s.says("no probe path")
	s.AWS.Set(func(a *awstest.State) { a.Stacks["c8auth"].Parameters["ProbePath"] = "" })
	s.c8auth("doctor", "--measure")
	s.AWS.Set(func(a *awstest.State) { a.Stacks["c8auth"].Parameters["ProbePath"] = "/int/v1/broadcast?limit=1" })
	s.says("an access key")
	s.store("default", s.bearer(accessKey))
	s.aged("default", 2*time.Hour, day)
	s.rotates("default")
	s.c8auth("doctor", "--measure")
	s.says("no credentials that can be read")
	s.store("default", "client_id=4711")
	s.aged("default", 2*time.Hour, day)
	s.rotates("default")
	s.c8auth("doctor", "--measure")
	s.complaints()
	s.golden("measure")
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
	binary := build(t)
	s := healthy(t)
	asked := s.Communic8.Requests()
	for keys, status := range map[string]int{"\r": 0, "n\r": 0, "\x03": statusInterrupted} {
		x := open(t, binary, "doctor")
		x.sees("[y/N]")
		x.types(keys)
		x.ends(status)
	}
	if n := s.Communic8.Requests(); n != asked {
		t.Errorf("nobody has said yes, and Communic8 was asked %d times", n-asked)
	}
	x := open(t, binary, "doctor")
	x.sees("[y/N]")
	x.types("y\r")
	x.sees("What time is it there?")
	x.ends(0)
	if n := s.Communic8.Requests(); n != asked+4 {
		t.Errorf("Communic8 was asked %d times, want two tokens, a refusal, and rotate's", n-asked)
	}
	x = open(t, binary, "doctor") // whose token is too young by now
	x.sees("does not use it")
	x.ends(0)
}

// Whoever stops a measurement leaves a tenant whose token lives.
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
		t.Errorf("callers are left with a token that is dead, after\n%s", &printed)
	}
}

// Whatever Communic8 says, nothing of it is shown that may be secret.
func TestDoctorShowsNoSecret(t *testing.T) {
	const marked, key = `MARK+/ü&"x<cl13nt-s3cr3t>%41=\é;:tail`, `MARK+/~&"x<4cc3ss-k3y>%42=\;:tail`
	s := healthy(t)
	s.Communic8.AddClient(clientID, marked)
	s.Communic8.AddAccessKey(key)
	const word = "AnAccessKeyLikeAnyName" // of a member
	s.Communic8.AddAccessKey(word)
	parrot := func(r *http.Request, _ int) *c8test.Fault { // which says all that it knows
		issued := s.Communic8.Issued()[0]
		said := strings.Join(append(s.Communic8.Issued(), marked, key, r.Header.Get("Authorization")), " ")
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
	for _, credentials := range []string{s.oauth(marked), s.bearer(key), s.bearer(word), marked, object(marked, 1), object(letters, 1)} {
		for _, fault := range []func(*http.Request, int) *c8test.Fault{nil, parrot, sometimes} {
			s.store("default", credentials)
			s.Communic8.AddClient(clientID, clientSecret) // for the token in use
			s.Communic8.Set(func(b *c8test.Behaviour) { b.Fault = nil })
			s.aged("default", 2*time.Hour, day)
			s.rotates("default")
			s.Communic8.AddClient(clientID, marked)
			s.Communic8.Set(func(b *c8test.Behaviour) { b.Fault = fault })
			s.c8auth("status")
			s.c8auth("doctor", "--measure")
			s.c8auth("doctor", "--measure", "--json")
		}
	}
	if found := secretscan.Find(s.seen.String(), append(s.Communic8.Issued(), marked, key, word, letters, harness.SecretKey)...); found != nil {
		t.Errorf("it shows %q, in\n%s", found, &s.seen)
	}
	for _, want := range []string{"It does not. HTTP 400", "How does it reject", `"measured": {`, "list of 1: string", hiddenKey} {
		if !strings.Contains(s.seen.String(), want) {
			t.Errorf("it never says %q", want)
		}
	}
}
