package main

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// linked are the packages that a function may be made of: its own, what AWS's SDK needs to
// start, Secrets Manager, and the services by which the SDK gets credentials.
var linked = regexp.MustCompile(`^github\.com/(c8auth/c8auth/(functions/(rotate|vend)|pkg/c8auth(/internal/oauth)?|internal/restapi)$` +
	`|aws/(aws-lambda-go|smithy-go|aws-sdk-go-v2)(/|$))|^golang\.org/x/sync/`)

var services = regexp.MustCompile(`/aws-sdk-go-v2/service/(internal|secretsmanager|signin|sso|ssooidc|sts)(/|$)`)

// The functions' binaries stay small: nothing is in them of what only callers and
// operators need.
func TestFunctionsStaySmall(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", "lambda.norpc",
		"-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "../rotate", "../vend")
	list.Env = append(list.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 3 {
		t.Fatalf("the list is %s", out)
	}
	for _, name := range packages {
		if !linked.MatchString(name) || strings.Contains(name, "/service/") && !services.MatchString(name) {
			t.Errorf("linked: %s", name)
		}
	}
}
