package c8auth

import (
	"errors"
	"strings"
	"testing"
)

func TestParseCredentials(t *testing.T) {
	oauth := func(base string) string {
		return `{"base_url": "` + base + `", "client_id": "id", "client_secret": "MARK"}`
	}
	for _, test := range []struct {
		name, in string
		want     string // a part of the error; empty for none
	}{
		{"OAuth 2", oauth("https://acme.communic8.com"), ""},
		{"access key", `{"base_url": "https://acme.communic8.com", "access_key": "MARK"}`, ""},
		{"with a port", oauth("https://acme.communic8.com:8443"), ""},
		{"an IP address", oauth("https://[2001:db8::1]:443"), ""},
		{"http on loopback", oauth("http://127.0.0.1:9701"), ""},
		{"http on IPv6 loopback", oauth("http://[::1]:9701"), ""},
		{"http on localhost", oauth("http://localhost"), ""},
		{"http on Docker's host", oauth("http://host.docker.internal:9701"), ""},
		{"colon and letters of any kind in the secret", `{"base_url": "https://a.b", "client_id": "id", "client_secret": "pä:ß MARK"}`, ""},

		{"nothing", ``, "not a JSON object"},
		{"empty object", `{}`, `"base_url" is missing`},
		{"null", `null`, "not a JSON object"},
		{"a string", `"MARK"`, "not a JSON object"},
		{"an array", `["MARK"]`, "not a JSON object"},
		{"cut off", `{"base_url": "https://a.b", "client_id": "id", "client_secret": "MARK`, "not a JSON object"},
		{"cut off after a value", `{"access_key": "MARK"`, "not a JSON object"},
		{"something behind it", oauth("https://a.b") + "MARK", "not a JSON object"},
		{"not JSON", "client_secret=MARK", "not a JSON object"},
		{"both methods", `{"base_url": "https://a.b", "client_id": "id", "client_secret": "MARK", "access_key": "MARK"}`, "both methods at once"},
		{"one and a half methods", `{"base_url": "https://a.b", "client_id": "id", "access_key": "MARK"}`, "both methods at once"},
		{"half a method", `{"base_url": "https://a.b", "client_secret": "MARK"}`, "neither method is complete"},
		{"no method", `{"base_url": "https://a.b"}`, "neither method is complete"},
		{"an unknown key", `{"base_url": "https://a.b", "clientsecret": "MARK"}`, `unknown key clientsecret;`},
		{"a key in another case", `{"base_url": "https://a.b", "Access_Key": "MARK"}`, `unknown key Access_Key;`},
		{"a key with hyphens", `{"base_url": "https://a.b", "client-secret": "MARK"}`, `unknown key client-secret;`},
		{"a key in camel case", `{"base_url": "https://a.b", "clientId": "MARK"}`, `unknown key clientId;`},
		{"a key that is none of these", `{"base_url": "https://a.b", "MARKerased": "x"}`, "unknown key (not shown"},
		{"letters alone as a key", `{"MARKqwertzuiop": "x"}`, "unknown key (not shown"},
		{"an escape sequence in a key", `{"base_url": "https://a.b", "client_i\u001bd": "MARK"}`, "unknown key (not shown"},
		{"a very long key", `{"` + strings.Repeat("client_id", 10000) + `": "MARK"}`, "unknown key (not shown"},
		{"a value as a key", `{"base_url": "https://a.b", "MARK+1": "x"}`, "unknown key (not shown"},
		{"a value alone in braces", `{"MARK"}`, "not a JSON object"},
		{"a key twice", `{"base_url": "https://a.b", "access_key": "MARK", "access_key": "MARK"}`, `"access_key" is there twice`},
		{"a number", `{"base_url": "https://a.b", "access_key": 12345}`, `"access_key" must be a string`},
		{"a null", `{"base_url": "https://a.b", "access_key": null}`, `"access_key" must be a string`},
		{"an object", `{"base_url": "https://a.b", "access_key": {"x": "MARK"}}`, `"access_key" must be a string`},
		{"an empty value", `{"base_url": "https://a.b", "access_key": ""}`, `"access_key" is empty`},
		{"a line end copied along", `{"base_url": "https://a.b", "access_key": "MARK\n"}`, `"access_key" begins or ends with white space`},
		{"a byte order mark around it", "\ufeff" + oauth("https://a.b") + "\n", ""},
		{"a zero width space around it", "\u200b" + oauth("https://a.b") + "\u200b", ""},
		{"a no-break space around it", "\u00a0" + oauth("https://a.b") + "\u00a0", ""},
		{"a byte order mark in a value", `{"base_url": "https://a.b", "client_id": "\ufeffid", "client_secret": "MARK"}`, `"client_id" contains an invisible character, U+FEFF`},
		{"a zero width space in a value", `{"base_url": "https://a.b", "client_id": "id", "client_secret": "MARK\u200b"}`, `"client_secret" contains an invisible character, U+200B`},
		{"a zero width space in base_url", oauth("https://a.b\u200b"), `"base_url" contains an invisible character, U+200B`},
		{"an escape in a value", `{"base_url": "https://a.b", "client_id": "id", "client_secret": "MA\u001bRK"}`, `"client_secret" contains an invisible character, U+001B`},
		{"a zero width space in an access key", `{"base_url": "https://a.b", "access_key": "\u200bMARK"}`, `"access_key" contains an invisible character, U+200B`},
		{"a byte order mark in a key", `{"\ufeffbase_url": "https://a.b"}`, "unknown key (not shown"},
		{"white space within an access key", `{"base_url": "https://a.b", "access_key": "MARK MARK"}`, `"access_key" must be the key alone`},
		{"ID and value in one", `{"base_url": "https://a.b", "client_id": "id:MARK", "client_secret": "MARK"}`, `"client_id" must not contain a colon`},

		{"http", oauth("http://acme.communic8.com"), "must begin with https://"},
		{"http on an address of the network", oauth("http://10.0.0.1"), "must begin with https://"},
		{"http on a name that begins like localhost", oauth("http://localhost.evil.example"), "must begin with https://"},
		{"a path", oauth("https://a.b/MARK"), `"base_url" must be https://`},
		{"a slash", oauth("https://a.b/"), `"base_url" must be https://`},
		{"a query", oauth("https://a.b?MARK"), `"base_url" must be https://`},
		{"a fragment", oauth("https://a.b#MARK"), `"base_url" must be https://`},
		{"an empty fragment", oauth("https://a.b#"), `"base_url" must be https://`},
		{"a user name", oauth("https://MARK@a.b"), `"base_url" must be https://`},
		{"a password", oauth("https://u:MARK@a.b"), `"base_url" must be https://`},
		{"no scheme", oauth("acme.communic8.com"), `"base_url" must be https://`},
		{"another scheme", oauth("ftp://acme.communic8.com"), `"base_url" must be https://`},
		{"no host", oauth("https://"), `"base_url" must be https://`},
		{"a port without a host", oauth("https://:443"), `"base_url" must be https://`},
		{"a colon without a port", oauth("https://a.b:"), `"base_url" must be https://`},
		{"a port that is none", oauth("https://a.b:99999"), `"base_url" must be https://`},
		{"a space", oauth("https://a b"), `"base_url" must be https://`},
		{"a line end", oauth(`https://a.b\nHost: evil`), `"base_url" contains an invisible character, U+000A`},
		{"letters that no host has", oauth("https://ä.example"), `"base_url" must be https://`},
		{"a zone", oauth("http://[::1%25lo]"), `"base_url" must be https://`},
		{"an empty base_url", oauth(""), `"base_url" is empty`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := ParseCredentials([]byte(test.in))
			if test.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				if secret := c.ClientSecret.Reveal() + c.AccessKey.Reveal(); !strings.Contains(secret, "MARK") || c.BaseURL == "" {
					t.Errorf("got %q", secret)
				}
				return
			}
			if !errors.Is(err, ErrCredentials) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an ErrCredentials with %q", err, test.want)
			}
			if strings.Contains(err.Error(), "MARK") || c != (Credentials{}) {
				t.Errorf("a refusal shows a value: %v", err)
			}
		})
	}
}

func TestEdits(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"client_id", "client_id", 0}, {"clientid", "client_id", 1}, {"client-id", "client_id", 1},
		{"acces_kye", "access_key", 3}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3},
	} {
		if got := edits(test.a, test.b); got != test.want {
			t.Errorf("%q, %q: got %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
