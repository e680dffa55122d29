//go:build soak

package soak

// What secrets look like in a log.

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
)

// needles are the strings to look for, by their first eight bytes.
type needles map[uint64][]string

// newNeedles is each half of each secret, plain and in base64 wherever it stands in what
// is encoded.
func newNeedles(secrets []string) needles {
	all := make(needles)
	add := func(s string) {
		key := binary.LittleEndian.Uint64([]byte(s))
		all[key] = append(all[key], s)
	}
	for _, secret := range secrets {
		for _, half := range []string{secret[:len(secret)/2], secret[len(secret)/2:]} {
			add(half)
			for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				for before := range 3 {
					whole := encoding.EncodeToString([]byte("\x00\x00"[:before] + half))
					add(whole[(before*8+5)/6 : (before+len(half))*8/6])
				}
			}
		}
	}
	return all
}

// in returns whether the line holds any of them.
func (all needles) in(line []byte) bool {
	for i := range max(0, len(line)-7) {
		for _, s := range all[binary.LittleEndian.Uint64(line[i:])] {
			if bytes.HasPrefix(line[i:], []byte(s)) {
				return true
			}
		}
	}
	return false
}

// search reads a log and returns how many lines it has and the numbers of those that
// hold a secret. It shows none of them.
func (all needles) search(log io.Reader) (lines int, found []int, err error) {
	in := bufio.NewScanner(log)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		lines++
		if all.in(in.Bytes()) {
			found = append(found, lines)
		}
	}
	return lines, found, in.Err()
}

// A secret is found in the midst of anything, in part and encoded with what is around it.
func TestSecretsAreFound(t *testing.T) {
	secrets := []string{unreadable, callerSecret, "0123456789abcdef0123456789abcdef"}
	all := newNeedles(secrets)
	for _, secret := range secrets {
		for _, around := range []string{"", "a", "ab", "abc", "client-of-acme:"} {
			for _, text := range []string{
				around + secret,
				around + secret[:len(secret)/2+1],
				around + secret[len(secret)/2-1:],
				base64.StdEncoding.EncodeToString([]byte(around + secret + around)),
				base64.URLEncoding.EncodeToString([]byte(around + secret)),
			} {
				line := fmt.Sprintf(`{"level":"ERROR","error":%q}`, text)
				if lines, found, err := all.search(strings.NewReader("{}\n" + line + "\n")); lines != 2 || len(found) != 1 || found[0] != 2 || err != nil {
					t.Errorf("%q is not found: %d lines, %d, %v", line, lines, found, err)
				}
			}
		}
	}
	if all.in([]byte(`{"level":"INFO","version":"01234567-89ab-8def-8123-456789abcdef"}`)) {
		t.Error("found where there is none")
	}
}
