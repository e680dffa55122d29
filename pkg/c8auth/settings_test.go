package c8auth

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// environment is the variables that are set, maybe to nothing.
type environment map[string]string

func (e environment) lookup(name string) (string, bool) {
	value, ok := e[name]
	return value, ok
}

// with is the environment with one variable more.
func (e environment) with(name, value string) environment {
	more := environment{name: value}
	for name, value := range e {
		if _, ok := more[name]; !ok {
			more[name] = value
		}
	}
	return more
}

// Only the stack must be set.
var stackOnly = environment{"C8AUTH_STACK": "c8auth"}

func TestReadSettings(t *testing.T) {
	defaults := Settings{Stack: "c8auth", ProbePath: "/int/v1/broadcast?limit=1", CacheTTL: time.Minute}
	stack := func(name string) Settings { s := defaults; s.Stack = name; return s }
	probe := func(path string) Settings { s := defaults; s.ProbePath = path; return s }
	ttl := func(d time.Duration) Settings { s := defaults; s.CacheTTL = d; return s }
	prefetch := func(tenants ...string) Settings { s := defaults; s.Prefetch = tenants; return s }
	longest := "A" + strings.Repeat("z", 127)

	for _, test := range []struct {
		name string
		in   environment
		want Settings
	}{
		{"the defaults", stackOnly, defaults},
		{"variables of others", stackOnly.with("AWS_REGION", "").with("C8AUTH", "x"), defaults},

		{"a stack", environment{"C8AUTH_STACK": "Acme-2"}, stack("Acme-2")},
		{"a stack of one letter", environment{"C8AUTH_STACK": "a"}, stack("a")},
		{"a stack with the longest name", environment{"C8AUTH_STACK": longest}, stack(longest)},

		{"a probe path", stackOnly.with("C8AUTH_PROBE_PATH", "/x/y?z=1&a=b"), probe("/x/y?z=1&a=b")},
		{"the shortest probe path", stackOnly.with("C8AUTH_PROBE_PATH", "/"), probe("/")},
		{"never a probe", stackOnly.with("C8AUTH_PROBE_PATH", ""), probe("")},

		{"a TTL", stackOnly.with("C8AUTH_CACHE_TTL", "90s"), ttl(90 * time.Second)},
		{"the shortest TTL", stackOnly.with("C8AUTH_CACHE_TTL", "1s"), ttl(time.Second)},
		{"the longest TTL", stackOnly.with("C8AUTH_CACHE_TTL", "1h"), ttl(time.Hour)},
		{"an empty TTL", stackOnly.with("C8AUTH_CACHE_TTL", ""), defaults},

		{"one to prefetch", stackOnly.with("C8AUTH_PREFETCH", "default"), prefetch("default")},
		{"two to prefetch", stackOnly.with("C8AUTH_PREFETCH", "default,acme-2"), prefetch("default", "acme-2")},
		{"two with blanks", stackOnly.with("C8AUTH_PREFETCH", " default , acme "), prefetch("default", "acme")},
		{"none to prefetch", stackOnly.with("C8AUTH_PREFETCH", ""), defaults},

		{"an endpoint", stackOnly.with("AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://vpce-0.secretsmanager.eu-central-1.vpce.amazonaws.com"), defaults},
		{"a local endpoint", stackOnly.with("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:5000/"), defaults},
		{"no endpoint", stackOnly.with("AWS_ENDPOINT_URL_SECRETS_MANAGER", ""), defaults},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ReadSettings(test.in.lookup)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A setting that is wrong is named, with what was expected instead; its value, which
// may be a secret in the wrong place, is not shown.
func TestReadSettingsRefuses(t *testing.T) {
	expected := map[string]string{
		"C8AUTH_STACK":                     "expected the CloudFormation stack's name",
		"C8AUTH_PROBE_PATH":                "expected a path that begins with a slash",
		"C8AUTH_CACHE_TTL":                 "expected a duration from 1s to 1h",
		"C8AUTH_PREFETCH":                  "expected names of tenants",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": "expected an http or https URL",
	}
	for name, values := range map[string][]string{
		"C8AUTH_STACK":                     {"", " ", "2MARK", "-MARK", "MARK/x", "MARK_x", " MARK", "MARK\n", "MÄRK", strings.Repeat("MARK", 33)},
		"C8AUTH_PROBE_PATH":                {"MARK", "MARK/x", "?MARK", "@MARK.example/", ".MARK.example/", ":80/MARK", "https://MARK.example/", "/MARK#x", "/MARK x", "/MARK\n", "/MÄRK", "/%MARK", " "},
		"C8AUTH_CACHE_TTL":                 {"MARK", "60", "0", "0s", "-1m", "999ms", "1h1ns", "24h", " 1m", "1 m", "1e3s", "99999999h"},
		"C8AUTH_PREFETCH":                  {"MARK", "acme,MARK", ",", "acme,", ",acme", "acme,,default", "../MARK", "acme;MARK", "acme MARK", " ", strings.Repeat("a", 32)},
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": {"MARK", "MARK.example:443", "//MARK.example", "ftp://MARK.example", "https://", "https:///MARK", "https://MARK example", "http://[MARK", " "},
	} {
		for _, value := range values {
			t.Run(name+"="+value, func(t *testing.T) {
				got, err := ReadSettings(stackOnly.with(name, value).lookup)
				if err == nil {
					t.Fatalf("accepted as %+v", got)
				}
				if !strings.Contains(err.Error(), name+": "+expected[name]) {
					t.Errorf("the error does not say what was expected: %v", err)
				}
				if strings.Contains(err.Error(), "MARK") {
					t.Errorf("the error shows the value: %v", err)
				}
				for other := range expected {
					if other != name && strings.Contains(err.Error(), other) {
						t.Errorf("the error names %s, which is right: %v", other, err)
					}
				}
			})
		}
	}
}

// One message names all that is wrong: nobody wants to deploy once for each mistake.
func TestReadSettingsNamesAllThatIsWrong(t *testing.T) {
	wrong := environment{
		"C8AUTH_PROBE_PATH":                "x",
		"C8AUTH_CACHE_TTL":                 "x",
		"C8AUTH_PREFETCH":                  "X",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": "x",
	}
	_, err := ReadSettings(wrong.lookup)
	if err == nil {
		t.Fatal("accepted")
	}
	for name := range wrong.with("C8AUTH_STACK", "") {
		if !strings.Contains(err.Error(), name+": expected ") {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
}
