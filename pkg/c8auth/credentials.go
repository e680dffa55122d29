package c8auth

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// Credentials are what a person got from Communic8's console: either an OAuth 2
// client (ClientID and ClientSecret) or an access key, which is a bearer token
// itself. The unused method's fields are zero.
type Credentials struct {
	BaseURL      string // https://host[:port]
	ClientID     string
	ClientSecret Secret
	AccessKey    Secret
}

const credentialsForms = `expected {"base_url": "https://…", "client_id": "…", "client_secret": "…"} or {"base_url": "https://…", "access_key": "…"}`

// ParseCredentials reads the JSON of a credentials secret. Its error is an
// [ErrCredentials] that says what was expected and names the key that is wrong; it
// never shows a value.
func ParseCredentials(data []byte) (Credentials, error) {
	fields, err := stringFields(data, "base_url", "client_id", "client_secret", "access_key")
	if err != nil {
		return Credentials{}, err
	}
	c := Credentials{
		BaseURL:      fields["base_url"],
		ClientID:     fields["client_id"],
		ClientSecret: NewSecret(fields["client_secret"]),
		AccessKey:    NewSecret(fields["access_key"]),
	}
	if c.BaseURL == "" {
		return Credentials{}, explain(ErrCredentials, `"base_url" is missing; %s`, credentialsForms)
	}
	if err := checkBaseURL(c.BaseURL); err != nil {
		return Credentials{}, err
	}
	_, id := fields["client_id"]
	_, secret := fields["client_secret"]
	_, key := fields["access_key"]
	switch {
	case key && (id || secret):
		return Credentials{}, explain(ErrCredentials, "both methods at once; %s", credentialsForms)
	case key:
		if !oauth.ValidBearer(c.AccessKey.Reveal()) {
			return Credentials{}, explain(ErrCredentials, `"access_key" must be the key alone, printable ASCII without white space: copy it again`)
		}
	case id && secret:
		if strings.Contains(c.ClientID, ":") {
			return Credentials{}, explain(ErrCredentials, `"client_id" must not contain a colon: it is the token's ID, not ID and value`)
		}
	default:
		return Credentials{}, explain(ErrCredentials, "neither method is complete; %s", credentialsForms)
	}
	return c, nil
}

// stringFields reads a JSON object whose values are all strings, none of them empty,
// surrounded by white space or with invisible characters, and whose keys are known ones,
// each at most once. A byte order mark or a zero width space around the object, which
// editors leave, is skipped. encoding/json's own errors may quote the input, so none of
// them is passed on.
func stringFields(data []byte, known ...string) (map[string]string, error) {
	notObject := explain(ErrCredentials, "not a JSON object; %s", credentialsForms)
	data = bytes.TrimFunc(data, func(r rune) bool { return unicode.IsSpace(r) || isInvisible(r) })
	if !json.Valid(data) { // the decoder would show a string where a key should be
		return nil, notObject
	}
	in := json.NewDecoder(bytes.NewReader(data))
	if open, err := in.Token(); err != nil || open != json.Delim('{') {
		return nil, notObject
	}
	fields := make(map[string]string)
	for in.More() {
		token, _ := in.Token()
		key, _ := token.(string)
		if !slices.Contains(known, key) {
			if !plainKey.MatchString(key) || !slices.ContainsFunc(known, func(k string) bool { return edits(strings.ToLower(key), k) <= 2 }) {
				key = "(not shown: it could be a secret)" // pasted where a key belongs
			}
			return nil, explain(ErrCredentials, "unknown key %s; %s", key, credentialsForms)
		}
		if _, twice := fields[key]; twice {
			return nil, explain(ErrCredentials, "%q is there twice", key)
		}
		var raw json.RawMessage
		if err := in.Decode(&raw); err != nil {
			return nil, notObject
		}
		var value *string
		if json.Unmarshal(raw, &value) != nil || value == nil {
			return nil, explain(ErrCredentials, "%q must be a string", key)
		}
		if *value == "" {
			return nil, explain(ErrCredentials, "%q is empty", key)
		}
		if strings.TrimSpace(*value) != *value {
			return nil, explain(ErrCredentials, "%q begins or ends with white space: copy it again", key)
		}
		if i := strings.IndexFunc(*value, isInvisible); i >= 0 {
			return nil, explain(ErrCredentials, "%q contains an invisible character, %U: copy it again", key, []rune((*value)[i:])[0])
		}
		fields[key] = *value
	}
	return fields, nil
}

// isInvisible reports whether nobody sees the character: a control or format character.
func isInvisible(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf) }

// edits returns how many characters have to be added, removed or replaced to make b of a
// (the Levenshtein distance).
func edits(a, b string) int {
	row := make([]int, len(b)+1) // of the characters of a so far, to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// plainKey is what a key looks like that someone meant as one.
var plainKey = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]*$`)

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$`)

// checkBaseURL returns nil for https://host[:port] and nothing else. Plain http is
// for this machine alone, where the fakes are.
func checkBaseURL(s string) error {
	malformed := explain(ErrCredentials, `"base_url" must be https:// and a host, optionally with a port, such as https://acme.communic8.com: without a user name, a path, a query or a slash at the end`)
	u, err := url.Parse(s)
	if err != nil || u.Scheme+"://"+u.Host != s {
		return malformed
	}
	host := u.Hostname()
	ip, err := netip.ParseAddr(host)
	isIP := err == nil && ip.Zone() == ""
	if !isIP && (len(host) > 253 || !hostName.MatchString(host)) {
		return malformed
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return malformed
		}
	}
	local := host == "localhost" || host == "host.docker.internal" || isIP && ip.Unmap().IsLoopback()
	switch {
	case u.Scheme == "https", u.Scheme == "http" && local:
		return nil
	case u.Scheme == "http":
		return explain(ErrCredentials, `"base_url" must begin with https://: over http the credentials would travel in the clear`)
	}
	return malformed
}
