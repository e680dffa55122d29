package c8auth

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// Credentials are long-lived credentials from Communic8's console: an OAuth 2 client (ClientID
// and ClientSecret), or an access key, which is a bearer token itself. The fields of the other
// method are zero.
type Credentials struct {
	BaseURL      string // https://host[:port]
	ClientID     string
	ClientSecret Secret
	AccessKey    Secret
}

const credentialsForms = `expected {"base_url": "https://…", "client_id": "…", "client_secret": "…"} or {"base_url": "https://…", "access_key": "…"}`

// ParseCredentials reads the JSON of a credentials secret. The error is an [ErrCredentials]
// that names the malformed key, says what was expected, and shows no value.
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
	refuse := func(format string, args ...any) (Credentials, error) {
		return Credentials{}, explain(ErrCredentials, format, args...)
	}
	id, secret, key := c.ClientID != "", c.ClientSecret.Reveal() != "", c.AccessKey.Reveal() != ""
	base, ok := oauth.ParseBaseURL(c.BaseURL)
	switch {
	case c.BaseURL == "":
		return refuse(`"base_url" is missing; %s`, credentialsForms)
	case !ok:
		return refuse(`"base_url" must be https:// and a host, optionally with a port, such as https://acme.communic8.com: without a user name, a path, a query or a slash at the end`)
	case !oauth.Confidential(base):
		return refuse(`"base_url" must begin with https://: over http the credentials would travel in the clear`)
	case key && (id || secret):
		return refuse("both methods at once; %s", credentialsForms)
	case key && !oauth.ValidBearer(c.AccessKey.Reveal()):
		return refuse(`"access_key" must be the key alone, printable ASCII without white space: copy it again`)
	case !key && !(id && secret):
		return refuse("neither method is complete; %s", credentialsForms)
	case strings.Contains(c.ClientID, ":"):
		return refuse(`"client_id" must not contain a colon: it is the token's ID, not ID and value`)
	}
	return c, nil
}

// stringFields reads a JSON object. Its keys must be known ones, each at most once. Its values
// must be strings that are not empty and have no white space around them and no invisible
// characters. It skips a byte order mark or a zero width space around the object, which
// editors leave. Errors of encoding/json are not passed on, because they may quote the input.
func stringFields(data []byte, known ...string) (map[string]string, error) {
	data = bytes.TrimFunc(data, func(r rune) bool { return unicode.IsSpace(r) || isInvisible(r) })
	in := json.NewDecoder(bytes.NewReader(data))
	if open, _ := in.Token(); open != json.Delim('{') || !json.Valid(data) {
		return nil, explain(ErrCredentials, "not a JSON object; %s", credentialsForms)
	}
	fields := make(map[string]string)
	for in.More() {
		token, _ := in.Token()
		key, _ := token.(string)
		if !slices.Contains(known, key) {
			if !plainKey.MatchString(key) || !slices.ContainsFunc(known, func(k string) bool { return edits(strings.ToLower(key), k) <= 2 }) {
				key = "(not shown: it could be a secret)" // a secret may have been pasted as a key
			}
			return nil, explain(ErrCredentials, "unknown key %s; %s", key, credentialsForms)
		}
		if fields[key] != "" {
			return nil, explain(ErrCredentials, "%q is there twice", key)
		}
		token, _ = in.Token()
		value, ok := token.(string)
		switch {
		case !ok:
			return nil, explain(ErrCredentials, "%q must be a string", key)
		case value == "":
			return nil, explain(ErrCredentials, "%q is empty", key)
		case strings.TrimSpace(value) != value:
			return nil, explain(ErrCredentials, "%q begins or ends with white space: copy it again", key)
		}
		if i := strings.IndexFunc(value, isInvisible); i >= 0 {
			return nil, explain(ErrCredentials, "%q contains an invisible character, %U: copy it again", key, []rune(value[i:])[0])
		}
		fields[key] = value
	}
	return fields, nil
}

// isInvisible reports whether r is a control or format character.
func isInvisible(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf) }

// plainKey is the syntax of a misspelled key, which an error may show.
var plainKey = regexp.MustCompile(`^[A-Za-z][A-Za-z_-]*$`)

// edits returns how many characters must be added, removed or replaced to turn a into b (the
// Levenshtein distance).
func edits(a, b string) int {
	row := make([]int, len(b)+1) // distances from the current prefix of a to each prefix of b
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
