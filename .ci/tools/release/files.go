package main

// What is in the files: archives and templates.

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io/fs"
	"regexp"
	"time"
)

// entry is a file in an archive, or a directory.
type entry struct {
	name  string
	mode  fs.FileMode
	data  []byte
	kind  byte // of package tar; the zero value is a file
	owner int  // 0 is root
}

// zipped returns a zip archive whose entries are all of one time.
func zipped(at time.Time, entries []entry) ([]byte, error) {
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: at}
		header.SetMode(e.mode)
		w, err := archive.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	err := archive.Close()
	return out.Bytes(), err
}

// tarred returns a tar archive whose entries are all of one time.
func tarred(at time.Time, entries []entry) ([]byte, error) {
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for _, e := range entries {
		header := &tar.Header{
			Name: e.name, Mode: int64(e.mode), Size: int64(len(e.data)), ModTime: at,
			Typeflag: cmp.Or(e.kind, tar.TypeReg), Uid: e.owner, Gid: e.owner, Format: tar.FormatUSTAR,
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(e.data); err != nil {
			return nil, err
		}
	}
	err := archive.Close()
	return out.Bytes(), err
}

// tarGz is a compressed tarred.
func tarGz(at time.Time, entries []entry) ([]byte, error) {
	archive, err := tarred(at, entries)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	compressor := gzip.NewWriter(&out)
	if _, err := compressor.Write(archive); err != nil {
		return nil, err
	}
	err = compressor.Close()
	return out.Bytes(), err
}

// packaged returns template.yaml for a release: its functions are the zips beside it, for one
// processor, and its description names the version.
func packaged(template, processor, version string) ([]byte, error) {
	const built = `    Metadata:\n      BuildMethod: makefile\n    Properties:\n`
	for _, change := range []struct{ pattern, replacement string }{
		{`(?m)^Description: (.*)\.$`, "Description: ${1}. Version " + version},
		{`(?m)^    CodeUri: .*\n`, ""},
		{`(?m)^(  RotateFunction:\n    Type: .*\n)` + built, "${1}    Properties:\n      CodeUri: rotate_" + processor + ".zip\n"},
		{`(?m)^(  VendFunction:\n    Type: .*\n)` + built, "${1}    Properties:\n      CodeUri: vend_" + processor + ".zip\n"},
		{`(?m)^(  Architecture:\n    Type: String\n)    Default: .*\n    AllowedValues: .*\n    Description: .*\n`,
			"${1}    Default: " + processor + "\n    AllowedValues: [" + processor + "]\n    Description: Processor of both functions. The release has a template for each.\n"},
	} {
		pattern := regexp.MustCompile(change.pattern)
		if n := len(pattern.FindAllString(template, 2)); n != 1 {
			return nil, fmt.Errorf("template.yaml: %d places, want one, match %s", n, change.pattern)
		}
		template = pattern.ReplaceAllString(template, change.replacement)
	}
	return []byte(template), nil
}
