package smtest_test

// What the SDK does not show: the bytes.

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

func TestWire(t *testing.T) {
	const (
		unknown = `{"__type":"UnknownOperationException","Message":""}`
		garbled = `{"__type":"SerializationException","Message":""}`
		missing = `{"__type":"ValidationException","Message":"1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null"}`
	)
	for why, test := range map[string]struct {
		method, target, auth, body, want string
	}{
		"success":           {"POST", "secretsmanager.RestoreSecret", "AWS4", `{"SecretId":"s"}`, `{"ARN":"arn:aws:secretsmanager:eu-central-1:123456789012:secret:s-20393c","Name":"s"}`},
		"not found":         {"POST", "secretsmanager.RestoreSecret", "AWS4", `{"SecretId":"x"}`, `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`},
		"no target":         {"POST", "", "AWS4", `{}`, unknown},
		"unknown operation": {"POST", "secretsmanager.TagResource", "AWS4", `{}`, unknown},
		"unknown service":   {"POST", "TrentService.Decrypt", "AWS4", `{}`, unknown},
		"not a POST":        {"GET", "secretsmanager.RestoreSecret", "AWS4", ``, unknown},
		"unsigned":          {"POST", "secretsmanager.RestoreSecret", "", `{"SecretId":"s"}`, `{"__type":"MissingAuthenticationTokenException","Message":"Missing Authentication Token"}`},
		"no JSON":           {"POST", "secretsmanager.RestoreSecret", "AWS4", `{"SecretId":`, garbled},
		"not an object":     {"POST", "secretsmanager.RestoreSecret", "AWS4", `["s"]`, garbled},
		"wrong type":        {"POST", "secretsmanager.RestoreSecret", "AWS4", `{"SecretId":1}`, garbled},
		"wrong base64":      {"POST", "secretsmanager.PutSecretValue", "AWS4", `{"SecretId":"s","SecretBinary":"%"}`, garbled},
		"too large":         {"POST", "secretsmanager.RestoreSecret", "AWS4", `"` + strings.Repeat("s", 2<<20) + `"`, garbled},
		"no secret":         {"POST", "secretsmanager.GetSecretValue", "AWS4", `{}`, strings.Replace(missing, "%s", "secretId", 1)},
		"no name":           {"POST", "secretsmanager.CreateSecret", "AWS4", `{}`, strings.Replace(missing, "%s", "name", 1)},
		"no stage":          {"POST", "secretsmanager.UpdateSecretVersionStage", "AWS4", `{"SecretId":"s"}`, strings.Replace(missing, "%s", "versionStage", 1)},
		"no token":          {"POST", "secretsmanager.PutSecretValue", "AWS4", `{"SecretId":"x","SecretString":"v"}`, `{"__type":"InvalidRequestException","Message":"You must provide a ClientRequestToken value. We recommend a UUID-type value."}`},
	} {
		t.Run(why, func(t *testing.T) {
			var store smtest.Server
			store.Create("s")
			r := httptest.NewRequest(test.method, "/", strings.NewReader(test.body))
			r.Header.Set("Content-Type", "application/x-amz-json-1.1")
			r.Header.Set("X-Amz-Target", test.target)
			if test.auth != "" {
				r.Header.Set("Authorization", test.auth)
			}
			w := httptest.NewRecorder()
			store.ServeHTTP(w, r)

			if got := strings.TrimSpace(w.Body.String()); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
			if ok := w.Code == http.StatusOK; ok != (why == "success") || !ok && w.Code != http.StatusBadRequest {
				t.Errorf("status %d", w.Code)
			}
			if got := w.Header().Get("Content-Type"); got != "application/x-amz-json-1.1" {
				t.Errorf("Content-Type %q", got)
			}
			if w.Header().Get("x-amzn-RequestId") == "" {
				t.Error("no x-amzn-RequestId")
			}
			if store.Calls("") != 1 {
				t.Errorf("%d calls counted", store.Calls(""))
			}
		})
	}
}

// Dates are numbers, in seconds.
func TestDatesOnTheWire(t *testing.T) {
	var store smtest.Server
	store.Put("s", "v")
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"SecretId":"s"}`))
	r.Header.Set("X-Amz-Target", "secretsmanager.GetSecretValue")
	r.Header.Set("Authorization", "AWS4")
	w := httptest.NewRecorder()
	store.ServeHTTP(w, r)
	var got struct{ CreatedDate float64 }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.CreatedDate < 1e9 || got.CreatedDate > 1e11 {
		t.Errorf("CreatedDate %v, %v in %s", got.CreatedDate, err, w.Body)
	}
}
