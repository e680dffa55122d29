package main

// `make run SAM=1`: the fakes alone, for functions that the SAM CLI runs in containers.

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/c8auth/c8auth/internal/harness"
)

// envFile is what --env-vars takes. The path is from where make runs.
const envFile = ".aws-sam/env.json"

// serveContainers starts the fakes, stores credentials, prints how to invoke the functions,
// and serves until ctx ends.
func serveContainers(ctx context.Context, incident incident, stdout io.Writer) error {
	fmt.Fprint(stdout, "Fakes of Communic8 and Secrets Manager on every address of this machine, for c8auth's\nfunctions in containers. Nothing here reaches AWS.\n\n")
	s, err := harness.StartForContainers(ports)
	if err != nil {
		return err
	}
	defer s.Stop()
	s.Communic8.AddClient(clientID, clientSecret)
	incident.happen(s.Communic8) // and the lifetime of a real token stays, as nothing here rotates by itself
	storeCredentials(s, stdout)
	env, err := harness.EnvVars(s.SecretsURL)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(envFile), 0o755)
	}
	if err == nil {
		err = os.WriteFile(envFile, env, 0o644)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "write   %s, which points the functions there\n", envFile)

	options := strings.Join([]string{"--env-vars", envFile, "--add-host", harness.Host + ":host-gateway", "--parameter-overrides", "Architecture=" + architecture()}, " ")
	fmt.Fprintf(stdout, `
In another terminal:

  make build ARCH=%[1]s
  sam local invoke RotateFunction --event events/rotate-schedule.json %[2]s
  sam local invoke VendFunction --event events/vend.json %[2]s
  sam local start-api %[2]s

Ctrl-C ends it.
`, architecture(), options)
	<-ctx.Done()
	return nil
}

// architecture is Lambda's name for this machine's processor, the only one whose
// containers run here.
func architecture() string {
	if runtime.GOARCH == "amd64" {
		return "x86_64"
	}
	return runtime.GOARCH
}
