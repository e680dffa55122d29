package main

// c8auth doctor --measure: what Communic8 does not document.

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/c8auth/c8auth/pkg/c8auth"
)

// measurement is the report of a measurement. It contains no secret.
type measurement struct {
	At       time.Time `json:"at"`
	BaseURL  string    `json:"base_url"`
	Method   string    `json:"method"`
	Findings []answer  `json:"findings"`
}

// answer is the measured answer to one question.
type answer struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`
}

func (m *measurement) note(question, format string, args ...any) {
	m.Findings = append(m.Findings, answer{question, fmt.Sprintf(format, args...)})
}

func (m *measurement) print(out *printer) {
	out.printf("\n")
	out.line("", "", 0, "Communic8 at %s, measured at %s. Without secrets.", m.BaseURL, m.At.Format(time.RFC3339))
	for _, f := range m.Findings {
		out.printf("\n")
		out.line("", "", 0, "%s", f.Question)
		out.line("", "", 2, "  %s", f.Answer)
	}
}

// measure requests tokens and probes them. If it has requested one, it invokes rotate at the end,
// also after an error or Ctrl-C, because a new token can revoke the stored one. With an error,
// measure returns the measurement so far as well, if it had begun and Ctrl-C did not end it.
func (doc *doctor) measure(ctx context.Context) (*measurement, error) {
	t := &doc.patient
	switch {
	case doc.deployment == nil:
		return nil, fail(0, "", "measuring needs access to the stack")
	case t.credentials.arn != "" && t.Stored.IsZero():
		return nil, fail(statusAttention, "`c8auth credentials set "+t.Name+"`", "there are no credentials to measure with")
	case t.young():
		return nil, fail(statusAgain, "try again in a minute", "the token is less than a minute old: if measuring ended its validity, rotate would not replace it yet")
	}
	doc.stderr.line("", "", 0, "Reading %s/credentials/%s with your permissions, to measure.", doc.name, t.Name)
	credentials, err := doc.readCredentials(ctx, t.Name)
	if err != nil {
		return nil, err
	}
	client, recorder := recordedClient()
	run := &measuring{
		measurement: measurement{At: time.Now().UTC().Truncate(time.Second), BaseURL: credentials.BaseURL, Method: methodOAuth},
		endpoint:    &c8auth.Endpoint{Client: client, ProbePath: doc.parameters["ProbePath"]},
		recorder:    recorder,
		secrets:     []string{credentials.ClientSecret.Reveal(), credentials.AccessKey.Reveal(), doc.vended.AccessToken.Reveal()},
	}
	if credentials.AccessKey.Reveal() != "" {
		run.Method = methodKey
		run.note(grants, "The access key is the token: none is requested")
	} else {
		err = run.tokens(ctx, credentials, doc.vended)
		if ctx.Err() != nil {
			doc.stderr.line("", "", 0, "Stopping, as soon as rotate has replaced the token.")
		}
		result, failed := doc.deployment.rotate(context.WithoutCancel(ctx), t.Name, true)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		run.note("And the tenant's token?", "%s", cmp.Or(string(result.Outcome), "rotate fails"))
		err = cmp.Or(err, failed)
	}
	if err == nil && run.Method == methodOAuth {
		run.refusal(ctx, credentials)
	}
	if err == nil {
		run.rejection(ctx, credentials.BaseURL)
	}
	if ahead, ok := recorder.response().ahead(); ok {
		run.note("What time is it there?", "It is %s", apart(ahead))
	}
	run.scrub()
	return &run.measurement, cmp.Or(ctx.Err(), err)
}

// young reports whether the token is too young for rotate to replace it with force.
func (t *tenant) young() bool {
	return t.Version != "" && time.Since(cmp.Or(t.IssuedAt, t.token.changed)) < time.Minute+5*time.Second
}

// readCredentials reads the tenant's credentials with the operator's own permissions.
func (d *deployment) readCredentials(ctx context.Context, tenant string) (c c8auth.Credentials, _ error) {
	name := d.name + "/credentials/" + tenant
	out, err := secretsmanager.NewFromConfig(d.Config).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		return c, awsFailure(d.Config, err, "secretsmanager:GetSecretValue", name)
	}
	c, err = c8auth.ParseCredentials([]byte(aws.ToString(out.SecretString)))
	if err != nil {
		return c, fail(statusAttention, "`c8auth credentials set "+tenant+"`", "%s: %w", name, err)
	}
	return c, nil
}

// measuring is a measurement in progress, with the secrets that it must not contain.
type measuring struct {
	measurement
	endpoint *c8auth.Endpoint
	recorder *recorder
	secrets  []string
}

// try probes a token, and returns the result with a description of the response.
func (run *measuring) try(ctx context.Context, baseURL string, token c8auth.Secret) (c8auth.ProbeResult, string) {
	if run.endpoint.ProbePath == "" {
		return "", "Not known, because the stack's parameter ProbePath is empty"
	}
	result, _ := run.endpoint.Probe(ctx, c8auth.Token{BaseURL: baseURL, AccessToken: token, TokenType: "Bearer"})
	return result, run.said()
}

// grants is the question that several outcomes answer.
const grants = "How does it grant a token?"

// ask requests a token.
func (run *measuring) ask(ctx context.Context, c c8auth.Credentials) (c8auth.TokenResponse, error) {
	grant, err := run.endpoint.RequestToken(ctx, c)
	if err != nil {
		run.note(grants, "It does not. %s", run.said())
		return grant, fail(0, "follow the text of the error, and try again", "%w", err)
	}
	run.secrets = append(run.secrets, grant.AccessToken.Reveal())
	return grant, nil
}

// said describes the last response.
func (run *measuring) said() string {
	if last := run.recorder.response(); last.status != 0 {
		return last.String()
	}
	return "There was no answer"
}

// tokens requests two tokens, and probes whether the second one revokes the first one and used,
// the token that vend vended.
func (run *measuring) tokens(ctx context.Context, c c8auth.Credentials, used c8auth.Token) error {
	first, err := run.ask(ctx, c)
	if err != nil {
		return err
	}
	form := run.said()
	before, _ := run.try(ctx, c.BaseURL, first.AccessToken)
	second, err := run.ask(ctx, c)
	if err != nil {
		return err
	}
	after, rejection := run.try(ctx, c.BaseURL, first.AccessToken)
	ended := slices.Contains([]int{http.StatusUnauthorized, http.StatusForbidden, http.StatusOK}, run.recorder.response().status)
	newest, welcome := run.try(ctx, c.BaseURL, second.AccessToken)

	run.note(grants, "%s. It is valid for %s", form, span(first.Lifetime))
	const again, ends = "Do two requests give the same token?", "Does a new token end the validity of the one before?"
	if first.AccessToken.Reveal() == second.AccessToken.Reveal() {
		run.note(again, "Yes, while it is valid; the second time it is valid for %s", span(second.Lifetime))
		return nil
	}
	run.note(again, "No, each request gives another one")
	switch {
	case before != c8auth.ProbeGood || newest != c8auth.ProbeGood:
		run.note(ends, "The probe path does not show that. Its answer to a new token: %s", welcome)
		return nil
	case after == c8auth.ProbeGood:
		run.note(ends, "No, both are valid")
	case ended:
		run.note(ends, "Yes. The answer to the one before is then: %s", rejection)
	default:
		run.note(ends, "Not known. The answer to the one before is then: %s", rejection)
	}
	if used.BaseURL == c.BaseURL {
		_, said := run.try(ctx, c.BaseURL, used.AccessToken)
		run.note("What is its answer to the token that was in use?", "%s", said)
	}
	return nil
}

// refusal measures how Communic8 refuses wrong credentials, with one request: the right client ID
// and a random client secret.
func (run *measuring) refusal(ctx context.Context, c c8auth.Credentials) {
	c.ClientSecret = c8auth.NewSecret(rand.Text())
	_, err := run.endpoint.RequestToken(ctx, c)
	read := "nothing against them"
	if err != nil {
		read = err.Error()
	}
	run.note("How does it refuse wrong credentials?", "%s. c8auth reads it as: %s", run.said(), read)
}

// rejection measures how Communic8 rejects a random token.
func (run *measuring) rejection(ctx context.Context, baseURL string) {
	read, said := run.try(ctx, baseURL, c8auth.NewSecret(strings.ToLower(rand.Text())))
	if read != "" {
		said += ". c8auth reads it as: " + string(read)
	}
	run.note("How does it reject a token that it never made?", "%s", said)
}

// scrub replaces secrets in the answers. Only a response that has a secret as the name of a JSON
// member could have put one there.
func (run *measuring) scrub() {
	for i := range run.Findings {
		for _, secret := range run.secrets {
			if len(secret) > 3 { // a shorter one could be part of any word
				run.Findings[i].Answer = strings.ReplaceAll(run.Findings[i].Answer, secret, "[redacted]")
			}
		}
	}
}

// String returns the response's status, content type and shape.
func (r response) String() string {
	kind, _, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil || !mediaType.MatchString(kind) {
		kind = "no content type"
	}
	return fmt.Sprintf("HTTP %d, %s, %s", r.status, kind, shapeOf(r.body))
}

var mediaType = regexp.MustCompile(`^(application|text)/[a-z.+-]{1,40}$`)

// shapeOf describes a body without its values: for JSON, the names and types of members. Of
// booleans it shows the value.
func shapeOf(body []byte) string {
	var v any
	switch {
	case len(body) == 0:
		return "no body"
	case json.Unmarshal(body, &v) == nil:
		return shape(v, 3)
	}
	return fmt.Sprintf("%d bytes that are not JSON", len(body))
}

// member is the syntax of names in JSON that are shown. Another name could be a secret.
var member = regexp.MustCompile(`^[A-Za-z][A-Za-z_]{0,29}$`)

func shape(v any, depth int) string {
	switch v := v.(type) {
	case map[string]any:
		if depth == 0 {
			return "{…}"
		}
		var members []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			shown := name
			if !member.MatchString(name) {
				shown = "…"
			}
			members = append(members, shown+": "+shape(v[name], depth-1))
		}
		if len(members) > 12 {
			members = append(members[:12], "…")
		}
		return "{" + strings.Join(members, ", ") + "}"
	case []any:
		if len(v) == 0 || depth == 0 {
			return fmt.Sprintf("list of %d", len(v))
		}
		return fmt.Sprintf("list of %d: %s", len(v), shape(v[0], depth-1))
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return fmt.Sprint(v)
	}
	return "null"
}
