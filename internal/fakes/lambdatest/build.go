package lambdatest

// The functions of this module, built as they are built for Lambda.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Build compiles functions/<name> ("rotate" or "vend") for this machine,
// exactly as `sam build` would: it runs the Makefile's target for the
// function's logical id. It returns the path of the bootstrap binary, which
// lies in dir.
func Build(ctx context.Context, root, dir, name string) (string, error) {
	id := map[string]string{"rotate": "RotateFunction", "vend": "VendFunction"}[name]
	dir, err := filepath.Abs(dir) // make runs elsewhere
	if err != nil {
		return "", fmt.Errorf("lambdatest: build %s: %w", name, err)
	}
	cmd := exec.CommandContext(ctx, "make", "-C", root, "build-"+id,
		"ARTIFACTS_DIR="+dir, "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	cmd.Env = slices.DeleteFunc(os.Environ(), fromMake)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("lambdatest: build %s: %w\n%s", name, err, out)
	}
	return filepath.Join(dir, "bootstrap"), nil
}

// fromMake reports whether a variable is what a make above us (`make test`)
// tells a make below: its flags and its command line are not for this one.
func fromMake(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return slices.Contains([]string{"GNUMAKEFLAGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}, name)
}

// Root is the directory of the module that the working directory belongs to.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("lambdatest: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("lambdatest: no go.mod in the working directory or above it")
		}
	}
}
