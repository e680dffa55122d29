package harness_test

// Secrets as an older version stored them: testdata/stored holds what the commit that
// mixture_test.go names wrote.

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	storedURL     = regexp.MustCompile(`http://127.0.0.1:\d+`)
	storedVersion = regexp.MustCompile(`("credentials_version":)"[^"]*"`)
	storedIssued  = regexp.MustCompile(`("issued_at":)"[^"]*"`)
	storedExpires = regexp.MustCompile(`("expires_at":)"[^"]*"`)
)

// TestStoredFormats: vend serves a token that an older version stored, and rotate takes it and
// the credentials as its own. What rotate stores instead has the same keys, so that the older
// version can read it.
func TestStoredFormats(t *testing.T) {
	for method, token := range map[string]string{"oauth": "cd3d4eb485fd695f47e562af6c692c12", "key": "key"} {
		t.Run(method, func(t *testing.T) {
			s := start(t)
			s.Communic8.AddClient("id", "secret")
			s.Communic8.AddAccessKey("key")
			stored := func(name string) string {
				t.Helper()
				text, err := os.ReadFile("testdata/stored/" + method + "." + name + ".json")
				if err != nil {
					t.Fatal(err)
				}
				return storedURL.ReplaceAllString(strings.TrimSpace(string(text)), s.Communic8URL)
			}
			s.Secrets.Put(credentialsName, stored("credentials"))
			_, version := s.Secrets.Value(credentialsName)
			value := storedVersion.ReplaceAllString(stored("token"), `${1}"`+version+`"`)
			value = storedIssued.ReplaceAllString(value, `${1}"`+time.Now().UTC().Add(-time.Hour).Format(time.RFC3339)+`"`)
			value = storedExpires.ReplaceAllString(value, `${1}"`+time.Now().UTC().Add(23*time.Hour).Format(time.RFC3339)+`"`)
			s.Secrets.Put(tokenName, value)

			resp, body, err := s.Get(t.Context(), "default", nil)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(body), `"access_token":"`+token+`"`) {
				t.Errorf("vend answers %s %s, want the token %s", resp.Status, body, token)
			}
			if method == "key" {
				rotate(t, s, "fresh", "")
			} else { // Communic8 has not issued it here
				rotate(t, s, "rotated", "rejected")
			}
			s.Secrets.Put(tokenName, "spoilt")
			rotate(t, s, "rotated", "unreadable_token")
			now, _ := s.Secrets.Value(tokenName)
			if diff := cmp.Diff(members(t, value), members(t, now)); diff != "" {
				t.Errorf("keys of the token secret, - then, + now:\n%s", diff)
			}
		})
	}
}

// members returns the keys of a JSON object, sorted.
func members(t *testing.T, text string) []string {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return slices.Sorted(maps.Keys(object))
}
