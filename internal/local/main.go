// Local is `make run`: the main job of c8auth on this machine, to look at and to play
// with. It stores credentials, rotates and vends once, shows all three, and then keeps
// rotating and serving until Ctrl-C. Or it is the surroundings of functions that the
// SAM CLI runs: see sam.go.
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
	lifetime     = 2 * time.Minute  // of a token: short, so that rotations can be watched
	heartbeat    = 10 * time.Second // 5 minutes on AWS
)

// moods are what the stand-in of Communic8 can be told to be like.
var moods = map[string]func(*c8test.Behaviour){
	"friendly":  func(*c8test.Behaviour) {},
	"exclusive": func(b *c8test.Behaviour) { b.Exclusive = true },
	"refusing": func(b *c8test.Behaviour) {
		b.Fault = func(*http.Request, int) *c8test.Fault {
			return &c8test.Fault{Status: http.StatusBadRequest, Body: `{"error":"invalid_client"}`}
		}
	},
	"busy": func(b *c8test.Behaviour) {
		b.Fault = func(*http.Request, int) *c8test.Fault { return &c8test.Fault{Status: http.StatusTooManyRequests} }
	},
	"down": func(b *c8test.Behaviour) {
		b.Fault = func(*http.Request, int) *c8test.Fault { return &c8test.Fault{Break: true} }
	},
}

// run is the whole program. Its error is nil if all worked, or if ctx ended it while
// it was serving.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	flags.SetOutput(stdout)
	once := flags.Bool("once", false, "end after the first vend")
	sam := flags.Bool("sam", false, "be the surroundings of functions under sam local")
	mood := flags.String("communic8", "friendly", "how the stand-in of Communic8 behaves: "+strings.Join(slices.Sorted(maps.Keys(moods)), ", "))
	if err := flags.Parse(args); err != nil {
		return err
	}
	behave, ok := moods[*mood]
	if !ok {
		return fmt.Errorf("COMMUNIC8=%s is not known: expected one of %s", *mood, strings.Join(slices.Sorted(maps.Keys(moods)), ", "))
	}
	if *sam {
		return surround(ctx, behave, stdout)
	}

	fmt.Fprint(stdout, "c8auth on this machine: both real functions, between stand-ins of Communic8,\nSecrets Manager and API Gateway. Nothing here reaches AWS.\n\n")
	diary := &diary{out: stdout}
	s, err := harness.Start(ctx, harness.Ports{Communic8: 9701, Secrets: 9702, API: 9703, AWS: 9704}, diary)
	if err != nil {
		return err
	}
	defer s.Stop()
	s.Communic8.AddClient(clientID, clientSecret)
	s.Communic8.Set(func(b *c8test.Behaviour) { b.Lifetime = lifetime; behave(b) })

	if err := mainJob(ctx, s, stdout); err != nil {
		if *mood != "friendly" {
			err = fmt.Errorf("%w.\nThat is what COMMUNIC8=%s asked the stand-in for; without it, all works", err, *mood)
		}
		return err
	}
	if *once {
		return nil
	}
	fmt.Fprintf(stdout, `
It goes on serving, and looks every %.0f s whether a new token is due. In another terminal:

  curl --aws-sigv4 aws:amz:%s:execute-api --user %s:%s %s/tokens/default

or, as an operator, with "make install" done:

  export %s
  c8auth status --watch

Ctrl-C ends it.

`, heartbeat.Seconds(), harness.Region, harness.AccessKey, harness.SecretKey, s.APIURL, strings.Join(s.Environ(), " "))
	diary.open()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(heartbeat):
			// What comes of it is in the diary.
			_, _ = s.Rotate.Invoke(ctx, []byte(`{"tenant":"default"}`))
		}
	}
}

// mainJob stores credentials, rotates and vends, and shows each.
func mainJob(ctx context.Context, s *harness.Stack, stdout io.Writer) error {
	if err := storeCredentials(s, stdout); err != nil {
		return err
	}
	const event = `{"tenant":"default"}`
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
		return errors.New("vend failed: Communic8 does not take what it gave out")
	}
	fmt.Fprintln(stdout, "Communic8 takes the token.")
	return nil
}

// storeCredentials does it as a person would.
func storeCredentials(s *harness.Stack, stdout io.Writer) error {
	credentials, err := json.Marshal(map[string]string{"base_url": s.Communic8URL, "client_id": clientID, "client_secret": clientSecret})
	if err != nil {
		return err
	}
	const secret = harness.Name + "/credentials/default"
	s.Secrets.Put(secret, string(credentials))
	fmt.Fprintf(stdout, "store   base URL, client ID and secret in %s, as a person does once\n\n", secret)
	return nil
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

// diary turns the functions' log into a line for every rotation and vend that is
// worth one. It is closed at first.
type diary struct {
	mu   sync.Mutex
	out  io.Writer
	kept bool
}

func (d *diary) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = true
}

// Write takes one line of a function's log.
func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
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
	if !d.kept || json.Unmarshal(p, &line) != nil {
		return len(p), nil
	}
	at := line.Timestamp.Local().Format(time.TimeOnly)
	switch {
	case line.Message == "rotation" && line.Error != "":
		fmt.Fprintf(d.out, "%s  rotate  failed: %s; %.0f %% of the stored token's lifetime remain\n", at, line.Error, line.Life)
	case line.Message == "rotation" && line.Outcome == "rotated":
		fmt.Fprintf(d.out, "%s  rotate  rotated, %s\n", at, line.Reason)
	case line.Message == "rejection":
		fmt.Fprintf(d.out, "%s  rotate  %s: %s reports that Communic8 rejects its token\n", at, cmp.Or(line.Outcome, line.Error), line.Caller)
	case line.Message == "vend":
		fmt.Fprintf(d.out, "%s  vend    %d for %s, to %s\n", at, line.Status, line.Tenant, line.Caller)
	}
	return len(p), nil
}
