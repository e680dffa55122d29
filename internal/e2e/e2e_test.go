//go:build e2e

// Package e2e is `make e2e`: the SAM CLI and Docker run the functions, as the template
// says, on every file in events/. The exit status of `sam local` says nothing (it is 0
// for an error, a panic and a binary of the wrong architecture alike), so that each is
// judged by what came back on its standard output.
//
// The functions' surroundings are `make run SAM=1`, and once more a moto server, if
// MOTO_URL is one on this machine that listens on every address. IMAGE, if set, is what
// the containers are made from, instead of AWS's own image.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
	"github.com/c8auth/c8auth/internal/harness"
)

var functions = []string{"RotateFunction", "VendFunction"}

// Both templates are valid.
func TestValidate(t *testing.T) {
	for _, template := range []string{"template.yaml", "tenant.yaml"} {
		if out, err := command(t, "sam", "validate", "--lint", "--template", template).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", template, err, out)
		}
	}
}

// Each architecture that the template offers is what its binaries are made for. They
// are the only part of arm64 that an x86 machine can judge.
func TestBuild(t *testing.T) {
	for architecture, machine := range map[string]elf.Machine{"arm64": elf.EM_AARCH64, "x86_64": elf.EM_X86_64} {
		dir := filepath.Dir(build(t, architecture))
		for _, function := range functions {
			file, err := elf.Open(filepath.Join(dir, function, "bootstrap"))
			if err != nil {
				t.Fatal(err)
			}
			if file.Machine != machine {
				t.Errorf("%s for %s is a binary for %s", function, architecture, file.Machine)
			}
			_ = file.Close()
		}
	}
}

// What comes back of each event, in an order in which each means something.
var wants = []struct {
	event  string
	status int               // of what a function answers to API Gateway; 0 if it answers somebody else
	want   map[string]string // a pattern by member, for the beginning of its value
}{
	{"vend.json", 503, refused("temporarily_unavailable")},
	{"rotate-schedule.json", 0, rotated("rotated", "first_token")},
	{"rotate-eventbridge-rule.json", 0, rotated("fresh", "")},
	{"rotate-forced.json", 0, rotated("rotated", "forced")},
	{"rotate-unknown-shape.json", 0, map[string]string{"errorMessage": "malformed input: expected "}},
	{"rotate-rejection.json", 200, map[string]string{"outcome": "superseded$"}}, // of a token that has been replaced since
	{"rotate-rejection-malformed.json", 400, refused("invalid_request")},
	{"vend.json", 200, vended},
	{"vend-no-cache.json", 200, vended},
	{"vend-unknown-tenant.json", 404, refused("unknown_tenant")},
	{"vend-malformed-tenant.json", 400, refused("invalid_request")},
	{"vend-test-invocation.json", 400, refused("invalid_request")},
}

// vended are the members of an answer with a token.
var vended = map[string]string{"access_token": ".", "token_type": "Bearer$", "expires_in": "[1-9]"}

// refused are the members of an answer without a token.
func refused(code string) map[string]string {
	return map[string]string{"error": code + "$", "error_description": "."}
}

// rotated are the members of what a rotation that did not fail returns.
func rotated(outcome, reason string) map[string]string {
	return map[string]string{"tenant": "default$", "outcome": outcome + "$", "reason": reason + "$", "version": ".", "expires_in": "[1-9]"}
}

// Every sample event, on the function that its name begins with.
func TestInvoke(t *testing.T) {
	w := surroundings(t)
	t.Run("stand-ins", w.invokeAll)
	if os.Getenv("MOTO_URL") == "" {
		t.Log("not against moto: MOTO_URL is not set")
		return
	}
	t.Run("moto", moto(t, w).invokeAll)
}

func (w *world) invokeAll(t *testing.T) {
	unjudged := make(map[string]bool)
	paths, err := filepath.Glob(filepath.Join(root(t), "events", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		unjudged[filepath.Base(path)] = true
	}
	for _, want := range wants {
		delete(unjudged, want.event)
		t.Run(want.event, func(t *testing.T) {
			if want.event == "rotate-forced.json" {
				w.age(t)
			}
			out := w.invoke(t, want.event)
			if want.status != 0 {
				out = answer(t, out, want.status)
			}
			check(t, out, want.want)
			if want.want["access_token"] != "" {
				w.takes(t, out)
			}
		})
	}
	for event := range unjudged {
		t.Errorf("nothing says what should come of events/%s", event)
	}
}

// API Gateway, as far as SAM plays it: the route leads to vend, and its answer comes
// back whole. It checks no signature.
func TestStartAPI(t *testing.T) {
	w := surroundings(t)
	check(t, w.invoke(t, "rotate-schedule.json"), rotated("rotated", "first_token"))
	api := w.startAPI(t)
	for path, want := range map[string]int{"/tokens/default": 200, "/tokens/nobody": 404, "/tokens/No-Body": 400} {
		resp, err := http.Get(api + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		switch {
		case err != nil:
			t.Error(err)
		case resp.StatusCode != want:
			t.Errorf("GET %s: HTTP %d, want %d\n%s", path, resp.StatusCode, want, body)
		case resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Content-Type") != "application/json":
			t.Errorf("GET %s: headers %v", path, resp.Header)
		case want == 200:
			check(t, body, vended)
			w.takes(t, body)
		}
	}
}

// age makes the stored token two minutes older than it is, for what is forced only if
// it is over a minute old.
func (w *world) age(t *testing.T) {
	t.Helper()
	token := w.value(t, harness.TokenName("default"))
	token["issued_at"] = time.Now().UTC().Add(-2 * time.Minute).Format(time.RFC3339)
	w.put(t, harness.TokenName("default"), token)
}

// check compares the members of what came back with the patterns for them.
func check(t *testing.T, out []byte, want map[string]string) {
	t.Helper()
	var got map[string]any
	decode(t, out, &got)
	for member, pattern := range want {
		value := ""
		if got[member] != nil {
			value = fmt.Sprint(got[member])
		}
		if !regexp.MustCompile("^" + pattern).MatchString(value) {
			t.Errorf("got %s, whose %s does not begin with %s", out, member, pattern)
		}
	}
}

// answer returns the body of what a function answers to API Gateway.
func answer(t *testing.T, out []byte, status int) []byte {
	t.Helper()
	var got struct {
		StatusCode int
		Headers    map[string]string
		Body       string
	}
	decode(t, out, &got)
	if got.StatusCode != status || got.Headers["Cache-Control"] != "no-store" || (got.Headers["Retry-After"] != "") != (status == 503) {
		t.Fatalf("got %s, want the status %d", out, status)
	}
	return []byte(got.Body)
}

// takes judges a vended token: Communic8 must take it.
func (w *world) takes(t *testing.T, body []byte) {
	t.Helper()
	var token struct {
		AccessToken string `json:"access_token"`
		BaseURL     string `json:"base_url"`
	}
	decode(t, body, &token)
	if token.BaseURL != w.communic8 {
		t.Errorf("got %s, want a token for %s", body, w.communic8)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fromHere(token.BaseURL)+"/int/v1/broadcast", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("Communic8 does not take the token of %s: HTTP %d", body, resp.StatusCode)
	}
}

// decode reads what came back. Nothing at all is what is left of a function that could
// not start, or ran out of time.
func decode(t *testing.T, out []byte, into any) {
	t.Helper()
	if len(bytes.TrimSpace(out)) == 0 {
		t.Fatal("nothing came back")
	}
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("%v in what came back: %s", err, out)
	}
}

// world is what surrounds the functions.
type world struct {
	template  string
	envFile   string
	options   []string // of sam local, as a person is told them
	communic8 string   // its URL, as a container sees it
	secrets   *secretsmanager.Client
}

// surroundings builds the functions for this machine and starts `make run SAM=1`, as a
// person does in a second terminal. What that prints is what is run here.
func surroundings(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir() // keeps the file that it writes apart from a person's
	local := filepath.Join(dir, "local")
	if out, err := command(t, "go", "build", "-o", local, "./internal/local").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := command(t, local, "-sam")
	cmd.Dir = dir
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("make run SAM=1: %v", err)
		}
	})
	var said strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
		if lines.Text() == "Ctrl-C ends it." {
			break
		}
	}
	told := regexp.MustCompile(`(?m)^  sam local invoke RotateFunction --event events/rotate-schedule\.json (--env-vars (\S+) .*Architecture=(\S+))$`).FindStringSubmatch(said.String())
	if told == nil {
		t.Fatalf("make run SAM=1 does not say how to invoke rotate:\n%s", &said)
	}
	w := &world{template: build(t, told[3]), options: strings.Fields(told[1])}
	w.use(filepath.Join(dir, told[2]))
	w.secrets = client(fromHere(w.env(t)["AWS_ENDPOINT_URL_SECRETS_MANAGER"]))
	w.communic8 = w.value(t, harness.CredentialsName("default"))["base_url"].(string)
	return w
}

// moto returns another world, with a moto server in the place of our own stand-in of
// Secrets Manager, and the secrets in it that the template would make.
func moto(t *testing.T, w *world) *world {
	t.Helper()
	server := os.Getenv("MOTO_URL")
	there := *w
	there.secrets = client(server)
	for _, name := range []string{harness.CredentialsName("default"), harness.TokenName("default")} {
		if _, err := there.secrets.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(name)}); err != nil {
			t.Fatal(err)
		}
	}
	there.put(t, harness.CredentialsName("default"), w.value(t, harness.CredentialsName("default")))

	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	env, err := harness.EnvVars("http://" + net.JoinHostPort(harness.Host, u.Port()))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "env.json")
	if err := os.WriteFile(file, env, 0o600); err != nil {
		t.Fatal(err)
	}
	there.options = slices.Clone(w.options)
	there.use(file)
	return &there
}

// use makes a file the one of --env-vars, the first of the options.
func (w *world) use(file string) { w.envFile, w.options[1] = file, file }

// env returns what the environment file sets, once it is certain that the template
// declares all of it: SAM drops the rest without a word, and a function without them
// would go to AWS.
func (w *world) env(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(w.envFile)
	if err != nil {
		t.Fatal(err)
	}
	var env map[string]map[string]string
	decode(t, text, &env)
	template, err := os.ReadFile(w.template)
	if err != nil {
		t.Fatal(err)
	}
	for name := range env["Parameters"] {
		if !regexp.MustCompile(`(?m)^ +` + name + `:`).Match(template) {
			t.Fatalf("template.yaml does not declare %s, which %s sets", name, w.envFile)
		}
	}
	return env["Parameters"]
}

// value returns what a secret contains.
func (w *world) value(t *testing.T, id string) map[string]any {
	t.Helper()
	stored, err := w.secrets.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		t.Fatal(err)
	}
	var value map[string]any
	decode(t, []byte(aws.ToString(stored.SecretString)), &value)
	return value
}

func (w *world) put(t *testing.T, id string, value map[string]any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.secrets.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &id, SecretString: aws.String(string(text))}); err != nil {
		t.Fatal(err)
	}
}

// client is a client of a Secrets Manager that believes everyone.
func client(endpoint string) *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{
		Region: harness.Region, BaseEndpoint: aws.String(endpoint),
		Credentials: credentials.NewStaticCredentialsProvider(harness.AccessKey, harness.SecretKey, ""),
	})
}

// fromHere turns a container's URL of this machine into its own.
func fromHere(url string) string { return strings.Replace(url, harness.Host, "127.0.0.1", 1) }

// invoke returns what came back of a sample event.
func (w *world) invoke(t *testing.T, event string) []byte {
	t.Helper()
	function := map[bool]string{true: "RotateFunction", false: "VendFunction"}[strings.HasPrefix(event, "rotate")]
	args := w.local("invoke", function, "--event", filepath.Join("events", event))
	cmd := command(t, "sam", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("sam %s\n%s", strings.Join(args, " "), &stderr)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// startAPI starts `sam local start-api` and returns its URL.
func (w *world) startAPI(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close() // for SAM, which does not choose one by itself
	cmd := command(t, "sam", w.local("start-api", "--port", port)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sam local start-api\n%s", &stderr)
		}
	})
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			_ = conn.Close()
			return "http://127.0.0.1:" + port
		}
	}
	t.Fatal("sam local start-api does not answer")
	return ""
}

// local returns the arguments of `sam local`: a person's, and where the build and the
// image are.
func (w *world) local(args ...string) []string {
	args = append(append([]string{"local"}, args...), w.options...)
	args = append(args, "--template", w.template)
	if image := os.Getenv("IMAGE"); image != "" {
		args = append(args, "--skip-pull-image", "--invoke-image", image)
	}
	return args
}

// build runs `sam build` and returns the built template. It keeps away from the
// directory that `sam deploy` takes its functions from.
func build(t *testing.T, architecture string) string {
	t.Helper()
	dir := filepath.Join(root(t), ".aws-sam", "e2e", architecture)
	cmd := command(t, "sam", "build", "--build-dir", dir, "--parameter-overrides", "Architecture="+architecture)
	cmd.Env = append(cmd.Env, "ARCH="+architecture)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sam build for %s: %v\n%s", architecture, err, out)
	}
	return filepath.Join(dir, "template.yaml")
}

// command runs in the module's directory, in the hands of no AWS account that happens
// to be configured: sam local would pass its credentials on to the functions.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Minute) // it ends before cleanups do
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // lets sam remove its container
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = root(t)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "AWS_") && !strings.HasPrefix(variable, "MAKE") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "AWS_DEFAULT_REGION="+harness.Region, "AWS_EC2_METADATA_DISABLED=true", "SAM_CLI_TELEMETRY=0",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	return cmd
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := lambdatest.Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
