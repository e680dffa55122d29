package main

// Input from outside, and what is printed of it: proxies, AWS's configuration and keys,
// certificates, headers.

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/c8auth/c8auth/internal/harness"
	"github.com/c8auth/c8auth/internal/secretscan"
)

// letters is a secret that could be any name: of a key, a host or an error.
const letters = "MarkedSecretOfLetters"

// shows compares what was seen with a part of what is wanted, and with marks.
func (s *session) shows(want string) {
	s.Helper()
	seen := s.seen.String()
	s.seen.Reset()
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

// together runs commands at the same time: token retries what may pass by itself for up to
// 15 seconds.
func (s *session) together(commands ...[]string) {
	s.Helper()
	printed := make([]bytes.Buffer, len(commands))
	var running sync.WaitGroup
	for i, args := range commands {
		running.Go(func() { run(s.Context(), args, strings.NewReader(""), &printed[i], &printed[i]) })
	}
	running.Wait()
	for i, args := range commands {
		fmt.Fprintf(&s.seen, "$ c8auth %s\n%s\n", strings.Join(args, " "), &printed[i])
	}
}

// refusing starts a proxy that wants another password than it is given, and returns the value of HTTPS_PROXY.
func refusing(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Proxy-Authenticate", "Basic realm="+letters)
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "//", "//user:"+letters+"@", 1)
}

// A proxy that wants a password, or that is not there, is named, without its password. The
// variable counts once in a process, so this runs the binary.
func TestProxyRefuses(t *testing.T) {
	binary := build(t)
	const url = "https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1"
	wants := "cannot be reached: the proxy wants a user and a password (HTTP 407), or does not accept those that HTTPS_PROXY holds; the proxy is http://127.0.0.1:"
	for _, test := range []struct {
		proxy string
		want  string
		only  bool // requests for AWS do not need the proxy
		args  []string
	}{
		{"", "AWS (cloudformation in eu-central-1) " + wants, false, []string{"status"}},
		{"", "AWS (sts in eu-central-1) " + wants, false, []string{"doctor"}},
		{"", "AWS (sts in eu-central-1) " + wants, false, []string{"doctor", "--url", url}},
		{"", "AWS (cloudformation in eu-central-1) " + wants, false, []string{"token", "default"}},
		{"", "AWS (cloudformation in eu-central-1) " + wants, false, []string{"credentials", "set", "default"}},
		{"", "AWS (cloudformation in eu-central-1) " + wants, false, []string{"proxy"}},
		{"", wants, true, []string{"credentials", "set", "default"}},
		{"", "act      API                 " + wants, true, []string{"doctor", "--url", url}},
		{"", "Communic8           it " + wants, true, []string{"doctor"}},
		{"http://user:" + letters + "@127.0.0.1:1", "cannot be reached: the connection is refused; the proxy is http://127.0.0.1:1", false, []string{"status"}},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			s := sit(t)
			if test.only { // AWS's fake is on loopback
				s = healthy(t)
				s.aged("default", 2*time.Hour, day)
				stored, _ := s.Secrets.Value("c8auth/token/default")
				s.Secrets.Put("c8auth/token/default", strings.Replace(stored, s.Communic8URL, "https://acme.communic8.com", 1))
			} else {
				s.setKeys()
			}
			if test.proxy == "" {
				test.proxy = refusing(t)
			}
			t.Setenv("HTTPS_PROXY", test.proxy)
			command := exec.CommandContext(t.Context(), binary, test.args...)
			command.Stdin = strings.NewReader(`{"base_url":"https://acme.communic8.com","client_id":"4711","client_secret":"` + letters + `"}`)
			out, err := command.CombinedOutput()
			if _, ended := errors.AsType[*exec.ExitError](err); !ended {
				t.Errorf("it ends with %v", err)
			}
			s.seen.Write(out)
			s.shows(test.want)
		})
	}
}

// A key that no request can carry is named before a request is sent.
func TestMalformedKeys(t *testing.T) {
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests++ }))
	t.Cleanup(server.Close)
	for variable, name := range map[string]string{
		"AWS_ACCESS_KEY_ID": "access key ID", "AWS_SECRET_ACCESS_KEY": "secret access key", "AWS_SESSION_TOKEN": "session token",
	} {
		for _, end := range []string{"\n", "\r\n", " ", "\u200b"} {
			s := sit(t)
			s.setKeys()
			s.Setenv("AWS_ENDPOINT_URL", server.URL)
			s.Setenv("AWS_SESSION_TOKEN", "")
			s.Setenv(variable, letters+end)
			for _, args := range [][]string{
				{"status"}, {"status", "--json"}, {"doctor"}, {"doctor", "--url", server.URL}, {"rotate", "default"}, {"credentials", "set", "default"},
				{"token", "default"}, {"token", "default", "--url", server.URL}, {"who", "default"}, {"proxy"},
			} {
				s.c8auth(args...)
				s.shows("the AWS " + name + " is empty or has a character that none has, such as a newline at its end")
			}
		}
	}
	if requests > 0 {
		t.Errorf("%d requests were sent", requests)
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
				s.c8auth(args...)
				s.shows(test.want)
			}
		})
	}
}

// selfSigned starts a TLS server whose certificate is signed by nobody, with marks wherever a
// name can be, and returns its URL. If known is true, the certificate has the server's address
// as well, so that only its authority is unknown. Otherwise the URL has a name, as crypto/x509
// quotes those of a certificate only for a name.
func selfSigned(t *testing.T, known bool) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name := pkix.Name{CommonName: letters, Organization: []string{letters, "\x1b[2J" + letters}}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: name, Issuer: name, DNSNames: []string{letters, letters + ".example", "\x1b[2J" + letters, strings.Repeat(letters, 1000)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if known {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that fail
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	server.StartTLS()
	t.Cleanup(server.Close)
	if known {
		return server.URL
	}
	return strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
}

// No name in a certificate is shown, whichever server shows it: Communic8, the API or AWS.
func TestCertificatesAreNotShown(t *testing.T) {
	s := healthy(t)
	const anotherName, unknownAuthority = "shows a certificate for another name", "shows a certificate of an unknown authority"
	otherName, unknown := selfSigned(t, false), selfSigned(t, true)
	s.together([]string{"token", "default", "--url", otherName}, []string{"token", "default", "--url", otherName, "--json"}, []string{"token", "default", "--url", unknown})
	if n := strings.Count(s.seen.String(), anotherName); n != 3 { // on the standard error, and once in JSON
		t.Errorf("the other name is reported %d times in\n%s", n, &s.seen)
	}
	s.shows(unknownAuthority)
	for url, want := range map[string]string{otherName: anotherName, unknown: unknownAuthority} {
		for _, credentials := range []string{`"client_id":"4711","client_secret":"` + letters + `"`, `"access_key":"` + letters + `"`} {
			for _, flags := range [][]string{nil, {"--json"}} {
				s.reading(`{"base_url":"`+url+`",`+credentials+`}`, append([]string{"credentials", "set", "default"}, flags...)...)
				s.shows(want)
			}
		}
		for _, args := range [][]string{{"doctor"}, {"doctor", "--json"}} {
			s.c8auth(append(args, "--url", url+"/v1")...)
			s.shows(want)
		}
		t.Run("AWS", func(t *testing.T) {
			t.Setenv("AWS_ENDPOINT_URL", url)
			for _, args := range [][]string{{"status"}, {"status", "--json"}, {"doctor"}, {"token", "default"}, {"credentials", "set", "default"}} {
				s.c8auth(args...)
				s.shows(want)
			}
		})
	}
}

// No value of a header is shown that the API sends, and none changes the terminal.
func TestHeadersAreNotShown(t *testing.T) {
	s := healthy(t)
	said := `{"error":"` + letters + `","error_description":"` + letters + `","message":"` + letters + `"}`
	tests := []struct {
		status int
		body   string
		want   string // of token
	}{
		{200, `{"access_token":"a","token_type":"` + letters + `","expires_in":3600,"version":"v","base_url":"https://acme.communic8.com"}`, "is URL the stack's output Url?"},
		{200, letters, "is URL the stack's output Url?"},
		{301, "", "it answers 301 (no known x-amzn-ErrorType)"},
		{400, said, "it answers 400 (no known x-amzn-ErrorType)"},
		{403, said, "something on the way forbids the request (HTTP 403, no known x-amzn-ErrorType)"},
		{404, said, "it answers 404 (no known x-amzn-ErrorType)"},
		{407, "", "a proxy wants a user and a password (HTTP 407)"},
		{429, said, "it answers 429 (no known x-amzn-ErrorType)"},
		{503, letters, "it answers 503 (no known x-amzn-ErrorType)"},
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(strings.Split(r.URL.Path, "/")[1])
		if err != nil {
			t.Error(err)
			return
		}
		for _, name := range []string{"X-Amzn-Errortype", "X-Amzn-Requestid", "Retry-After", "Location", "Date", "Content-Type", "Server", "Www-Authenticate"} {
			w.Header().Set(name, letters)
		}
		w.WriteHeader(tests[n].status)
		_, _ = io.WriteString(w, tests[n].body)
	}))
	t.Cleanup(api.Close)
	var tokens [][]string
	for n := range tests {
		url := fmt.Sprint(api.URL, "/", n)
		tokens = append(tokens, []string{"token", "default", "--url", url}, []string{"token", "default", "--json", "--url", url})
	}
	s.together(tokens...)
	printed := s.seen.String()
	for n, test := range tests {
		s.seen.WriteString(printed)
		s.shows(test.want)
		want := fmt.Sprintf("HTTP %d, and not API Gateway's 403", test.status)
		if test.status == http.StatusForbidden {
			want = test.want
		}
		for _, args := range [][]string{{"doctor"}, {"doctor", "--json"}} {
			s.c8auth(append(args, "--url", fmt.Sprint(api.URL, "/", n))...)
			s.shows(want)
		}
	}
}

// An error has 500 characters at most, wherever it is shown.
func TestLongErrors(t *testing.T) {
	s := operate(t)
	long := strings.Repeat("x\u202e", 3000)
	for _, args := range [][]string{{"rotate", "default"}, {"status"}, {"doctor"}, {"doctor", "--url", "http://127.0.0.1:1"}} {
		var stdout, stderr bytes.Buffer
		run(t.Context(), append(args, "--stack", long), strings.NewReader(""), &stdout, &stderr)
		const more = 200 // for what stands around the error
		for line := range strings.Lines(stdout.String() + stderr.String()) {
			if n := utf8.RuneCountInString(line); n > maxError+more {
				t.Errorf("c8auth %s prints a line of %d characters", args, n)
			}
		}
		if !strings.Contains(stdout.String()+stderr.String(), `there is no stack x\u202ex\u202e`) {
			t.Errorf("c8auth %s prints\n%s%s", args, &stdout, &stderr)
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
	fake, err := url.Parse(os.Getenv("AWS_ENDPOINT_URL"))
	if err != nil {
		t.Fatal(err)
	}
	passes := httputil.NewSingleHostReverseProxy(fake)
	var stack atomic.Bool // whether the stack is in the answer
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Body = io.NopCloser(bytes.NewReader(body)); stack.Load() && bytes.Contains(body, []byte("Action=DescribeStacks")) {
			passes.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_ENDPOINT_URL") && value != "" {
			t.Setenv(name, server.URL)
		}
	}
	for _, seen := range []bool{false, true} {
		stack.Store(seen)
		for _, args := range [][]string{
			{"status"}, {"doctor"}, {"doctor", "--url", server.URL}, {"rotate", "default"}, {"who", "default"}, {"credentials", "set", "default"},
			{"grant", "default", "--role", "arn:aws:iam::123456789012:role/payroll"}, {"doctor", "--measure"},
		} {
			var printed bytes.Buffer
			run(t.Context(), args, strings.NewReader(s.oauth(clientSecret)), &printed, &printed)
			if want := "gives a response without the stack"; !seen && !strings.Contains(printed.String(), want) {
				t.Errorf("c8auth %s does not say %q", args, want)
			}
		}
	}
}
