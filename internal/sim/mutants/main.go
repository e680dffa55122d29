// Mutants checks that the simulation can fail: it breaks pkg/c8auth in one deliberate way
// after another, and counts how many seeds it takes until an invariant is violated. The tree
// is not changed, because each defect is an overlay of one file (go help build).
//
//	go run ./internal/sim/mutants            all of them
//	go run ./internal/sim/mutants -run half  those with that in their name
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func main() {
	run := flag.String("run", "", "only mutants whose name matches this regular expression")
	limit := flag.Int("seeds", 150, "how many seeds it may take to find one")
	flag.Parse()
	wanted, err := regexp.Compile(*run)
	if err == nil {
		err = check(context.Background(), wanted, *limit)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// check prints a line for each mutant, and fails unless all were found.
func check(ctx context.Context, run *regexp.Regexp, limit int) error {
	dir, err := os.MkdirTemp("", "c8auth-mutants-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var survivors []string
	checked := 0
	for _, m := range append([]mutant{noDefect}, mutants...) {
		if m != noDefect && !run.MatchString(m.name) {
			continue
		}
		start := time.Now()
		seed, violation, err := m.find(ctx, dir, limit)
		result := fmt.Sprintf("seed %3d, %3.0f s: %s", seed, time.Since(start).Seconds(), violation)
		switch {
		case err != nil:
			result = err.Error()
		case seed == 0:
			result = fmt.Sprintf("no violation in %d seeds", limit)
		}
		fmt.Printf("%-47s %s\n", m.name, result)
		switch {
		case m != noDefect:
			checked++
			if err != nil || seed == 0 {
				survivors = append(survivors, m.name)
			}
		case err != nil || seed != 0:
			return errors.New("an invariant that is violated without any defect proves nothing")
		}
	}
	if survivors != nil {
		return fmt.Errorf("%d of %d mutants are not found: %s", len(survivors), checked, strings.Join(survivors, "; "))
	}
	fmt.Printf("all %d mutants are found\n", checked)
	return nil
}

const (
	product = "pkg/c8auth"
	batch   = 4 // seeds at a time
)

// reported is how the simulation reports a violation.
var reported = regexp.MustCompile(`seed (\d+): (.*)`)

// find returns the first seed with a violation, and which; 0 if there is none.
func (m mutant) find(ctx context.Context, dir string, limit int) (int, string, error) {
	binary := filepath.Join(dir, "sim.test")
	if err := m.build(ctx, dir, binary); err != nil {
		return 0, "", err
	}
	for first := 1; first <= limit; first += batch {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
		out, err := exec.CommandContext(ctx, binary, "-test.run=^TestInvariants$", fmt.Sprintf("-first=%d", first), fmt.Sprintf("-seeds=%d", batch)).CombinedOutput() // #nosec G204 -- what was just built
		cancel()
		if err == nil {
			continue
		}
		found, violation := 0, ""
		for _, match := range reported.FindAllStringSubmatch(string(out), -1) {
			if seed, err := strconv.Atoi(match[1]); err == nil && (found == 0 || seed < found) {
				found, violation = seed, match[2]
			}
		}
		if found == 0 {
			return 0, "", fmt.Errorf("ends with %w, but without a violation: %.2000s", err, out)
		}
		return found, violation, nil
	}
	return 0, "", nil
}

// build compiles the simulation with the mutant in the product's place.
func (m mutant) build(ctx context.Context, dir, binary string) error {
	path, err := filepath.Abs(filepath.Join(product, m.file))
	if err != nil {
		return err
	}
	source, err := os.ReadFile(path) // #nosec G304 -- a file of this module
	if err != nil {
		return err
	}
	mutated, err := m.apply(source)
	if err != nil {
		return err
	}
	replacement := filepath.Join(dir, m.file)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: replacement}})
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "overlay.json")
	if err := errors.Join(os.WriteFile(replacement, mutated, 0o600), os.WriteFile(config, overlay, 0o600)); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", config, "-o", binary, "./internal/sim").CombinedOutput() // #nosec G204 -- our own files
	if err != nil {
		return fmt.Errorf("does not compile: %w: %s", err, out)
	}
	return nil
}
