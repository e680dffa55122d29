package c8auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// No verb of fmt, no logger and no encoder shows a secret, also within structs, exported or not.
func TestSecretIsRedacted(t *testing.T) {
	const mark = "MARKED-s3cr3t"
	secret := NewSecret(mark)
	if secret.Reveal() != mark {
		t.Fatal("Reveal does not return the secret")
	}
	for _, value := range []any{
		secret, &secret, []Secret{secret}, map[string]Secret{"k": secret},
		struct{ hidden Secret }{secret}, &struct{ hidden *Secret }{&secret},
		Token{AccessToken: secret}, &Token{AccessToken: secret},
		Credentials{ClientSecret: secret, AccessKey: secret},
		storedCredentials{Credentials: Credentials{ClientSecret: secret}},
		CachedToken{Token: Token{AccessToken: secret}},
		entry{token: Token{AccessToken: secret}},
		TokenResponse{AccessToken: secret},
	} {
		var out bytes.Buffer
		for verb := range strings.FieldsSeq("%v %+v %#v %s %q %x %X %d %T %p %t %c %U %e %b %o") {
			fmt.Fprintf(&out, verb+"\n", value)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "v", value)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "v", value)
		if err := json.NewEncoder(&out).Encode(value); err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{mark, fmt.Sprintf("%x", mark), fmt.Sprintf("%X", mark)} {
			if strings.Contains(out.String(), form) {
				t.Errorf("%T shows its secret:\n%s", value, out.String())
			}
		}
	}
}
