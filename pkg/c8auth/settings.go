package c8auth

import (
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// Settings are the settings of both functions. Each comes from the environment variable that
// its comment names.
type Settings struct {
	Stack     string        // C8AUTH_STACK: prefix of the secrets' names
	ProbePath string        // C8AUTH_PROBE_PATH: where rotate probes tokens; empty: nowhere
	CacheTTL  time.Duration // C8AUTH_CACHE_TTL: see [Cache]
	Prefetch  []string      // C8AUTH_PREFETCH: tenants whose tokens vend reads at a cold start; nil: none
}

const (
	defaultProbePath = "/int/v1/broadcast?limit=1"
	defaultCacheTTL  = time.Minute
)

// stackName is the syntax of a CloudFormation stack's name, without its limit of 128 characters.
var stackName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)

// ReadSettings reads the settings by lookup, usually [os.LookupEnv]. An empty variable counts
// as unset, except C8AUTH_PROBE_PATH. The error is an [ErrSettings] that names every missing or
// malformed variable and says what was expected.
func ReadSettings(lookup func(string) (string, bool)) (Settings, error) {
	s := Settings{ProbePath: defaultProbePath, CacheTTL: defaultCacheTTL}
	var wrong []string
	expect := func(ok bool, name, expected string) {
		if !ok {
			wrong = append(wrong, name+": expected "+expected)
		}
	}
	get := func(name string) string {
		value, _ := lookup(name)
		return value
	}

	s.Stack = get("C8AUTH_STACK")
	expect(len(s.Stack) <= 128 && stackName.MatchString(s.Stack), "C8AUTH_STACK", "the CloudFormation stack's name: a letter followed by at most 127 letters, digits or hyphens")

	if path, ok := lookup("C8AUTH_PROBE_PATH"); ok {
		s.ProbePath = path
		_, err := url.ParseRequestURI(path) // appended to a base URL, it must not change the host
		expect(path == "" || err == nil && path[0] == '/' && !strings.Contains(path, "#") && oauth.ValidBearer(path), "C8AUTH_PROBE_PATH", "a path that begins with a slash, such as "+defaultProbePath+", or nothing")
	}

	if ttl := get("C8AUTH_CACHE_TTL"); ttl != "" {
		var err error
		s.CacheTTL, err = time.ParseDuration(ttl)
		expect(err == nil && s.CacheTTL >= time.Second && s.CacheTTL <= time.Hour, "C8AUTH_CACHE_TTL", "a duration from 1s to 1h, such as 1m")
	}

	if list := get("C8AUTH_PREFETCH"); list != "" {
		ok := true
		for tenant := range strings.SplitSeq(list, ",") {
			tenant = strings.TrimSpace(tenant)
			ok = ok && CheckTenant(tenant) == nil
			s.Prefetch = append(s.Prefetch, tenant)
		}
		expect(ok, "C8AUTH_PREFETCH", "names of tenants, separated by commas")
	}

	if endpoint := get("AWS_ENDPOINT_URL_SECRETS_MANAGER"); endpoint != "" {
		u, err := url.Parse(endpoint)
		expect(err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "an http or https URL")
	}

	if wrong != nil {
		return Settings{}, explain(ErrSettings, "%s", strings.Join(wrong, "; "))
	}
	return s, nil
}
