package smtest_test

// What the real service answers, and the fake with it. Source: recorded by LocalStack's test
// suite against AWS, tests/aws/services/secretsmanager/test_secretsmanager.py, class
// TestSecretsManager. Each case names the recorded test and the day it was recorded.
//
// Nothing in c8auth relies on what these recorded, and the fake cannot do it:
//
//	test_resource_policy                             resource policies of secrets
//	test_secret_tags                                 tags; but see TestRecordedEmptySecret
//	test_rotate_secret_with_lambda_success[…]        rotation by Secrets Manager, also
//	test_rotate_secret_multiple_times_with_lambda_success
//	test_rotate_secret_invalid_lambda_arn            a refused RotateSecret leaves the versions alone, also
//	test_first_rotate_secret_with_missing_lambda_arn
//	test_no_client_request_token[RotateSecret]
//	test_no_client_request_token[UpdateSecret]       UpdateSecret, which nothing calls, also
//	test_update_secret_description
//	test_update_secret_version_stages_current_previous
//	test_update_secret_version_stages_current_pending_cycle_custom_stages_3    a label is taken away
//	test_secret_exists_snapshots                     CreateSecret, which CloudFormation calls: no secret can be created
//	test_exp_raised_on_creation_of_secret_scheduled_for_deletion    under a name that is in use, also
//	test_no_client_request_token[CreateSecret]
//
// What these recorded of operations that only a person calls, the cases do by the fake's
// methods for that: CreateSecret, UpdateSecretVersionStage, DeleteSecret and RestoreSecret. They
// see labels by DescribeSecret, where ListSecretVersionIds was recorded.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"github.com/c8auth/c8auth/internal/fakes/smtest"
)

// numbered is the ClientRequestToken of the version that a case calls n, from 1 to 9.
func numbered(n int) string { return strings.ReplaceAll(token1, "1", fmt.Sprint(n)) }

// labelled is every version with a label, as "1:AWSPREVIOUS 2:AWSCURRENT,CUSTOM".
func labelled(c *secretsmanager.Client, name string) string {
	versions := must(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})).VersionIdsToStages
	var list []string
	for _, id := range slices.Sorted(maps.Keys(versions)) {
		list = append(list, id[:1]+":"+strings.Join(versions[id], ","))
	}
	return strings.Join(list, " ")
}

// Labels move by PutSecretValue and UpdateSecretVersionStage. A write without labels moves
// AWSCURRENT, one under other labels alone leaves it where it is. The version that a write
// makes AWSPREVIOUS loses its other labels; if UpdateSecretVersionStage makes it that, it
// keeps them. A version without a label is not removed, and not described.
func TestRecordedLabels(t *testing.T) {
	type step struct {
		put   int // the version that is written, under the labels; 0: none is
		under string

		current int    // the version that AWSCURRENT is moved to instead
		want    string // the labels then
	}
	for test, steps := range map[string][]step{ // each begins with version 1
		"put_secret_value_with_version_stages, 2022-09-28": { // what was listed is not recorded
			{put: 2, under: "SAMPLESTAGE1 SAMPLESTAGE0", want: "1:AWSCURRENT 2:SAMPLESTAGE0,SAMPLESTAGE1"},
			{put: 3, under: "SAMPLESTAGE1 SAMPLESTAGE0", want: "1:AWSCURRENT 3:SAMPLESTAGE0,SAMPLESTAGE1"},
			{put: 4, under: "AWSPENDING", want: "1:AWSCURRENT 3:SAMPLESTAGE0,SAMPLESTAGE1 4:AWSPENDING"},
			{put: 5, want: "1:AWSPREVIOUS 3:SAMPLESTAGE0,SAMPLESTAGE1 4:AWSPENDING 5:AWSCURRENT"},
		},
		"non_versioning_version_stages_replacement, 2022-09-28": {
			{put: 2, under: "one two three", want: "1:AWSCURRENT 2:one,three,two"},
			{put: 3, under: "one two three four", want: "1:AWSCURRENT 3:four,one,three,two"},
		},
		"non_versioning_version_stages_no_replacement, 2022-09-28": {
			{put: 2, under: "one two three", want: "1:AWSCURRENT 2:one,three,two"},
			{put: 3, under: "one two four", want: "1:AWSCURRENT 2:three 3:four,one,two"},
		},
		"deprecated_secret_version_stage, 2024-03-29": {
			{put: 2, want: "1:AWSPREVIOUS 2:AWSCURRENT"},
			{put: 3, want: "2:AWSPREVIOUS 3:AWSCURRENT"},
			{put: 4, want: "3:AWSPREVIOUS 4:AWSCURRENT"},
		},
		"update_secret_version_stages_return_type and _current_pending, 2022-09-28": { // of the former, what was listed is not recorded
			{put: 2, under: "AWSPENDING", want: "1:AWSCURRENT 2:AWSPENDING"},
			{current: 2, want: "1:AWSPREVIOUS 2:AWSCURRENT,AWSPENDING"},
			{put: 3, want: "2:AWSPREVIOUS 3:AWSCURRENT"},
		},
		"update_secret_version_stages_current_pending_cycle, 2022-09-28": {
			{put: 2, under: "AWSPENDING", want: "1:AWSCURRENT 2:AWSPENDING"},
			{current: 2, want: "1:AWSPREVIOUS 2:AWSCURRENT,AWSPENDING"},
			{put: 3, under: "AWSPENDING", want: "1:AWSPREVIOUS 2:AWSCURRENT 3:AWSPENDING"},
			{current: 3, want: "2:AWSPREVIOUS 3:AWSCURRENT,AWSPENDING"},
		},
		"update_secret_version_stages_current_pending_cycle_custom_stages_1, 2022-09-28": {
			{put: 2, under: "AWSPENDING AWSSOMETHING PUT1", want: "1:AWSCURRENT 2:AWSPENDING,AWSSOMETHING,PUT1"},
			{current: 2, want: "1:AWSPREVIOUS 2:AWSCURRENT,AWSPENDING,AWSSOMETHING,PUT1"},
			{put: 3, under: "AWSPENDING PUT2", want: "1:AWSPREVIOUS 2:AWSCURRENT,AWSSOMETHING,PUT1 3:AWSPENDING,PUT2"},
			{current: 3, want: "2:AWSPREVIOUS,AWSSOMETHING,PUT1 3:AWSCURRENT,AWSPENDING,PUT2"},
		},
		"update_secret_version_stages_current_pending_cycle_custom_stages_2, 2022-09-28": {
			{put: 2, under: "AWSCURRENT PUT0", want: "1:AWSPREVIOUS 2:AWSCURRENT,PUT0"},
			{put: 3, under: "AWSPENDING PUT1", want: "1:AWSPREVIOUS 2:AWSCURRENT,PUT0 3:AWSPENDING,PUT1"},
			{current: 3, want: "2:AWSPREVIOUS,PUT0 3:AWSCURRENT,AWSPENDING,PUT1"},
			{put: 4, under: "AWSPENDING PUT2", want: "2:AWSPREVIOUS,PUT0 3:AWSCURRENT,PUT1 4:AWSPENDING,PUT2"},
			{current: 4, want: "2:PUT0 3:AWSPREVIOUS,PUT1 4:AWSCURRENT,AWSPENDING,PUT2"},
		},
	} {
		t.Run(test, func(t *testing.T) {
			store := new(smtest.Server)
			store.Create("s")
			c := connect(store)
			versions := 0
			for _, do := range append([]step{{put: 1, want: "1:AWSCURRENT"}}, steps...) {
				if do.put != 0 {
					versions++
					out := must(c.PutSecretValue(ctx, put("s", fmt.Sprint("value ", do.put), numbered(do.put), strings.Fields(do.under)...)))
					answered := fmt.Sprintf("%d:%s", do.put, strings.Join(out.VersionStages, ","))
					if !strings.Contains(do.want+" ", answered+" ") {
						t.Errorf("the write answered %s, want %s", answered, do.want)
					}
				} else {
					store.Move("s", "AWSCURRENT", numbered(do.current))
				}
				if got := labelled(c, "s"); got != do.want {
					t.Errorf("%+v: labels %s", do, got)
				}
				if kept := store.Versions("s"); kept != versions {
					t.Errorf("%+v: %d versions, want %d", do, kept, versions)
				}
				current := must(c.GetSecretValue(ctx, get("s", "", "")))
				if version := (*current.VersionId)[:1]; !strings.Contains(do.want, version+":AWSCURRENT") || *current.SecretString != "value "+version {
					t.Errorf("%+v: GetSecretValue returns %q of version %s", do, *current.SecretString, version)
				}
			}
		})
	}
}

// A secret without a version has no VersionIdsToStages, and the first value becomes AWSCURRENT.
// That it does so under any labels is not recorded: none were sent.
func TestRecordedEmptySecret(t *testing.T) { // test_create_secret_version_from_empty_secret, 2023-09-05; test_secret_tags, 2024-04-05
	store := new(smtest.Server)
	store.Create("s")
	c := connect(store)
	if out := must(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("s")})); out.VersionIdsToStages != nil {
		t.Errorf("VersionIdsToStages is %v", out.VersionIdsToStages)
	}
	if out := must(c.PutSecretValue(ctx, put("s", "v", token1))); strings.Join(out.VersionStages, " ") != "AWSCURRENT" {
		t.Errorf("the first value is under %q", out.VersionStages)
	}
}

// Messages, to the letter: c8auth tells by them a missing secret from a missing value.
func TestRecordedMessages(t *testing.T) {
	const (
		noValue = "ResourceNotFoundException: Secrets Manager can't find the specified secret value for "
		invalid = "InvalidRequestException: "
		marked  = invalid + "You can't perform this operation on the secret because it was marked for deletion."
		badName = "ValidationException: Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
	)
	var store smtest.Server
	store.Create("empty")
	store.Create("gone")
	store.Delete("gone")
	version := store.Put("full", "v")
	c := connect(&store)
	arn := *must(c.GetSecretValue(ctx, get("full", "", ""))).ARN
	for _, test := range []struct {
		name, want string
		err        error
	}{
		{"secret_version_not_found, 2024-06-13", noValue + "staging label: AWSCURRENT", second(c.GetSecretValue(ctx, get("empty", "", "")))},
		{"secret_version_not_found, 2024-06-13", noValue + "VersionId: " + token1, second(c.GetSecretValue(ctx, get("empty", token1, "")))},
		{"secret_version_not_found, 2024-06-13", noValue + "staging label: AWSPENDING", second(c.GetSecretValue(ctx, get("empty", "", "AWSPENDING")))},
		{"get_secret_value_errors, 2024-04-11", noValue + "staging label: AWSPREVIOUS", second(c.GetSecretValue(ctx, get(arn, "", "AWSPREVIOUS")))},
		{"get_secret_value_errors, 2024-04-11", invalid + "You provided a VersionStage that is not associated to the provided VersionId.",
			second(c.GetSecretValue(ctx, get("full", version, "AWSPREVIOUS")))},
		{"secret_not_found, 2022-09-28", "ResourceNotFoundException: Secrets Manager can't find the specified secret.", second(c.GetSecretValue(ctx, get("none", "", "")))},
		// The message for any other operation, recorded of TagResource and UntagResource, which
		// the fake does not have.
		{"tag_untag_resource_on_deleted_secret, 2026-01-29", marked, second(c.GetSecretValue(ctx, get("gone", "", "")))},
		{"tag_untag_resource_on_deleted_secret, 2026-01-29", marked, second(c.PutSecretValue(ctx, put("gone", "v", token1)))},
	} {
		if got := refusal(test.err); got != test.want {
			t.Errorf("test_%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
	for _, name := range []string{"Inv Name", " Inv Name", " Inv*Name? ", ` Inv *?!]Name\-`} { // test_invalid_secret_name[…], 2022-09-28
		for op, err := range map[string]error{
			"DescribeSecret": second(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})),
			"GetSecretValue": second(c.GetSecretValue(ctx, get(name, "", ""))),
			"PutSecretValue": second(c.PutSecretValue(ctx, put(name, "v", token1))),
		} {
			if got := refusal(err); got != badName {
				t.Errorf("%s of %q: %s", op, name, got)
			}
		}
	}
}

// A secret is found by its name, ARN and ARN without the suffix. The last fails for a name
// that itself ends like a suffix, as the tenant acme-berlin's does.
func TestRecordedNames(t *testing.T) { // test_create_and_update_secret[…], 2022-09-02, 2022-09-28 and 2023-04-14
	store := new(smtest.Server)
	c := connect(store)
	for name, found := range map[string]bool{
		"s-c64bdc03": true, "s-4b175f02": true, "Valid/_+=.@-Name": true, "Valid/_+=.@-Name-a1b2": true, "Valid/_+=.@-Name-a1b2c3-": true,
		"Invalid/_+=.@-Name-a1b2c3": false,
	} {
		store.Put(name, "my_secret")
		arn := *must(c.GetSecretValue(ctx, get(name, "", ""))).ARN
		if suffix := strings.TrimPrefix(arn, "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"+name+"-"); len(suffix) != 6 {
			t.Errorf("%s has the ARN %s", name, arn)
		}
		for id, found := range map[string]bool{arn: true, arn[:len(arn)-7]: found} {
			out, err := c.GetSecretValue(ctx, get(id, "", ""))
			if (err == nil) != found || found && *out.Name != name {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
}

// A secret that is scheduled for deletion is described with that and its labels. It can be
// restored, or deleted at once; made again, it has another ARN.
func TestRecordedDeletion(t *testing.T) {
	var store smtest.Server
	c := connect(&store)
	describe := func() *secretsmanager.DescribeSecretOutput {
		return must(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("s")}))
	}
	version := store.Put("s", "v")
	store.Delete("s")
	first := describe() // test_force_delete_deleted_secret, 2024-10-11
	if diff := cmp.Diff(map[string][]string{version: {"AWSCURRENT"}}, first.VersionIdsToStages); diff != "" || first.DeletedDate == nil {
		t.Errorf("DeletedDate is %v, labels (-want +got)\n%s", first.DeletedDate, diff)
	}
	store.Restore("s")
	if out := describe(); out.DeletedDate != nil || *out.ARN != *first.ARN { // test_secret_restore, 2024-03-20
		t.Errorf("after RestoreSecret, %+v", out)
	}
	store.Destroy("s")
	store.Create("s")
	if again := *describe().ARN; again == *first.ARN { // test_can_recreate_delete_secret, 2022-09-28
		t.Errorf("the secret that was made again has the ARN %s, too", again)
	}
}

// A binary value comes as SecretBinary, without a SecretString.
func TestRecordedBinaryValues(t *testing.T) { // test_get_secret_value, 2024-09-24; test_change_secret_value_after_creation[…], 2026-02-07
	store := new(smtest.Server)
	store.Create("s")
	c := connect(store)
	for n, value := range []string{"initial", "footest", "tops3cret", "\x00\x01\x02\xff"} {
		in := put("s", "", numbered(n+1))
		in.SecretBinary = []byte(value)
		must(c.PutSecretValue(ctx, in))
		out := must(c.GetSecretValue(ctx, get("s", "", "")))
		if string(out.SecretBinary) != value || out.SecretString != nil || *out.VersionId != numbered(n+1) {
			t.Errorf("version %s has the binary value %q and the string %v", *out.VersionId, out.SecretBinary, out.SecretString)
		}
	}
}

// ListSecrets shows names, dates and labels; the member is called otherwise than in
// DescribeSecret.
func TestRecordedList(t *testing.T) { // test_call_lists_secrets_multiple_times[_snapshots], test_create_multi_secrets[_snapshot], 2022-08-09 and 2022-09-28
	var store smtest.Server
	versions := []string{store.Put("s0", "v"), store.Put("s1", "v"), store.Put("s2", "v")}
	for range 3 {
		list := must(connect(&store).ListSecrets(ctx, &secretsmanager.ListSecretsInput{})).SecretList
		if len(list) != 3 {
			t.Fatalf("%d secrets", len(list))
		}
		for n, on := range list {
			diff := cmp.Diff(map[string][]string{versions[n]: {"AWSCURRENT"}}, on.SecretVersionsToStages)
			if *on.Name != fmt.Sprint("s", n) || on.ARN == nil || on.CreatedDate == nil || on.LastChangedDate == nil || diff != "" {
				t.Errorf("%+v, labels (-want +got)\n%s", on, diff)
			}
		}
	}
}
