package c8auth

// Claims: which of several processes may replace a reported token, and how often.

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

const (
	// claimLabel is the staging label of the latest claim, a version of the token
	// secret that is never AWSCURRENT.
	claimLabel = "C8AUTH_CLAIM"
	// claimLease is the time in which no other process can claim the same token. It is longer
	// than [Rotator.Reject] takes.
	claimLease = rejectTime + 5*time.Second
	// A token bucket limits the claims of a tenant: claimBurst at once, then one in
	// claimRefill. A claim and the token after it are two versions of the secret, and in the
	// long run AWS allows one version in ten minutes.
	claimBurst  = 5
	claimRefill = 20 * time.Minute
)

// claim is the right to replace a token that was reported.
type claim struct {
	Rejected string  `json:"rejected"` // version of the reported token
	Left     float64 `json:"left"`     // claims left in the bucket
	Nonce    string  `json:"nonce"`    // random: PutSecretValue succeeds for two equal values of one version id
}

// next returns the claim of the version that may follow c, which was made age ago, and
// whether one may.
func (c claim) next(version string, age time.Duration) (claim, bool) {
	age = max(0, age)
	left := min(claimBurst, c.Left+float64(age)/float64(claimRefill))
	if left < 1 || c.Rejected == version && age < claimLease {
		return claim{}, false
	}
	return claim{Rejected: version, Left: left - 1, Nonce: rand.Text()}, true
}

// claim reports whether this process alone may replace the version of the tenant's token now.
// The error is an [ErrUnavailable], [ErrQuota] or [ErrUnknownTenant].
//
// The version id of a claim is derived from that of the claim before, so that one of several
// concurrent claims succeeds. The version must have been AWSCURRENT, because the first version
// of a secret becomes that whatever its label.
func (s *Store) claim(ctx context.Context, tenant, version string) (bool, error) {
	name := s.tokenName(tenant)
	last, err := s.get(ctx, name, claimLabel, "")
	if errors.Is(err, ErrUnavailable) {
		return false, err
	}
	was := claim{Left: claimBurst} // there was none; if the secret itself is missing, the write fails
	if err == nil {
		was.Left = 0
		_ = json.Unmarshal([]byte(last.text), &was) // an unreadable claim counts as an empty bucket
	}
	next, ok := was.next(version, now().Sub(last.created))
	if !ok {
		return false, nil
	}
	text, _ := json.Marshal(next) // cannot fail: Left is finite
	id, value := versionID(name, "claim after "+last.version, 0), string(text)
	_, err = s.Client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &name, ClientRequestToken: &id, SecretString: &value, VersionStages: []string{claimLabel},
	})
	if _, taken := errors.AsType[*types.ResourceExistsException](err); taken {
		return false, nil
	}
	if err != nil {
		return false, storeError(ctx, "PutSecretValue", name, err)
	}
	return true, nil
}
