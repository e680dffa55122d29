package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// The transcript of the README is what one sees, but for what differs each time, and for what it
// leaves out: there it has an ellipsis.
func TestOnce(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-once"}, &out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "```console\n$ make run\n…\n")
	readme, _, ok := strings.Cut(after, "```\n")
	if !ok {
		t.Fatal("the README does not show make run")
	}
	differs := regexp.MustCompile(`\b[0-9a-f]{32}\b|127\.0\.0\.1:\d+|"expires_in": 1\d\d\d`)
	rest := differs.ReplaceAllString(out.String(), "#")
	for part := range strings.SplitSeq(differs.ReplaceAllString(readme, "#"), "…\n") {
		_, rest, ok = strings.Cut(rest, part)
		if !ok {
			t.Fatalf("README shows\n%s\nbut make run\n%s", part, &out)
		}
	}
	if rest != "" || !strings.HasPrefix(out.String(), "c8auth on this machine") || !strings.Contains(out.String(), "\nstore   base URL, client ID and secret in c8auth/credentials/default") {
		t.Errorf("printed\n%s", &out)
	}
}

// With ONCE=1 the incident is there from the beginning, for scripts: the program fails and
// says why.
func TestIncidentsOnce(t *testing.T) {
	for name, want := range map[string]string{
		"refusing":  "Communic8 refuses the credentials, invalid_client (HTTP 400): store the right ones in c8auth/credentials/default",
		"busy":      "Communic8 is busy or out of order (HTTP 429); the next heartbeat retries",
		"down":      "Communic8 broke the connection off; the next heartbeat retries",
		"exclusive": "",
		"revoking":  "",
		"odd":       "COMMUNIC8=odd is not known: expected one of busy, down, exclusive, refusing, revoking",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := run(t.Context(), []string{"-once", "-communic8", name}, io.Discard)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// What surrounds functions in containers goes by the name that they know this machine
// by, also in the credentials and in the file that points them here.
func TestSurroundings(t *testing.T) {
	t.Chdir(t.TempDir())
	printed := serve(t, "-sam")("Ctrl-C ends it.")
	file, err := os.ReadFile(".aws-sam/env.json")
	if err != nil {
		t.Fatal(err)
	}
	var env struct{ Parameters map[string]string }
	if err := json.Unmarshal(file, &env); err != nil {
		t.Fatal(err)
	}
	url := env.Parameters["AWS_ENDPOINT_URL_SECRETS_MANAGER"]
	if env.Parameters["C8AUTH_STACK"] != "c8auth" || !strings.HasPrefix(url, "http://host.docker.internal:") {
		t.Errorf("the file is %s", file)
	}
	client := secretsmanager.New(secretsmanager.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(strings.Replace(url, "host.docker.internal", "127.0.0.1", 1)),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "any", ""),
	})
	stored, err := client.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("c8auth/credentials/default")})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(*stored.SecretString, `"base_url":"http://host.docker.internal:`) {
		t.Errorf("the credentials are %s", *stored.SecretString)
	}
	if !strings.Contains(printed, "sam local invoke RotateFunction --event events/rotate-schedule.json --env-vars .aws-sam/env.json") {
		t.Errorf("printed\n%s", printed)
	}
}

// It serves until it is told to end, on other ports if its own are taken. An incident begins
// after the first vend, and the credentials that end it are printed.
func TestIncident(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:9703")
	if err == nil { // else somebody else has it, which is as good
		defer func() { _ = taken.Close() }()
	}
	until := serve(t, "-communic8", "refusing")
	expect := func(printed, pattern string) {
		t.Helper()
		if !regexp.MustCompile(pattern).MatchString(printed) {
			t.Errorf("no %s in\n%s", pattern, printed)
		}
	}
	printed := until("Ctrl-C ends it.")
	expect(printed, `\nCommunic8 accepts the token\.\n`)
	expect(printed, `\n  curl --aws-sigv4 aws:amz:eu-central-1:execute-api --user AKIA`)
	expect(printed, `\n  export AWS_ENDPOINT_URL=http://127\.0\.0\.1:\d+ AWS_REGION=eu-central-1 AWS_ACCESS_KEY_ID=AKIA\w+ AWS_SECRET_ACCESS_KEY=\S+\n`)
	if strings.Contains(printed, ":9703") {
		t.Errorf("port 9703 was taken:\n%s", printed)
	}
	expect(until("stored anew"), "client ID "+otherID+" with client secret "+otherSecret)
	expect(until("of the stored token's lifetime remain"), "rotate  failed.* refuses the credentials")
}

// serve runs the program in the background, to the end of the test. The function that it returns
// reads what is printed up to the last words.
func serve(t *testing.T, args ...string) (until func(last string) string) {
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(t.Context(), args, writer)
		_ = writer.Close()
	}()
	t.Cleanup(func() { // the test's context has ended
		_, _ = io.Copy(io.Discard, reader)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(last string) string {
		t.Helper()
		var out strings.Builder
		for buffer := make([]byte, 4096); !strings.Contains(out.String(), last); {
			n, err := reader.Read(buffer)
			if err != nil {
				t.Fatalf("%v after\n%s", err, &out)
			}
			out.Write(buffer[:n])
		}
		return out.String()
	}
}
