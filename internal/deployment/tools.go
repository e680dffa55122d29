package main

// What is installed: in virtual environments of Python, outside of the tree, once.

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// installTools makes the environments of the emulator and of the aws command, or finds them
// made, as .ci/run does. It returns the directory in which they are.
func installTools(ctx context.Context, root string) (dir string, _ error) {
	command := exec.CommandContext(ctx, filepath.Join(root, ".ci", "venv"), "ministack", "aws")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(command.Args, " "), err, &stderr)
	}
	return strings.TrimSpace(string(out)), nil
}

// quietly runs a command and shows what it printed only if it fails.
func quietly(command *exec.Cmd) error {
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command.Args, " "), err, out)
	}
	return nil
}
