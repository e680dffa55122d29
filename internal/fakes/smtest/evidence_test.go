package smtest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/c8auth/c8auth/internal/fakes/lambdatest"
)

// docs/testing.md cites only tests and steps that exist.
func TestEvidence(t *testing.T) {
	root := must(lambdatest.Root())
	page := string(must(os.ReadFile(filepath.Join(root, "docs", "testing.md"))))
	var tests strings.Builder
	if err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		tests.Write(text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	cited := 0
	for _, name := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(page, -1) {
		cited++
		if !strings.Contains(tests.String(), "func "+name[1]+"(") {
			t.Errorf("there is no %s", name[1])
		}
	}
	for _, list := range regexp.MustCompile(`moto((?:,? "[^"]+")+)`).FindAllStringSubmatch(page, -1) {
		for _, step := range regexp.MustCompile(`"[^"]+"`).FindAllString(list[1], -1) {
			cited++
			if !strings.Contains(tests.String(), "step("+step+")") {
				t.Errorf("TestMoto has no step %s", step)
			}
		}
	}
	if cited < 50 {
		t.Errorf("%d citations were found", cited)
	}
}
