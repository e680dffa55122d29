// Release is `make release`: it builds every file of a release from the commit that is
// checked out, into .aws-sam/release. The same commit gives the same bytes on any machine.
// docs/releases.md says what the files are for, docs/decisions.md why this is not GoReleaser.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// platforms are those of the tool, as GOOS and GOARCH. Linux comes first.
var platforms = [][2]string{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"}}

// processors are those of the functions, as template.yaml calls them.
var processors = []string{"arm64", "x86_64"}

func main() {
	tag := flag.String("tag", "", "fail unless the commit has this tag")
	quick := flag.Bool("quick", false, "build the tool for Linux alone")
	flag.Parse()
	if *quick {
		platforms = platforms[:2]
	}
	if err := run(context.Background(), *tag); err != nil {
		fmt.Fprintln(os.Stderr, "make release:", err)
		os.Exit(1)
	}
}

// run builds a release and prints its files with their sizes.
func run(ctx context.Context, tag string) (err error) {
	root, err := filepath.Abs("../..") // go run -C .ci/tools
	if err != nil {
		return err
	}
	out := filepath.Join(root, ".aws-sam", "release")
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "c8auth-release-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	b := &builder{ctx: ctx, source: filepath.Join(scratch, "source"), scratch: scratch, files: make(map[string][]byte)}
	if err := b.clone(root); err != nil {
		return err
	}
	if err := b.build(); err != nil {
		return err
	}
	if tag != "" && tag != b.version {
		return fmt.Errorf("the tag is %s, but the tool says that it is %s: is the tag on this commit, and of the form v1.2.3?", tag, b.version)
	}
	return b.write(out)
}

// builder is the state of one build.
type builder struct {
	ctx     context.Context
	source  string // a clone of the repository
	scratch string // for binaries
	env     []string
	time    time.Time          // of the commit
	version string             // of the tool, as Go derives it from the commit and its tags
	modules map[string]*module // that are linked, by their paths
	files   map[string][]byte  // of the release, by their names
}

// run runs a command and returns what it printed.
func (b *builder) run(dir, name string, args ...string) (string, error) {
	command := exec.CommandContext(b.ctx, name, args...)
	command.Dir, command.Env = dir, append(os.Environ(), b.env...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	printed, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(command.Args, " "), err, &stderr)
	}
	return strings.TrimSpace(string(printed)), nil
}

// clone clones the commit that is checked out in root, and prepares the environment of builds.
// A clone has no other files than the commit, and Go finds no version in a worktree.
func (b *builder) clone(root string) error {
	// Git would not clone a checkout that belongs to somebody else.
	trust := filepath.Join(b.scratch, "gitconfig")
	if err := os.WriteFile(trust, []byte("[safe]\n\tdirectory = *\n"), 0o600); err != nil {
		return err
	}
	b.env = []string{"GIT_CONFIG_GLOBAL=" + trust}
	if _, err := b.run(root, "git", "clone", "--quiet", root, b.source); err != nil {
		return err
	}
	committed, err := b.run(b.source, "git", "log", "-1", "--format=%cI")
	if err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339, committed)
	if err != nil {
		return err
	}
	b.time = at.UTC()
	module, err := b.run(b.source, "go", "mod", "edit", "-json")
	if err != nil {
		return err
	}
	var declared struct{ Toolchain string }
	if err := json.Unmarshal([]byte(module), &declared); err != nil {
		return err
	}
	// What the environment sets must not matter, above all which Go is installed.
	b.env = append(b.env,
		"GOTOOLCHAIN="+declared.Toolchain, "GOFLAGS=-trimpath", "GOWORK=off", "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0",
		"GNUMAKEFLAGS=", "MAKEFLAGS=", "MAKEOVERRIDES=", "MFLAGS=",
	)
	return nil
}

// build makes all files but the checksums.
func (b *builder) build() error {
	tools := func(platform [2]string) string { return filepath.Join(b.scratch, "tool", platform[0], platform[1]) }
	function := func(name, processor string) string { return filepath.Join(b.scratch, name, processor) }
	functions := map[string]string{"rotate": "build-RotateFunction", "vend": "build-VendFunction"}
	var builds errgroup.Group
	builds.SetLimit(runtime.NumCPU())
	for _, platform := range platforms {
		builds.Go(func() error {
			_, err := b.run(b.source, "env", "GOOS="+platform[0], "GOARCH="+platform[1],
				"go", "build", "-buildvcs=true", "-ldflags", "-s -w", "-o", tools(platform)+"/", "./cmd/...")
			return err
		})
	}
	for _, processor := range processors {
		for name, target := range functions {
			builds.Go(func() error {
				_, err := b.run(b.source, "make", target, "ARCH="+processor, "ARTIFACTS_DIR="+function(name, processor))
				return err
			})
		}
	}
	if err := builds.Wait(); err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(filepath.Join(tools(platforms[0]), "c8auth"))
	if err != nil {
		return err
	}
	b.version = info.Main.Version
	if err := b.findModules(); err != nil {
		return err
	}
	licences := entry{name: "LICENSES.txt", mode: 0o644, data: licenceTexts(b.modules)}
	b.files[licences.name] = licences.data

	for _, platform := range platforms {
		name, kind, as, pack := "c8auth_"+platform[0]+"_"+platform[1], ".tar.gz", "c8auth", tarGz
		if platform[0] == "windows" {
			kind, as, pack = ".zip", "c8auth.exe", zipped
		}
		err := b.archive(name+kind, filepath.Join(tools(platform), as), func(binary []byte) ([]byte, error) {
			return pack(b.time, []entry{{name: as, mode: 0o755, data: binary}, licences})
		})
		if err == nil && platform[0] == "linux" {
			err = b.archive("c8auth_image_"+platform[1]+".tar.gz", filepath.Join(tools(platform), "c8auth-sidecar"), func(binary []byte) ([]byte, error) {
				return image(b.time, b.version, platform[1], binary, licences)
			})
		}
		if err != nil {
			return err
		}
	}
	for _, processor := range processors {
		for name := range functions {
			if err := b.archive(name+"_"+processor+".zip", filepath.Join(function(name, processor), "bootstrap"), func(binary []byte) ([]byte, error) {
				return zipped(b.time, []entry{{name: "bootstrap", mode: 0o755, data: binary}})
			}); err != nil {
				return err
			}
		}
	}
	return b.templates()
}

// archive adds an archive, which pack makes of a binary, and the binary's bill of materials.
func (b *builder) archive(name, path string, pack func(binary []byte) ([]byte, error)) error {
	binary, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if b.files[name], err = pack(binary); err != nil {
		return err
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return err
	}
	b.files[name+".cdx.json"], err = b.billOfMaterials(info, name)
	return err
}

// templates adds what sam deploy reads: a template for each processor, and the files beside it.
func (b *builder) templates() (err error) {
	for _, name := range []string{"template.yaml", "tenant.yaml", "samconfig.toml", "openapi.yaml", "CHANGELOG.md"} {
		if b.files[name], err = os.ReadFile(filepath.Join(b.source, name)); err != nil {
			return err
		}
	}
	template := string(b.files["template.yaml"])
	for _, processor := range processors {
		name := "template-" + processor + ".yaml"
		if processor == "arm64" {
			name = "template.yaml"
		}
		if b.files[name], err = packaged(template, processor, b.version); err != nil {
			return err
		}
	}
	return nil
}

// write writes the files and checksums.txt, which names every other one, and prints their sizes.
func (b *builder) write(out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var checksums bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(b.files)) {
		fmt.Fprintf(&checksums, "%x  %s\n", sha256.Sum256(b.files[name]), name)
	}
	b.files["checksums.txt"] = checksums.Bytes()
	total := 0
	for _, name := range slices.Sorted(maps.Keys(b.files)) {
		if err := os.WriteFile(filepath.Join(out, name), b.files[name], 0o644); err != nil {
			return err
		}
		total += len(b.files[name])
		fmt.Printf("%10d  %s\n", len(b.files[name]), name)
	}
	fmt.Printf("%10d  in %d files of %s, in %s\n", total, len(b.files), b.version, out)
	return nil
}
