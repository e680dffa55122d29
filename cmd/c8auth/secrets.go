package main

// A tenant's two secrets, by DescribeSecret, which returns no values.

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// secret is the metadata of a secret.
type secret struct {
	name    string
	exists  bool
	arn     string
	deleted bool      // whether it is scheduled for deletion
	version string    // with the label AWSCURRENT; empty: no value is stored
	changed time.Time // LastChangedDate, which a new value changes, and a new tag as well
}

func (d *deployment) secret(ctx context.Context, kind, tenant string) (secret, error) {
	name := d.name + "/" + kind + "/" + tenant
	out, err := secretsmanager.NewFromConfig(d.Config).DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return secret{name: name}, nil
	}
	if err != nil {
		return secret{name: name}, awsFailure(d.Config, err, "secretsmanager:DescribeSecret", name)
	}
	s := secret{name: name, exists: true, arn: aws.ToString(out.ARN), deleted: out.DeletedDate != nil, changed: aws.ToTime(out.LastChangedDate).UTC().Truncate(time.Second)}
	for version, labels := range out.VersionIdsToStages {
		if slices.Contains(labels, "AWSCURRENT") { // a version with another label may be empty
			s.version = version
		}
	}
	return s, nil
}

// describe reads the metadata of the tenant's two secrets.
func (t *tenant) describe(ctx context.Context, d *deployment) {
	if t.token, t.err = d.secret(ctx, "token", t.Name); t.err == nil {
		t.credentials, t.err = d.secret(ctx, "credentials", t.Name)
	}
	t.Version = t.token.version
	if t.credentials.version != "" {
		t.Stored = t.credentials.changed
	}
}

// checkSecrets checks that both secrets exist and that credentials are stored.
func (t *tenant) checkSecrets(time.Time) finding {
	f := found("secrets", "secretsmanager:DescribeSecret of both", "both exist; credentials are stored")
	for _, s := range []secret{t.token, t.credentials} {
		switch {
		case t.err != nil:
			return f.failed(t.err)
		case !s.exists:
			return f.actFor("deploy the tenant's stack again", "there is no secret %s", s.name)
		case s.deleted:
			return f.actFor("`aws secretsmanager restore-secret --secret-id "+s.name+"`", "the secret %s is scheduled for deletion", s.name)
		}
	}
	if t.Stored.IsZero() {
		return f.actFor("`c8auth credentials set "+t.Name+"`", "no credentials are stored")
	}
	return f
}

// checkToken checks that a token is stored and valid.
func (t *tenant) checkToken(now time.Time) finding {
	f := found("token", "the same, and rotate's log", "stored %s ago", span(now.Sub(t.token.changed)))
	do := "`c8auth rotate " + t.Name + "` requests one, or says why there is none"
	switch {
	case t.err != nil:
		return f.failed(t.err)
	case !t.token.exists:
		f.Seen = "there is no secret for it"
	case t.Version == "" && t.Stored.IsZero():
		f.Seen = "none, as no credentials are stored"
	case t.Version == "" && t.Failures == 0 && now.Sub(t.Stored) <= silence:
		f.Seen = "none yet; the next heartbeat requests one"
	case t.Version == "":
		return f.actFor(do, "there is no token yet, and callers fail")
	case t.expired(now):
		return f.actFor(do, "the token expired %s ago, and callers fail", span(now.Sub(t.ExpiresAt)))
	case !t.ExpiresAt.IsZero():
		f.Seen = "valid for " + span(t.ExpiresAt.Sub(now))
	}
	return f
}

func (t *tenant) expired(now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}
