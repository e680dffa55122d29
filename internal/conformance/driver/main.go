// Driver runs calls through the package caller, as the conformance suite wants them.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

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
	client := &http.Client{Transport: &caller.Transport{Source: &caller.Source{URL: os.Getenv("C8AUTH_URL"), Tenant: os.Getenv("C8AUTH_TENANT")}}}
	commands, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var c command
		if err := commands.Decode(&c); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			panic(err)
		}
		results := make([]result, c.Times)
		var all sync.WaitGroup
		for i := range results {
			all.Go(func() { results[i] = call(client, c) })
		}
		all.Wait()
		if err := answers.Encode(results); err != nil {
			panic(err)
		}
	}
}

func call(client *http.Client, c command) result {
	req, err := http.NewRequest(c.Method, c.Path, strings.NewReader(c.Body))
	if err != nil {
		return result{Error: err.Error()}
	}
	resp, err := client.Do(req)
	if err != nil {
		for sentinel, outcome := range outcomes {
			if errors.Is(err, sentinel) {
				return result{Outcome: outcome, Error: err.Error()}
			}
		}
		return result{Outcome: "failed", Error: err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return result{Outcome: "failed", Error: err.Error()}
	}
	return result{Outcome: fmt.Sprint(resp.StatusCode), Body: string(body)}
}
