// Release is `make release`: it builds every file of a release from the commit that is
// checked out, into .aws-sam/release. The same commit gives the same bytes on any machine.
// docs/releases.md says what the files are for, and why this is not GoReleaser.
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
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// platforms are those of the tool, as GOOS and GOARCH. Linux comes first.
var platforms = [][2]string{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"}}

// processors are those of the functions, as template.yaml and Go call them.
var processors = [][2]string{{"arm64", "arm64"}, {"x86_64", "amd64"}}

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
func run(ctx context.Context, tag string) error {
	root, err := filepath.Abs("../..") // go run -C .ci/tools
	if err != nil {
		return err
	}
	b := &builder{ctx: ctx, out: filepath.Join(root, ".aws-sam", "release")}
	if err := b.build(root); err != nil {
		return err
	}
	if tag != "" && tag != b.version {
		return fmt.Errorf("the tag is %s, but the tool says that it is %s: is the tag on this commit, and of the form v1.2.3?", tag, b.version)
	}
	names, err := b.names()
	if err != nil {
		return err
	}
	total := int64(0)
	for _, name := range names {
		info, err := os.Stat(filepath.Join(b.out, name))
		if err != nil {
			return err
		}
		total += info.Size()
		fmt.Printf("%10d  %s\n", info.Size(), name)
	}
	fmt.Printf("%10d  in %d files of %s, in %s\n", total, len(names), b.version, b.out)
	return nil
}

// builder is the state of one build.
type builder struct {
	ctx     context.Context
	source  string // a clone of the repository
	scratch string // for binaries
	out     string
	env     []string
	time    time.Time // of the commit
	version string    // of the tool, as Go derives it from the commit and its tags
}

// build builds the commit that is checked out in root.
func (b *builder) build(root string) (err error) {
	if err := os.RemoveAll(b.out); err != nil {
		return err
	}
	if b.scratch, err = os.MkdirTemp("", "c8auth-release-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.scratch)) }()
	b.source = filepath.Join(b.scratch, "source")
	// Git would not clone a checkout that belongs to somebody else.
	trust := filepath.Join(b.scratch, "gitconfig")
	if err := os.WriteFile(trust, []byte("[safe]\n\tdirectory = *\n"), 0o600); err != nil {
		return err
	}
	b.env = []string{"GIT_CONFIG_GLOBAL=" + trust}
	// From a clone: it has no other files than the commit, and Go finds no version in a worktree.
	if _, err := b.run(root, "git", "clone", "--quiet", root, b.source); err != nil {
		return err
	}
	seconds, err := b.run(b.source, "git", "log", "-1", "--format=%ct")
	if err != nil {
		return err
	}
	unix, err := strconv.ParseInt(strings.TrimSpace(seconds), 10, 64)
	if err != nil {
		return err
	}
	b.time = time.Unix(unix, 0).UTC()
	module, err := b.run(b.source, "go", "mod", "edit", "-json")
	if err != nil {
		return err
	}
	var declared struct{ Toolchain string }
	if err := json.Unmarshal([]byte(module), &declared); err != nil {
		return err
	}
	// What the surroundings set must not matter, above all which Go is installed.
	b.env = append(b.env,
		"GOTOOLCHAIN="+declared.Toolchain, "GOFLAGS=-trimpath", "GOWORK=off", "CGO_ENABLED=0", "GOAMD64=v1", "GOARM64=v8.0",
		"GNUMAKEFLAGS=", "MAKEFLAGS=", "MAKEOVERRIDES=", "MFLAGS=",
	)
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	if err := b.files(); err != nil {
		return err
	}
	return b.checksums()
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
	return string(printed), nil
}

// files makes all files but the checksums.
func (b *builder) files() error {
	tools := func(platform [2]string) string { return filepath.Join(b.scratch, "tool", platform[0], platform[1]) }
	function := func(name string, processor [2]string) string { return filepath.Join(b.scratch, name, processor[0]) }
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
		for name, target := range map[string]string{"rotate": "build-RotateFunction", "vend": "build-VendFunction"} {
			builds.Go(func() error {
				_, err := b.run(b.source, "make", target, "ARCH="+processor[0], "ARTIFACTS_DIR="+function(name, processor))
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

	modules, err := b.modules()
	if err != nil {
		return err
	}
	texts := licenceTexts(modules)
	if err := os.WriteFile(filepath.Join(b.out, "LICENSES.txt"), texts, 0o644); err != nil {
		return err
	}
	licences := entry{name: "LICENSES.txt", mode: 0o644, data: texts}
	for _, platform := range platforms {
		name, kind, as, pack := "c8auth_"+platform[0]+"_"+platform[1], ".tar.gz", "c8auth", tarGz
		if platform[0] == "windows" {
			kind, as, pack = ".zip", "c8auth.exe", zipped
		}
		if err := b.archive(name+kind, filepath.Join(tools(platform), as), modules, func(binary []byte) ([]byte, error) {
			return pack(b.time, []entry{{name: as, mode: 0o755, data: binary}, licences})
		}); err != nil {
			return err
		}
		if platform[0] != "linux" {
			continue
		}
		if err := b.archive("c8auth_image_"+platform[1]+".tar.gz", filepath.Join(tools(platform), "c8auth-sidecar"), modules, func(binary []byte) ([]byte, error) {
			return image(b.time, b.version, platform[1], binary, licences)
		}); err != nil {
			return err
		}
	}
	for _, processor := range processors {
		for _, name := range []string{"rotate", "vend"} {
			if err := b.archive(name+"_"+processor[0]+".zip", filepath.Join(function(name, processor), "bootstrap"), modules, func(binary []byte) ([]byte, error) {
				return zipped(b.time, []entry{{name: "bootstrap", mode: 0o755, data: binary}})
			}); err != nil {
				return err
			}
		}
	}
	return b.templates()
}

// archive writes an archive, which pack makes of a binary, and the binary's bill of materials.
func (b *builder) archive(name, path string, modules map[string]*module, pack func(binary []byte) ([]byte, error)) error {
	binary, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	packed, err := pack(binary)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.out, name), packed, 0o644); err != nil {
		return err
	}
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return err
	}
	bill, err := billOfMaterials(info, name, b.version, b.time, modules)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.out, name+".cdx.json"), bill, 0o644)
}

// templates writes what sam deploy reads: a template for each processor, and the files beside it.
func (b *builder) templates() error {
	for _, name := range []string{"template.yaml", "tenant.yaml", "samconfig.toml", "openapi.yaml", "CHANGELOG.md"} {
		text, err := os.ReadFile(filepath.Join(b.source, name))
		if err != nil {
			return err
		}
		files := map[string]string{name: string(text)}
		if name == "template.yaml" {
			for _, processor := range processors {
				of := name
				if processor[0] != "arm64" {
					of = "template-" + processor[0] + ".yaml"
				}
				if files[of], err = packaged(string(text), processor[0], b.version); err != nil {
					return err
				}
			}
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(b.out, name), []byte(text), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// checksums writes the file that names every other one.
func (b *builder) checksums() error {
	names, err := b.names()
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(b.out, name))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(data), name)
	}
	return os.WriteFile(filepath.Join(b.out, "checksums.txt"), []byte(text.String()), 0o644)
}

// names returns the names of the files, sorted.
func (b *builder) names() (names []string, _ error) {
	entries, err := os.ReadDir(b.out)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, err
}
