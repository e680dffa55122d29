package main

// Input from outside, and what is printed of it: proxies, AWS's configuration and keys, headers.
// Names in certificates are kept out by oauth.DescribeError, like what a proxy says.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/internal/secretscan"
)

// letters is a secret that could be any name: of a key, a host or an error.
const letters = "MarkedSecretOfLetters"

// prints runs the program and compares what it prints with a part of what is wanted, and with marks.
func (s *session) prints(want string, args ...string) {
	s.Helper()
	s.seen.Reset()
	s.reading(harness.Credentials("https://acme.communic8.com", clientID, letters), args...)
	s.shows(want)
}

// shows does so with what was seen.
func (s *session) shows(want string) {
	s.Helper()
	seen := s.seen.String()
	if !strings.Contains(seen, want) {
		s.Errorf("it does not say %q:\n%s", want, seen)
	}
	if found := secretscan.Find(seen, letters, markedSecret, markedKey, harness.SecretKey); found != nil || strings.Contains(seen, "\x1b") {
		s.Errorf("it shows %q:\n%q", found, seen)
	}
}

// setKeys sets AWS credentials and a region.
func (s *session) setKeys() {
	s.Setenv("AWS_ACCESS_KEY_ID", harness.AccessKey)
	s.Setenv("AWS_SECRET_ACCESS_KEY", harness.SecretKey)
	s.Setenv("AWS_REGION", harness.Region)
	s.Setenv("AWS_MAX_ATTEMPTS", "1")
}

// A proxy that wants a password, or that is not there, is named, without its password. The
// variable counts once in a process, so this runs the binary.
func TestProxyRefuses(t *testing.T) {
	address := sit(t).serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Proxy-Authenticate", "Basic realm="+letters)
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	const url = "https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1"
	wants := "cannot be reached: the proxy wants a user and a password (HTTP 407), or does not accept those that HTTPS_PROXY holds; the proxy is " + address
	for _, test := range []struct {
		address string
		want    string
		only    bool // requests for AWS do not need the proxy
		args    []string
	}{
		{address, "AWS (cloudformation in eu-central-1) " + wants, false, []string{"status"}},
		{address, "AWS (sts in eu-central-1) " + wants, false, []string{"doctor"}},
		{address, "AWS (sts in eu-central-1) " + wants, false, []string{"doctor", "--url", url}},
		{address, "AWS (cloudformation in eu-central-1) " + wants, false, []string{"token", "default"}},
		{address, "AWS (cloudformation in eu-central-1) " + wants, false, []string{"credentials", "set", "default"}},
		{address, "AWS (cloudformation in eu-central-1) " + wants, false, []string{"proxy"}},
		{address, wants, true, []string{"credentials", "set", "default"}},
		{address, "act      API                 " + wants, true, []string{"doctor", "--url", url}},
		{address, "Communic8           it " + wants, true, []string{"doctor"}},
		{"http://127.0.0.1:1", "cannot be reached: the connection is refused; the proxy is http://127.0.0.1:1", false, []string{"status"}},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			s := sit(t)
			if test.only { // AWS's fake is on loopback
				s = healthy(t)
				s.Secrets.Put(tokenName, harness.Token("https://acme.communic8.com", "a", "", time.Now(), day))
			} else {
				s.setKeys()
			}
			t.Setenv("HTTPS_PROXY", strings.Replace(test.address, "//", "//user:"+letters+"@", 1))
			stdout, stderr := execute(t, harness.Credentials("https://acme.communic8.com", clientID, letters), test.args...)
			s.seen.WriteString(stdout + stderr)
			s.shows(test.want)
		})
	}
}

// A key that no request can carry is named before a request is sent.
func TestMalformedKeys(t *testing.T) {
	s := sit(t)
	s.setKeys()
	url := s.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request is sent") }))
	t.Setenv("AWS_ENDPOINT_URL", url)
	for variable, name := range map[string]string{
		"AWS_ACCESS_KEY_ID": "access key ID", "AWS_SECRET_ACCESS_KEY": "secret access key", "AWS_SESSION_TOKEN": "session token",
	} {
		right := os.Getenv(variable)
		for _, end := range []string{"\n", "\r\n", " ", "\u200b"} {
			t.Setenv(variable, letters+end)
			for _, args := range [][]string{
				{"status"}, {"status", "--json"}, {"doctor"}, {"doctor", "--url", url}, {"rotate", "default"}, {"credentials", "set", "default"},
				{"token", "default"}, {"token", "default", "--url", url}, {"who", "default"}, {"proxy"},
			} {
				s.prints("the AWS "+name+" is empty or has a character that none has, such as a newline at its end", args...)
			}
		}
		t.Setenv(variable, right)
	}
}

// An error of the SDK about the configuration or the credentials of AWS is not shown: it
// holds what a process printed, or what a file or a variable has.
func TestConfigurationIsNotShown(t *testing.T) {
	const none, unreadable = "there are no AWS credentials, or they have expired", "the AWS configuration cannot be read"
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	process := func(name, script string) string {
		return "AWS_CONFIG_FILE=" + file(name, "[default]\ncredential_process = sh "+file(name+".sh", script)+"\n")
	}
	for _, test := range []struct{ variable, want string }{
		{process("prints", `echo '{"SecretAccessKey": "`+letters+`'`), none},
		{process("fails", "echo "+letters+"; exit 1"), none},
		{"AWS_CONFIG_FILE=" + file("role", "[default]\nrole_arn = "+letters+"\n"), none},
		{"AWS_CONFIG_FILE=" + file("attempts", "[default]\nmax_attempts = "+letters+"\n"), unreadable},
		{"AWS_CONFIG_FILE=" + file("malformed", "[default\n"+letters+"\n"), none},
		{"AWS_MAX_ATTEMPTS=" + letters, unreadable},
		{"AWS_RETRY_MODE=" + letters, unreadable},
		{"AWS_CA_BUNDLE=/" + letters, unreadable},
		{"AWS_CA_BUNDLE=" + file("bundle", letters), unreadable},
	} {
		t.Run(test.variable, func(t *testing.T) {
			s := sit(t)
			name, value, _ := strings.Cut(test.variable, "=")
			s.Setenv("AWS_REGION", harness.Region)
			s.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
			s.Setenv(name, value)
			for _, args := range [][]string{{"status"}, {"status", "--json"}, {"doctor"}, {"token", "default", "--url", "https://127.0.0.1:1"}} {
				s.prints(test.want, args...)
			}
		})
	}
}

// No value of a header is shown that the API sends, and none changes the terminal.
func TestHeadersAreNotShown(t *testing.T) {
	s := healthy(t)
	said := object("error", letters, "error_description", letters, "message", letters)
	for _, test := range []struct {
		status int
		body   string
		want   string // of token
	}{
		{200, object("access_token", "a", "token_type", letters, "expires_in", 3600, "version", "v", "base_url", "https://acme.communic8.com"), "is URL the stack's output Url?"},
		{200, letters, "is URL the stack's output Url?"},
		{301, "", "it answers 301 (no known x-amzn-ErrorType)"},
		{400, said, "it answers 400 (no known x-amzn-ErrorType)"},
		{403, said, "something on the way forbids the request (HTTP 403, no known x-amzn-ErrorType)"},
		{404, said, "it answers 404 (no known x-amzn-ErrorType)"},
		{407, "", "a proxy wants a user and a password (HTTP 407)"},
		{429, said, "it answers 429 (no known x-amzn-ErrorType)"},
		{503, letters, "it answers 503 (no known x-amzn-ErrorType)"},
	} {
		url := s.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "60") // token does not wait for so long, and fails at once
			for _, name := range []string{"X-Amzn-Errortype", "X-Amzn-Requestid", "Retry-After", "Location", "Date", "Content-Type", "Server", "Www-Authenticate"} {
				w.Header().Add(name, letters)
			}
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		}))
		unsigned := fmt.Sprintf("HTTP %d, and not API Gateway's 403", test.status)
		if test.status == http.StatusForbidden {
			unsigned = test.want
		}
		for _, flag := range []string{"--json=false", "--json"} {
			s.prints(test.want, "token", "default", flag, "--url", url)
			s.prints(unsigned, "doctor", flag, "--url", url)
		}
	}
}

// An error has 500 characters at most, wherever it is shown.
func TestLongErrors(t *testing.T) {
	s := operate(t)
	long := strings.Repeat("x\u202e", 3000)
	for _, args := range [][]string{{"rotate", "default"}, {"status"}, {"doctor"}, {"doctor", "--url", "http://127.0.0.1:1"}} {
		var printed strings.Builder
		run(t.Context(), append(args, "--stack", long), strings.NewReader(""), &printed, &printed)
		const more = 200 // for what stands around the error
		for line := range strings.Lines(printed.String()) {
			if n := utf8.RuneCountInString(line); n > maxError+more {
				t.Errorf("c8auth %s prints a line of %d characters", args, n)
			}
		}
		if !strings.Contains(printed.String(), `there is no stack x\u202ex\u202e`) {
			t.Errorf("c8auth %s prints\n%s", args, &printed)
		}
	}
	var text struct{ Error string }
	printed := s.c8auth("rotate", "default", "--stack", long, "--json")
	if err := json.Unmarshal([]byte(printed), &text); err != nil || utf8.RuneCountInString(text.Error) != maxError {
		t.Errorf("for programs: %v, %d characters, in\n%s", err, utf8.RuneCountInString(text.Error), printed)
	}
}

// An answer of AWS with HTTP 200 and nothing in it, to any operation, is no panic; without the
// stack it is an error.
func TestEmptyAnswers(t *testing.T) {
	s := healthy(t)
	var stack atomic.Bool // whether the stack is in the answer
	url := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Body = io.NopCloser(bytes.NewReader(body)); stack.Load() && bytes.Contains(body, []byte("Action=DescribeStacks")) {
			s.AWS.ServeHTTP(w, r)
		}
	}))
	t.Setenv("AWS_ENDPOINT_URL", url)
	for _, seen := range []bool{false, true} {
		stack.Store(seen)
		for _, args := range [][]string{
			{"status"}, {"doctor"}, {"doctor", "--url", url}, {"rotate", "default"}, {"who", "default"}, {"credentials", "set", "default"},
			{"grant", "default", "--role", payroll}, {"doctor", "--measure"},
		} {
			var printed strings.Builder
			run(t.Context(), args, strings.NewReader(s.oauth(clientSecret)), &printed, &printed)
			if want := "gives a response without the stack"; !seen && !strings.Contains(printed.String(), want) {
				t.Errorf("c8auth %s does not say %q", args, want)
			}
		}
	}
}
