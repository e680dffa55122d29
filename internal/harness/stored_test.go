package harness_test

// Secrets as an older version stored them: testdata/stored holds what the commit that
// mixture_test.go names wrote.

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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
			now := time.Now().UTC()
			values := map[string]string{ // of this test, in the place of those
				"base_url":   s.Communic8URL,
				"issued_at":  now.Add(-time.Hour).Format(time.RFC3339),
				"expires_at": now.Add(23 * time.Hour).Format(time.RFC3339),
			}
			stored := func(name string) string {
				t.Helper()
				text, err := os.ReadFile("testdata/stored/" + method + "." + name + ".json")
				if err != nil {
					t.Fatal(err)
				}
				for key, value := range values {
					text = regexp.MustCompile(`("`+key+`":)"[^"]*"`).ReplaceAll(text, []byte(`${1}"`+value+`"`))
				}
				return strings.TrimSpace(string(text))
			}
			s.Secrets.Put(credentialsName, stored("credentials"))
			_, values["credentials_version"] = s.Secrets.Value(credentialsName)
			older := stored("token")
			s.Secrets.Put(tokenName, older)

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
			newer, _ := s.Secrets.Value(tokenName)
			keys := func(text string) []string {
				return slices.Sorted(slices.Values(regexp.MustCompile(`"\w+":`).FindAllString(text, -1)))
			}
			if diff := cmp.Diff(keys(older), keys(newer)); diff != "" {
				t.Errorf("keys of the token secret, - then, + now:\n%s", diff)
			}
		})
	}
}
