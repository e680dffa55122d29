package smtest_test

// Each operation as AWS documents it.

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

const (
	notFound = "ResourceNotFoundException: Secrets Manager can't find the specified secret."
	deleted  = "InvalidRequestException: You can't perform this operation on the secret because it was marked for deletion."
)

func TestCreateSecret(t *testing.T) {
	var store smtest.Server
	c := connect(t, &store)

	empty := must(c.CreateSecret(ctx, create("empty", "", "")))
	if empty.VersionId != nil || store.Versions("empty") != 0 {
		t.Error("a secret created without a value has a version")
	}
	full := must(c.CreateSecret(ctx, create("full", "v", token1)))
	if *full.VersionId != token1 || *full.Name != "full" {
		t.Errorf("created %s of %s, want the token as version", *full.VersionId, *full.Name)
	}
	if got := labels(c, "full"); got[token1] != "AWSCURRENT" {
		t.Errorf("labels: %v", got)
	}
	if again := must(c.CreateSecret(ctx, create("full", "v", token1))); *again.ARN != *full.ARN {
		t.Error("the same request again created another secret")
	}
	store.Create("gone")
	store.Delete("gone")
	for why, test := range map[string]struct{ name, value, token, want string }{
		"exists":               {"full", "v", token2, "ResourceExistsException: The operation failed because the secret full already exists."},
		"exists, empty":        {"empty", "", token2, "ResourceExistsException: The operation failed because the secret empty already exists."},
		"token of other value": {"full", "w", token1, "ResourceExistsException: You can't use ClientRequestToken " + token1 + " because that value is already in use for a version of secret " + *full.ARN + "."},
		"deleted":              {"gone", "v", token1, "InvalidRequestException: You can't create this secret because a secret with this name is already scheduled for deletion."},
	} {
		_, err := c.CreateSecret(ctx, create(test.name, test.value, test.token))
		if got := refusal(err); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", why, got, test.want)
		}
	}
}

// Each step puts a version into the same secret; then its labels are those.
func TestPutSecretValueLabels(t *testing.T) {
	var store smtest.Server
	store.Create("s")
	c := connect(t, &store)
	for _, step := range []struct {
		token  string
		stages []string
		why    string
		want   map[string]string
	}{
		{token1, []string{"AWSPENDING"}, "the first version is AWSCURRENT, asked for or not",
			map[string]string{token1: "AWSCURRENT AWSPENDING"}},
		{token2, []string{"AWSPENDING"}, "a label is on one version, and others stay where they are",
			map[string]string{token1: "AWSCURRENT", token2: "AWSPENDING"}},
		{token3, nil, "AWSCURRENT is the default, and its loser becomes AWSPREVIOUS",
			map[string]string{token1: "AWSPREVIOUS", token2: "AWSPENDING", token3: "AWSCURRENT"}},
		{token4, []string{"AWSCURRENT", "AWSPENDING"}, "versions without a label are deprecated, and not described",
			map[string]string{token3: "AWSPREVIOUS", token4: "AWSCURRENT AWSPENDING"}},
		{token4 + "x", nil, "a loser of AWSCURRENT keeps no other label",
			map[string]string{token4: "AWSPREVIOUS", token4 + "x": "AWSCURRENT"}},
	} {
		out := must(c.PutSecretValue(ctx, put("s", "v", step.token, step.stages...)))
		if diff := cmp.Diff(step.want, labels(c, "s")); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", step.why, diff)
		}
		if got := strings.Join(out.VersionStages, " "); *out.VersionId != step.token || got != step.want[step.token] {
			t.Errorf("%s: answered %s with %s", step.why, *out.VersionId, got)
		}
	}
}

func TestPutSecretValueIsIdempotent(t *testing.T) {
	var store smtest.Server
	store.Create("s")
	c := connect(t, &store)
	must(c.PutSecretValue(ctx, put("s", "one", token1)))
	must(c.PutSecretValue(ctx, put("s", "two", token2)))
	before := labels(c, "s")

	again := must(c.PutSecretValue(ctx, put("s", "one", token1)))
	if diff := cmp.Diff([]string{"AWSPREVIOUS"}, again.VersionStages); diff != "" {
		t.Errorf("the answer has other labels than the version has now: (-want +got)\n%s", diff)
	}
	_, err := c.PutSecretValue(ctx, put("s", "other", token1))
	if !is[*types.ResourceExistsException](err) {
		t.Errorf("another value under the same token: %v", err)
	}
	_, err = c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: aws.String("s"), SecretBinary: []byte("one"), ClientRequestToken: aws.String(token1)})
	if !is[*types.ResourceExistsException](err) {
		t.Errorf("the same bytes as binary under the same token: %v", err)
	}
	if diff := cmp.Diff(before, labels(c, "s")); diff != "" || store.Versions("s") != 2 {
		t.Errorf("something changed: %d versions (-before +after)\n%s", store.Versions("s"), diff)
	}
}

func TestGetSecretValue(t *testing.T) {
	var store smtest.Server
	store.Create("empty")
	store.Put("gone", "v")
	store.Delete("gone")
	v1, v2 := store.Put("s", "one"), store.Put("s", "two")
	v3 := store.Put("s", "three")
	c := connect(t, &store)

	for _, test := range []struct{ version, stage, value, stages string }{
		{"", "", "three", "AWSCURRENT"},
		{"", "AWSPREVIOUS", "two", "AWSPREVIOUS"},
		{v2, "", "two", "AWSPREVIOUS"},
		{v3, "AWSCURRENT", "three", "AWSCURRENT"},
		{v1, "", "one", ""}, // deprecated, and still there
	} {
		out := must(c.GetSecretValue(ctx, get("s", test.version, test.stage)))
		if got := strings.Join(out.VersionStages, " "); *out.SecretString != test.value || got != test.stages {
			t.Errorf("version %q, stage %q: got %s with labels %q", test.version, test.stage, *out.SecretString, got)
		}
	}
	for _, test := range []struct{ name, version, stage, want string }{
		{"gone", "", "", deleted},
		{"empty", "", "", "ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"},
		{"s", "", "AWSPENDING", "ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSPENDING"},
		{"s", token1, "", "ResourceNotFoundException: Secrets Manager can't find the specified secret value for VersionId: " + token1},
		{"s", v1, "AWSCURRENT", "InvalidRequestException: You provided a VersionStage that is not associated to the provided VersionId."},
	} {
		_, err := c.GetSecretValue(ctx, get(test.name, test.version, test.stage))
		if got := refusal(err); got != test.want {
			t.Errorf("%s, version %q, stage %q:\n got %s\nwant %s", test.name, test.version, test.stage, got, test.want)
		}
	}
}

func TestBinaryValue(t *testing.T) {
	c := connect(t, &smtest.Server{})
	want := []byte{0, 1, 0xff, '<', '"'}
	must(c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretBinary: want}))
	out := must(c.GetSecretValue(ctx, get("s", "", "")))
	if diff := cmp.Diff(want, out.SecretBinary); diff != "" || out.SecretString != nil {
		t.Errorf("string %v, binary (-want +got)\n%s", out.SecretString, diff)
	}
}

func TestDescribeSecret(t *testing.T) {
	var store smtest.Server
	store.Create("s")
	c := connect(t, &store)
	describe := func() *secretsmanager.DescribeSecretOutput {
		return must(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("s")}))
	}
	if d := describe(); d.VersionIdsToStages != nil || d.DeletedDate != nil || time.Since(*d.CreatedDate) > time.Hour {
		t.Errorf("an empty secret: %+v", d)
	}
	store.Put("s", "v")
	store.Delete("s")
	if d := describe(); time.Until(*d.DeletedDate) < 29*24*time.Hour || len(d.VersionIdsToStages) != 1 {
		t.Errorf("a secret scheduled for deletion: %+v", d)
	}
}

// Those that a filter admits, without what is scheduled for deletion unless asked for.
func TestListSecrets(t *testing.T) {
	var store smtest.Server
	store.Create("s/token/b")
	store.Put("s/token/a", "v")
	store.Create("s/token/gone")
	store.Delete("s/token/gone")
	store.Create("other/s/token/a")
	c := connect(t, &store)
	for _, test := range []struct {
		prefix  string
		deleted bool
		want    string
	}{
		{"s/", false, "s/token/a:1 s/token/b:0"},
		{"s/", true, "s/token/a:1 s/token/b:0 s/token/gone:0"},
		{"S/", false, ""},
	} {
		var got []string
		for _, on := range must(c.ListSecrets(ctx, secrets(test.prefix, test.deleted))).SecretList {
			got = append(got, fmt.Sprintf("%s:%d", *on.Name, len(on.SecretVersionsToStages)))
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%s: got %q, want %q", test.prefix, got, test.want)
		}
	}
	all := must(c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{})).SecretList
	if len(all) != 3 || *all[0].Name != "other/s/token/a" {
		t.Errorf("without a filter: %v", all)
	}
	_, err := c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: types.FilterNameStringTypeTagKey}}})
	if got := refusal(err); got != "InvalidParameterException: smtest filters by name alone." {
		t.Errorf("another filter: %s", got)
	}
}

// Versions 1 to 3 are deprecated, AWSPREVIOUS and AWSCURRENT; version 2 is also BLUE.
func TestUpdateSecretVersionStage(t *testing.T) {
	const invalid = "InvalidParameterException: "
	for _, test := range []struct{ why, stage, from, to, want string }{
		{"forward", "AWSCURRENT", token3, token1, "1:AWSCURRENT 2:BLUE 3:AWSPREVIOUS"},
		{"back, onto AWSPREVIOUS", "AWSCURRENT", token3, token2, "2:AWSCURRENT 2:BLUE 3:AWSPREVIOUS"},
		{"to where it is", "AWSCURRENT", "", token3, "2:AWSPREVIOUS 2:BLUE 3:AWSCURRENT"},
		{"a custom label", "BLUE", token2, token1, "1:BLUE 2:AWSPREVIOUS 3:AWSCURRENT"},
		{"a new label", "RED", "", token3, "2:AWSPREVIOUS 2:BLUE 3:AWSCURRENT 3:RED"},
		{"away", "BLUE", token2, "", "2:AWSPREVIOUS 3:AWSCURRENT"},
		{"AWSPREVIOUS away", "AWSPREVIOUS", token2, "", "2:BLUE 3:AWSCURRENT"},
		{"from nowhere", "AWSCURRENT", "", token1, invalid + "The parameter RemoveFromVersionId can't be empty. Staging label AWSCURRENT is currently attached to version " + token3 + ", so you must explicitly reference that version in RemoveFromVersionId."},
		{"custom, from nowhere", "BLUE", "", token1, invalid + "The parameter RemoveFromVersionId can't be empty. Staging label BLUE is currently attached to version " + token2 + ", so you must explicitly reference that version in RemoveFromVersionId."},
		{"neither from nor to", "BLUE", "", "", invalid + "The parameter RemoveFromVersionId can't be empty. Staging label BLUE is currently attached to version " + token2 + ", so you must explicitly reference that version in RemoveFromVersionId."},
		{"from elsewhere", "AWSCURRENT", token2, token1, invalid + "When you move staging label AWSCURRENT, if you specify RemoveFromVersionId, it must be set to the version that currently has the staging label AWSCURRENT."},
		{"AWSCURRENT away", "AWSCURRENT", token3, "", invalid + "You can only move staging label AWSCURRENT to a different secret version. It can’t be completely removed."},
		{"to no version", "AWSCURRENT", token3, token4, invalid + "Not a valid version: " + token4},
	} {
		t.Run(test.why, func(t *testing.T) {
			store := &smtest.Server{}
			store.Create("s")
			c := connect(t, store)
			for _, token := range []string{token1, token2, token3} {
				must(c.PutSecretValue(ctx, put("s", "v", token)))
			}
			must(c.UpdateSecretVersionStage(ctx, move("s", "BLUE", "", token2)))

			_, err := c.UpdateSecretVersionStage(ctx, move("s", test.stage, test.from, test.to))
			got := refusal(err)
			if err == nil {
				var list []string
				for _, token := range []string{token1, token2, token3} {
					for label := range strings.FieldsSeq(labels(c, "s")[token]) {
						list = append(list, token[:1]+":"+label)
					}
				}
				got = strings.Join(list, " ")
			}
			if got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestListSecretVersionIds(t *testing.T) {
	var store smtest.Server
	v1, v2, v3 := store.Put("s", "1"), store.Put("s", "2"), store.Put("s", "3")
	c := connect(t, &store)
	for deprecated, want := range map[bool][]string{
		false: {v2 + " AWSPREVIOUS", v3 + " AWSCURRENT"},
		true:  {v1 + " ", v2 + " AWSPREVIOUS", v3 + " AWSCURRENT"},
	} {
		out := must(c.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{SecretId: aws.String("s"), IncludeDeprecated: &deprecated}))
		var got []string
		for _, v := range out.Versions {
			got = append(got, *v.VersionId+" "+strings.Join(v.VersionStages, " "))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("IncludeDeprecated %v: (-want +got)\n%s", deprecated, diff)
		}
	}
}

func TestDeleteAndRestoreSecret(t *testing.T) {
	var store smtest.Server
	version := store.Put("s", "v")
	c := connect(t, &store)
	del := func(name string, days int64, force bool) (*secretsmanager.DeleteSecretOutput, error) {
		in := &secretsmanager.DeleteSecretInput{SecretId: &name, ForceDeleteWithoutRecovery: &force}
		if days != 0 {
			in.RecoveryWindowInDays = &days
		}
		return c.DeleteSecret(ctx, in)
	}
	restore := func(name string) error {
		_, err := c.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: &name})
		return err
	}

	if out := must(del("s", 7, false)); time.Until(*out.DeletionDate) > 7*24*time.Hour {
		t.Errorf("deletion in 7 days is on %v", out.DeletionDate)
	}
	for op, call := range map[string]func() error{
		"get":    func() error { _, err := c.GetSecretValue(ctx, get("s", "", "")); return err },
		"put":    func() error { _, err := c.PutSecretValue(ctx, put("s", "w", "")); return err },
		"update": func() error { _, err := c.UpdateSecretVersionStage(ctx, move("s", "X", "", version)); return err },
		"delete": func() error { _, err := del("s", 0, false); return err },
	} {
		if got := refusal(call()); got != deleted {
			t.Errorf("%s of a deleted secret: %s", op, got)
		}
	}
	if err := restore("s"); err != nil {
		t.Fatal(err)
	}
	if out := must(c.GetSecretValue(ctx, get("s", "", ""))); *out.SecretString != "v" {
		t.Errorf("restored %q", *out.SecretString)
	}
	must(del("s", 0, false))
	must(del("s", 0, true)) // also what is scheduled already
	must(del("s", 0, true)) // also what is not there
	for why, test := range map[string]struct {
		err  error
		want string
	}{
		"6 days":         {second(del("s", 6, false)), "InvalidParameterException: The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."},
		"31 days":        {second(del("s", 31, false)), "InvalidParameterException: The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."},
		"force and days": {second(del("s", 7, true)), "InvalidParameterException: You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."},
	} {
		if got := refusal(test.err); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", why, got, test.want)
		}
	}
}

func TestMissingSecret(t *testing.T) {
	c := connect(t, &smtest.Server{})
	none := aws.String("none")
	for op, err := range map[string]error{
		"get":      second(c.GetSecretValue(ctx, get("none", "", ""))),
		"put":      second(c.PutSecretValue(ctx, put("none", "v", ""))),
		"update":   second(c.UpdateSecretVersionStage(ctx, move("none", "AWSCURRENT", token1, token2))),
		"describe": second(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: none})),
		"list":     second(c.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{SecretId: none})),
		"delete":   second(c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: none})),
		"restore":  second(c.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: none})),
	} {
		if got := refusal(err); got != notFound {
			t.Errorf("%s: %s", op, got)
		}
	}
}

func TestSecretID(t *testing.T) {
	store := smtest.Server{Region: "eu-west-1", Account: "210987654321"}
	c := connect(t, &store)
	const prefix = "arn:aws:secretsmanager:eu-west-1:210987654321:secret:"
	tricky := *must(c.CreateSecret(ctx, create("st/token/acme-berlin", "v", ""))).ARN
	plain := *must(c.CreateSecret(ctx, create("st/token/acme", "v", ""))).ARN
	for why, test := range map[string]struct {
		id, want string
	}{
		"name":                  {"st/token/acme", ""},
		"ARN":                   {plain, ""},
		"partial ARN":           {prefix + "st/token/acme", ""},
		"tricky name":           {"st/token/acme-berlin", ""},
		"tricky ARN":            {tricky, ""},
		"tricky partial ARN":    {prefix + "st/token/acme-berlin", notFound}, // taken for a whole ARN
		"ARN with wrong suffix": {prefix + "st/token/acme-aaaaaa", notFound},
		"elsewhere":             {strings.Replace(plain, "eu-west-1", "eu-west-2", 1), notFound},
		"unknown":               {"st/token/none", notFound},
		"not a name":            {"st token", "ValidationException: Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"},
	} {
		_, err := c.GetSecretValue(ctx, get(test.id, "", ""))
		if err == nil && test.want != "" || err != nil && refusal(err) != test.want {
			t.Errorf("%s: got %v, want %q", why, err, test.want)
		}
	}
	if before := tricky; before[:len(before)-6] != prefix+"st/token/acme-berlin-" {
		t.Errorf("ARN %s", before)
	}
	store.Destroy("st/token/acme")
	if again := *must(c.CreateSecret(ctx, create("st/token/acme", "v", ""))).ARN; again == plain {
		t.Error("a secret created again has the ARN of the old one")
	}
}

func TestConstraints(t *testing.T) {
	var store smtest.Server
	store.Create("s")
	c := connect(t, &store)
	const violation = "ValidationException: 1 validation error detected: Value "
	both := put("s", "v", "")
	both.SecretBinary = []byte("v")
	binary := put("s", "", "")
	binary.SecretBinary = make([]byte, 65537)
	empty := put("s", "", "")
	empty.SecretString = aws.String("")

	must(c.PutSecretValue(ctx, put("s", strings.Repeat("\x01", 65536), strings.Repeat("t", 32))))
	must(c.PutSecretValue(ctx, put("s", "v", strings.Repeat("t", 64))))
	for why, test := range map[string]struct {
		in   *secretsmanager.PutSecretValueInput
		want string
	}{
		"short token":     {put("s", "v", "short"), violation + "'short' at 'clientRequestToken' failed to satisfy constraint: Member must have length greater than or equal to 32"},
		"long token":      {put("s", "v", strings.Repeat("t", 65)), violation + "'" + strings.Repeat("t", 65) + "' at 'clientRequestToken' failed to satisfy constraint: Member must have length less than or equal to 64"},
		"long string":     {put("s", strings.Repeat("ä", 32769), ""), violation + "at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536"},
		"long binary":     {binary, violation + "at 'secretBinary' failed to satisfy constraint: Member must have length less than or equal to 65536"},
		"empty string":    {empty, violation + "at 'secretString' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		"string, binary":  {both, "InvalidParameterException: You can't specify both a binary secret value and a string secret value in the same secret."},
		"neither of them": {put("s", "", ""), "InvalidRequestException: You must provide either SecretString or SecretBinary."},
	} {
		_, err := c.PutSecretValue(ctx, test.in)
		if got := refusal(err); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", why, got, test.want)
		}
	}
}

// The SDK makes its own types of what is answered, so that callers can branch.
func TestErrorTypes(t *testing.T) {
	var store smtest.Server
	v := store.Put("s", "v")
	store.Put("gone", "v")
	store.Delete("gone")
	c := connect(t, &store)
	if _, err := c.GetSecretValue(ctx, get("none", "", "")); !is[*types.ResourceNotFoundException](err) {
		t.Error(err)
	}
	if _, err := c.GetSecretValue(ctx, get("gone", "", "")); !is[*types.InvalidRequestException](err) {
		t.Error(err)
	}
	if _, err := c.PutSecretValue(ctx, put("s", "w", v)); !is[*types.ResourceExistsException](err) {
		t.Error(err)
	}
	if _, err := c.UpdateSecretVersionStage(ctx, move("s", "AWSCURRENT", v, "")); !is[*types.InvalidParameterException](err) {
		t.Error(err)
	}
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

func second[T any](_ T, err error) error { return err }
