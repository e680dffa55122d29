package proxy

// The proxy's listener, and the path segment that its clients must know.

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// SplitAddress returns network and address for [Listen]. address must be unix:PATH, or a loopback
// address with a port.
func SplitAddress(address string) (network, at string, _ error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok && path != "" {
		return "unix", path, nil
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" || !loopback(address) {
		return "", "", errors.New("it must be unix:PATH, or a loopback address with a port, such as 127.0.0.1:8918")
	}
	return "tcp", address, nil
}

// Listen listens at an address that [SplitAddress] returned. Only this user and root can connect
// to a Unix socket, from its creation on.
func Listen(network, at string) (net.Listener, error) {
	if network == "unix" {
		return listenUnix(at)
	}
	listener, err := net.Listen(network, at)
	if err != nil {
		return nil, fmt.Errorf("the proxy cannot listen at %s: %w", at, err)
	}
	// The name localhost resolves to whatever this machine's configuration says.
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		_ = listener.Close()
		return nil, fmt.Errorf("%s is not loopback on this machine", at)
	}
	return listener, nil
}

// maxSocket is the longest path of a Unix socket that works on every system, in bytes.
const maxSocket = 103

// listenUnix creates the socket in a directory that other users cannot enter, and then renames
// it to path. The rename replaces a socket that an earlier proxy has left behind.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s exists and is no socket", path)
	}
	if len(path) > maxSocket {
		return nil, fmt.Errorf("%s is too long for a socket: at most %d bytes", path, maxSocket)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("another program listens at %s", path)
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".c8")
	if err != nil {
		return nil, fmt.Errorf("a socket cannot be made at %s: %w", path, err)
	}
	defer func() { _ = os.Remove(dir) }()
	private := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", private)
	if err != nil {
		return nil, fmt.Errorf("a socket cannot be made at %s (its directory may be at most some 80 bytes): %w", path, err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(private, 0o600), os.Rename(private, path)); err != nil {
		_ = listener.Close()
		_ = os.Remove(private)
		return nil, fmt.Errorf("a socket cannot be made at %s: %w", path, err)
	}
	return &unixListener{listener, path}, nil
}

// unixListener removes the socket when it is closed.
type unixListener struct {
	net.Listener
	path string
}

func (l *unixListener) Close() error {
	_ = os.Remove(l.path)
	return l.Listener.Close()
}

var validSegment = regexp.MustCompile(`^/[A-Za-z0-9_-]{22,128}$`)

// Segment returns the path of the base URL: a slash and a random segment of 130 bits. If file is
// not empty, Segment returns the path that the file contains, or writes a new one to it with
// mode 0600. The error says what is wrong with the file.
func Segment(file string) (string, error) {
	segment := "/" + rand.Text()
	if file == "" {
		return segment, nil
	}
	text, err := os.ReadFile(file) // #nosec G304 -- the user named it
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the path file cannot be read: %w", err)
	}
	if kept := strings.TrimSpace(string(text)); kept != "" {
		info, err := os.Stat(file)
		switch {
		case err != nil:
			return "", fmt.Errorf("the path file cannot be read: %w", err)
		case info.Mode().Perm()&0o007 != 0:
			return "", fmt.Errorf("other users may read the path file: chmod 600 %s", file)
		case !validSegment.MatchString(kept):
			return "", fmt.Errorf("%s is no path file: it must hold a slash and at least 22 letters and digits, or nothing", file)
		}
		return kept, nil
	}
	if err := writeFile(file, segment+"\n"); err != nil {
		return "", fmt.Errorf("the path file cannot be written: %w", err)
	}
	return segment, nil
}

// writeFile writes a file that only this user can read, whole or not at all.
func writeFile(name, text string) error {
	file, err := os.CreateTemp(filepath.Dir(name), ".c8") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}
