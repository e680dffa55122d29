// Proxydriver runs calls through c8auth proxy, as the conformance suite wants them. Its
// argument is the c8auth binary.
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
)

type command struct {
	Method, Path, Body string
	Times              int
}

type result struct {
	Outcome string `json:"outcome"`
	Body    string `json:"body"`
	Error   string `json:"error"`
}

// program is an HTTP client that knows the base URL and nothing else.
type program struct {
	base           *url.URL
	client, abuser *http.Client // abuser takes the base URL for a forward proxy
}

func main() {
	proxy := exec.Command(os.Args[1], "proxy", "--url", os.Getenv("C8AUTH_URL"), "--tenant", os.Getenv("C8AUTH_TENANT"))
	var printed bytes.Buffer
	proxy.Stderr = &printed
	out, err := proxy.StdoutPipe()
	if err == nil {
		err = proxy.Start()
	}
	if err != nil {
		panic(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		panic(err)
	}
	base, err := url.Parse(strings.TrimSpace(line))
	if err != nil {
		panic(err)
	}
	p := &program{base: base, client: new(http.Client), abuser: &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(base)}}}
	commands, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var c command
		if err := commands.Decode(&c); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			panic(err)
		}
		results := make([]result, c.Times)
		var all sync.WaitGroup
		for i := range results {
			all.Go(func() { results[i] = p.call(c) })
		}
		all.Wait()
		if err := answers.Encode(results); err != nil {
			panic(err)
		}
	}
	p.client.CloseIdleConnections()
	if err := errors.Join(proxy.Process.Signal(syscall.SIGTERM), proxy.Wait()); err != nil {
		panic(err)
	}
	fmt.Fprint(os.Stderr, strings.ReplaceAll(printed.String(), "\n", " "))
}

func (p *program) call(c command) result {
	client, target := p.client, p.base.String()+c.Path
	if strings.Contains(c.Path, "://") {
		client, target = p.abuser, c.Path
	}
	req, err := http.NewRequest(c.Method, target, strings.NewReader(c.Body))
	if err != nil {
		return result{Error: err.Error()}
	}
	resp, err := client.Do(req)
	if err != nil {
		return result{Outcome: "failed", Error: err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return result{Outcome: "failed", Error: err.Error()}
	}
	var refusal struct {
		Error, Do string
		What      string `json:"error_description"`
	}
	if json.Unmarshal(body, &refusal) == nil && refusal.Do != "" { // the proxy's own answer
		if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") == "" {
			return result{Outcome: "failed", Error: "no Retry-After"}
		}
		if refusal.Error == "refused" && client == p.abuser {
			refusal.Error = "host"
		}
		return result{Outcome: refusal.Error, Error: refusal.What}
	}
	return result{Outcome: fmt.Sprint(resp.StatusCode), Body: string(body)}
}
