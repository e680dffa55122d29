// Driver runs calls through the package caller, as the conformance suite wants them. If its
// argument is the c8auth binary, it runs them through c8auth proxy instead.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

// outcomes are the names that the scenarios have for errors.
var outcomes = map[error]string{
	caller.ErrCredentials: "credentials",
	caller.ErrDenied:      "denied",
	caller.ErrTenant:      "tenant",
	caller.ErrNoToken:     "no_token",
	caller.ErrUnreachable: "unreachable",
	caller.ErrHost:        "host",
	caller.ErrKept:        "kept",
}

type command struct {
	Method, Path, Body string
	Times              int
}

type result struct {
	Outcome string `json:"outcome"`
	Body    string `json:"body"`
	Error   string `json:"error"`
}

func main() {
	if len(os.Args) > 1 {
		p := start(os.Args[1])
		serve(p.call)
		p.stop()
		return
	}
	client := &http.Client{Transport: &caller.Transport{Source: &caller.Source{URL: os.Getenv("C8AUTH_URL"), Tenant: os.Getenv("C8AUTH_TENANT")}}}
	serve(func(c command) result {
		out, _ := c.send(client, c.Path)
		return out
	})
}

// serve runs the commands of the standard input.
func serve(call func(command) result) {
	commands, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for commands.More() {
		var c command
		check(commands.Decode(&c))
		results := make([]result, c.Times)
		var all sync.WaitGroup
		for i := range results {
			all.Go(func() { results[i] = call(c) })
		}
		all.Wait()
		check(answers.Encode(results))
	}
}

// send sends the request to the URL. The header is nil if there is no response.
func (c command) send(client *http.Client, url string) (result, http.Header) {
	req, err := http.NewRequest(c.Method, url, strings.NewReader(c.Body))
	if err != nil {
		return result{Error: err.Error()}, nil
	}
	resp, err := client.Do(req)
	if err != nil {
		for sentinel, outcome := range outcomes {
			if errors.Is(err, sentinel) {
				return result{Outcome: outcome, Error: err.Error()}, nil
			}
		}
		return result{Outcome: "failed", Error: err.Error()}, nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return result{Outcome: "failed", Error: err.Error()}, nil
	}
	return result{Outcome: fmt.Sprint(resp.StatusCode), Body: string(body)}, resp.Header
}

// proxied is c8auth proxy, with HTTP clients that know the base URL and nothing else.
type proxied struct {
	process        *exec.Cmd
	printed        bytes.Buffer
	base           *url.URL
	client, abuser *http.Client // abuser takes the base URL for a forward proxy
}

func start(binary string) *proxied {
	p := &proxied{process: exec.Command(binary, "proxy", "--url", os.Getenv("C8AUTH_URL"), "--tenant", os.Getenv("C8AUTH_TENANT")), client: new(http.Client)}
	p.process.Stderr = &p.printed
	out, err := p.process.StdoutPipe()
	check(err)
	check(p.process.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	check(err)
	p.base, err = url.Parse(strings.TrimSpace(line))
	check(err)
	p.abuser = &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(p.base)}}
	return p
}

func (p *proxied) call(c command) result {
	client, url := p.client, p.base.String()+c.Path
	if strings.Contains(c.Path, "://") {
		client, url = p.abuser, c.Path
	}
	out, header := c.send(client, url)
	var refusal struct {
		Error, Do string
		What      string `json:"error_description"`
	}
	if json.Unmarshal([]byte(out.Body), &refusal) != nil || refusal.Do == "" {
		return out // Communic8's
	}
	switch {
	case out.Outcome == "503" && header.Get("Retry-After") == "":
		return result{Outcome: "failed", Error: "no Retry-After"}
	case refusal.Error == "refused" && client == p.abuser:
		refusal.Error = "host"
	}
	return result{Outcome: refusal.Error, Error: refusal.What}
}

func (p *proxied) stop() {
	p.client.CloseIdleConnections()
	check(errors.Join(p.process.Process.Signal(syscall.SIGTERM), p.process.Wait()))
	fmt.Fprint(os.Stderr, strings.ReplaceAll(p.printed.String(), "\n", " "))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
