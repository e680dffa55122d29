package c8auth

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// read reads the settings from the variables, with a stack if none is given.
func read(variables map[string]string) (Settings, error) {
	return ReadSettings(func(name string) (string, bool) {
		value, ok := variables[name]
		if name == "C8AUTH_STACK" && !ok {
			return "c8auth", true
		}
		return value, ok
	})
}

func TestReadSettings(t *testing.T) {
	longest := "A" + strings.Repeat("z", 127)
	for _, test := range []struct {
		name, value string
		change      func(*Settings) // of the defaults; nil for none
	}{
		{"C8AUTH", "another one's", nil},
		{"C8AUTH_STACK", "Acme-2", func(s *Settings) { s.Stack = "Acme-2" }},
		{"C8AUTH_STACK", "a", func(s *Settings) { s.Stack = "a" }},
		{"C8AUTH_STACK", longest, func(s *Settings) { s.Stack = longest }},
		{"C8AUTH_PROBE_PATH", "/x/y?z=1&a=b", func(s *Settings) { s.ProbePath = "/x/y?z=1&a=b" }},
		{"C8AUTH_PROBE_PATH", "/", func(s *Settings) { s.ProbePath = "/" }},
		{"C8AUTH_PROBE_PATH", "", func(s *Settings) { s.ProbePath = "" }},
		{"C8AUTH_CACHE_TTL", "90s", func(s *Settings) { s.CacheTTL = 90 * time.Second }},
		{"C8AUTH_CACHE_TTL", "1s", func(s *Settings) { s.CacheTTL = time.Second }},
		{"C8AUTH_CACHE_TTL", "1h", func(s *Settings) { s.CacheTTL = time.Hour }},
		{"C8AUTH_CACHE_TTL", "", nil},
		{"C8AUTH_PREFETCH", "default", func(s *Settings) { s.Prefetch = []string{"default"} }},
		{"C8AUTH_PREFETCH", " default , acme-2 ", func(s *Settings) { s.Prefetch = []string{"default", "acme-2"} }},
		{"C8AUTH_PREFETCH", "", nil},
		{"AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://vpce-0.secretsmanager.eu-central-1.vpce.amazonaws.com", nil},
		{"AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:5000/", nil},
		{"AWS_ENDPOINT_URL_SECRETS_MANAGER", "", nil},
	} {
		t.Run(test.name+"="+test.value, func(t *testing.T) {
			want := Settings{Stack: "c8auth", ProbePath: "/int/v1/broadcast?limit=1", CacheTTL: time.Minute}
			if test.change != nil {
				test.change(&want)
			}
			got, err := read(map[string]string{test.name: test.value})
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
}

// The error names the malformed variables, all of them and no other, and says what was
// expected. It does not show values, which may be secrets in the wrong place, and is not cut.
func TestReadSettingsRefuses(t *testing.T) {
	expected := map[string]string{
		"C8AUTH_STACK":                     "expected the CloudFormation stack's name",
		"C8AUTH_PROBE_PATH":                "expected a path that begins with a slash",
		"C8AUTH_CACHE_TTL":                 "expected a duration from 1s to 1h",
		"C8AUTH_PREFETCH":                  "expected names of tenants",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": "expected an http or https URL",
	}
	refused := func(t *testing.T, variables map[string]string) {
		t.Helper()
		got, err := read(variables)
		if err == nil {
			t.Fatalf("accepted as %+v", got)
		}
		for name, text := range expected {
			if _, given := variables[name]; strings.Contains(err.Error(), name+": "+text) != given {
				t.Errorf("want %s: %t in %v", name, given, err)
			}
		}
		if strings.Contains(err.Error(), "MARK") || Text(err) != err.Error() || Code(err) != "invalid_settings" {
			t.Errorf("got %v", err)
		}
	}
	all := make(map[string]string)
	for name, values := range map[string][]string{
		"C8AUTH_STACK":                     {"", " ", "2MARK", "-MARK", "MARK/x", "MARK_x", " MARK", "MARK\n", "MÄRK", "A" + strings.Repeat("z", 128)},
		"C8AUTH_PROBE_PATH":                {"MARK", "MARK/x", "?MARK", "@MARK.example/", ".MARK.example/", ":80/MARK", "https://MARK.example/", "/MARK#x", "/MARK x", "/MARK\n", "/MÄRK", "/%MARK", " "},
		"C8AUTH_CACHE_TTL":                 {"MARK", "60", "0", "0s", "-1m", "999ms", "1h1ns", "24h", " 1m", "1 m", "1e3s", "99999999h"},
		"C8AUTH_PREFETCH":                  {"MARK", "acme,MARK", ",", "acme,", ",acme", "acme,,default", "../MARK", "acme;MARK", "acme MARK", " ", strings.Repeat("a", 32)},
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": {"MARK", "MARK.example:443", "//MARK.example", "ftp://MARK.example", "https://", "https:///MARK", "https://MARK example", "http://[MARK", " "},
	} {
		all[name] = values[0]
		for _, value := range values {
			t.Run(name+"="+value, func(t *testing.T) { refused(t, map[string]string{name: value}) })
		}
	}
	t.Run("all", func(t *testing.T) { refused(t, all) })
}
