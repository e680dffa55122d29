package main

// What is linked into the binaries: modules, their licences, and bills of materials.

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// module is one that is linked into a binary.
type module struct {
	texts []string // of its licences and notices
	ids   []string // SPDX identifiers of the licences
}

// identifying is a sentence of each licence under which a binary may be passed on with the
// licence's text, by SPDX identifier.
var identifying = map[string]string{
	"Apache-2.0":   "Apache License\n                           Version 2.0",
	"BSD-3-Clause": "Neither the name",
	"MIT":          "Permission is hereby granted, free of charge",
}

var licenceFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)`)

// std is what the standard library is called in place of a module's path.
const std = "std"

// modules returns what is linked into any of the binaries, by the module's path. Licences are
// the files in the directory of each package and in those above it, up to its module's. A module
// without a licence that is known here is an error.
func (b *builder) modules() (map[string]*module, error) {
	root, err := b.run(b.source, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	modules := make(map[string]*module)
	for _, platform := range platforms {
		printed, err := b.run(b.source, "env", "GOOS="+platform[0], "GOARCH="+platform[1],
			"go", "list", "-deps", "-json=Dir,Standard,Module", "./cmd/...", "./functions/...")
		if err != nil {
			return nil, err
		}
		for in := json.NewDecoder(strings.NewReader(printed)); in.More(); {
			var listed struct {
				Dir      string
				Standard bool
				Module   struct{ Path, Dir string }
			}
			if err := in.Decode(&listed); err != nil {
				return nil, err
			}
			path, dir, top := listed.Module.Path, listed.Dir, listed.Module.Dir
			if listed.Standard {
				path, dir, top = std, strings.TrimSpace(root), strings.TrimSpace(root)
			}
			if modules[path] == nil {
				modules[path] = new(module)
			}
			for ; ; dir = filepath.Dir(dir) {
				if err := modules[path].addLicences(dir); err != nil {
					return nil, err
				}
				if dir == top {
					break
				}
			}
		}
	}
	for path, m := range modules {
		if m.ids == nil {
			return nil, fmt.Errorf("%s has no licence that is known here: read it, and add it if it may be linked", path)
		}
	}
	return modules, nil
}

// addLicences adds those in a directory.
func (m *module) addLicences(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if file.IsDir() || !licenceFile.MatchString(file.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			return err
		}
		text := strings.TrimSpace(string(data))
		if slices.Contains(m.texts, text) {
			continue
		}
		m.texts = append(m.texts, text)
		for id, sentence := range identifying {
			if strings.Contains(text, sentence) && !slices.Contains(m.ids, id) {
				m.ids = append(m.ids, id)
			}
		}
	}
	slices.Sort(m.ids)
	return nil
}

// licenceTexts returns all licences, each with the modules that it is of.
func licenceTexts(modules map[string]*module) []byte {
	of := make(map[string][]string)
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		for _, text := range modules[path].texts {
			of[text] = append(of[text], path)
		}
	}
	texts := slices.SortedFunc(maps.Keys(of), func(a, b string) int {
		if order := slices.Compare(of[a], of[b]); order != 0 {
			return order
		}
		return strings.Compare(a, b)
	})
	var out bytes.Buffer
	for _, text := range texts {
		fmt.Fprintf(&out, "%s\n\n%s\n\n%s\n\n", strings.Join(of[text], "\n"), text, strings.Repeat("-", 80))
	}
	return out.Bytes()
}

// component is one of a bill of materials in the format CycloneDX 1.6.
type component struct {
	Type     string    `json:"type"`
	Ref      string    `json:"bom-ref"`
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Hashes   []hash    `json:"hashes,omitempty"`
	Licences []licence `json:"licenses,omitempty"`
	PURL     string    `json:"purl"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type licence struct {
	Licence struct {
		ID string `json:"id"`
	} `json:"license"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn,omitempty"`
}

// newComponent returns the component for a module. sum is that of go.sum, empty for none.
func newComponent(kind, path, version, sum string, m *module) (c component, _ error) {
	c = component{Type: kind, Name: path, Version: version, PURL: "pkg:golang/" + path + "@" + version}
	c.Ref = c.PURL
	if m == nil {
		return c, fmt.Errorf("%s is linked into a binary, but into no package", path)
	}
	for _, id := range m.ids {
		var l licence
		l.Licence.ID = id
		c.Licences = append(c.Licences, l)
	}
	if digest, ok := strings.CutPrefix(sum, "h1:"); ok {
		raw, err := base64.StdEncoding.DecodeString(digest)
		if err != nil {
			return c, err
		}
		c.Hashes = []hash{{"SHA-256", fmt.Sprintf("%x", raw)}} // of the module's files, as Go's checksum database has it
	}
	return c, nil
}

// billOfMaterials returns that of the binary in a file of the release, as JSON.
func billOfMaterials(info *debug.BuildInfo, file, version string, at time.Time, modules map[string]*module) ([]byte, error) {
	main, err := newComponent("application", info.Main.Path, version, "", modules[info.Main.Path])
	if err != nil {
		return nil, err
	}
	main.PURL += "#" + strings.TrimPrefix(info.Path, info.Main.Path+"/")
	main.Ref, main.Name = file, file
	library, err := newComponent("library", std, strings.TrimPrefix(info.GoVersion, "go"), "", modules[std])
	if err != nil {
		return nil, err
	}
	components := []component{library}
	for _, dep := range info.Deps {
		c, err := newComponent("library", dep.Path, dep.Version, dep.Sum, modules[dep.Path])
		if err != nil {
			return nil, err
		}
		components = append(components, c)
	}
	all := dependency{Ref: main.Ref}
	for _, c := range components {
		all.On = append(all.On, c.Ref)
	}
	return json.MarshalIndent(map[string]any{
		"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"metadata":     map[string]any{"timestamp": at.Format(time.RFC3339), "component": main},
		"components":   components,
		"dependencies": []dependency{all},
	}, "", " ")
}
