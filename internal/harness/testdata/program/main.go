// A newcomer's program: calls Communic8 for as long as that works.
package main

import (
	"log"
	"net/http"
	"os"

	"github.com/c8auth/c8auth/pkg/c8auth/caller"
)

func main() {
	client := &http.Client{Transport: &caller.Transport{Source: &caller.Source{URL: os.Args[1]}}}
	for {
		resp, err := client.Get("/int/v1/broadcast?limit=1")
		if err != nil {
			log.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			log.Fatal(resp.Status)
		}
	}
}
