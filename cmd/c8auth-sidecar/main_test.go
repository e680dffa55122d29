package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The exit status, and what the standard error shows.
func TestRun(t *testing.T) {
	for _, name := range []string{"C8AUTH_URL", "AWS_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	const url = "http://127.0.0.1:1/v1"
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for name, test := range map[string]struct {
		ctx    context.Context //nolint:containedctx // of one case
		args   string
		status int
		want   []string
	}{
		"no URL":          {t.Context(), "proxy", 2, []string{"c8auth: the API's URL is missing", "  Do: set C8AUTH_URL"}},
		"an unknown flag": {t.Context(), "proxy --stack x", 2, []string{"flag provided but not defined: -stack", "-tenant"}},
		"a foreign host":  {t.Context(), "proxy --listen 0.0.0.0:0 --url " + url, 2, []string{"c8auth: --listen: ", "  Do: "}},
		"no proxy":        {t.Context(), "proxy --ping --listen 127.0.0.1:1", 4, []string{"c8auth: no proxy answers at 127.0.0.1:1"}},
		"a COMMAND":       {t.Context(), "proxy --url " + url + " -- false", 1, nil},
		"no COMMAND":      {t.Context(), "proxy --url " + url + " -- ./missing", 127, []string{"c8auth: the command cannot be run"}},
		"SIGTERM":         {stopped, "proxy --url " + url, 0, nil},
		"help":            {t.Context(), "proxy --help", 0, []string{"Usage of c8auth proxy", "-listen"}},
		"another command": {t.Context(), "status", 2, []string{"Usage of c8auth proxy"}},
	} {
		t.Run(name, func(t *testing.T) {
			stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr")) // COMMAND writes to it as well
			if err != nil {
				t.Fatal(err)
			}
			if status := run(test.ctx, strings.Fields(test.args), strings.NewReader(""), io.Discard, stderr); status != test.status {
				t.Errorf("status %d, want %d", status, test.status)
			}
			shown, err := os.ReadFile(stderr.Name())
			if err = errors.Join(err, stderr.Close()); err != nil {
				t.Fatal(err)
			}
			for _, want := range test.want {
				if !strings.Contains(string(shown), want) {
					t.Errorf("the standard error is %q, without %q", shown, want)
				}
			}
		})
	}
}
