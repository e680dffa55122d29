//go:build moto

package smtest_test

// The same calls to this stand-in and to moto, an independent one. Neither is
// the real thing, so where they differ, AWS's documentation decides.
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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// script makes every call once, and hands what came of it to step.
func script(c *secretsmanager.Client, s func(name string) string, step func(call string) func(out any, err error)) {
	describe := func(id string) (*secretsmanager.DescribeSecretOutput, error) {
		return c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	}
	list := func(id string, deprecated bool) (*secretsmanager.ListSecretVersionIdsOutput, error) {
		return c.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{SecretId: &id, IncludeDeprecated: &deprecated})
	}
	remove := func(id string, days int64, force bool) (*secretsmanager.DeleteSecretOutput, error) {
		in := &secretsmanager.DeleteSecretInput{SecretId: &id, ForceDeleteWithoutRecovery: &force}
		if days != 0 {
			in.RecoveryWindowInDays = &days
		}
		return c.DeleteSecret(ctx, in)
	}
	restore := func(id string) (*secretsmanager.RestoreSecretOutput, error) {
		return c.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: &id})
	}
	binary := func(id, token string) *secretsmanager.PutSecretValueInput {
		in := put(id, "", token)
		in.SecretBinary = []byte{0, 0xff}
		return in
	}
	both := func(id, token string) *secretsmanager.PutSecretValueInput {
		in := binary(id, token)
		in.SecretString = aws.String("v")
		return in
	}
	long := strings.Repeat("v", 65536)

	// A secret that is not there.
	step("get missing")(c.GetSecretValue(ctx, get(s("a"), "", "")))
	step("describe missing")(describe(s("a")))
	step("put missing")(c.PutSecretValue(ctx, put(s("a"), "one", token1)))
	step("update missing")(c.UpdateSecretVersionStage(ctx, move(s("a"), "AWSCURRENT", token1, token2)))
	step("list missing")(list(s("a"), false))
	step("restore missing")(restore(s("a")))
	step("delete missing")(remove(s("a"), 7, false))
	step("destroy missing")(remove(s("a"), 0, true))

	// An empty one, and its first versions.
	step("create empty")(c.CreateSecret(ctx, create(s("a"), "", token1)))
	step("create again")(c.CreateSecret(ctx, create(s("a"), "", token2)))
	step("get empty")(c.GetSecretValue(ctx, get(s("a"), "", "")))
	step("get empty by version")(c.GetSecretValue(ctx, get(s("a"), token1, "")))
	step("get empty by stage")(c.GetSecretValue(ctx, get(s("a"), "", "AWSPREVIOUS")))
	step("describe empty")(describe(s("a")))
	step("list empty")(list(s("a"), true))
	step("put first as pending")(c.PutSecretValue(ctx, put(s("a"), "one", token1, "AWSPENDING")))
	step("describe first")(describe(s("a")))
	step("put second")(c.PutSecretValue(ctx, put(s("a"), "two", token2)))
	step("get second")(c.GetSecretValue(ctx, get(s("a"), "", "")))
	step("get previous")(c.GetSecretValue(ctx, get(s("a"), "", "AWSPREVIOUS")))
	step("get first by version")(c.GetSecretValue(ctx, get(s("a"), token1, "")))
	step("get by version and its stage")(c.GetSecretValue(ctx, get(s("a"), token1, "AWSPREVIOUS")))
	step("get by version and another's stage")(c.GetSecretValue(ctx, get(s("a"), token1, "AWSCURRENT")))
	step("get by unknown version")(c.GetSecretValue(ctx, get(s("a"), token4, "")))
	step("get by unknown stage")(c.GetSecretValue(ctx, get(s("a"), "", "NONE")))
	step("describe second")(describe(s("a")))

	// Idempotency.
	step("put second again")(c.PutSecretValue(ctx, put(s("a"), "two", token2)))
	step("put first again")(c.PutSecretValue(ctx, put(s("a"), "one", token1)))
	step("describe after repetition")(describe(s("a")))
	step("put other value under used token")(c.PutSecretValue(ctx, put(s("a"), "other", token2)))
	step("put binary under used token")(c.PutSecretValue(ctx, binary(s("a"), token2)))
	step("create under used token")(c.CreateSecret(ctx, create(s("a"), "two", token2)))
	step("create other value under used token")(c.CreateSecret(ctx, create(s("a"), "other", token2)))

	// Labels.
	step("put third with labels")(c.PutSecretValue(ctx, put(s("a"), "three", token3, "BLUE", "AWSPENDING")))
	step("describe third")(describe(s("a")))
	step("move AWSCURRENT forward")(c.UpdateSecretVersionStage(ctx, move(s("a"), "AWSCURRENT", token2, token3)))
	step("describe after move")(describe(s("a")))
	step("list labelled")(list(s("a"), false))
	step("list deprecated")(list(s("a"), true))
	step("get deprecated by version")(c.GetSecretValue(ctx, get(s("a"), token1, "")))
	step("move AWSCURRENT back")(c.UpdateSecretVersionStage(ctx, move(s("a"), "AWSCURRENT", token3, token2)))
	step("describe after moving back")(describe(s("a")))
	step("move AWSCURRENT to where it is")(c.UpdateSecretVersionStage(ctx, move(s("a"), "AWSCURRENT", "", token2)))
	step("move AWSCURRENT from nowhere")(c.UpdateSecretVersionStage(ctx, move(s("a"), "AWSCURRENT", "", token3)))
	step("move AWSCURRENT from elsewhere")(c.UpdateSecretVersionStage(ctx, move(s("a"), "AWSCURRENT", token3, token1)))
	step("move to unknown version")(c.UpdateSecretVersionStage(ctx, move(s("a"), "RED", "", token4)))
	step("move BLUE")(c.UpdateSecretVersionStage(ctx, move(s("a"), "BLUE", token3, token1)))
	step("describe after moving BLUE")(describe(s("a")))
	step("take BLUE away")(c.UpdateSecretVersionStage(ctx, move(s("a"), "BLUE", token1, "")))
	step("describe without BLUE")(describe(s("a")))
	step("put fourth over labels")(c.PutSecretValue(ctx, put(s("a"), "four", token4, "AWSCURRENT", "AWSPENDING")))
	step("describe fourth")(describe(s("a")))
	step("put fifth, fourth had a label besides")(c.PutSecretValue(ctx, put(s("a"), "five", token4+"x")))
	step("get fourth")(c.GetSecretValue(ctx, get(s("a"), token4, "")))

	// A label of one's own, and AWSCURRENT without a place to go.
	step("create b")(c.CreateSecret(ctx, create(s("b"), "one", token1)))
	step("move BLUE onto b")(c.UpdateSecretVersionStage(ctx, move(s("b"), "BLUE", "", token1)))
	step("put second of b")(c.PutSecretValue(ctx, put(s("b"), "two", token2, "AWSPENDING")))
	step("move BLUE from nowhere")(c.UpdateSecretVersionStage(ctx, move(s("b"), "BLUE", "", token2)))
	step("take AWSCURRENT away")(c.UpdateSecretVersionStage(ctx, move(s("b"), "AWSCURRENT", token1, "")))

	// A label that is never on the current version, as claims have one.
	step("create e")(c.CreateSecret(ctx, create(s("e"), "one", token1)))
	step("put a claim")(c.PutSecretValue(ctx, put(s("e"), "claim", token2, "CLAIM")))
	step("describe e with a claim")(describe(s("e")))
	step("put second current of e")(c.PutSecretValue(ctx, put(s("e"), "two", token3)))
	step("describe e after that")(describe(s("e")))
	step("put another claim")(c.PutSecretValue(ctx, put(s("e"), "another claim", token4, "CLAIM")))
	step("get the claim")(c.GetSecretValue(ctx, get(s("e"), "", "CLAIM")))
	step("get e")(c.GetSecretValue(ctx, get(s("e"), "", "")))
	step("put a claim under a used token")(c.PutSecretValue(ctx, put(s("e"), "a third claim", token4, "CLAIM")))

	// Names and values.
	arn := *must(c.CreateSecret(ctx, create(s("c"), "one", token1))).ARN
	step("get by ARN")(c.GetSecretValue(ctx, get(arn, "", "")))
	step("get by partial ARN")(c.GetSecretValue(ctx, get(arn[:len(arn)-7], "", "")))
	step("get by ARN of another region")(c.GetSecretValue(ctx, get(strings.Replace(arn, "eu-central-1", "eu-west-1", 1), "", "")))
	step("get by no name")(c.GetSecretValue(ctx, get("no name", "", "")))
	step("put binary")(c.PutSecretValue(ctx, binary(s("c"), token2)))
	step("get binary")(c.GetSecretValue(ctx, get(s("c"), "", "")))
	step("put binary again")(c.PutSecretValue(ctx, binary(s("c"), token2)))
	step("put as long as can be")(c.PutSecretValue(ctx, put(s("c"), long, token3)))
	step("put too long")(c.PutSecretValue(ctx, put(s("c"), long+"v", token3+"x")))
	step("put nothing")(c.PutSecretValue(ctx, put(s("c"), "", token4)))
	step("put string and binary")(c.PutSecretValue(ctx, both(s("c"), token4)))
	step("put under short token")(c.PutSecretValue(ctx, put(s("c"), "v", "short")))

	// Deletion.
	step("create d")(c.CreateSecret(ctx, create(s("d"), "one", token1)))
	step("create d's neighbour, empty")(c.CreateSecret(ctx, create(s("d2"), "", token1)))
	step("list secrets")(c.ListSecrets(ctx, secrets(s("d"), false)))
	step("list secrets by a longer prefix")(c.ListSecrets(ctx, secrets(s("d2"), false)))
	step("list no secrets")(c.ListSecrets(ctx, secrets(s("D"), false)))
	step("delete in 6 days")(remove(s("d"), 6, false))
	step("delete with force and days")(remove(s("d"), 7, true))
	step("delete")(remove(s("d"), 7, false))
	step("describe deleted")(describe(s("d")))
	step("list secrets without deleted ones")(c.ListSecrets(ctx, secrets(s("d"), false)))
	step("list secrets, deleted ones too")(c.ListSecrets(ctx, secrets(s("d"), true)))
	step("get deleted")(c.GetSecretValue(ctx, get(s("d"), "", "")))
	step("put deleted")(c.PutSecretValue(ctx, put(s("d"), "two", token2)))
	step("update deleted")(c.UpdateSecretVersionStage(ctx, move(s("d"), "RED", "", token1)))
	step("create deleted")(c.CreateSecret(ctx, create(s("d"), "two", token3)))
	step("delete deleted")(remove(s("d"), 7, false))
	step("destroy deleted")(remove(s("d"), 0, true))
	step("get destroyed")(c.GetSecretValue(ctx, get(s("d"), "", "")))
	step("create d again")(c.CreateSecret(ctx, create(s("d"), "two", token2)))
	step("delete d again")(remove(s("d"), 30, false))
	step("restore")(restore(s("d")))
	step("get restored")(c.GetSecretValue(ctx, get(s("d"), "", "")))
	step("restore again")(restore(s("d")))
}

// differences are the calls of which moto makes something else, and why this
// stand-in does not. "Documented" is in AWS's API reference; "seen" is in
// recordings or reports of what the real service answered. Besides, moto answers
// 404 to what AWS answers 400, which the SDK's callers do not notice.
var differences = []struct {
	why   string
	calls []string
}{
	{"Documented: only versions with labels are described. moto shows the others with an empty list.",
		[]string{"describe after move", "get deprecated by version", "describe after moving back", "describe without BLUE"}},
	{"Documented: a label is on one version only. moto leaves it on the old one as well, if it comes along with AWSCURRENT.",
		[]string{"describe fourth"}},
	{"Documented: the list has an ARN, and deprecated versions only if asked for. moto has the name instead, and all of them; and when they were accessed, which is left out here.",
		[]string{"list empty", "list labelled", "list deprecated"}},
	{"Documented: ResourceNotFoundException for every operation. moto fails with 500.",
		[]string{"list missing"}},
	{"Seen: the staging label that cannot be found is named. moto says that there is no such secret.",
		[]string{"get empty by stage", "get by unknown stage"}},
	{"Documented: RemoveFromVersionId is needed if the label is on a different version. moto always wants it of AWSCURRENT, and never of others.",
		[]string{"move AWSCURRENT to where it is", "move BLUE from nowhere"}},
	{"Seen: AWSCURRENT cannot be removed altogether. moto does it.",
		[]string{"take AWSCURRENT away"}},
	{"The type is the same, and the message is not documented. moto has words of its own.",
		[]string{"move AWSCURRENT from elsewhere", "delete in 6 days", "delete with force and days", "get deleted", "delete deleted"}},
	{"Documented: lengths and characters; seen: ValidationException. moto checks the token only, and calls that InvalidParameterException.",
		[]string{"get by no name", "put too long", "put under short token"}},
	{"Documented: SecretString or SecretBinary, but not both. moto stores both.",
		[]string{"put string and binary"}},
	{"Documented: InvalidRequestException for what is scheduled for deletion. moto writes all the same, or says that the secret exists.",
		[]string{"put deleted", "update deleted", "create deleted"}},
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
	calls, ours := play(client("http://store", memory{&smtest.Server{}}))
	_, theirs := play(client(url, http.DefaultClient))
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
func play(c *secretsmanager.Client) (calls []string, outcomes map[string]string) {
	prefix := fmt.Sprintf("smtest/%d/", time.Now().UnixNano())
	outcomes = make(map[string]string)
	script(c, func(name string) string { return prefix + name }, func(call string) func(any, error) {
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
