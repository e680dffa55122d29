package main

// The container image of c8auth proxy, as docs/examples/Dockerfile makes it, but of the same
// bytes on any machine. docker load takes the archive, and what reads OCI layouts.

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	user      = 65532
	directory = tar.TypeDir
)

// certificates returns the authorities that Mozilla trusts without restrictions, as PEM.
func certificates() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a bytes.Buffer takes all
		}
	}
	return out.Bytes()
}

// image returns the archive of an image for Linux on a processor, with the
// tool's binary and licences.
func image(at time.Time, version, processor string, binary []byte, licences entry) ([]byte, error) {
	layer, err := tarred(at, []entry{
		{name: "c8auth", mode: 0o755, data: binary},
		licences,
		{name: "etc/", mode: 0o755, kind: directory},
		{name: "etc/ssl/", mode: 0o755, kind: directory},
		{name: "etc/ssl/certs/", mode: 0o755, kind: directory},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: certificates()},
		{name: "run/", mode: 0o755, kind: directory},
		{name: "run/c8auth/", mode: 0o755, kind: directory, owner: user},
	})
	if err != nil {
		return nil, err
	}
	const address, path = "127.0.0.1:8918", "/run/c8auth/path"
	var blobs []entry
	blob := func(mediaType string, data []byte) object {
		digest := fmt.Sprintf("%x", sha256.Sum256(data))
		blobs = append(blobs, entry{name: "blobs/sha256/" + digest, mode: 0o644, data: data})
		return object{"mediaType": mediaType, "digest": "sha256:" + digest, "size": len(data)}
	}
	encoded := func(value any) []byte {
		data, err := json.Marshal(value)
		if err != nil {
			panic(err) // of maps, strings and numbers: cannot be
		}
		return data
	}
	packed := blob("application/vnd.oci.image.layer.v1.tar", layer)
	config := blob("application/vnd.oci.image.config.v1+json", encoded(object{
		"created": at.Format(time.RFC3339), "os": "linux", "architecture": processor,
		"rootfs": object{"type": "layers", "diff_ids": []any{packed["digest"]}},
		"config": object{
			"User":       fmt.Sprintf("%d:%d", user, user),
			"Labels":     object{"org.opencontainers.image.version": version, "org.opencontainers.image.licenses": "MIT"},
			"Volumes":    object{"/run/c8auth": object{}},
			"Entrypoint": []string{"/c8auth", "proxy"},
			"Cmd":        []string{"--listen", address, "--path-file", path},
			"Healthcheck": object{
				"Test":     []string{"CMD", "/c8auth", "proxy", "--ping", "--listen", address},
				"Interval": 5 * time.Second, "Timeout": 3 * time.Second, "StartPeriod": 5 * time.Second,
			},
		},
	}))
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	manifest := blob(manifestType, encoded(object{"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": []object{packed}}))
	manifest["annotations"] = object{"io.containerd.image.name": "docker.io/library/c8auth:" + version, "org.opencontainers.image.ref.name": version}
	docker := object{"Config": blobs[1].name, "RepoTags": []string{"c8auth:" + version}, "Layers": []string{blobs[0].name}}
	return tarGz(at, append(blobs,
		entry{name: "index.json", mode: 0o644, data: encoded(object{"schemaVersion": 2, "manifests": []object{manifest}})},
		entry{name: "manifest.json", mode: 0o644, data: encoded([]object{docker})},
		entry{name: "oci-layout", mode: 0o644, data: encoded(object{"imageLayoutVersion": "1.0.0"})},
	))
}
