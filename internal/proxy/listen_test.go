package proxy

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Anything but loopback and Unix sockets is refused.
func TestSplitAddress(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:0": "tcp 127.0.0.1:0", "127.0.0.1:8918": "tcp 127.0.0.1:8918", "127.9.9.9:1": "tcp 127.9.9.9:1", "[::1]:1": "tcp [::1]:1",
		"localhost:1": "tcp localhost:1", "unix:/run/s": "unix /run/s", "unix:s": "unix s",
		"": "", ":0": "", ":8918": "", "0.0.0.0:1": "", "[::]:1": "", "*:1": "", "10.0.0.1:1": "", "example.com:1": "", "localhost.example:1": "",
		"127.0.0.1": "", "127.0.0.1:": "", "8918": "", "unix:": "", "tcp:127.0.0.1:1": "", "http://127.0.0.1:1": "", "169.254.169.254:80": "",
	} {
		network, at, err := SplitAddress(address)
		if got := strings.TrimSpace(network + " " + at); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", address, got, err)
		}
	}
}

// A Unix socket is this user's alone, replaces one that was left behind, and goes in the
// end; one that is in use, or another file, is left alone.
func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "socket")
	left, err := net.Listen("unix", path) // by a proxy that was killed
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	if _, err := Listen("unix", path); err == nil || !strings.Contains(err.Error(), "another program listens") {
		t.Errorf("a socket in use: %v", err)
	}
	_ = left.Close()
	listener, err := Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	_ = listener.Close()
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("%v are left, %v", files, err)
	}
	if err := os.WriteFile(path, []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix", path); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file: %v", err)
	}
	if _, err := Listen("unix", filepath.Join(dir, strings.Repeat("x", 200))); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a long path: %v", err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%v are left", files)
	}
}

// Segments are new ones each time, unless a file keeps one: that is this user's alone, and
// nothing else is taken for it.
func TestSegment(t *testing.T) {
	first, err := Segment("")
	second, err2 := Segment("")
	if err != nil || err2 != nil || first == second || !validSegment.MatchString(first) {
		t.Fatalf("got %q, %v, %q, %v", first, err, second, err2)
	}
	file := filepath.Join(t.TempDir(), "path")
	kept, err := Segment(file)
	if err != nil || !validSegment.MatchString(kept) {
		t.Fatalf("got %q, %v", kept, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
	if again, err := Segment(file); err != nil || again != kept {
		t.Errorf("got %q, %v, want %q", again, err, kept)
	}
	for text, problem := range map[string]string{"": "", "\n": "", "/short": "no path file", "/" + strings.Repeat("a", 30) + "/b": "no path file", "http://127.0.0.1/": "no path file"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Segment(file)
		if problem == "" && (err != nil || !validSegment.MatchString(got)) || problem != "" && (err == nil || !strings.Contains(err.Error(), problem)) {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	if err := os.WriteFile(file, []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Segment(file); err == nil || !strings.Contains(err.Error(), "other users may read") {
		t.Errorf("got %v", err)
	}
	if _, err := Segment(filepath.Join(t.TempDir(), "no", "such")); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("got %v", err)
	}
}
