package main

// What is linked into the binaries: modules, their licences, and bills of materials.

import (
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

// object is one of JSON. Its keys are sorted when it is encoded.
type object = map[string]any

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

// findModules finds what is linked into any of the binaries. Licences are the files in the
// directory of each package and in those above it, up to its module's; of the standard library,
// only those at its top. A module without a licence that is known here is an error.
func (b *builder) findModules() error {
	root, err := b.run(b.source, "go", "env", "GOROOT")
	if err != nil {
		return err
	}
	b.modules = make(map[string]*module)
	for _, platform := range platforms {
		printed, err := b.run(b.source, "env", "GOOS="+platform[0], "GOARCH="+platform[1],
			"go", "list", "-deps", "-json=Dir,Standard,Module", "./cmd/...", "./functions/...")
		if err != nil {
			return err
		}
		for in := json.NewDecoder(strings.NewReader(printed)); in.More(); {
			var listed struct {
				Dir      string
				Standard bool
				Module   struct{ Path, Dir string }
			}
			if err := in.Decode(&listed); err != nil {
				return err
			}
			if listed.Standard {
				listed.Dir, listed.Module.Path, listed.Module.Dir = root, std, root
			}
			m := b.modules[listed.Module.Path]
			if m == nil {
				m = new(module)
				b.modules[listed.Module.Path] = m
			}
			if err := m.addLicences(listed.Dir, listed.Module.Dir); err != nil {
				return err
			}
		}
	}
	for path, m := range b.modules {
		if m.ids == nil {
			return fmt.Errorf("%s has no licence that is known here: read it, and add it if it may be linked", path)
		}
	}
	return nil
}

// addLicences adds those in a directory and above it, up to top.
func (m *module) addLicences(dir, top string) error {
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
	if dir == top {
		return nil
	}
	return m.addLicences(filepath.Dir(dir), top)
}

// licenceTexts returns all licences, each with the modules that it is of.
func licenceTexts(modules map[string]*module) []byte {
	of := make(map[string][]string)
	for _, path := range slices.Sorted(maps.Keys(modules)) {
		for _, text := range modules[path].texts {
			of[text] = append(of[text], path)
		}
	}
	var sections []string
	for text, paths := range of {
		sections = append(sections, fmt.Sprintf("%s\n\n%s\n\n%s\n\n", strings.Join(paths, "\n"), text, strings.Repeat("-", 80)))
	}
	slices.Sort(sections)
	return []byte(strings.Join(sections, ""))
}

// component returns the component of a bill of materials for a module. sum is that of go.sum,
// empty for none.
func (b *builder) component(kind, path, version, sum string) (object, error) {
	m := b.modules[path]
	if m == nil {
		return nil, fmt.Errorf("%s is linked into a binary, but into no package", path)
	}
	var licences []object
	for _, id := range m.ids {
		licences = append(licences, object{"license": object{"id": id}})
	}
	url := "pkg:golang/" + path + "@" + version
	c := object{"type": kind, "bom-ref": url, "purl": url, "name": path, "version": version, "licenses": licences}
	if digest, ok := strings.CutPrefix(sum, "h1:"); ok { // of the module's files, as Go's checksum database has it
		raw, err := base64.StdEncoding.DecodeString(digest)
		if err != nil {
			return nil, err
		}
		c["hashes"] = []object{{"alg": "SHA-256", "content": fmt.Sprintf("%x", raw)}}
	}
	return c, nil
}

// billOfMaterials returns that of the binary in a file of the release, in the format CycloneDX
// 1.6.
func (b *builder) billOfMaterials(info *debug.BuildInfo, file string) ([]byte, error) {
	main, err := b.component("application", info.Main.Path, b.version, "")
	if err != nil {
		return nil, err
	}
	main["purl"] = fmt.Sprint(main["purl"], "#", strings.TrimPrefix(info.Path, info.Main.Path+"/"))
	main["bom-ref"], main["name"] = file, file
	linked := []*debug.Module{{Path: std, Version: strings.TrimPrefix(info.GoVersion, "go")}}
	var components []object
	var refs []any
	for _, dep := range append(linked, info.Deps...) {
		c, err := b.component("library", dep.Path, dep.Version, dep.Sum)
		if err != nil {
			return nil, err
		}
		components, refs = append(components, c), append(refs, c["bom-ref"])
	}
	return json.MarshalIndent(object{
		"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"metadata":     object{"timestamp": b.time.Format(time.RFC3339), "component": main},
		"components":   components,
		"dependencies": []object{{"ref": file, "dependsOn": refs}},
	}, "", " ")
}
