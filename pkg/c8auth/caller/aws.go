package caller

// The AWS configuration, credentials, signature and region of a request.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/c8auth/c8auth/pkg/c8auth/internal/oauth"
)

// session is an AWS configuration in use.
type session struct {
	aws.Config
	transport *http.Transport // trusts the certificates of AWS_CA_BUNDLE; nil if that is not set
}

// load returns the session in use. If there is none, load makes one from the Source's AWS, or
// from the ambient configuration if that has no credentials.
func (s *Source) load(ctx context.Context) (*session, *failure) {
	s.mu.Lock()
	current := s.session
	s.mu.Unlock()
	if current != nil {
		return current, nil
	}
	current = &session{Config: s.AWS}
	if s.AWS.Credentials == nil {
		var err error
		// Without this logger, the SDK logs errors with their text.
		if current.Config, err = config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{})); err != nil {
			return nil, failTemporarily(ErrCredentials, "%s", describeCredentials(err))
		}
	}
	if client, ok := current.HTTPClient.(*awshttp.BuildableClient); ok {
		if transport := client.GetTransport(); transport.TLSClientConfig != nil && transport.TLSClientConfig.RootCAs != nil {
			current.transport = transport
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = current
	return current, nil
}

// unload removes a session whose signature was refused. The next load reads the configuration
// again, because another process may have renewed it.
func (s *Source) unload(refused *session) {
	if cache, ok := refused.Credentials.(interface{ Invalidate() }); ok {
		cache.Invalidate()
	}
	if refused.transport != nil {
		refused.transport.CloseIdleConnections()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == refused {
		s.session = nil
	}
}

// base returns the transport of requests to the API.
func (s *Source) base(current *session) http.RoundTripper {
	switch {
	case s.Base != nil:
		return s.Base
	case current != nil && current.transport != nil:
		return current.transport
	}
	return http.DefaultTransport
}

// sign adds a signature to the request.
func (c *session) sign(req *http.Request, body []byte, region string) *failure {
	keys, err := c.Credentials.Retrieve(req.Context())
	if err != nil {
		failed := fail(ErrCredentials, "%s", describeCredentials(err))
		failed.temporary = !needsPerson(err)
		return failed
	}
	for _, part := range []struct {
		name, value string
		optional    bool
	}{{"access key ID", keys.AccessKeyID, false}, {"secret access key", keys.SecretAccessKey, false}, {"session token", keys.SessionToken, true}} {
		if !oauth.ValidBearer(part.value) && (part.value != "" || !part.optional) {
			return fail(ErrCredentials, "the AWS %s is empty or has a character that none has, such as a newline at its end", part.name)
		}
	}
	digest := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(req.Context(), keys, req, hex.EncodeToString(digest[:]), "execute-api", region, now()); err != nil {
		return fail(ErrCredentials, "the request cannot be signed")
	}
	return nil
}

// describeCredentials describes why there are no AWS credentials, by the type of err alone: its
// text may contain the output of a credential_process.
func describeCredentials(err error) string {
	const more = "; aws sts get-caller-identity says more"
	if _, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return "the AWS profile does not exist: is AWS_PROFILE right?"
	}
	if _, ok := errors.AsType[*processcreds.ProviderError](err); ok {
		return "the credential_process of the AWS profile fails" + more
	}
	if _, ok := errors.AsType[*ssocreds.InvalidTokenError](err); ok {
		return "the AWS sign-in has expired: aws sso login"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "the provider of the AWS credentials does not answer in time" + more
	}
	if operation, ok := errors.AsType[*smithy.OperationError](err); ok {
		switch operation.ServiceID {
		case "ec2imds":
			return "neither the environment nor the shared files hold any, and the instance metadata service gives none"
		case sts.ServiceID:
			return "AWS STS gives none for the role" + more
		}
	}
	return "the AWS configuration, or the provider of credentials that it names, fails" + more
}

// needsPerson reports whether a provider will fail until a person fixes its configuration.
func needsPerson(err error) bool {
	_, signIn := errors.AsType[*ssocreds.InvalidTokenError](err)
	operation, ok := errors.AsType[*smithy.OperationError](err)
	return signIn || ok && operation.ServiceID == "ec2imds" && strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true")
}

// endpoint is the API at URL.
type endpoint struct {
	url                           string // without a slash at the end
	partition, region, api, stage string // api and stage are * if URL does not name them
}

var (
	// apiHost is the host of a REST API, also of one behind a VPC endpoint. Its last group
	// depends on the partition.
	apiHost    = regexp.MustCompile(`^([a-z0-9]+)(?:-vpce-[0-9a-f]+)?\.execute-api(?:-fips)?\.([a-z0-9-]+)\.(.+)$`)
	regionName = regexp.MustCompile(`^[a-z0-9-]+$`)
)

// endpoint parses URL. If its host does not name the region, as a custom domain does not, the
// API is assumed to be in region.
func (s *Source) endpoint(region string) (endpoint, *failure) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Hostname() == "" || !oauth.Confidential(u) || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return endpoint{}, fail(ErrUnreachable, "URL must be the stack's output Url, such as https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1")
	}
	u.Host = strings.ToLower(u.Host)
	at := endpoint{url: strings.TrimRight(u.String(), "/"), region: region, api: "*", stage: "*"}
	if parts := apiHost.FindStringSubmatch(u.Hostname()); parts != nil {
		if partition, ok := partitionOf(parts[2], parts[3]); ok {
			at.partition, at.api, at.region, at.stage = partition, parts[1], parts[2], strings.Trim(u.Path, "/")
			return at, nil
		}
	}
	if !regionName.MatchString(region) {
		return endpoint{}, fail(ErrCredentials, "no AWS region is configured, or a malformed one, and URL does not name one: set AWS_REGION")
	}
	at.partition, _ = partitionOf(region, "")
	return at, nil
}

// partitionOf returns the partition of the region, and whether the names of hosts in it end in
// suffix. AWS STS has a host in every region, so both can be read from the SDK's data about STS.
func partitionOf(region, suffix string) (partition string, ok bool) {
	for _, dualStack := range []aws.DualStackEndpointState{aws.DualStackEndpointStateEnabled, aws.DualStackEndpointStateDisabled} {
		host, err := sts.NewDefaultEndpointResolver().ResolveEndpoint(region, sts.EndpointResolverOptions{UseDualStackEndpoint: dualStack})
		if err == nil {
			partition = host.PartitionID
			ok = ok || host.URL == "https://sts."+region+"."+suffix
		}
	}
	return partition, ok
}

// resource returns the resource that a policy must grant. Its account is *, because the account
// of the API is not known.
func (e endpoint) resource(what string) string {
	return "arn:" + e.partition + ":execute-api:" + e.region + ":*:" + e.api + "/" + e.stage + "/" + what
}
