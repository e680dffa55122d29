package main

import (
	"os/exec"
	"strings"
	"testing"
)

// What only callers need is not in the functions' binaries.
func TestFunctionsDoNotLinkWhatCallersDo(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "../rotate", "../vend").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "github.com/c8auth/c8auth/pkg/c8auth\n") {
		t.Errorf("the list is %s", out)
	}
	for _, foreign := range []string{"golang.org/x/oauth2", "github.com/c8auth/c8auth/pkg/c8auth/caller", "github.com/c8auth/c8auth/internal"} {
		for pkg := range strings.Lines(string(out)) {
			if strings.HasPrefix(pkg, foreign) {
				t.Errorf("linked: %s", pkg)
			}
		}
	}
}
