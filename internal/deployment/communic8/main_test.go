package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/c8auth/c8auth/internal/fakes/c8test"
)

// serve sends a request to an instance and returns the status and the token of its answer.
func serve(i *instance, method, path, credential, body string) (status int, token string, raw string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+credential)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	i.ServeHTTP(w, r)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	raw = w.Body.String()
	_ = json.Unmarshal([]byte(raw), &answer)
	return w.Code, answer.AccessToken, raw
}

// Any instance accepts the tokens that another one has issued, until they are revoked, and
// no other ones.
func TestTokens(t *testing.T) { synctest.Test(t, testTokens) }

func testTokens(t *testing.T) {
	const grant = `{"grant_type":"client_credentials"}`
	pair := base64.StdEncoding.EncodeToString([]byte(clientID + ":value"))
	one, other := &instance{secret: "value"}, &instance{secret: "value"}
	status, token, raw := serve(one, http.MethodPost, c8test.TokenPath, pair, grant)
	if status != http.StatusOK || token == "" || !strings.Contains(raw, `"expires_in":86400`) || !strings.Contains(raw, `"token_type":"Bearer"`) {
		t.Fatalf("%d %s", status, raw)
	}
	accepted := func(i *instance, token string) bool {
		status, _, _ := serve(i, http.MethodGet, "/int/v1/broadcast?limit=1", token, "")
		return status == http.StatusOK
	}
	if !accepted(one, token) || !accepted(other, token) {
		t.Error("a token is not accepted everywhere")
	}
	if !accepted(one, "value") {
		t.Error("the access key is not accepted")
	}
	for _, made := range []string{"", "made-up", token + "0", "0" + token, token[:len(token)-1], strings.Replace(token, ".", "", 1)} {
		if accepted(one, made) {
			t.Errorf("%q is accepted", made)
		}
	}
	if accepted(&instance{secret: "another"}, token) {
		t.Error("another Communic8 accepts the token")
	}
	revoked := &instance{secret: "value", notBefore: time.Now().UnixMicro() + 1}
	if accepted(revoked, token) {
		t.Error("a revoked token is accepted")
	}
	time.Sleep(time.Millisecond)
	if _, later, _ := serve(revoked, http.MethodPost, c8test.TokenPath, pair, grant); later == token || !accepted(revoked, later) {
		t.Error("after a revocation, a new token is not accepted")
	}

	wrong := base64.StdEncoding.EncodeToString([]byte(clientID + ":wrong"))
	if status, token, _ := serve(one, http.MethodPost, c8test.TokenPath, wrong, grant); status != http.StatusUnauthorized || token != "" {
		t.Errorf("wrong credentials: %d", status)
	}
	if status, token, _ := serve(one, http.MethodPost, c8test.TokenPath, pair, `{"grant_type":"password"}`); status != http.StatusBadRequest || token != "" {
		t.Errorf("another grant: %d", status)
	}
}
