package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
)

// The transcript of the README is what one sees, but for what differs each time.
func TestOnce(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-once"}, &out); err != nil {
		t.Fatal(err)
	}
	want := `c8auth on this machine: both real functions, between stand-ins of Communic8,
Secrets Manager and API Gateway. Nothing here reaches AWS.

store   base URL, client ID and secret in c8auth/credentials/default, as a person does once

rotate  {"tenant":"default"}
        {
          "tenant": "default",
          "outcome": "rotated",
          "reason": "first_token",
          "version": "UUID",
          "expires_at": "DATE",
          "expires_in": 1NN
        }

vend    GET http://127.0.0.1:PORT/v1/tokens/default, signed with SigV4
        200 OK
        {
          "access_token": "HEX",
          "token_type": "Bearer",
          "expires_in": 1NN,
          "expires_at": "DATE",
          "version": "UUID",
          "base_url": "http://127.0.0.1:PORT"
        }

Communic8 takes the token.
`
	got := out.String()
	for pattern, name := range map[string]string{
		`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`: "UUID",
		`\b[0-9a-f]{32}\b`:                          "HEX",
		`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`:           "DATE",
		`127\.0\.0\.1:\d+`:                          "127.0.0.1:PORT",
		`"expires_in": 1\d\d`:                       `"expires_in": 1NN`,
	} {
		got = regexp.MustCompile(pattern).ReplaceAllString(got, name)
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Whatever Communic8 has against it, the program fails and says so in words that
// need no knowledge of the code.
func TestMoods(t *testing.T) {
	for mood, want := range map[string]string{
		"refusing":  "Communic8 refuses the credentials, invalid_client (HTTP 400): store the right ones in c8auth/credentials/default",
		"busy":      "Communic8 is busy or out of order (HTTP 429); the next heartbeat looks again",
		"down":      "Communic8 broke the connection off; the next heartbeat looks again",
		"exclusive": "",
		"odd":       "COMMUNIC8=odd is not known: expected one of busy, down, exclusive, friendly, refusing",
	} {
		t.Run(mood, func(t *testing.T) {
			t.Parallel()
			err := run(t.Context(), []string{"-once", "-communic8", mood}, io.Discard)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// It serves until it is told to end, on other ports if its own are taken.
func TestServesUntilTold(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:9703")
	if err == nil { // else somebody else has it, which is as good
		defer func() { _ = taken.Close() }()
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, nil, writer)
		_ = writer.Close()
	}()
	var out strings.Builder
	for buffer := make([]byte, 4096); !strings.Contains(out.String(), "Ctrl-C ends it."); {
		n, err := reader.Read(buffer)
		if err != nil {
			t.Fatalf("%v after\n%s", err, &out)
		}
		out.Write(buffer[:n])
	}
	cancel()
	_, _ = io.Copy(&out, reader)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if strings.Contains(out.String(), ":9703") || !strings.Contains(out.String(), "curl --aws-sigv4 aws:amz:eu-central-1:execute-api --user AKIA") {
		t.Errorf("printed\n%s", &out)
	}
}
