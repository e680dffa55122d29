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
	with := func(members string) string { return `{"base_url": "https://a.b", ` + members + `}` }
	for _, test := range []struct {
		name, in string
		want     string // a part of the error; empty for none
	}{
		{"OAuth 2", oauth("https://acme.communic8.com"), ""},
		{"access key", with(`"access_key": "MARK"`), ""},
		{"any characters in the secret", with(`"client_id": "id", "client_secret": "pä:ß MARK"`), ""},
		{"a byte order mark around it", "\ufeff" + oauth("https://a.b") + "\n", ""},
		{"a zero width space around it", "\u200b" + oauth("https://a.b") + "\u200b", ""},
		{"a no-break space around it", "\u00a0" + oauth("https://a.b") + "\u00a0", ""},

		{"nothing", ``, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"a string", `"MARK"`, "not a JSON object"},
		{"an array", `["MARK"]`, "not a JSON object"},
		{"cut off", `{"base_url": "https://a.b", "client_id": "id", "client_secret": "MARK`, "not a JSON object"},
		{"cut off after a value", `{"access_key": "MARK"`, "not a JSON object"},
		{"something behind it", oauth("https://a.b") + "MARK", "not a JSON object"},
		{"not JSON", "client_secret=MARK", "not a JSON object"},
		{"a value alone in braces", `{"MARK"}`, "not a JSON object"},

		{"empty object", `{}`, `"base_url" is missing`},
		{"both methods", with(`"client_id": "id", "client_secret": "MARK", "access_key": "MARK"`), "both methods at once"},
		{"an id and a key", with(`"client_id": "id", "access_key": "MARK"`), "both methods at once"},
		{"a secret and a key", with(`"client_secret": "MARK", "access_key": "MARK"`), "both methods at once"},
		{"no id", with(`"client_secret": "MARK"`), "neither method is complete"},
		{"no secret", with(`"client_id": "MARK"`), "neither method is complete"},
		{"no method", `{"base_url": "https://a.b"}`, "neither method is complete"},
		{"white space within an access key", with(`"access_key": "MARK MARK"`), `"access_key" must be the key alone`},
		{"ID and value in one", with(`"client_id": "id:MARK", "client_secret": "MARK"`), `"client_id" must not contain a colon`},
		{"http", oauth("http://acme.communic8.com"), "must begin with https://"},
		{"a path", oauth("https://a.b/MARK"), `"base_url" must be https://`},

		{"a key without underscore", with(`"clientsecret": "MARK"`), `unknown key clientsecret;`},
		{"a key in another case", with(`"Access_Key": "MARK"`), `unknown key Access_Key;`},
		{"a key with a hyphen", with(`"client-secret": "MARK"`), `unknown key client-secret;`},
		{"a key in camel case", with(`"clientId": "MARK"`), `unknown key clientId;`},
		{"a key two edits off", with(`"acess_kay": "MARK"`), `unknown key acess_kay;`},
		{"a key three edits off", with(`"my_client_id": "MARK"`), "unknown key (not shown"},
		{"a key with three characters less", with(`"ent_id": "MARK"`), "unknown key (not shown"},
		{"another key", with(`"MARKerased": "x"`), "unknown key (not shown"},
		{"letters alone as a key", `{"MARKqwertzuiop": "x"}`, "unknown key (not shown"},
		{"an escape sequence in a key", with(`"client_i\u001bd": "MARK"`), "unknown key (not shown"},
		{"a byte order mark in a key", `{"\ufeffbase_url": "https://a.b"}`, "unknown key (not shown"},
		{"a very long key", `{"` + strings.Repeat("client_id", 10000) + `": "MARK"}`, "unknown key (not shown"},
		{"a value as a key", with(`"MARK+1": "x"`), "unknown key (not shown"},
		{"a key twice", with(`"access_key": "MARK", "access_key": "MARK"`), `"access_key" is there twice`},

		{"a number", with(`"access_key": 12345`), `"access_key" must be a string`},
		{"a null", with(`"access_key": null`), `"access_key" must be a string`},
		{"an object", with(`"access_key": {"x": "MARK"}`), `"access_key" must be a string`},
		{"an empty value", with(`"access_key": ""`), `"access_key" is empty`},
		{"a line end copied along", with(`"access_key": "MARK\n"`), `"access_key" begins or ends with white space`},
		{"a byte order mark in a value", with(`"client_id": "\ufeffid", "client_secret": "MARK"`), `"client_id" contains an invisible character, U+FEFF`},
		{"a zero width space in a value", with(`"client_id": "id", "client_secret": "MARK\u200b"`), `"client_secret" contains an invisible character, U+200B`},
		{"an escape in a value", with(`"client_id": "id", "client_secret": "MA\u001bRK"`), `"client_secret" contains an invisible character, U+001B`},
		{"a line end in a value", oauth(`https://a.b\nHost: evil`), `"base_url" contains an invisible character, U+000A`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := ParseCredentials([]byte(test.in))
			if test.want == "" {
				if secret := c.ClientSecret.Reveal() + c.AccessKey.Reveal(); err != nil || !strings.Contains(secret, "MARK") || c.BaseURL == "" {
					t.Errorf("got %q, %v", secret, err)
				}
				return
			}
			if !errors.Is(err, ErrCredentials) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "MARK") || c != (Credentials{}) {
				t.Errorf("got %v, want an ErrCredentials with %q and no value", err, test.want)
			}
		})
	}
}
