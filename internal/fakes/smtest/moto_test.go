//go:build moto

package smtest_test

// The calls that c8auth relies on, to this fake and to moto, an independent one. Where they
// differ, AWS's documentation decides.
//
//	moto_server -p 9555 &
//	MOTO_URL=http://127.0.0.1:9555 go test -tags moto -run Moto ./internal/fakes/smtest/

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// script makes every call once, and passes the result to step. create and remove do what a
// person does.
func script(c *secretsmanager.Client, create, remove func(name string), s func(name string) string, step func(call string) func(out any, err error)) {
	describe := func(id string) (*secretsmanager.DescribeSecretOutput, error) {
		return c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	}
	list := func(prefix string) (*secretsmanager.ListSecretsOutput, error) {
		return c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{
			Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}}})
	}

	// A secret that is not there.
	step("get missing")(c.GetSecretValue(ctx, get(s("a"), "", "")))
	step("describe missing")(describe(s("a")))
	step("put missing")(c.PutSecretValue(ctx, put(s("a"), "one", token1)))

	// An empty one, and its first versions.
	create(s("a"))
	step("get empty")(c.GetSecretValue(ctx, get(s("a"), "", "")))
	step("get empty by version")(c.GetSecretValue(ctx, get(s("a"), token1, "")))
	step("describe empty")(describe(s("a")))
	step("put first as pending")(c.PutSecretValue(ctx, put(s("a"), "one", token1, "AWSPENDING")))
	step("describe first")(describe(s("a")))
	step("put second")(c.PutSecretValue(ctx, put(s("a"), "two", token2)))
	step("get second")(c.GetSecretValue(ctx, get(s("a"), "", "")))
	step("get previous")(c.GetSecretValue(ctx, get(s("a"), "", "AWSPREVIOUS")))
	step("get by unknown version")(c.GetSecretValue(ctx, get(s("a"), token4, "")))
	step("get by unknown stage")(c.GetSecretValue(ctx, get(s("a"), "", "NONE")))
	step("describe second")(describe(s("a")))

	// Idempotency.
	step("put second again")(c.PutSecretValue(ctx, put(s("a"), "two", token2)))
	step("put first again")(c.PutSecretValue(ctx, put(s("a"), "one", token1)))
	step("put other value under used token")(c.PutSecretValue(ctx, put(s("a"), "other", token2)))
	step("put third")(c.PutSecretValue(ctx, put(s("a"), "three", token3)))
	step("get deprecated by version")(c.GetSecretValue(ctx, get(s("a"), token1, "")))
	step("describe third")(describe(s("a")))

	// A label that is never on the current version, as claims have one.
	create(s("e"))
	step("put first current of e")(c.PutSecretValue(ctx, put(s("e"), "one", token1)))
	step("put a claim")(c.PutSecretValue(ctx, put(s("e"), "claim", token2, "CLAIM")))
	step("describe e with a claim")(describe(s("e")))
	step("put second current of e")(c.PutSecretValue(ctx, put(s("e"), "two", token3)))
	step("describe e after that")(describe(s("e")))
	step("put another claim")(c.PutSecretValue(ctx, put(s("e"), "another claim", token4, "CLAIM")))
	step("get the claim")(c.GetSecretValue(ctx, get(s("e"), "", "CLAIM")))
	step("get e")(c.GetSecretValue(ctx, get(s("e"), "", "")))
	step("put a claim under a used token")(c.PutSecretValue(ctx, put(s("e"), "a third claim", token4, "CLAIM")))

	// Values.
	binary := put(s("e"), "", token4+"x")
	binary.SecretBinary = []byte{0, 0xff}
	step("put binary")(c.PutSecretValue(ctx, binary))
	step("get binary")(c.GetSecretValue(ctx, get(s("e"), "", "")))
	step("put as long as can be")(c.PutSecretValue(ctx, put(s("e"), strings.Repeat("v", 65536), token4+"y")))
	step("put too long")(c.PutSecretValue(ctx, put(s("e"), strings.Repeat("v", 65537), token4+"z")))

	// Deletion, and lists.
	create(s("d"))
	step("put first current of d")(c.PutSecretValue(ctx, put(s("d"), "one", token1)))
	create(s("d2"))
	step("list secrets")(list(s("d")))
	step("list secrets by a longer prefix")(list(s("d2")))
	step("list no secrets")(list(s("D")))
	remove(s("d"))
	step("describe deleted")(describe(s("d")))
	step("list secrets without deleted ones")(list(s("d")))
	step("get deleted")(c.GetSecretValue(ctx, get(s("d"), "", "")))
	step("put deleted")(c.PutSecretValue(ctx, put(s("d"), "two", token2)))
}

// differences are the calls to which moto answers something else, and why this fake does not.
// "Documented" is in AWS's API reference; "recorded" is what the real service answered. Besides,
// moto answers 404 where AWS answers 400, which the SDK's callers do not notice.
var differences = []struct {
	why   string
	calls []string
}{
	{"Documented: only versions with labels are described. moto shows the others with an empty list.",
		[]string{"get deprecated by version", "describe third"}},
	{"Recorded: the staging label that cannot be found is named. moto says that there is no such secret.",
		[]string{"get by unknown stage"}},
	{"The type is the same, and the message is not documented. moto has its own.",
		[]string{"get deleted"}},
	{"Documented: at most 65,536 bytes. moto stores more.",
		[]string{"put too long"}},
	{"Documented: InvalidRequestException for a secret that is scheduled for deletion. moto writes all the same.",
		[]string{"put deleted"}},
}

func TestMoto(t *testing.T) {
	url := os.Getenv("MOTO_URL")
	if url == "" {
		t.Fatal("MOTO_URL is not set: where is the moto server?")
	}
	why := make(map[string]string)
	for _, d := range differences {
		for _, call := range d.calls {
			why[call] = d.why
		}
	}
	store := new(smtest.Server)
	calls, ours := play(connect(store), store.Create, store.Delete)
	moto := client(url, http.DefaultClient)
	_, theirs := play(moto,
		func(name string) { must(moto.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name})) },
		func(name string) { must(moto.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &name})) })
	for _, call := range calls {
		differ := ours[call] != theirs[call]
		switch {
		case differ && why[call] == "":
			t.Errorf("%s:\nours %s\nmoto %s", call, ours[call], theirs[call])
		case differ:
			t.Logf("%s: %s\nours %s\nmoto %s", call, why[call], ours[call], theirs[call])
		case why[call] != "":
			t.Errorf("%s: no difference any more: %s", call, why[call])
		}
		delete(why, call)
	}
	for call := range why {
		t.Errorf("%s: a difference in a call that is not made", call)
	}
}

// play runs the script on secrets that no other run has.
func play(c *secretsmanager.Client, create, remove func(name string)) (calls []string, outcomes map[string]string) {
	prefix := fmt.Sprintf("smtest/%d/", time.Now().UnixNano())
	outcomes = make(map[string]string)
	script(c, create, remove, func(name string) string { return prefix + name }, func(call string) func(any, error) {
		return func(out any, err error) {
			text := refusal(err)
			if err == nil {
				text = show(out)
			}
			text = regexp.MustCompile(`arn:aws:[^" ]*:secret:(`+prefix+`\w+)-\w{6}`).ReplaceAllString(text, "arn:$1")
			calls = append(calls, call)
			outcomes[call] = strings.ReplaceAll(text, prefix, "")
		}
	})
	return calls, outcomes
}

// show is the answer without its metadata, absent members, and dates. The order
// of labels is not documented: it is alphabetical here.
func show(out any) string {
	var members map[string]any
	if err := json.Unmarshal(must(json.Marshal(out)), &members); err != nil {
		panic(err)
	}
	delete(members, "ResultMetadata")
	return string(must(json.Marshal(plain(members))))
}

func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if member == nil || member == "" {
				delete(v, key)
			} else if v[key] = plain(member); strings.HasSuffix(key, "Date") {
				v[key] = "a date"
			}
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return v
}
