// Local is `make run`: the main job of c8auth on this machine, between fakes. It stores
// credentials, rotates and vends once, shows all three, and then keeps rotating and serving
// until Ctrl-C, also through an incident to practise on: see incident.go. Or it starts only
// the fakes, for functions that the SAM CLI runs: see sam.go.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
	"github.com/c8auth/c8auth/internal/harness"
)

func main() {
	ctx, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "\nmake run:", err)
		os.Exit(1)
	}
}

const (
	clientID     = "4711"
	clientSecret = "value-from-the-console"
	lifetime     = 30 * time.Minute // of a token
	heartbeat    = 10 * time.Second // 5 minutes on AWS
	event        = `{"tenant":"default"}`
)

// ports are those that an export in another terminal names.
var ports = harness.Ports{Communic8: 9701, Secrets: 9702, API: 9703, AWS: 9704}

// run is the whole program. Its error is nil if all worked, or if ctx ended it while
// it was serving.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	flags.SetOutput(stdout)
	once := flags.Bool("once", false, "end after the first vend")
	sam := flags.Bool("sam", false, "start only the fakes, for functions under sam local")
	names := strings.Join(slices.Sorted(maps.Keys(incidents)), ", ")
	name := flags.String("communic8", "", "how Communic8 misbehaves: "+names+"; empty: not at all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	incident, ok := incidents[*name]
	switch {
	case *name == "":
		incident.happen = func(*c8test.Server) {}
	case !ok:
		return fmt.Errorf("COMMUNIC8=%s is not known: expected one of %s", *name, names)
	}
	if *sam {
		return serveContainers(ctx, incident, stdout)
	}

	fmt.Fprint(stdout, "c8auth on this machine: both real functions, between fakes of Communic8,\nSecrets Manager and API Gateway. Nothing here reaches AWS.\n\n")
	events := &events{out: stdout}
	s, err := harness.Start(ctx, ports, events)
	if err != nil {
		return err
	}
	defer s.Stop()
	s.Communic8.AddClient(clientID, clientSecret)
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = lifetime })
	if *once {
		incident.happen(s.Communic8)
	}
	if err := mainJob(ctx, s, stdout); err != nil {
		if *once && *name != "" {
			err = fmt.Errorf("%w.\nThis is what COMMUNIC8=%s is for; without it, all works", err, *name)
		}
		return err
	}
	if *once {
		return nil
	}
	fmt.Fprintf(stdout, `
It goes on serving, and checks every %.0f s whether a new token is due. In another terminal:

  curl --aws-sigv4 aws:amz:%s:execute-api --user %s:%s %s/tokens/default

or, as an operator, with "make install" done:

  export %s
  c8auth status --watch

Communic8 accepts client ID %s with client secret %s, at %s.
Ctrl-C ends it.

`, heartbeat.Seconds(), harness.Region, harness.AccessKey, harness.SecretKey, s.APIURL, strings.Join(s.Environ(), " "), clientID, clientSecret, s.Communic8URL)
	if s.AWSURL != fmt.Sprintf("http://127.0.0.1:%d", ports.AWS) {
		fmt.Fprint(stdout, "Its usual ports are taken, as by another make run: what you exported for that one\nleads there still. Export the line above.\n\n")
	}
	if *name != "" {
		incident.happen(s.Communic8)
		storeCredentials(s, io.Discard) // so that a new token is due
		fmt.Fprintf(stdout, "From now on, as COMMUNIC8=%s says, Communic8 %s.\nThe credentials are stored anew, so that a new token is due.\n\n", *name, incident.says)
	}
	events.show()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(heartbeat):
			incident.happen(s.Communic8)
			// Its result is among the events.
			_, _ = s.Rotate.Invoke(ctx, []byte(event))
		}
	}
}

// mainJob stores credentials, rotates and vends, and shows each.
func mainJob(ctx context.Context, s *harness.Stack, stdout io.Writer) error {
	storeCredentials(s, stdout)
	fmt.Fprintf(stdout, "rotate  %s\n", event)
	result, err := s.Rotate.Invoke(ctx, []byte(event))
	if err != nil {
		return fmt.Errorf("rotate failed: %s", harness.Reason(err))
	}
	show(stdout, result)

	fmt.Fprintf(stdout, "vend    GET %s/tokens/default, signed with SigV4\n", s.APIURL)
	resp, body, err := s.Get(ctx, "default", nil)
	if err != nil {
		return fmt.Errorf("vend failed: %w", err)
	}
	fmt.Fprintf(stdout, "        %s\n", resp.Status)
	show(stdout, body)
	var token struct {
		AccessToken string `json:"access_token"`
	}
	switch {
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("vend failed: HTTP %d", resp.StatusCode)
	case json.Unmarshal(body, &token) != nil || !s.Communic8.Valid(token.AccessToken):
		return errors.New("vend failed: Communic8 rejects the token")
	}
	fmt.Fprintln(stdout, "Communic8 accepts the token.")
	return nil
}

// storeCredentials does it as a person would.
func storeCredentials(s *harness.Stack, stdout io.Writer) {
	secret := harness.CredentialsName("default")
	s.Secrets.Put(secret, harness.Credentials(s.Communic8URL, clientID, clientSecret))
	fmt.Fprintf(stdout, "store   base URL, client ID and secret in %s, as a person does once\n\n", secret)
}

// show prints a JSON object, with a line for each member, in its own order.
func show(stdout io.Writer, object []byte) {
	var lines bytes.Buffer
	if json.Indent(&lines, object, "        ", "  ") != nil {
		lines.Reset()
		lines.Write(object)
	}
	fmt.Fprintf(stdout, "        %s\n\n", &lines)
}

// events turns the functions' log into a line for every rotation and vend that is worth one,
// from show on.
type events struct {
	mu    sync.Mutex
	out   io.Writer
	shown bool
}

func (e *events) show() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shown = true
}

// Write takes one line of a function's log.
func (e *events) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var line struct {
		Timestamp time.Time `json:"timestamp"`
		Message   string    `json:"message"`
		Outcome   string    `json:"outcome"`
		Reason    string    `json:"reason"`
		Error     string    `json:"error"`
		Life      float64   `json:"TokenLifePercent"`
		Status    int       `json:"status"`
		Tenant    string    `json:"tenant"`
		Caller    string    `json:"caller"`
	}
	if !e.shown || json.Unmarshal(p, &line) != nil {
		return len(p), nil
	}
	at := line.Timestamp.Local().Format(time.TimeOnly)
	switch {
	case line.Message == "rotation" && line.Error != "":
		fmt.Fprintf(e.out, "%s  rotate  failed: %s; %.0f %% of the stored token's lifetime remain\n", at, line.Error, line.Life)
	case line.Message == "rotation" && line.Outcome == "rotated":
		fmt.Fprintf(e.out, "%s  rotate  rotated, %s\n", at, line.Reason)
	case line.Message == "rejection":
		fmt.Fprintf(e.out, "%s  rotate  %s: %s reports that Communic8 rejects its token\n", at, cmp.Or(line.Outcome, line.Error), line.Caller)
	case line.Message == "vend":
		fmt.Fprintf(e.out, "%s  vend    %d for %s, to %s\n", at, line.Status, line.Tenant, line.Caller)
	}
	return len(p), nil
}
