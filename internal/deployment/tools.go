package main

// What is installed: in virtual environments of Python, outside of the tree, once.

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// packages are the contents of each virtual environment, installed by one command: two
// would upgrade each other's dependencies past their pins. .ci/run has the same awscli.
var packages = map[string][]string{
	"ministack": {"ministack==1.5.33", "aws-sam-translator==1.115.0", "cbor2==6.3.0", "cryptography==50.0.2"},
	"aws":       {"awscli==1.46.3"},
}

// toolsDir is where .ci/run installs, too.
func toolsDir() (string, error) {
	if dir := os.Getenv("C8AUTH_CI_TOOLS"); dir != "" {
		return dir, nil
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	home, err := os.UserHomeDir()
	if cache == "" && err != nil {
		return "", err
	}
	return filepath.Join(cmp.Or(cache, filepath.Join(home, ".cache")), "c8auth-ci"), nil
}

// installTools makes the environments, or finds them made.
func installTools(ctx context.Context, dir string) error {
	var installs errgroup.Group
	for name, pins := range packages {
		installs.Go(func() error {
			environment := filepath.Join(dir, name)
			python := filepath.Join(environment, "bin", "python")
			if _, err := os.Stat(python); err != nil {
				if err := quietly(exec.CommandContext(ctx, "python3", "-m", "venv", environment)); err != nil {
					return err
				}
			}
			return quietly(exec.CommandContext(ctx, python, append([]string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check"}, pins...)...))
		})
	}
	return installs.Wait()
}

// quietly runs a command and shows what it printed only if it fails.
func quietly(command *exec.Cmd) error {
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command.Args, " "), err, out)
	}
	return nil
}
